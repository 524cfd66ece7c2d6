import io
import json
import socket
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from node.cli.main import COMMANDS, app
from sedma.errors import Unreachable
from sedma.transport import Progress, Transport

if TYPE_CHECKING:
    from tests.node.cli.conftest import Daemon

DICE = np.random.default_rng(7)
W = DICE.standard_normal((30, 20), dtype=np.float32)
X = DICE.standard_normal((4, 30), dtype=np.float32)


def run(*words: object) -> Result:
    return CliRunner().invoke(app(), [str(word) for word in words])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    np.save(tmp_path / "w.npy", W)
    np.save(tmp_path / "x.npy", X)
    return tmp_path


def test_a_matrix_goes_in_multiplies_and_comes_back(daemon: "Daemon", files: Path) -> None:
    put = run("put", "w", files / "w.npy", "--replicas", 2, "--only", "a", "--only", "b")
    product = run("matmul", "w", files / "x.npy", "-o", files / "y.npy", "--rtol", "1e-3")
    got = run("get", "w", "-o", files / "back.npy")

    assert [put.exit_code, product.exit_code, got.exit_code] == [0, 0, 0]
    assert put.stdout == "w: 30 x 20 float32 as digital, 1 block, 2 copies on 2 nodes\n"
    assert put.stderr == "converted: float64 to float32\n"
    assert daemon.seen[0][2] == {"replicas": ["2"], "only": ["a,b"]}
    assert daemon.seen[1][2] == {"rtol": ["1e-3"]}
    assert np.allclose(np.load(files / "y.npy"), X @ W)
    assert np.array_equal(np.load(files / "back.npy"), W)
    assert (
        "relative error below 0.002, wrong once in 1,000,000 (fast, 100% analog)" in product.stdout
    )
    assert got.stdout == f"{files}/back.npy: 30 x 20 float32\n"


def test_every_answer_can_be_one_json_document(daemon: "Daemon", files: Path) -> None:
    daemon.matrix = W
    y = files / "y.npy"
    commands = (
        ("status",),
        ("peers",),
        ("weights",),
        ("ticket", "--uses", "1", "--ttl", "1h"),
        ("put", "w", files / "w.npy"),
        ("matmul", "w", files / "x.npy", "-o", y),
        ("get", "w", "-o", y),
        ("rm", "w"),
        ("plan", "w"),
        ("config", "show"),
        ("config", "show", "--origin"),
    )
    told = [json.loads(run(*command, "--json").stdout) for command in commands]

    assert told[0]["name"] == "attic"
    assert told[3]["ticket"] == "sedma1abc"
    assert told[5] | {"elapsed_s": 0} == {
        "output": str(y),
        "shape": [4, 20],
        "certificate": {
            "bound": 2e-3,
            "confidence": 0.999999,
            "regime": "fast",
            "analog_fraction": 1,
        },
        "task": "t1",
        "converted": None,
        "elapsed_s": 0,
    }
    assert told[7] == {"name": "w", "removed": True}
    assert told[9]["log"] == {"level": "info", "format": "text"}
    assert told[10]["log.level"] == {"value": "info", "origin": "default"}


def test_people_read_lists_and_tables(daemon: "Daemon") -> None:
    status, peers = run("status").stdout.splitlines(), run("peers").stdout.splitlines()
    weights = run("weights").stdout.splitlines()

    assert status[0] == "node     attic (abcdef)"
    assert status[2] == "state    joining: 10.0.0.1:7879 refuses"
    assert status[3] == "memory   1 GiB of 2 GiB in use, 512 MiB free"
    assert "packets  9 sent, 8 received, 2 refused" in status
    assert peers[0].split() == [
        "NAME",
        "ID",
        "STATE",
        "PATH",
        "RTT",
        "GOT",
        "SENT",
        "NAT",
        "FREE",
        "BUDGET",
        "GMAC/S",
        "IN",
        "FLIGHT",
        "ADDRESS",
    ]
    assert peers[1].split()[:3] == ["cellar", "0123456789ab", "connected"]
    assert peers[1].split()[3:10] == ["relay", "pub0", "0.5", "ms", "2", "KiB", "3"]
    assert weights[1].split()[:4] == ["w", "30", "x", "20"]
    assert weights[1].rstrip().endswith("no live holder of 1 block")


