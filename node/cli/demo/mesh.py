"""The two products of message passing, multiplied in the mesh, with a note of what each took."""

import time

import numpy as np

from compute.partition import Matrix
from node.cli.demo.outcome import Product
from node.cli.demo.recovery import Products
from sedma.client import Answer, Client

NPY_HEADER_BYTES = 128


class MeshProducts:
    """Sends X or Z to a daemon and remembers time, bytes and certificate of every answer."""

    def __init__(self, client: Client, name: str, rtol: float | None) -> None:
        self._answers: list[tuple[Answer, int, float]] = []
        """Each with the bytes sent and received for it, and the seconds it took."""
        self._client = client
        self._name = name
        self._rtol = rtol

    def as_products(self) -> Products:
        return Products(
            forward=lambda x: self._multiply(x, transpose=False),
            backward=lambda z: self._multiply(z, transpose=True),
        )

    def products(self) -> tuple[Product, ...]:
        """What they took; the daemon is asked now, so that no iteration waits for it."""
        return tuple(self._product(*answered) for answered in self._answers)

    def _multiply(self, x: Matrix, transpose: bool) -> Matrix:
        started = time.perf_counter()
        answer = self._client.matmul(self._name, x, rtol=self._rtol, transpose=transpose)
        seconds = time.perf_counter() - started
        nbytes = x.nbytes + answer.nbytes + 2 * NPY_HEADER_BYTES
        self._answers.append((answer, nbytes, seconds))
        return np.asarray(answer)

    def _product(self, answer: Answer, nbytes: int, seconds: float) -> Product:
        certificate = answer.certificate
        assert certificate is not None, "a daemon certifies every product"
        account = self._client.task(answer.task)["account"]
        return Product(
            seconds=seconds,
            nbytes=nbytes,
            bound=certificate.bound,
            analog_fraction=certificate.analog_fraction,
            mesh_bytes=account["bytes"],
            energy_j=account["energy_j"],
        )
