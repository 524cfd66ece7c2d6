import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from node.cli.session import UsageError
from node.cli.up import handed_over, ticket_from
from node.config import RESOLVED_VARIABLE, Resolved
from protocol.ticket import Ticket, encode

TICKET = encode(Ticket(b"ca", ("127.0.0.1:7879",), "token"))

SAYS_WHAT_IT_WAS_GIVEN = """
import json, os, sys
from node import config
names = ("OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX")
resolved = config.resolved_from_env()
loaded = [name for name in ("typer", "rich", "node.cli.main") if name in sys.modules]
print(json.dumps({
    "pid": os.getpid(), "join": resolved.join, "memory": resolved.settings.share.memory,
    "origin": resolved.origins["share.memory"], "data_dir": resolved.data_dir,
    "environment": [os.environ[name] for name in names], "loaded": loaded,
}))
"""


def started(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`up` with a daemon that only says what it was given."""
    (tmp_path / "told.py").write_text(SAYS_WHAT_IT_WAS_GIVEN)
    program = "from node.cli import main, up; up.MODULE = 'told'; main.main()"
    root = Path(__file__).parents[3]
    return subprocess.run(
        [sys.executable, "-c", program, "up", "--data-dir", str(tmp_path), *words],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{root}:{tmp_path}", "MALLOC_ARENA_MAX": "4"},
        check=False,
        timeout=30,
    )


def test_the_daemon_is_handed_its_settings_in_a_bare_program(tmp_path: Path) -> None:
    (tmp_path / "ticket").write_text(f"{TICKET}\n")

    run = started(tmp_path, "--memory", "1GiB", "--join", f"@{tmp_path}/ticket")

    told = json.loads(run.stdout)
    assert told["join"] == TICKET
    assert told["memory"] == "1GiB"
    assert told["origin"] == "flag --memory"
    assert told["data_dir"] == str(tmp_path)
    assert told["environment"] == ["1", "4"]
    assert told["loaded"] == []


def test_settings_that_cannot_be_end_with_2_before_anything_starts(tmp_path: Path) -> None:
    run = started(tmp_path, "--memory", "lots", "--listen", "here")

    assert run.returncode == 2
    assert 'share.memory = "lots" (flag --memory): "lots" is not a size' in run.stderr
    assert 'mesh.listen = "here" (flag --listen)' in run.stderr
    assert run.stdout == ""


def test_flags_that_were_not_given_say_nothing(tmp_path: Path) -> None:
    flags = {"node.data_dir": str(tmp_path), "share.memory": None, "node.labels": None}
    environment = handed_over(flags, None, None)

    resolved = msgspec.json.decode(environment[RESOLVED_VARIABLE], type=Resolved)
    assert resolved.origins["share.memory"] == "default"
    assert resolved.settings.node.labels == ()


def test_a_ticket_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    assert ticket_from(None) is None
    assert ticket_from(f" {TICKET} ") == TICKET
    for join in (f"@{tmp_path}/none", f"@{tmp_path}/empty", "@", ""):
        with pytest.raises(UsageError, match="--join"):
            ticket_from(join)


@pytest.mark.parametrize(
    ("join", "words"), [(TICKET[:-9], "cut short"), ("attic:7879", "this is no ticket")]
)
def test_a_ticket_that_is_none_is_told_before_anything_starts(join: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ticket_from(join)
