"""A data directory belongs to one daemon, survives its death, and says why it cannot be had."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from node.runtime.datadir import SCHEMA, DataDir, migrate
from protocol.errors import ConfigError
from protocol.ids import NodeId

HOLDER = """
import sys
from pathlib import Path
from node.runtime.datadir import DataDir
held = DataDir(Path(sys.argv[1]))
held.tell_url("http://127.0.0.1:1")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_new_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    with DataDir(tmp_path / "a" / "b") as data_dir:
        assert data_dir.path.stat().st_mode & 0o777 == 0o700
        assert data_dir.mesh.stat().st_mode & 0o777 == 0o700


def test_a_folder_full_of_other_things_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    tmp_path.chmod(0o755)

    with DataDir(tmp_path):
        assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_second_daemon_is_told_who_holds_the_folder_and_what_to_do(tmp_path: Path) -> None:
    with DataDir(tmp_path), pytest.raises(ConfigError) as caught:
        DataDir(tmp_path)

    assert f"process {os.getpid()}" in str(caught.value)
    assert "--data-dir" in str(caught.value)


def test_a_folder_that_was_let_go_can_be_taken_again(tmp_path: Path) -> None:
    DataDir(tmp_path).close()

    with DataDir(tmp_path) as data_dir:
        assert data_dir.path == tmp_path


def test_a_killed_daemon_leaves_neither_lock_nor_address(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, os.fspath(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    with holder:
        holder.stdout.readline()
        assert (tmp_path / "api.url").exists()
        with pytest.raises(ConfigError, match=f"process {holder.pid}"):
            DataDir(tmp_path)
        holder.kill()

    with DataDir(tmp_path):
        assert not (tmp_path / "api.url").exists()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="there is a file of that name"):
            DataDir(path)


def test_leftovers_of_a_killed_daemon_are_removed(tmp_path: Path) -> None:
    DataDir(tmp_path).close()
    (tmp_path / ".node.key.12.sedma-tmp").touch()
    (tmp_path / "mesh" / ".leaf.crt.12.sedma-tmp").touch()

    with DataDir(tmp_path) as data_dir:
        assert not [entry for entry in data_dir.path.rglob("*") if "tmp" in entry.name]


def test_a_newer_layout_is_left_alone(tmp_path: Path) -> None:
    DataDir(tmp_path).close()
    (tmp_path / "schema").write_text(f"{SCHEMA + 1}\n")

    with pytest.raises(ConfigError, match="written by a newer sedma"):
        DataDir(tmp_path)

    (tmp_path / "schema").write_text(f"{SCHEMA}\n")
    DataDir(tmp_path).close()


def test_a_damaged_schema_is_named(tmp_path: Path) -> None:
    (tmp_path / "schema").write_bytes(b"\xff\x00")

    with pytest.raises(ConfigError, match="schema is damaged"):
        DataDir(tmp_path)


def test_an_older_layout_is_brought_up_step_by_step(tmp_path: Path) -> None:
    (tmp_path / "schema").write_text("1\n")
    seen: list[tuple[int, str]] = []

    def step(version: int) -> None:
        seen.append((version, (tmp_path / "schema").read_text().strip()))

    migrate(tmp_path, {1: lambda _: step(1), 2: lambda _: step(2)}, target=3)

    assert seen == [(1, "1"), (2, "2")]
    assert (tmp_path / "schema").read_text() == "3\n"


def test_the_incarnation_grows_with_every_start(tmp_path: Path) -> None:
    with DataDir(tmp_path) as data_dir:
        first = data_dir.next_incarnation(now_wall=1_000.0)
    with DataDir(tmp_path) as data_dir:
        second = data_dir.next_incarnation(now_wall=1_000.0)

    assert (first, second) == (1_000, 1_001)


def test_the_incarnation_grows_though_the_clock_was_set_back(tmp_path: Path) -> None:
    with DataDir(tmp_path) as data_dir:
        assert data_dir.next_incarnation(now_wall=2_000.0) == 2_000
        assert data_dir.next_incarnation(now_wall=5.0) == 2_001


@pytest.mark.parametrize("content", [b"", b"-5", b"\xff\xfe", b"12 monkeys"])
def test_the_incarnation_grows_though_its_file_was_lost(tmp_path: Path, content: bytes) -> None:
    with DataDir(tmp_path) as data_dir:
        before = data_dir.next_incarnation(now_wall=2_000.0)
        (tmp_path / "incarnation").write_bytes(content)

        assert data_dir.next_incarnation(now_wall=2_010.0) > before


def test_the_token_is_drawn_once_and_kept_from_others(tmp_path: Path) -> None:
    with DataDir(tmp_path) as data_dir:
        token = data_dir.token
    with DataDir(tmp_path) as data_dir:
        assert data_dir.token == token

    assert len(token) >= 32
    assert (tmp_path / "api.token").stat().st_mode & 0o777 == 0o600


def test_the_address_is_there_until_a_clean_stop(tmp_path: Path) -> None:
    with DataDir(tmp_path) as data_dir:
        data_dir.tell_url("http://127.0.0.1:7878")
        assert (tmp_path / "api.url").read_text().strip() == "http://127.0.0.1:7878"

    assert not (tmp_path / "api.url").exists()


def test_the_incarnation_grows_above_what_it_was_raised_to(tmp_path: Path) -> None:
    with DataDir(tmp_path) as data_dir:
        data_dir.keep_incarnation(3_000)
    with DataDir(tmp_path) as data_dir:
        assert data_dir.next_incarnation(now_wall=2_000.0) == 3_001


# -- the layout before members.db --------------------------------------------------------------------


def written_by_layout_1(path: Path, peers: bytes) -> None:
    DataDir(path).close()
    (path / "schema").write_text("1\n")
    (path / "peers.json").write_bytes(peers)


def test_the_peers_of_the_older_layout_are_sought(tmp_path: Path) -> None:
    peers = ((NodeId("a" * 52), ("192.0.2.1:1", "[::1]:2")), (NodeId("b" * 52), ()))
    written_by_layout_1(tmp_path, msgspec.json.encode(peers))

    with DataDir(tmp_path) as data_dir:
        assert data_dir.members.places() == peers
        assert not (tmp_path / "peers.json").exists()


def test_a_node_that_knew_nobody_is_brought_up_too(tmp_path: Path) -> None:
    written_by_layout_1(tmp_path, b"[]")
    (tmp_path / "peers.json").unlink()

    with DataDir(tmp_path) as data_dir:
        assert data_dir.members.places() == ()


def test_damaged_peers_say_what_to_do(tmp_path: Path) -> None:
    written_by_layout_1(tmp_path, b'{"no"')

    with pytest.raises(ConfigError, match="remove it and start with --join"):
        DataDir(tmp_path)
