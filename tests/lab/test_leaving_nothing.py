"""A laboratory that has ended, however it has, leaves neither a namespace nor a process."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.kinds import Kind, Pair
from tests.lab.lab import Lab
from tests.lab.wire import Wire
from tests.live.daemons import eventually
from tests.live.namespaces import FOLDER, PREFIX, remove, run, sweep

ROOT = Path(__file__).parents[2]
GOES_ON = """
from tests.lab.kinds import Kind
from tests.lab.lab import Lab
from tests.lab.wire import Wire
lab = Lab([Kind.PORT], wire=Wire(delay_ms=1.0))
print("up", flush=True)
input()
"""

pytestmark = pytest.mark.usefixtures("machine")


def left_by(pid: int) -> list[Path]:
    return sorted(FOLDER.glob(f"{PREFIX}-{pid}-*"))


def wires_of(pid: int) -> list[str]:
    """The commands of those that carry frames for this process's hosts."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            words = (process / "cmdline").read_bytes().decode().split("\0")
            if any(word.startswith(f"{PREFIX}-{pid}-") for word in words):
                found.append(" ".join(words))
    return found


def test_a_laboratory_that_is_closed_is_gone() -> None:
    before = left_by(os.getpid())
    lab = Lab([Kind.CGN, Pair.ONE_LAN], wires={0: Wire(delay_ms=1.0)})
    with lab.on_host(lab.hosts[0]):
        sleeper = subprocess.Popen(["sleep", "60"])
    # The core, two public hosts, a host with two routers, two hosts with one.
    assert len(left_by(os.getpid())) == len(before) + 1 + 2 + 3 + 3
    assert len(wires_of(os.getpid())) == 1

    lab.close()

    assert left_by(os.getpid()) == before
    assert wires_of(os.getpid()) == []
    assert sleeper.wait(timeout=5) == -signal.SIGKILL


def test_a_laboratory_that_fails_half_way_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = left_by(os.getpid())

    def fail() -> None:
        raise OSError("no more")

    monkeypatch.setattr("tests.lab.conntrack.forget_all", fail)
    with pytest.raises(OSError, match="no more"):
        Lab([Kind.CGN], wire=Wire(delay_ms=1.0))

    assert left_by(os.getpid()) == before
    assert wires_of(os.getpid()) == []


def test_what_a_killed_run_has_left_is_removed_by_the_next() -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", GOES_ON], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"up\n"
    assert left_by(other.pid) != []

    other.kill()
    other.communicate()
    eventually(lambda: wires_of(other.pid) == [], "no wire is left", within_s=5.0)
    sweep()

    assert left_by(other.pid) == []


def test_what_another_run_removes_at_the_same_time_is_not_missed() -> None:
    name = f"{PREFIX}-{os.getpid()}-left"
    run("ip", "netns", "add", name)

    def names() -> Iterator[str]:
        yield name
        run("ip", "netns", "del", name)

    remove(names())

    assert not (FOLDER / name).exists()
