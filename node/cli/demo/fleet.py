"""Starts daemons as processes of their own, watches their memory, kills one on demand, and leaves none behind.

Each daemon leads a session of its own, so a Ctrl-C at the terminal reaches only us and the daemons are stopped
in order. Its standard input is a pipe that we hold: should we die without a word, the daemon reads its end and
stops too. Whatever still lives in one of these sessions after `close` is found in /proc, told, and ended.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import sedma
from node.cli.demo.peaks import PeakWatch
from protocol.errors import SedmaError
from sedma.client import Client
from sedma.locate import is_ready
from sedma.places import URL_FILE

DAEMON = (sys.executable, "-m", "node.cli.main", "up")
PACKAGES = Path(__file__).resolve().parents[3]
"""Where our packages lie; a daemon must import the very same ones."""

READY_S = 15.0
STOP_S = 5.0
POLL_S = 0.02
LOG_LINES = 12
"""Of a daemon's log, shown when it does not come up."""

POLITE = (signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, FrameType | None], None] | signal.Handlers


class Site:
    """Where daemons run: this machine, on which all reach each other by loopback."""

    listen = "127.0.0.1:0"

    def at(self, name: str) -> AbstractContextManager[None]:
        """Processes that are started and connections that are made meanwhile are where this daemon is."""
        return nullcontext()


class FleetError(SedmaError):
    """A daemon did not come up; the message shows the end of its log."""


@dataclass(slots=True)
class Daemon:
    """One daemon of the fleet, through all its lives."""

    name: str
    budget_bytes: int
    data_dir: Path
    log: Path
    process: subprocess.Popen[bytes]
    watches: list[PeakWatch] = field(default_factory=list)
    """One for each life."""
    obeyed: bool = True
    """Stopped when asked to, every time."""

    @property
    def sampled_peak_bytes(self) -> int:
        return max(watch.sampled_bytes for watch in self.watches)

    @property
    def kernel_peak_bytes(self) -> int:
        return max(watch.kernel_bytes for watch in self.watches)

    @property
    def url(self) -> str | None:
        """Where its HTTP side listens; None until it has said so."""
        try:
            return (self.data_dir / URL_FILE).read_text().strip() or None
        except FileNotFoundError:
            return None


