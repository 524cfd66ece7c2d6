"""A real daemon: its own process, its own data directory, on loopback."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import sedma

READY_S = 20.0


class Daemon:
    """One `sedma-node up`, stopped at the end of the test."""

    def __init__(self, data_dir: Path, memory: str) -> None:
        self.data_dir = data_dir
        self.clients: list[sedma.Client] = []
        self.log = data_dir.with_suffix(".log")
        words = ["up", "--memory", memory, "--data-dir", str(data_dir), "--api", "127.0.0.1:0"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "node.cli.main", *words],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={k: v for k, v in os.environ.items() if not k.startswith("SEDMA_")},
            )

    def client(self) -> sedma.Client:
        """Once it answers, and only to our own process."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended: {self.log.read_text()}")
            # A killed daemon leaves its address behind: nobody answers there until the next one writes its own.
            with contextlib.suppress(sedma.NotRunning):
                if (self.data_dir / "api.url").exists():
                    client = sedma.connect(data_dir=self.data_dir)
                    self.clients.append(client)
                    if client.status()["state"] == "ready":
                        return client
            time.sleep(0.05)
        raise AssertionError(f"not ready in {READY_S} s: {self.log.read_text()}")

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        self.process.send_signal(with_signal)
        return self.process.wait(timeout=10)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons; each one still running at the end is killed."""
    started: list[Daemon] = []

    def start(name: str = "node", memory: str = "256MiB") -> Daemon:
        started.append(Daemon(tmp_path / name, memory))
        return started[-1]

    yield start
    for one in started:
        for client in one.clients:
            client.close()
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait(timeout=10)
