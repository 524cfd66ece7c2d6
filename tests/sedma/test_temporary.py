"""A daemon for one program, played by a few lines of Python that write their address and wait for the end."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sedma import temporary
from sedma.errors import NotRunning
from sedma.temporary import TemporaryDaemon

SERVES = """
import http.server, os, pathlib, sys, threading
place = pathlib.Path(sys.argv[sys.argv.index("--data-dir") + 1])
asked = []

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked.append(self.path)
        (place / "asked").write_text(" ".join(asked))
        self.send_response(200 if len(asked) == 3 else 503)
        self.end_headers()

server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
(place / "pid").write_text(str(os.getpid()))
(place / "api.url").write_text(f"http://127.0.0.1:{server.server_port}")
assert os.environ["SEDMA_EXIT_WITH_STDIN"] == "1"
sys.stdin.read()
"""
STARTS_AND_WAITS = f"""
import sys, time
from sedma import temporary
temporary.COMMAND = (sys.executable, "-c", {SERVES!r})
daemon = temporary.TemporaryDaemon()
print(daemon.data_dir, flush=True)
time.sleep(60)
"""


def played(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(temporary, "COMMAND", (sys.executable, "-c", program))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_it_is_there_once_it_says_that_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    played(monkeypatch, SERVES)

    daemon = TemporaryDaemon()

    assert (daemon.data_dir / "asked").read_text() == "/readyz /readyz /readyz"
    daemon.close()


def test_it_serves_until_it_is_closed_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    played(monkeypatch, SERVES)
    daemon = TemporaryDaemon()
    pid = int((daemon.data_dir / "pid").read_text())

    daemon.close()
    daemon.close()

    assert not alive(pid)
    assert not daemon.data_dir.exists()


def test_one_that_does_not_start_is_told_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    played(monkeypatch, "import sys; sys.exit('the port is taken')")

    with pytest.raises(NotRunning, match=r"(?s)ended with code 1.*the port is taken"):
        TemporaryDaemon()


def test_it_ends_even_when_the_program_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_WAITS], stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        data_dir = Path(program.stdout.readline().strip())
        pid = int((data_dir / "pid").read_text())
        program.send_signal(signal.SIGKILL)
    give_up = time.monotonic() + 5.0
    while alive(pid) and time.monotonic() < give_up:
        time.sleep(0.01)
    shutil.rmtree(data_dir)

    assert not alive(pid)