class Fleet:
    """Daemons under one folder; use it as a context, which ends them all however it is left."""

    def __init__(
        self, state: Path, logs: Path, command: Sequence[str] = DAEMON, site: Site | None = None
    ) -> None:
        self.daemons: list[Daemon] = []
        self._site = site or Site()
        self._state = state
        self._logs = logs
        self._command = command
        self._sessions: set[int] = set()
        self._leaving = ExitStack()

    def __enter__(self) -> Self:
        self._leaving.enter_context(_on_signals(POLITE, _leave))
        self._leaving.callback(self.close)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with _on_signals((*POLITE, signal.SIGINT), signal.SIG_IGN):
            self._leaving.close()

    def start(self, name: str, budget_bytes: int, ticket: str | None = None) -> Daemon:
        """Start a daemon and return at once; with a ticket it joins the mesh that minted it."""
        data_dir = self._state / name
        data_dir.mkdir(parents=True, mode=0o700)
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{name}.log"
        log.write_bytes(b"")
        join = []
        if ticket is not None:
            join = ["--join", f"@{_private_file(data_dir.with_suffix('.ticket'), ticket)}"]
        process = self._spawn(name, budget_bytes, data_dir, log, join)
        daemon = Daemon(name, budget_bytes, data_dir, log, process)
        daemon.watches.append(PeakWatch(process.pid))
        self.daemons.append(daemon)
        return daemon

    def restart(self, daemon: Daemon) -> None:
        """Start a dead daemon again on its old data; it needs no ticket a second time."""
        assert daemon.process.poll() is not None
        daemon.process = self._spawn(
            daemon.name, daemon.budget_bytes, daemon.data_dir, daemon.log, []
        )
        daemon.watches.append(PeakWatch(daemon.process.pid))

    def wait_ready(self, daemon: Daemon, ready_s: float = READY_S) -> None:
        """Return once the daemon says that it is ready; FleetError if it ends or takes too long."""
        deadline = time.monotonic() + ready_s
        while not self._is_ready(daemon):
            if (code := daemon.process.poll()) is not None:
                raise FleetError(f"{daemon.name} ended with exit code {code}{_end_of(daemon.log)}")
            if time.monotonic() > deadline:
                raise FleetError(f"{daemon.name} not ready in {ready_s:g} s{_end_of(daemon.log)}")
            time.sleep(POLL_S)

    @contextmanager
    def connect(self, daemon: Daemon) -> Iterator[Client]:
        """Whatever else this thread connects to meanwhile, it connects to from where the daemon is."""
        with (
            self._site.at(daemon.name),
            sedma.connect(daemon.url, data_dir=daemon.data_dir) as client,
        ):
            yield client

    def kill(self, daemon: Daemon) -> None:
        """What a power cut does: no warning, no time to say goodbye."""
        daemon.process.kill()
        self._bury(daemon)

    def close(self) -> None:
        """Ask all daemons to stop, end those that do not, and remove their data; the logs stay."""
        for daemon in self.daemons:
            if daemon.process.poll() is None:
                daemon.process.terminate()
        deadline = time.monotonic() + STOP_S
        for daemon in self.daemons:
            try:
                daemon.process.wait(max(deadline - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                daemon.obeyed = False
                daemon.process.kill()
            self._bury(daemon)
        shutil.rmtree(self._state, ignore_errors=True)

    def end_leftovers(self) -> list[int]:
        """Processes that outlived their daemon, by pid; they are ended. Call it after `close`."""
        left = [pid for pid, session in _sessions() if session in self._sessions]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return left

    def _is_ready(self, daemon: Daemon) -> bool:
        with self._site.at(daemon.name):
            return (url := daemon.url) is not None and is_ready(url)

    def _spawn(
        self, name: str, budget_bytes: int, data_dir: Path, log: Path, join: list[str]
    ) -> subprocess.Popen[bytes]:
        arguments = ["--memory", str(budget_bytes), "--data-dir", str(data_dir)]
        arguments += ["--listen", self._site.listen, "--api", "127.0.0.1:0", *join]
        with log.open("ab") as lines, self._site.at(name):
            process = subprocess.Popen(
                [*self._command, *arguments],
                stdin=subprocess.PIPE,
                stdout=lines,
                stderr=subprocess.STDOUT,
                cwd=data_dir,
                env=_environment(name),
                start_new_session=True,
            )
        self._sessions.add(process.pid)
        return process

    def _bury(self, daemon: Daemon) -> None:
        daemon.process.wait()
        if daemon.process.stdin is not None:
            daemon.process.stdin.close()
        for watch in daemon.watches:
            watch.stop()


@contextmanager
def _on_signals(numbers: Iterable[signal.Signals], handler: Handler) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, each in before.items():
            signal.signal(number, each)


def _leave(number: int, _: FrameType | None) -> None:
    """Let a polite end reach us as an exception, so that contexts are left in order."""
    raise SystemExit(128 + number)


def _environment(name: str) -> dict[str, str]:
    """Ours, without settings meant for another node."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SEDMA_")}
    path = os.pathsep.join(filter(None, (str(PACKAGES), kept.get("PYTHONPATH"))))
    ours = {"PYTHONPATH": path, "SEDMA_NODE_NAME": name, "SEDMA_EXIT_WITH_STDIN": "1"}
    return kept | ours


def _private_file(path: Path, text: str) -> Path:
    """A ticket opens the mesh; on a command line every user of the machine could read it."""
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def _end_of(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    return "\n  ".join([f"; the end of {log}:", *lines])


def _sessions() -> Iterator[tuple[int, int]]:
    """(pid, session) of every process that is not a zombie."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, _, _, session = stat.rpartition(")")[2].split()[:4]
        if state != "Z":
            yield int(entry.name), int(session)
