"""The two products of message passing, multiplied in the mesh, with a note of what each took."""

import time

import numpy as np

from compute.partition import Matrix
from node.cli.demo.outcome import Product
from node.cli.demo.recovery import Products
from sedma.client import Client

NPY_HEADER_BYTES = 128


class MeshProducts:
    """Sends X or Z to a daemon and remembers time, bytes and certificate of every answer."""

    def __init__(self, client: Client, name: str, rtol: float | None) -> None:
        self.made: list[Product] = []
        self._client = client
        self._name = name
        self._rtol = rtol

    def as_products(self) -> Products:
        return Products(
            forward=lambda x: self._multiply(x, transpose=False),
            backward=lambda z: self._multiply(z, transpose=True),
        )

    def _multiply(self, x: Matrix, transpose: bool) -> Matrix:
        started = time.perf_counter()
        answer = self._client.matmul(self._name, x, rtol=self._rtol, transpose=transpose)
        seconds = time.perf_counter() - started
        certificate = answer.certificate
        assert certificate is not None, "a daemon certifies every product"
        nbytes = x.nbytes + answer.nbytes + 2 * NPY_HEADER_BYTES
        self.made.append(Product(seconds, nbytes, certificate.bound, certificate.analog_fraction))
        return np.asarray(answer)
