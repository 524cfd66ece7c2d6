import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from node.cli.demo.fleet import Fleet, FleetError, Site
from node.cli.demo.peaks import PeakWatch, memory_of

MIB = 1024 * 1024

READY = """
import http.server, pathlib, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Ready)
data_dir = pathlib.Path(sys.argv[sys.argv.index("--data-dir") + 1])
(data_dir / "api.url").write_text(f"http://127.0.0.1:{server.server_port}")
server.serve_forever()
"""
"""As much of a daemon as the fleet needs to see."""

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    " print('deaf', flush=True); time.sleep(60)"
)


def fleet_of(program: str, tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "state", tmp_path / "logs", (sys.executable, "-c", program))


def is_alive(pid: int) -> bool:
    return memory_of(pid) is not None


def test_a_daemon_is_started_found_ready_and_stopped(tmp_path: Path) -> None:
    with fleet_of(READY, tmp_path) as fleet:
        daemon = fleet.start("one", 160 * MIB)
        fleet.wait_ready(daemon)
        assert daemon.url is not None and is_alive(daemon.process.pid)

    assert daemon.process.returncode == -signal.SIGTERM
    assert daemon.obeyed and fleet.end_leftovers() == []
    assert daemon.kernel_peak_bytes >= daemon.sampled_peak_bytes > 0
    assert not (tmp_path / "state").exists()
    assert daemon.log.exists()


class Elsewhere(Site):
    """Tells where one is by the environment, which a process that is started there takes with it."""

    listen = "192.0.2.1:7879"

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        before = os.environ.get("AT", "")
        os.environ["AT"] = name
        yield
        os.environ["AT"] = before


def test_each_daemon_is_started_where_it_belongs(tmp_path: Path) -> None:
    program = "import os, sys; print(os.environ['AT'], *sys.argv, flush=True)" + READY
    command = (sys.executable, "-c", program)
    with Fleet(tmp_path / "state", tmp_path / "logs", command, Elsewhere()) as fleet:
        one, two = fleet.start("one", MIB), fleet.start("two", MIB)
        for daemon in (one, two):
            fleet.wait_ready(daemon)
            assert daemon.log.read_text().startswith(f"{daemon.name} ")
            assert "--listen 192.0.2.1:7879" in daemon.log.read_text()

    assert os.environ.get("AT", "") == ""


def test_an_exception_leaves_no_process(tmp_path: Path) -> None:
    fleet = fleet_of(READY, tmp_path)

    def fail_half_way() -> None:
        with fleet:
            fleet.start("one", MIB)
            fleet.start("two", MIB)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()

    assert [is_alive(daemon.process.pid) for daemon in fleet.daemons] == [False, False]


def test_a_signal_leaves_no_process_and_the_old_handler_comes_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    fleet = fleet_of(READY, tmp_path)

    def be_told_to_stop() -> None:
        with fleet:
            fleet.start("one", MIB)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5.0)

    with pytest.raises(SystemExit) as left:
        be_told_to_stop()

    assert left.value.code == 128 + signal.SIGTERM
    assert not is_alive(fleet.daemons[0].process.pid)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_daemon_that_does_not_stop_is_ended_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.cli.demo.fleet.STOP_S", 0.2)
    with fleet_of(STUBBORN, tmp_path) as fleet:
        daemon = fleet.start("one", MIB)
        deadline = time.monotonic() + 10.0
        while "deaf" not in daemon.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)

    assert not daemon.obeyed
    assert daemon.process.returncode == -signal.SIGKILL


def test_a_child_that_outlives_its_daemon_is_found_and_ended(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys; child = subprocess.Popen(['sleep', '60']);"
        " print(child.pid, flush=True)"
    )
    with fleet_of(program, tmp_path) as fleet:
        daemon = fleet.start("one", MIB)
        daemon.process.wait(10.0)

    pid = int(daemon.log.read_text())
    assert fleet.end_leftovers() == [pid]


def test_a_daemon_that_ends_early_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with fleet_of("import sys; sys.exit('no room for me')", tmp_path) as fleet:
        daemon = fleet.start("one", MIB)
        with pytest.raises(FleetError, match=r"one ended with exit code 1[^$]*no room for me"):
            fleet.wait_ready(daemon)


def test_a_daemon_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    with fleet_of("import time; time.sleep(60)", tmp_path) as fleet:
        daemon = fleet.start("one", MIB)
        with pytest.raises(FleetError, match=r"one not ready in 0\.1 s"):
            fleet.wait_ready(daemon, ready_s=0.1)


def test_a_killed_daemon_comes_back_on_its_data_without_a_ticket(tmp_path: Path) -> None:
    with fleet_of(READY, tmp_path) as fleet:
        daemon = fleet.start("one", MIB, ticket="secret")
        fleet.wait_ready(daemon)
        arguments = Path(f"/proc/{daemon.process.pid}/cmdline").read_text()
        fleet.kill(daemon)
        killed = daemon.process
        fleet.restart(daemon)
        fleet.wait_ready(daemon)
        again = Path(f"/proc/{daemon.process.pid}/cmdline").read_text()

    assert killed.returncode == -signal.SIGKILL
    assert "--join" in arguments and "secret" not in arguments
    assert "--join" not in again and str(daemon.data_dir) in again


def test_a_daemon_hears_none_of_the_settings_that_others_were_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEDMA_SHARE_MEMORY", "1TiB")
    program = "import os; print(sorted(key for key in os.environ if key.startswith('SEDMA_')))"
    with fleet_of(program, tmp_path) as fleet:
        daemon = fleet.start("one", MIB)
        daemon.process.wait(10.0)

    assert daemon.log.read_text() == "['SEDMA_EXIT_WITH_STDIN', 'SEDMA_NODE_NAME']\n"


def test_the_peak_is_remembered_after_the_memory_was_given_back() -> None:
    program = (
        "import sys; hoard = bytearray(64 << 20); print(flush=True); sys.stdin.readline();"
        " del hoard; print(flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        watch = PeakWatch(process.pid)
        time.sleep(0.05)
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        now = memory_of(process.pid)
        watch.stop()

    assert now is not None and now[0] < 64 * MIB
    assert watch.sampled_bytes >= 64 * MIB
    assert watch.kernel_bytes >= watch.sampled_bytes
