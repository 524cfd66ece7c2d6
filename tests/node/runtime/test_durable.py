"""A write is whole or absent, also when the writer is killed in the middle of it."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from node.runtime.durable import atomic_write, remove_leftovers

WRITER = """
import sys
from pathlib import Path
from node.runtime.durable import atomic_write
turn = 0
while True:
    turn += 1
    atomic_write(Path(sys.argv[1]), bytes([turn % 256]) * 3_000_000)
    print(turn, flush=True)
"""


def test_the_content_is_there_with_the_mode_asked_for(tmp_path: Path) -> None:
    atomic_write(tmp_path / "key", b"secret")

    assert (tmp_path / "key").read_bytes() == b"secret"
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_typed_view_is_written_as_its_bytes(tmp_path: Path) -> None:
    atomic_write(tmp_path / "block", memoryview(bytearray(range(16))).cast("I", (2, 2)))

    assert (tmp_path / "block").read_bytes() == bytes(range(16))


def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    atomic_write(tmp_path / "file", b"old")
    (tmp_path / "folder").mkdir()

    with pytest.raises(OSError, match="folder"):
        atomic_write(tmp_path / "folder", b"new")

    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("delay_ms", [1, 4, 9])
def test_a_kill_in_the_middle_leaves_the_old_or_the_new(tmp_path: Path, delay_ms: int) -> None:
    file = tmp_path / "file"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, os.fspath(file)], stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    with writer:
        writer.stdout.readline()
        time.sleep(delay_ms / 1000)
        writer.kill()

    content = file.read_bytes()
    assert len(content) == 3_000_000
    assert hashlib.sha256(content).digest() == hashlib.sha256(content[:1] * 3_000_000).digest()
    assert remove_leftovers(tmp_path) <= 1
    assert list(tmp_path.iterdir()) == [file]


def test_only_our_own_leftovers_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".notes.tmp").touch()
    (tmp_path / ".key.00.sedma-tmp").touch()

    assert remove_leftovers(tmp_path) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == [".notes.tmp"]