def test_a_second_process_with_the_key_of_a_node_shows_in_its_status(
    daemon: "Daemon", monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.node.cli import conftest

    monkeypatch.setitem(conftest.STATUS, "duplicated", "another process runs with a copy")

    assert run("status").stdout.splitlines()[1] == "identity  another process runs with a copy"


def test_status_says_in_a_line_how_others_reach_the_node(
    daemon: "Daemon", monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.node.cli import conftest

    monkeypatch.setitem(conftest.STATUS, "nat", "IPv4: port-restricted NAT, hairpin no")

    lines = run("status").stdout.splitlines()

    assert lines[8].startswith("listens")
    assert lines[9] == "nat      IPv4: port-restricted NAT, hairpin no"


def test_status_tells_of_simulated_arrays_and_what_each_regime_costs(
    daemon: "Daemon", monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.node.cli import conftest

    arrays = {
        "arrays": 256,
        "healthy": 0.984,
        "sigma": [0.0005, 0.0112, 0.02],
        "seconds_per_mac": {"fast": 1.5e-9, "integer": 3.23e-6, "digital": 1e-10},
    }
    assert "arrays" not in run("status").stdout
    monkeypatch.setitem(conftest.STATUS, "arrays", arrays)

    told = run("status").stdout

    assert "arrays   256, 98.4% of their tiles healthy; cells off by 0.05, 1.1, 2% of" in told
    assert "per MAC  fast 1.5 ns, integer 3200 ns, digital 0.1 ns" in told


def test_status_says_by_way_of_whom_others_come_and_who_comes_by_way_of_this_node(
    daemon: "Daemon", monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.node.cli import conftest

    monkeypatch.setitem(conftest.STATUS, "home_relays", ["pub0", "pub1"])
    monkeypatch.setitem(conftest.STATUS, "forwards_for", 1)

    lines = run("status").stdout.splitlines()

    assert lines[9:11] == ["reached  by way of pub0, pub1", "relay    forwards for 1 node"]


def test_a_node_that_calls_itself_an_escape_sequence_does_not_reach_the_terminal(
    daemon: "Daemon", monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.node.cli import conftest

    monkeypatch.setitem(conftest.PEER, "name", "attic\x1b[2J\u202e")
    monkeypatch.setitem(conftest.PEER, "why", "no answer\x1b]0;title\x07")

    told = run("peers").stdout

    assert "attic" in told and "no answer" in told
    assert all(line.isprintable() for line in told.splitlines())


def test_a_ticket_is_one_line_with_its_warning_beside_it(daemon: "Daemon") -> None:
    told = run("ticket", "--ttl", "90m", "--uses", 3, "--may-invite")

    assert told.stdout == "sedma1abc\n"
    assert told.stderr == "warning: listens on loopback only\n"
    assert daemon.seen[-1][2] == {"ttl_s": 5400.0, "uses": 3, "may_invite": True}


def test_leaving_must_be_meant_where_something_is_lost(daemon: "Daemon") -> None:
    refused = run("leave")
    left = run("leave", "--force")

    assert (refused.exit_code, left.exit_code) == (1, 0)
    assert refused.stderr == "error: parts of v, w are on this node alone\n"
    assert left.stdout.splitlines() == [
        "left mesh d927fd77; `sedma-node up --join TICKET` joins again",
        "lost to the mesh: v, w",
    ]


def test_a_plan_is_made_for_a_name_or_for_a_file(daemon: "Daemon", files: Path) -> None:
    told = run("plan", files / "w.npy", "--backend", "digital", "-m", 3)
    asked = daemon.seen[-1][2]
    run("plan", "w")

    assert (asked["rows"], asked["columns"], asked["backend"], asked["m"]) == (30, 20, "digital", 3)
    assert "fits         no: too large" in told.stdout
    assert "a product    about 250 ms" in told.stdout
    assert daemon.seen[-1][2]["name"] == "w"


@pytest.mark.parametrize(
    ("name", "code", "word"),
    [
        ("full", 4, "need 2 GiB, free 1 GiB"),
        ("late", 5, "too late"),
        ("busy", 1, "again in 2 s"),
        ("crooked", 2, "not a .npy file"),
    ],
)
def test_each_kind_of_refusal_has_its_exit_code(
    daemon: "Daemon", files: Path, name: str, code: int, word: str
) -> None:
    told = run("put", name, files / "w.npy")

    assert told.exit_code == code
    assert word in told.stderr
    assert told.stdout == ""
    document = json.loads(run("put", name, files / "w.npy", "--json").stderr)
    assert document["reason"]


def test_no_daemon_is_another_matter_than_one_out_of_reach(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        away = run("status", "--api", url)
    missing = run("status", "--data-dir", tmp_path)

    assert (away.exit_code, missing.exit_code) == (6, 3)
    assert "sedma-node up" in missing.stderr


def test_a_wrong_command_line_ends_with_2_and_says_why(daemon: "Daemon", files: Path) -> None:
    y = files / "y.npy"
    (files / "text.npy").write_text("1,2,3")
    (files / "folder").mkdir()
    wrongs: list[tuple[tuple[object, ...], str]] = [
        (("put", "w", files / "none.npy"), "none.npy: no such file"),
        (("put", "w", files / "folder"), "folder: is a directory"),
        (("matmul", "w", files / "none.npy", "-o", y), "none.npy: no such file"),
        (("matmul", "w", files / "x.npy", "-o", files / "no" / "y.npy"), "cannot be written"),
        (("matmul", "w", files / "x.npy", "-o", y, "--deadline", "soon"), "--deadline"),
        (("ticket", "--ttl", "soon"), "--ttl"),
        (("ticket", "--ttl", "400d"), "at most 366d"),
        (("ticket", "--ttl", "0s"), "more than 0s"),
        (("ticket", "--uses", 10_001), "1<=x<=10000"),
        (("plan", files / "text.npy"), "not a .npy file"),
        (("status", "--token-file", files / "none"), "--token-file"),
        (("status", "--api", "attic:http"), '"attic:http" is no URL: write http://host:port'),
        (("demo", "--report", files / "w.npy" / "report.html"), "w.npy cannot be written"),
        (("put", "w"), "Missing argument"),
        (("fly",), "No such command"),
    ]
    for words, reason in wrongs:
        told = run(*words)
        assert (told.exit_code, reason in told.stderr) == (2, True), (words, told.stderr)


def test_an_answer_that_fails_leaves_the_old_file_as_it_was(daemon: "Daemon", files: Path) -> None:
    y = files / "y.npy"
    y.write_text("old")

    assert run("matmul", "late", files / "x.npy", "-o", y).exit_code == 5
    assert y.read_text() == "old"
    assert sorted(one.name for one in files.iterdir()) == ["state", "w.npy", "x.npy", "y.npy"]


def test_an_answer_can_go_down_a_pipe(daemon: "Daemon", files: Path) -> None:
    daemon.matrix = W
    told = run("matmul", "w", files / "x.npy", "-o", "-")

    assert np.allclose(np.load(io.BytesIO(told.stdout_bytes)), X @ W)


def test_an_answer_down_a_pipe_leaves_its_certificate_on_standard_error(
    daemon: "Daemon", files: Path
) -> None:
    daemon.matrix = W
    product = ("matmul", "w", files / "x.npy", "-o", "-")
    people, programs, got = run(*product), run(*product, "--json"), run("get", "w", "-o", "-")

    assert people.stderr == (
        "relative error below 0.002, wrong once in 1,000,000 (fast, 100% analog)\ntask t1\n"
    )
    assert json.loads(programs.stderr)["certificate"]["regime"] == "fast"
    assert people.stdout_bytes == programs.stdout_bytes
    assert np.array_equal(np.load(io.BytesIO(got.stdout_bytes)), W)
    assert got.stderr == ""


@pytest.mark.parametrize(
    ("sent", "outcome"), [(1, "nothing was put as w"), (2400, "may have been put all the same")]
)
@pytest.mark.parametrize(
    ("cut", "code", "reason"),
    [
        (KeyboardInterrupt(), 130, "interrupted; "),
        (
            Unreachable("unreachable", "it broke off the connection"),
            6,
            "broke off the connection; ",
        ),
    ],
)
def test_a_put_that_is_cut_short_says_what_became_of_it(
    daemon: "Daemon",
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    cut: BaseException,
    code: int,
    reason: str,
    sent: int,
    outcome: str,
) -> None:
    def request(*words: object, progress: Progress, **more: object) -> None:
        progress(sent, 2400)
        raise cut

    monkeypatch.setattr(Transport, "request", request)
    told = run("put", "w", files / "w.npy")

    assert (told.exit_code, told.stdout) == (code, "")
    assert reason in told.stderr and outcome in told.stderr
    assert outcome in json.loads(run("put", "w", files / "w.npy", "--json").stderr)["reason"]


def test_the_version_needs_no_command() -> None:
    told = run("--version")

    assert (told.exit_code, told.stdout) == (0, f"{version('sedma')}\n")


def test_who_lacks_the_token_is_told_which_option_brings_it(daemon: "Daemon", files: Path) -> None:
    told = run("put", "theirs", files / "w.npy")

    assert told.exit_code == 1
    assert "--token-file FILE" in told.stderr


def test_a_product_is_explained_with_all_candidates_and_what_was_not_as_planned(
    daemon: "Daemon",
) -> None:
    told = run("explain", "t1")

    assert told.exit_code == 0
    lines = [" ".join(line.split()) for line in told.stdout.splitlines()]
    assert "state done in 1.5 s" in lines
    assert "way given whole to one other node: it is expected to be done first" in lines
    assert "estimate 250 ms for it, with 30 s left" in lines
    assert "counts decisions 1, probes 1, hedges 1, rescues 0, failures 0, refusals 0" in lines
    assert not any(line.startswith("redone") for line in lines)
    assert (
        "cellar 0123456789ab 2 100 ms 50 ms 0 ms 100 ms 0 ms 2.5 ms 252 ms 200 ms ago chosen"
        in lines
    )
    assert (
        "attic (here) abcdef 0 0 ms 0 ms 1 s 100 ms 0 ms 11 ms 1.1 s - 1.1 s assumed, not measured"
        in lines
    )
    assert "local at attic (here) abcdef: 1.1 s" in lines
    assert (
        "at 400 ms hedged: cellar 01234567 -> attic (here) abcdef: 0.4 s where 0.25 s were expected"
        in lines
    )


def test_a_product_that_was_shed_is_explained_and_an_unknown_one_refused(daemon: "Daemon") -> None:
    shed, unknown = run("explain", "t2"), run("explain", "t3", "--json")

    assert shed.exit_code == 0
    assert "shed after 1 ms: there is no time" in shed.stdout
    assert "nothing was decided" in shed.stdout
    assert unknown.exit_code == 1
    assert json.loads(unknown.stderr)["code"] == "not_found"


def test_a_refusal_names_its_task(daemon: "Daemon", files: Path) -> None:
    told = run("matmul", "busy", files / "x.npy", "-o", files / "y.npy")

    assert told.exit_code == 1
    assert "try again in 2 s, task t2" in told.stderr


def test_a_file_of_settings_is_checked(files: Path) -> None:
    (files / "good.toml").write_text('[log]\nlevel = "debug"\n')
    (files / "bad.toml").write_text("[gossip]\nintervall_ms = 1\n")

    good, bad = (
        run("config", "check", files / "good.toml"),
        run("config", "check", files / "bad.toml"),
    )
    shown = run("config", "show", "--config", files / "good.toml", "--origin")

    assert (good.exit_code, bad.exit_code) == (0, 2)
    assert "gossip.intervall_ms: no such key (did you mean interval_ms?)" in bad.stderr
    assert f'level = "debug"                          # file {files}/good.toml' in shown.stdout


def test_every_command_explains_itself() -> None:
    for command in COMMANDS:
        told = run(command, "--help")
        assert told.exit_code == 0
        assert "Usage:" in told.stdout
    assert all(command in run("--help").stdout for command in COMMANDS)


@pytest.mark.parametrize("name", ["", "a" * 10_000, "a/b", "a b", "-\n"])
@pytest.mark.parametrize("command", ["put", "get", "rm", "matmul"])
def test_what_cannot_name_weights_is_told_before_anybody_is_asked(
    daemon: "Daemon", files: Path, command: str, name: str
) -> None:
    file = () if command in ("get", "rm") else (files / "x.npy",)
    output = ("-o", files / "y.npy") if command in ("get", "matmul") else ()

    told = run(command, *output, "--", name, *file)

    assert told.exit_code == 2
    assert "weights are named by 1 to 64 letters" in " ".join(told.stderr.split())
    assert daemon.seen == []


@pytest.mark.parametrize("rtol", ["2", "1", "0", "-1e-2", "nan", "inf", "some"])
def test_what_is_no_tolerance_is_told_before_anybody_is_asked(
    daemon: "Daemon", files: Path, rtol: str
) -> None:
    told = run("matmul", "w", files / "x.npy", "-o", files / "y.npy", f"--rtol={rtol}")

    assert told.exit_code == 2
    assert f"--rtol {rtol}: write a number between 0 and 1" in " ".join(told.stderr.split())
    assert daemon.seen == []
    assert not (files / "y.npy").exists()


@pytest.mark.parametrize("what", ["", "a" * 10_000, "no/such"])
def test_a_plan_of_neither_weights_nor_a_file_is_refused(daemon: "Daemon", what: str) -> None:
    told = run("plan", what)

    assert told.exit_code == 2
    assert told.stderr.startswith("error: ")
    assert daemon.seen == []


@pytest.mark.parametrize("task", ["", "a" * 10_000])
def test_what_cannot_be_a_task_is_told_before_anybody_is_asked(daemon: "Daemon", task: str) -> None:
    told = run("explain", task)

    assert told.exit_code == 2
    assert "as `matmul` tells it" in " ".join(told.stderr.split())
    assert daemon.seen == []


def test_a_speed_that_nobody_has_measured_is_not_told_as_none(
    daemon: "Daemon", monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.node.cli import conftest

    monkeypatch.setitem(conftest.PEER, "speed_macs_s", 0.0)

    lines = run("peers").stdout.splitlines()
    assert lines[1][lines[0].index("GMAC/S") :].split()[0] == "-"


def test_explain_says_what_counts_for_more_since_a_relay_carries_it(
    daemon: "Daemon", monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.node.cli import conftest

    candidate = conftest.TASKS["t1"]["explain"]["candidates"][0]
    monkeypatch.setitem(candidate, "relay_s", 0.1)

    assert "chosen, counts as 100 ms more, by way of a relay" in run("explain", "t1").stdout


def test_explain_says_what_was_done_again(
    daemon: "Daemon", monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.node.cli import conftest

    monkeypatch.setitem(conftest.TASKS["t1"]["explain"], "stronger", 2)
    monkeypatch.setitem(conftest.TASKS["t1"]["explain"], "digital", 1)

    lines = [" ".join(line.split()) for line in run("explain", "t1").stdout.splitlines()]
    assert "redone 2 with a stronger plan, 1 digitally" in lines
