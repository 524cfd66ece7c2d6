"""Unequal daemons in one mesh, each a process of its own; what a test breaks is mended after it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sedma

BUDGETS_MIB = {"a": 208, "b": 192, "c": 176, "d": 160}
PATIENCE_S = 20.0
LEASE_S = 30.0
"""So long a daemon keeps a promise to a put of which it hears nothing."""
BROKEN = ("Traceback", "AssertionError", "work.broke", "never retrieved", "never awaited")
"""Words that no log may hold, whatever was done to its daemon."""


def until(found: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """What `found` finds, once it finds something; the daemons' refusals meanwhile count as nothing."""
    give_up = time.monotonic() + patience_s
    while True:
        with contextlib.suppress(sedma.SedmaError):
            if thing := found():
                return thing
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {patience_s:g} s: {what}")
        time.sleep(0.02)


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
        self.process: subprocess.Popen[bytes] | None = None
        self.id = ""
        self.listen = "127.0.0.1:0"
        """For its next start: on port 0 it comes back at another address."""
        self._client: sedma.Client | None = None
        self._read_bytes = 0

    def start(self, *more: str) -> None:
        assert not self.runs
        words = ["up", "--name", self.name, "--label", self.name, "--data-dir", str(self.data_dir)]
        words += ["--memory", str(self.budget_bytes), "--api", "127.0.0.1:0"]
        words += ["--listen", self.listen, *more]
        self.forget_client()
        (self.data_dir / "api.url").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "node.cli.main", *words],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={k: v for k, v in os.environ.items() if not k.startswith("SEDMA_")},
            )

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def client(self) -> sedma.Client:
        """Of this life, once it is ready."""
        if self._client is None:
            self._client = until(self._ready, f"{self.name} is ready: {self.log.read_text()}")
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
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """What a power cut does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=10)
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
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        field = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(field.split()[1]) * 1024

    def _ready(self) -> sedma.Client | None:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended: {self.log.read_text()}")
        if not (self.data_dir / "api.url").exists():
            return None
        client = sedma.connect(data_dir=self.data_dir)
        if client.status()["state"] == "ready":
            return client
        client.close()
        return None


def keeps_manifest(member: Member) -> None:
    """Wait until the disk of this node knows of the weights; a tombstone that stands there is shorter."""
    manifest = member.data_dir / "manifests" / "w.manifest"
    until(lambda: manifest.exists() and manifest.stat().st_size > 1000, "the manifest is kept")


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

            until(linked, f"{member.name} has all peers")

    def wait_serving(self, name: str) -> None:
        """Everybody knows these weights, and no block lacks a holder."""
        for member in self.running:

            def whole(client: sedma.Client = member.client) -> bool:
                return bool(client[name].info["missing"] == 0)

            until(whole, f"{name} is whole to {member.name}")

    def wait_empty(self, patience_s: float = PATIENCE_S) -> None:
        """Nobody who runs holds or promises anything."""
        for member in self.running:
            client = member.client

            def empty(client: sedma.Client = client) -> bool:
                told = client.status()
                return not any(told[what] for what in ("weights", "pinned_bytes", "leased_bytes"))

            try:
                until(empty, f"{member.name} is empty", patience_s)
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
        self.wait_empty(LEASE_S + PATIENCE_S)
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


@pytest.fixture(scope="module")
def _mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Mesh]]:
    """One mesh serves all tests of a file; one that cannot be mended is replaced."""
    standing: list[Mesh] = []
    yield standing
    for mesh in standing:
        mesh.close()


@pytest.fixture
def mesh(_mesh: list[Mesh], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Four daemons that are linked and hold nothing."""
    if not _mesh:
        _mesh.append(Mesh(tmp_path_factory.mktemp("mesh")))
    yield _mesh[0]
    try:
        _mesh[0].mend()
    except BaseException:
        _mesh.pop().close()
        raise
