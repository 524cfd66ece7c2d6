"""Real daemons: each its own process with its own data directory, on loopback and on free ports."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sedma

READY_S = 20.0
POLL_S = 0.02

FITS_MAX = 3
"""So often the nearest fit may have become too much when it is put."""

QUICK = {"SEDMA_GOSSIP_REDIAL_S": "1.0"}
"""Nobody waits longer than this between two tries."""


def eventually(holds: Callable[[], Any], what: str, within_s: float = READY_S) -> Any:
    """What `holds` gives once it is true, asked again and again; a daemon's refusals meanwhile count as nothing.

    AssertionError after `within_s`.
    """
    deadline = time.monotonic() + within_s
    while True:
        with contextlib.suppress(sedma.SedmaError):
            if found := holds():
                return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        time.sleep(POLL_S)


def put_nearest_fit(put: Callable[[int], sedma.Weights], nbytes: int) -> sedma.Weights:
    """Put so many bytes, by a refusal what would fit; what is free follows what the process itself takes, so by the
    time of the put it may be less, and the next refusal says how much.
    """
    for _ in range(FITS_MAX):
        try:
            return put(nbytes)
        except sedma.NoRoom as refused:
            fit = refused.nearest_fit
        assert fit is not None and fit < nbytes
        nbytes = fit
    return put(nbytes)


def ticket(client: sedma.Client, **wanted: Any) -> str:
    minted: str = client.ticket(**wanted)["ticket"]
    return minted


def connected(client: sedma.Client) -> list[str]:
    return sorted(peer["id"] for peer in client.peers() if peer["state"] == "connected")


class Daemon:
    """One `sedma-node up`, killed at the end of the test if it still runs."""

    def __init__(
        self, data_dir: Path, memory: str, flags: list[str], environment: dict[str, str]
    ) -> None:
        self.data_dir = data_dir
        self.clients: list[sedma.Client] = []
        self.log = data_dir.with_suffix(".log")
        self._begins_at = self.log.stat().st_size if self.log.exists() else 0
        words = ["up", "--json", "--data-dir", str(data_dir), "--memory", memory, *flags]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "node.cli.main", *words],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={k: v for k, v in os.environ.items() if not k.startswith("SEDMA_")}
                | environment,
            )

    @property
    def said(self) -> str:
        """Its log, of this life alone."""
        return self.log.read_bytes()[self._begins_at :].decode()

    def noted(self, event: str) -> list[dict[str, Any]]:
        """The lines of its log for this event."""
        lines = [json.loads(line) for line in self.said.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def client(self, within_s: float = READY_S) -> sedma.Client:
        """Once it is ready, and only to our own process."""
        return self._client("ready", within_s)

    def joining(self) -> sedma.Client:
        """Once it can be asked, while it is not in its mesh yet."""
        return self._client("joining", READY_S)

    def get(self, path: str) -> tuple[int, Any]:
        """Status and document that its HTTP side answers."""
        url = (self.data_dir / "api.url").read_text().strip()
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def ended(self, code: int = 1) -> str:
        """All that it said, once it has ended by itself with this exit code and no traceback."""
        assert self.process.wait(timeout=READY_S) == code, self.said
        assert "Traceback" not in self.said, self.said
        return self.said

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        self.process.send_signal(with_signal)
        return self.process.wait(timeout=10)

    def peak_bytes(self) -> int:
        """The highest resident memory so far, as the kernel saw it."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        field = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(field.split()[1]) * 1024

    def _client(self, state: str, within_s: float) -> sedma.Client:
        try:
            client: sedma.Client = eventually(
                lambda: self._found(state), f"it is {state}", within_s
            )
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.said}") from None
        self.clients.append(client)
        return client

    def _found(self, state: str) -> sedma.Client | None:
        assert self.process.poll() is None, "the daemon ended"
        # A killed daemon leaves its address behind: nobody answers there until the next one writes its own.
        client = sedma.connect(data_dir=self.data_dir)
        if client.status()["state"] == state:
            return client
        client.close()
        return None


class Daemons:
    """Starts daemons under one folder and sees to it that none is left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Daemon] = []

    def __call__(
        self,
        name: str = "node",
        memory: str = "256MiB",
        *,
        join: str | None = None,
        listen: str = "127.0.0.1:0",
        api: str = "127.0.0.1:0",
        flags: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
    ) -> Daemon:
        """A daemon of this name, which is also its data directory's: the same name is the same node."""
        words = ["--name", name, "--listen", listen, "--api", api, *flags]
        if join is not None:
            words += ["--join", join]
        self._started.append(Daemon(self._folder / name, memory, words, environment or {}))
        return self._started[-1]

    def close(self) -> None:
        for one in self._started:
            for client in one.clients:
                client.close()
            if one.process.poll() is None:
                one.process.kill()
                one.process.wait(timeout=10)
