"""Real daemons on hosts of the laboratory, and products that are asked of them all the while."""

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import numpy as np

import sedma
from tests.lab.lab import Lab
from tests.lab.plan import Host
from tests.live.daemons import Daemon, Daemons, eventually
from tests.live.small_mesh import BROKEN, error_of

PORT = 7879
MEMORY = "128MiB"
READY_S = 60.0
"""A daemon has so long to start: many do at the same time."""
WAIT_S = 20.0
PAUSE_S = 0.02
"""Between two products of one asker."""
DEADLINE_S = 60.0
"""For one product: it is late rather than refused."""
OFF_MAX = 1e-6

LATE_WRITE = re.compile(
    r"Fatal error on SSL protocol\n.*\n.*closed=True.*\nTraceback.*\n(  .*\n)+RuntimeError:.*the handler is closed\n"
)
"""What uvloop says, with no frame of ours, where an answer is due on a connection that it has just lost."""


class Place:
    """A daemon on a host of the laboratory, through all its lives."""

    def __init__(
        self,
        lab: Lab,
        host: Host,
        daemons: Daemons,
        name: str,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.host = host
        self.name = name
        self.daemon: Daemon
        self.id = ""
        self._lab = lab
        self._daemons = daemons
        self._environment = environment or {}
        self._client: sedma.Client | None = None

    def __repr__(self) -> str:
        return self.name

    def start(self, join: str | None = None) -> None:
        """It listens as it does unless told otherwise, and nobody has opened a port for it."""
        self._client = None
        with self._lab.on_host(self.host):
            self.daemon = self._daemons(
                self.name,
                MEMORY,
                join=join,
                listen=f"[::]:{PORT}",
                flags=("--cpus", "1", "--label", self.name),
                environment=self._environment,
            )

    def ready(self) -> "Place":
        with self._lab.on_host(self.host):
            self._client = self.daemon.client(READY_S)
            self.id = self._client.status()["id"]
        return self

    def ask(self, question: Callable[[sedma.Client], Any]) -> Any:
        with self._lab.on_host(self.host):
            assert self._client is not None
            return question(self._client)

    @contextmanager
    def client(self) -> Iterator[sedma.Client]:
        """One of its own for this thread, which is on the host meanwhile."""
        with (
            self._lab.on_host(self.host),
            sedma.connect(data_dir=self.daemon.data_dir) as client,
        ):
            yield client

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = self.ask(lambda client: client.status())
        return told

    def peer(self, other: "Place") -> dict[str, Any]:
        """The other, as this one sees it; empty if it does not know it."""
        peers = self.ask(lambda client: client.peers())
        return next((dict(one) for one in peers if one["id"] == other.id), {})

    def is_linked(self, *others: "Place") -> bool:
        return all(self.peer(other).get("state") == "connected" for other in others)

    def doctor(self) -> list[dict[str, str]]:
        words = ["doctor", "--json", "--data-dir", str(self.daemon.data_dir)]
        with self._lab.on_host(self.host):
            told = subprocess.run(
                [sys.executable, "-m", "node.cli.main", *words],
                capture_output=True,
                check=False,
                text=True,
                timeout=60,
            )
        found: list[dict[str, str]] = json.loads(told.stdout)["findings"]
        return found

    def once(self, holds: Callable[[], Any], what: str, within_s: float = WAIT_S) -> Any:
        """What this gives once it is true; else the failure shows our log."""
        try:
            return eventually(holds, what, within_s)
        except AssertionError as late:
            raise AssertionError(f"{self}: {late}: {self.daemon.said}") from None

    def used(self, other: "Place", kind: str, since: float) -> float | None:
        """Seconds from then (wall clock) until the link to the other ran over a path of this kind; None: not yet."""
        for line in self.daemon.noted("path.used"):
            at = datetime.fromisoformat(line["timestamp"]).timestamp()
            if at >= since and line["path"] == kind and other.id.startswith(line["peer"]):
                return at - since
        return None

    def unlinked(self, other: "Place") -> int:
        """How often the link to the other was lost."""
        lines = self.daemon.noted("peer.unlinked")
        return sum(other.id.startswith(line["peer"]) for line in lines)

    def faults(self) -> str:
        """Its log, from the first line on that no log may hold."""
        lines = re.sub(LATE_WRITE, "", self.daemon.said).splitlines()
        for at, line in enumerate(lines):
            if any(word in line for word in BROKEN):
                return "\n".join(lines[at : at + 40])
        return ""


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
        if failed[0] is None:
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
