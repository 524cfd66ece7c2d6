"""One chip: weights put on cells of a seed, multiplied under each tolerance, held against the exact product.

A block's cells follow from the device, the seed and the name of the weights, so names follow from the experiment and
the seed alone: the same sweep meets the same chips again. And there are few of them, used over and over, because a
mesh remembers each name that it has known, the removed ones included (at most 4,096).
"""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.cli.normal import Matrix
from sedma.client import Answer, Client
from sedma.errors import SedmaError

SLOTS = 8
"""Names of one experiment, and so the most chips that it has in the mesh at once."""


@dataclass(frozen=True, slots=True)
class Product:
    """What is multiplied on every chip: X (M, K) times W (K, N), and the exact X W."""

    weights: Matrix
    x: Matrix
    exact: NDArray[np.float64]

    @classmethod
    def of(cls, weights: Matrix, x: Matrix) -> "Product":
        return cls(weights, x, x.astype(np.float64) @ weights.astype(np.float64))

    def error(self, answer: Answer) -> float:
        """||Y' - X W||_F / ||X W||_F."""
        off = np.linalg.norm(np.asarray(answer, dtype=np.float64) - self.exact)
        return float(off / np.linalg.norm(self.exact))

    @property
    def sides(self) -> str:
        return " x ".join(map(str, self.weights.shape))


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all chips of a sweep. `rtols`: None is the raw product."""

    rtols: tuple[float | None, ...]
    deadline_s: float
    only: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chip:
    """Cells of a device (text as the daemon takes it; None: the daemon's own) that a seed makes."""

    device: str | None
    seed: int
    name: str
    """Of its weights."""

    @classmethod
    def of(cls, device: str | None, seed: int, experiment: str) -> "Chip":
        mark = hashlib.blake2b(f"{device}\n{experiment}".encode(), digest_size=4).hexdigest()
        return cls(device, seed, f"sweep-{mark}-{seed % SLOTS}")


@dataclass(frozen=True, slots=True)
class Reading:
    """One product on one chip."""

    device: str
    """As its manifest has it."""
    seed: int
    rtol: float | None
    error: float
    """True relative error."""
    bound: float | None
    """As certified; None where the daemon could state none."""
    confidence: float
    regime: str
    analog_fraction: float
    energy_j: float
    """Of the arrays and the arithmetic beside them; not of the check."""
    latency_s: float
    """Of the arrays."""
    reads: int
    seconds: float
    """From the request to its end, in the mesh."""
    nodes: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Stopped(Exception):
    """Nobody wants the rest of this chip's readings."""


class Bench:
    """Puts chips into the mesh, reads them, and takes them out again. Several threads may use it."""

    def __init__(self, client: Client, product: Product, terms: Terms) -> None:
        self._client = client
        self._product = product
        self._terms = terms
        self._stop = threading.Event()
        self.left: list[str] = []
        """Weights that could not be removed."""

    def stop(self) -> None:
        """Chips under way end after the request that they are at."""
        self._stop.set()

    def read(self, chip: Chip) -> list[Reading]:
        """Under each tolerance once. SedmaError as the daemon tells it; nothing stays in the mesh either way."""
        if self._stop.is_set():
            raise Stopped
        try:
            weights = self._client.put(
                chip.name,
                self._product.weights,
                backend="rram",
                device=chip.device,
                seed=chip.seed,
                only=self._terms.only,
                avoid=self._terms.avoid,
            )
            readings = [self._reading(chip, weights.info, rtol) for rtol in self._terms.rtols]
            self._check(chip, weights.info["version"])
        except BaseException:
            # What went wrong first is what counts; an unremoved name is told besides.
            self._remove(chip.name)
            raise
        self._remove(chip.name)
        return readings

    def _reading(self, chip: Chip, info: dict[str, Any], rtol: float | None) -> Reading:
        if self._stop.is_set():
            raise Stopped
        terms, product = self._terms, self._product
        answer = self._client.matmul(chip.name, product.x, rtol=rtol, deadline=terms.deadline_s)
        account = self._client.task(answer.task)["account"]
        certificate = answer.certificate
        if certificate is None:
            raise SedmaError("internal", f"the answer on {chip.name} came without a certificate")
        return Reading(
            device=info["device"],
            seed=chip.seed,
            rtol=rtol,
            error=product.error(answer),
            bound=certificate.bound,
            confidence=certificate.confidence,
            regime=certificate.regime,
            analog_fraction=certificate.analog_fraction,
            energy_j=account["energy_j"],
            latency_s=account["latency_s"],
            reads=sum(one["reads"] for one in account["work"]),
            seconds=account["seconds"],
            nodes=len(account["work"]),
        )

    def _check(self, chip: Chip, version: str) -> None:
        """Nobody else has put something else under the name meanwhile."""
        found = self._client[chip.name].info["version"]
        if found != version:
            reason = f"{chip.name} became another version while it was read"
            raise SedmaError("conflict", f"{reason}: does the same sweep run twice?")

    def _remove(self, name: str) -> None:
        try:
            self._client.rm(name)
        except SedmaError as error:
            if error.code != "not_found":
                self.left.append(name)


def chips(devices: Sequence[str | None], seeds: range, experiment: str) -> list[Chip]:
    """All of a sweep, device by device."""
    return [Chip.of(device, seed, experiment) for device in devices for seed in seeds]
