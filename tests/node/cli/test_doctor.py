"""`doctor` as people call it: with a daemon, without one, and with one that does not answer."""

import fcntl
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from node.cli.main import app
from tests.node.cli import conftest

if TYPE_CHECKING:
    from tests.node.cli.conftest import Daemon


def run(*words: object) -> Result:
    return CliRunner().invoke(app(), ["doctor", *(str(word) for word in words)])


def told(*words: object) -> tuple[int, dict[str, Any], dict[str, dict[str, str]]]:
    """Exit code, the document, and of each check the finding that was made last."""
    result = run(*words, "--json")
    document = json.loads(result.stdout)
    return result.exit_code, document, {one["check"]: one for one in document["findings"]}


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports that no daemon of whoever runs the tests has taken."""
    monkeypatch.setenv("SEDMA_MESH_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("SEDMA_API_LISTEN", "127.0.0.1:0")


@pytest.mark.usefixtures("free")
def test_without_a_daemon_the_machine_is_looked_at_and_that_is_said(tmp_path: Path) -> None:
    code, document, found = told("--data-dir", tmp_path / "state")

    assert (code, document["daemon"]) == (0, False)
    assert found["daemon"]["found"].endswith("only this machine was looked at")
    assert found["ports"]["found"].startswith("free: TCP 127.0.0.1:0, UDP 127.0.0.1:0")
    checks = {"packages", "data directory", "disk", "clock", "memory", "open files", "UDP buffer"}
    assert checks <= found.keys()


@pytest.mark.usefixtures("free")
def test_looking_changes_nothing(tmp_path: Path) -> None:
    run("--data-dir", tmp_path / "state")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("free")
def test_a_problem_ends_with_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEDMA_SHARE_MEMORY", "900TiB")
    code, document, found = told("--data-dir", tmp_path)

    assert (code, document["state"]) == (1, "problem")
    assert found["memory"]["state"] == "problem"


def test_settings_with_which_no_daemon_starts_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[gossip]\nintervall_ms = 1\n")
    code, _, found = told("--data-dir", tmp_path, "--config", tmp_path / "bad.toml")

    assert code == 1
    assert "did you mean interval_ms?" in found["settings"]["found"]
    assert "ports" not in found


def test_people_read_what_is_wrong_what_it_means_and_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEDMA_SHARE_MEMORY", "900TiB")
    result = run("--data-dir", tmp_path)
    lines = result.stdout.splitlines()

    assert lines[0].split() == ["STATE", "CHECK", "FOUND"]
    at = next(number for number, line in enumerate(lines) if line.startswith("problem  memory"))
    assert lines[at + 1].split(maxsplit=1)[0] == "means:"
    assert lines[at + 2].split(maxsplit=1)[0] == "fix:"
    assert "1 problem" in result.stderr


def test_a_daemon_elsewhere_is_asked_and_its_machine_is_not_looked_at(
    daemon: "Daemon", tmp_path: Path
) -> None:
    code, document, found = told("--api", f"http://127.0.0.1:{daemon.server_address[1]}")

    assert (code, document["daemon"]) == (1, True)
    assert found["daemon"]["found"].endswith("joining: 10.0.0.1:7879 refuses")
    assert found["peers"]["found"] == "1 connected"
    assert found["machine"]["found"].startswith("not looked at")
    assert "disk" not in found


def test_a_daemon_here_is_asked_and_its_process_is_looked_at(
    daemon: "Daemon", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(conftest.STATUS, "state", "ready")
    monkeypatch.setitem(conftest.STATUS, "duplicated", "another process runs with a copy")
    api = f"http://127.0.0.1:{daemon.server_address[1]}"
    monkeypatch.setitem(conftest.STATUS, "api", api)
    with (tmp_path / "state" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, found = told()

    assert code == 1
    assert f"process {os.getpid()}, up 1m 1s: ready" in found["daemon"]["found"]
    assert found["identity"]["state"] == "problem"
    assert found["disk"]["found"].endswith("0 B of 20 GiB used")
    assert found["memory"]["found"].startswith("2 GiB offered, 1 GiB taken")
    assert "dropped" in found["UDP buffer"]["found"]


def test_a_process_that_holds_the_data_directory_and_is_silent_is_a_problem(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, document, found = told("--data-dir", tmp_path)

    assert (code, document["daemon"]) == (1, False)
    assert found["daemon"]["state"] == "problem"
    assert found["daemon"]["found"] == (
        f"process {os.getpid()} holds {tmp_path} and does not answer: it has not told its address yet"
    )
    # Its ports are taken by itself, and what it offers only it can tell.
    assert not {"ports", "memory"} & found.keys()


def test_what_a_peer_calls_itself_does_not_reach_the_terminal_as_it_is(
    daemon: "Daemon", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(conftest.PEER, "software", "sedma\x1b[2J\x9b9")

    shown = run("--api", f"http://127.0.0.1:{daemon.server_address[1]}").stdout

    assert "runs sedma" in shown
    assert all(line.isprintable() for line in shown.splitlines())


@pytest.mark.usefixtures("free")
def test_where_a_daemon_cannot_be_looked_up_the_machine_is_looked_at_all_the_same(
    tmp_path: Path,
) -> None:
    (tmp_path / "api.url").mkdir()
    _, document, found = told("--data-dir", tmp_path)

    assert not document["daemon"]
    assert "api.url cannot be read" in found["daemon"]["found"]
    assert "disk" in found


def test_an_address_where_nobody_answers_ends_with_6() -> None:
    assert run("--api", "http://127.0.0.1:1").exit_code == 6
