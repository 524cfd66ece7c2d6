"""Products that daemons of the laboratory are asked for all the while, and what became of each."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import numpy as np

import sedma
from tests.lab.place import Place
from tests.live.small_mesh import error_of

PAUSE_S = 0.02
"""Between two products of one asker."""
DEADLINE_S = 60.0
"""For one product: it is late rather than refused."""
OFF_MAX = 1e-6


class Matrix:
    """Lies in the mesh under this name; `exact` is `x` times it."""

    def __init__(self, name: str, seed: int, rows_of_x: int = 4) -> None:
        dice = np.random.default_rng(seed)
        self.name = name
        self.values = dice.normal(size=(1100, 600)).astype(np.float32)
        """2 x 1 blocks; a relay forwards as much at once."""
        self.x = dice.normal(size=(rows_of_x, 1100)).astype(np.float32)
        self.exact = self.x.astype(np.float64) @ self.values

    def put(self, asked: Place, holder: Place) -> None:
        """By way of one, on the other alone."""
        weights = asked.ask(
            lambda client: client.put(
                self.name, self.values, replicas=1, backend="digital", only=[holder.name]
            )
        )
        assert set(weights.info["holders"]) == {holder.id}, weights.info

    def wrong(self, client: sedma.Client) -> str:
        """What is wrong with one product; empty if nothing is."""
        try:
            answer = client.matmul(self.name, self.x, deadline=DEADLINE_S)
        except sedma.SedmaError as refused:
            return f"{refused.code}: {refused}"
        off = error_of(answer, self.exact)
        return "" if off < OFF_MAX else f"off by {off:g}"


@dataclass(frozen=True, slots=True)
class Product:
    ended: float
    """Monotonic, in seconds."""
    took_s: float
    asked: str
    name: str
    wrong: str
    """What was wrong with it; empty if nothing was."""


class Stream:
    """Each of these places is asked for products with its matrix, one after the other."""

    def __init__(self, asked: list[tuple[Place, Matrix]]) -> None:
        self.products: list[Product] = []
        self._asked = asked
        self._ends = threading.Event()
        self._pool = ThreadPoolExecutor(len(asked))
        self._askers: list[Future[None]] = []

    def __enter__(self) -> Self:
        self._askers = [self._pool.submit(self._ask, *one) for one in self._asked]
        return self

    def __exit__(self, *failed: object) -> None:
        self._ends.set()
        self._pool.shutdown()
        for asker in self._askers:
            asker.result()

    @property
    def wrong(self) -> list[Product]:
        return [one for one in self.products if one.wrong]

    def gap_s(self, since: float) -> float:
        """The longest that anybody who was asked has waited, of all that was answered from then on (monotonic)."""
        return max(one.took_s for one in self.products if one.ended >= since)

    def answered(self, since: float) -> bool:
        """Each has had a right answer to what was asked from then on."""
        asked = {
            (one.asked, one.name)
            for one in self.products
            if not one.wrong and one.ended - one.took_s >= since
        }
        return len(asked) == len(self._asked)

    def _ask(self, place: Place, matrix: Matrix) -> None:
        with place.client() as client:
            while not self._ends.is_set():
                began = time.monotonic()
                wrong = matrix.wrong(client)
                ended = time.monotonic()
                product = Product(ended, ended - began, place.name, matrix.name, wrong)
                self.products.append(product)
                self._ends.wait(PAUSE_S)
