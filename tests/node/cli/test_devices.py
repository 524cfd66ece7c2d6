"""Devices of one's own on the command line."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from node.cli.devices import shown_device
from node.cli.main import app

if TYPE_CHECKING:
    from tests.node.cli.conftest import Daemon

OWN = {"base": "rram-wan2022", "name": "attic", "faults": {"stuck_low": 0.02}}
TOML = 'base = "rram-wan2022"\nname = "attic"\n[faults]\nstuck_low = 0.02\n'


def run(*words: object) -> Result:
    return CliRunner().invoke(app(), [str(word) for word in words])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    np.save(tmp_path / "w.npy", np.ones((3, 2), np.float32))
    (tmp_path / "cells.toml").write_text(TOML)
    return tmp_path


def test_the_device_in_a_file_goes_where_a_name_goes(daemon: "Daemon", files: Path) -> None:
    named = run("put", "w", files / "w.npy", "--device", "rram-harsh")
    own = run("put", "w", files / "w.npy", "--device", files / "cells.toml")
    planned = run("plan", files / "w.npy", "--device", files / "cells.toml")

    assert [named.exit_code, own.exit_code, planned.exit_code] == [0, 0, 0]
    assert daemon.seen[0][2]["device"] == ["rram-harsh"]
    assert json.loads(daemon.seen[1][2]["device"][0]) == OWN
    assert json.loads(daemon.seen[2][2]["device"]) == OWN


def test_a_file_in_this_folder_is_known_by_its_ending(
    daemon: "Daemon", files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    (files / "rram-harsh").write_text("somebody's notes")

    run("put", "w", "w.npy", "--device", "cells.toml")
    run("put", "w", "w.npy", "--device", "rram-harsh")

    assert json.loads(daemon.seen[0][2]["device"][0]) == OWN
    assert daemon.seen[1][2]["device"] == ["rram-harsh"]


def test_a_file_that_cannot_be_read_is_a_slip_on_the_command_line(
    daemon: "Daemon", files: Path
) -> None:
    for word, reason in (
        (files / "no.toml", "no such file"),
        (files, "is a directory"),
        ("", "is empty"),
    ):
        named = run("put", "w", files / "w.npy", "--device", word)
        assert (named.exit_code, daemon.seen) == (2, [])
        assert "error: --device" in named.stderr and reason in named.stderr


def test_lists_show_a_device_by_its_name_and_json_shows_all_of_it(
    daemon: "Daemon", monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.node.cli import conftest

    monkeypatch.setitem(conftest.WEIGHTS, "backend", "rram")
    monkeypatch.setitem(conftest.WEIGHTS, "device", json.dumps(OWN))
    monkeypatch.setitem(conftest.STATUS, "backend", "rram")
    monkeypatch.setitem(conftest.STATUS, "device", json.dumps(OWN))

    assert " attic " in run("weights").stdout
    assert "puts     rram on attic, where they do not say" in run("status").stdout
    assert json.loads(json.loads(run("weights", "--json").stdout)[0]["device"]) == OWN


def test_a_name_in_a_device_moves_no_cursor() -> None:
    assert shown_device(json.dumps({"name": "a\x1b[2J"})) == "a\N{REPLACEMENT CHARACTER}[2J"
    assert [shown_device(text) for text in ("", "{}", "{", "rram-harsh")] == [
        "-",
        "custom",
        "custom",
        "rram-harsh",
    ]
