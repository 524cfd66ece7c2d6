"""Sixteen daemons, each on a host of its own, that hold eight matrices; products are asked for all the while.

Two neighbours by number make a pair, which alone holds both copies of one matrix: of each pair one may be lost. The
even ones are the left side, the odd ones the right: cut apart, each side still holds everything.
"""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

import sedma
from tests.live.daemons import Daemon
from tests.live.namespaces import Network
from tests.live.small_mesh import BROKEN, error_of

HOSTS = 16
MEMORY = "128MiB"
WAVE = 5
"""So many start at once: a start takes a second of a core, and two cores shall have all ready in time."""
READY_S = 60.0
"""A daemon has so long to start: many do at the same time."""
POLL_S = 0.2
ASKERS = 3
PAUSE_S = 0.05
"""Between two products of one asker."""

DICE = np.random.default_rng(16)
MATRICES = {
    f"w{pair}": DICE.normal(size=(1500, 1200)).astype(np.float32) for pair in range(HOSTS // 2)
}
"""2 x 2 blocks each, those at the edges smaller."""
X = DICE.normal(size=(4, 1500)).astype(np.float32)
EXACT = {name: X.astype(np.float64) @ matrix for name, matrix in MATRICES.items()}


class Host:
    """One daemon through all its lives, on one data directory and at one address."""

    def __init__(self, network: Network, folder: Path, number: int) -> None:
        self.number = number
        self.name = f"n{number}"
        self.pair = f"w{number // 2}"
        """The matrix that it holds a copy of."""
        self.id = ""
        self.frozen = False
        self.life: Daemon | None = None
        self._network = network
        self._data_dir = folder / self.name
        self._client: sedma.Client | None = None

    def __repr__(self) -> str:
        return self.name

    @property
    def is_left(self) -> bool:
        return self.number % 2 == 0

    @property
    def runs(self) -> bool:
        return self.life is not None and self.life.process.poll() is None and not self.frozen

    @property
    def client(self) -> sedma.Client:
        """Of this life, once it is ready."""
        assert self.life is not None
        if self._client is None:
            self._client = self.life.client(READY_S)
            self.id = self._client.status()["id"]
        return self._client

    def start(self, *more: str) -> None:
        address = self._network.address(self.number)
        flags = ["--name", self.name, "--label", self.pair, "--cpus", "1"]
        flags += ["--listen", f"{address}:7879", "--api", f"{address}:7878", *more]
        (self._data_dir / "api.url").unlink(missing_ok=True)
        with self._network.on_host(self.number):
            self.life = Daemon(self._data_dir, MEMORY, flags, {})

    def end(self, with_signal: int) -> None:
        assert self.life is not None
        self.life.stop(with_signal)
        self._forget_client()

    def freeze(self) -> None:
        assert self.life is not None
        self.life.process.send_signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        assert self.life is not None
        self.life.process.send_signal(signal.SIGCONT)
        self.frozen = False

    def faults(self) -> str:
        """Its log, of all lives, from the first line on that no log may hold."""
        lines = self._data_dir.with_suffix(".log").read_text(errors="replace").splitlines()
        for at, line in enumerate(lines):
            if any(word in line for word in BROKEN):
                return "\n".join(lines[at : at + 40])
        return ""

    def close(self) -> None:
        self._forget_client()
        if self.life is not None and self.life.process.poll() is None:
            self.life.process.kill()
            self.life.process.wait(timeout=10)

    def _forget_client(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None


class Sixteen:
    """The first has founded the mesh; the others have joined by its ticket, some at once."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self.hosts = [Host(network, folder, number) for number in range(HOSTS)]
        try:
            self._start(folder / "ticket")
        except BaseException:
            self.close()
            raise

    @property
    def running(self) -> list[Host]:
        return [host for host in self.hosts if host.runs]

    def put(self) -> None:
        """Each matrix, twice, by way of a host that holds none of it."""
        for host in self.hosts[::2]:
            holder = self.hosts[(host.number + 2) % HOSTS]
            name = holder.pair
            weights = host.client.put(
                name, MATRICES[name], replicas=2, backend="digital", only=[name]
            )
            assert len(weights.info["holders"]) == 2, weights.info

    def agree(self, within_s: float, *sides: list[Host]) -> float:
        """Seconds until all of a side see the whole side connected and nobody else; without sides: all who run.

        AssertionError after `within_s`.
        """
        began = time.monotonic()
        for views in self._views(within_s):
            odd = [
                f"{host} sees {other} {views[host].get(other, 'unknown')}"
                for side in sides or (self.running,)
                for host in side
                for other in self.hosts
                if other is not host
                and (views[host].get(other) == "connected") is not (other in side)
            ]
            if not odd:
                return time.monotonic() - began
        raise AssertionError(f"not within {within_s:g} s: views agree; {odd}")

    def lost(self, gone: list[Host], within_s: float) -> dict[Host, tuple[float, float]]:
        """Seconds until the first of those who run, and until all of them, count each of the gone as lost."""
        began = time.monotonic()
        first: dict[Host, float] = {}
        last: dict[Host, float] = {}
        for views in self._views(within_s):
            now = time.monotonic() - began
            for host in gone:
                told = [view.get(host) == "lost" for view in views.values()]
                if any(told):
                    first.setdefault(host, now)
                if all(told):
                    last.setdefault(host, now)
            if len(last) == len(gone):
                return {host: (first[host], last[host]) for host in gone}
        raise AssertionError(f"not within {within_s:g} s: {gone} are lost to all; {last} are")

    def close(self) -> None:
        for host in self.hosts:
            host.close()

    def _views(self, within_s: float) -> Iterator[dict[Host, dict[Host, str]]]:
        """In what state each of those who run sees the others, again and again."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            by_id = {host.id: host for host in self.hosts}
            yield {
                host: {by_id[peer["id"]]: peer["state"] for peer in host.client.peers()}
                for host in self.running
            }
            time.sleep(POLL_S)

    def _start(self, ticket: Path) -> None:
        first, *others = self.hosts
        first.start()
        ticket.touch(mode=0o600)
        ticket.write_text(first.client.ticket()["ticket"])
        for wave in (others[at : at + WAVE] for at in range(0, len(others), WAVE)):
            for host in wave:
                host.start("--join", f"@{ticket}")
            for host in wave:
                assert host.client.status()["mesh"] == first.client.status()["mesh"]


Choice = tuple[Host, str]
"""Who is asked, and for a product with which matrix."""


def choices(hosts: Iterable[Host], holders: Iterable[Host]) -> list[Choice]:
    """Each of these hosts, for each matrix of which one of these holders has a copy."""
    names = sorted({holder.pair for holder in holders})
    return [(host, name) for host in hosts for name in names]


@dataclass(frozen=True, slots=True)
class Product:
    began: float
    """Monotonic, in seconds."""
    took_s: float
    asked: str
    name: str
    wrong: str
    """What was wrong with it; empty if nothing was."""


class Stream:
    """Products one after another, some under way at once, each compared with numpy."""

    def __init__(self, first: list[Choice]) -> None:
        self.products: list[Product] = []
        self._dice = random.Random(16)
        self._choices = first
        self._asking: Counter[Host] = Counter()
        self._changed = threading.Condition()
        self._ends = False
        self._pool = ThreadPoolExecutor(ASKERS)
        self._askers: list[Future[None]] = [self._pool.submit(self._ask) for _ in range(ASKERS)]

    def turn_to(self, wanted: list[Choice]) -> None:
        """From now on only these; returns once no other host is being asked."""
        with self._changed:
            self._choices = wanted
            asked = {host for host, _ in wanted}
            assert self._changed.wait_for(lambda: self._asking.keys() <= asked, timeout=30.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failed: object) -> None:
        self._ends = True
        self._pool.shutdown()
        if failed[0] is None:
            for asker in self._askers:
                asker.result()

    def _ask(self) -> None:
        while not self._ends:
            with self._changed:
                host, name = self._dice.choice(self._choices)
                self._asking[host] += 1
            began = time.monotonic()
            wrong = _product(host, name)
            took_s = time.monotonic() - began
            with self._changed:
                self.products.append(Product(began, took_s, host.name, name, wrong))
                self._asking -= Counter([host])
                self._changed.notify_all()
            time.sleep(PAUSE_S)


def _product(host: Host, name: str) -> str:
    try:
        answer = host.client.matmul(name, X, deadline=10.0)
    except sedma.SedmaError as refused:
        return f"{refused.code}: {refused}"
    off = error_of(answer, EXACT[name])
    return "" if off < 1e-6 else f"off by {off:g}"
