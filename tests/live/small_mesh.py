"""Unequal daemons in one mesh, each a process of its own; what a test breaks is mended after it."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import sedma
from tests.live.daemons import READY_S, Daemon, eventually
from tests.node.ports import free

BUDGETS_MIB = {"a": 208, "b": 192, "c": 176, "d": 160}
LEASE_S = 30.0
"""So long a daemon keeps a promise to a put of which it hears nothing."""
BROKEN = ("Traceback", "AssertionError", "work.broke", "never retrieved", "never awaited")
"""Words that no log may hold, whatever was done to its daemon."""

DICE = np.random.default_rng(11)
W = DICE.normal(size=(2900, 2100)).astype(np.float32)
"""3 x 3 blocks, those at two edges smaller."""
X = DICE.normal(size=(4, 2900)).astype(np.float32)
Y = DICE.normal(size=(4, 2100)).astype(np.float32)
XW = X.astype(np.float64) @ W
YW = Y.astype(np.float64) @ W.T

SIGNS = np.sign(W)
"""What crossbars hold best; of values with long tails most products at 1e-2 go to the digital fallback."""


def error_of(answer: object, exact: np.ndarray) -> float:
    return float(np.linalg.norm(np.asarray(answer) - exact) / np.linalg.norm(exact))


def is_right(answer: sedma.Answer, exact: np.ndarray = XW) -> bool:
    assert answer.certificate is not None
    bound = answer.certificate.bound
    return bound is not None and error_of(answer, exact) <= bound <= 1e-2


class Member:
    """One daemon through all its lives, on one data directory. It carries its name as a label too."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.budget_bytes = BUDGETS_MIB[name] << 20
        self.data_dir = folder / name
        self.log = folder / f"{name}.log"
        self.life: Daemon | None = None
        """The present one, or the last."""
        self.id = ""
        self.listen: str | None = None
        """For its next start; None: it comes back at another address."""
        self._client: sedma.Client | None = None
        self._read_bytes = 0

    def start(self, *more: str) -> None:
        assert not self.runs
        self.forget_client()
        (self.data_dir / "api.url").unlink(missing_ok=True)
        flags = ["--name", self.name, "--label", self.name, "--api", "127.0.0.1:0"]
        # Of ports that no connection gets by chance, for it may come back there.
        flags += ["--listen", self.listen or f"127.0.0.1:{free()}", *more]
        self.life = Daemon(self.data_dir, str(self.budget_bytes), flags, {})

    @property
    def runs(self) -> bool:
        return self.life is not None and self.life.process.poll() is None

    @property
    def client(self) -> sedma.Client:
        """Of this life, once it is ready."""
        assert self.life is not None
        if self._client is None:
            self._client = self.life.client()
            self.id = self._client.status()["id"]
        return self._client

    @property
    def address(self) -> tuple[str, int]:
        """Where peers reach it."""
        host, _, port = self.client.status()["listen"][0].rpartition(":")
        return host, int(port)

    @property
    def contents(self) -> set[str]:
        """Blocks and sketches on its disk."""
        return {file.name for file in (self.data_dir / "blocks").iterdir()}

    def signal(self, number: int) -> None:
        assert self.life is not None
        self.life.process.send_signal(number)

    def kill(self) -> None:
        """What a power cut does."""
        assert self.life is not None
        self.life.stop(signal.SIGKILL)
        self.forget_client()

    def faults(self) -> str:
        """What its log says since the last call, if it tells of a fault of its own."""
        fresh = self.log.read_bytes()[self._read_bytes :]
        self._read_bytes += len(fresh)
        told = fresh.decode(errors="replace")
        return told if any(word in told for word in BROKEN) else ""

    def forget_client(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    def peak_bytes(self) -> int:
        """The highest resident memory of this life, as the kernel saw it."""
        assert self.life is not None
        return self.life.peak_bytes()


class Mesh:
    """The first has founded it; the others have joined by its ticket."""

    def __init__(self, folder: Path, names: str = "abcd") -> None:
        self.members = {name: Member(folder, name) for name in names}
        try:
            self._start(folder)
        except BaseException:
            self.close()
            raise

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members.values())

    @property
    def running(self) -> list[Member]:
        return [member for member in self if member.runs]

    def name_of(self, node: str) -> str:
        return next(member.name for member in self if member.id == node)

    def holders(self, weights: sedma.Weights) -> dict[str, int]:
        """Blocks by the name of their holder."""
        return {self.name_of(node): count for node, count in weights.info["holders"].items()}

    def wait_linked(self) -> None:
        """Everybody who runs is linked with everybody else who runs."""
        others = len(self.running) - 1
        for member in self.running:

            def linked(client: sedma.Client = member.client) -> bool:
                return bool(client.status()["peers"] == others)

            eventually(linked, f"{member.name} has all peers")

    def wait_serving(self, name: str) -> None:
        """Everybody knows these weights, and no block lacks a holder."""
        for member in self.running:

            def whole(client: sedma.Client = member.client) -> bool:
                return bool(client[name].info["missing"] == 0)

            eventually(whole, f"{name} is whole to {member.name}")

    def wait_empty(self, within_s: float = READY_S) -> None:
        """Nobody who runs holds or promises anything."""
        for member in self.running:
            client = member.client

            def empty(client: sedma.Client = client) -> bool:
                told = client.status()
                return not any(told[what] for what in ("weights", "pinned_bytes", "leased_bytes"))

            try:
                eventually(empty, f"{member.name} is empty", within_s)
            except AssertionError as late:
                raise AssertionError(f"{late}: {client.status()}") from None

    def mend(self) -> None:
        """Who was frozen goes on, who died starts again, all weights go; no log may tell of a fault."""
        for member in self:
            if member.runs:
                member.signal(signal.SIGCONT)
            else:
                member.start()
        self.wait_linked()
        for member in self:
            for weights in member.client.weights():
                with contextlib.suppress(sedma.SedmaError):
                    member.client.rm(weights.name)
        self.wait_empty(LEASE_S + READY_S)
        assert "".join(member.faults() for member in self) == ""

    def close(self) -> None:
        for member in self:
            member.forget_client()
            if member.runs:
                member.signal(signal.SIGCONT)
                member.kill()

    def _start(self, folder: Path) -> None:
        first, *others = self
        first.start()
        ticket = folder / "ticket"
        ticket.touch(mode=0o600)
        ticket.write_text(first.client.ticket()["ticket"])
        for member in others:
            member.start("--join", f"@{ticket}")
        self.wait_linked()
