import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from node.cli.main import app
from node.simulation.invariants import Invariants, Violation

SHORT = ("--nodes", "4", "--for", "10s")
"""Requests are counted from the fifth second on."""


def simulate(*arguments: str) -> Result:
    return CliRunner().invoke(app("simulate"), ["simulate", *arguments])


def test_a_run_ends_with_its_figures() -> None:
    result = simulate(*SHORT, "--seed", "3")

    assert result.exit_code == 0
    assert "4 machines for 10 s, seed 3" in result.output
    assert re.search(r"invariants +all held", result.output)
    assert "agreement at the end" in result.output
    assert "latency p99" in result.output


def test_programs_read_one_json_document() -> None:
    outcome = json.loads(simulate(*SHORT, "--json").stdout)

    assert (outcome["scenario"], outcome["nodes"], outcome["run_s"]) == ("quiet", 4, 10.0)
    assert outcome["broken"] is None
    assert 0 < outcome["requests"]["asked"] < sum(one["asked"] for one in outcome["samples"])


def test_a_trace_and_a_report_are_written(tmp_path: Path) -> None:
    trace, report = tmp_path / "out.jsonl", tmp_path / "out.html"

    result = simulate(*SHORT, "--trace", str(trace), "--report", str(report))

    assert result.exit_code == 0
    assert all("event" in json.loads(line) for line in trace.read_text().splitlines())
    page = report.read_text()
    assert page.startswith("<!doctype html>") and page.count("<svg") == 6
    assert not re.search(r"https?:|url\(|@import|<script|<link|src=", page)


def test_a_scenario_that_nobody_knows_lists_those_that_there_are() -> None:
    result = simulate("--scenario", "quite")

    assert result.exit_code == 2
    assert "did you mean quiet?" in result.stderr
    assert "flash-crowd" in result.stderr and "skewed-weights" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--nodes", "1"), "write 2 to"),
        (("--for", "soon"), "is not a duration"),
        (("--for", "0s"), "write more than 0s"),
        (("--trace", "/nowhere/at/all"), "cannot be written"),
        ((*SHORT, "--report", "/nowhere/at/all"), "cannot be written"),
    ],
)
def test_what_cannot_be_ends_with_2_and_what_to_write(
    arguments: tuple[str, ...], said: str
) -> None:
    result = simulate(*arguments)

    assert result.exit_code == 2
    assert said in result.stderr


def test_a_broken_rule_ends_with_1_and_the_command_that_leads_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(self: Invariants, machine: object) -> None:
        raise Violation("within budget", "n0001", "as planted")

    monkeypatch.setattr(Invariants, "stepped", broken)
    result = simulate(*SHORT, "--seed", "9")

    assert result.exit_code == 1
    assert "broken: within budget" in result.stderr
    assert "seed 9, at 0.0" in result.stderr and "on n0001: as planted" in result.stderr
    assert "sedma-node simulate --scenario quiet --nodes 4 --seed 9 --for 10s" in result.stderr


def test_faults_after_the_end_of_the_run_are_told() -> None:
    result = simulate("--scenario", "partition", *SHORT)

    assert "2 of the scenario's faults and crowds come after 10 s" in result.stderr


def test_a_run_that_ends_before_its_requests_count_says_so() -> None:
    short = simulate("--nodes", "4", "--for", "5s")

    assert "note: the scenario's requests count from 5 s on: none does" in short.stderr
    assert "note:" not in simulate(*SHORT).stderr


@pytest.mark.parametrize("option", ["--trace", "--report"])
def test_a_full_disk_is_told_and_not_dumped(option: str) -> None:
    result = simulate(*SHORT, option, "/dev/full")

    assert result.exit_code == 2
    assert "error: /dev/full: cannot be written: No space left on device" in result.stderr


def test_a_report_that_finds_no_room_costs_neither_the_figures_nor_the_trace(
    tmp_path: Path,
) -> None:
    trace = tmp_path / "out.jsonl"

    result = simulate(*SHORT, "--trace", str(trace), "--report", "/dev/full")

    assert "agreement at the end" in result.stdout
    assert all("event" in json.loads(line) for line in trace.read_text().splitlines())


def test_a_run_that_is_cut_off_leaves_older_files_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(self: Invariants, machine: object) -> None:
        raise KeyboardInterrupt

    trace, report = tmp_path / "out.jsonl", tmp_path / "out.html"
    trace.write_text("older trace")
    report.write_text("older report")
    monkeypatch.setattr(Invariants, "stepped", cut_off)
    result = simulate(*SHORT, "--trace", str(trace), "--report", str(report))

    assert result.exit_code == 130
    assert (trace.read_text(), report.read_text()) == ("older trace", "older report")
    assert len(list(tmp_path.iterdir())) == 2


def test_one_file_is_not_trace_and_report_at_once(tmp_path: Path) -> None:
    file = str(tmp_path / "out")

    result = simulate(*SHORT, "--trace", file, "--report", file)

    assert result.exit_code == 2
    assert "--report: is the file of --trace: write another" in result.stderr


def test_where_the_trace_goes_to_standard_output_the_figures_do_not() -> None:
    result = simulate(*SHORT, "--trace", "-")

    assert all("event" in json.loads(line) for line in result.stdout.splitlines())
    assert "agreement at the end" in result.stderr


def test_a_run_that_is_terminated_leaves_no_half_written_file(tmp_path: Path) -> None:
    trace = tmp_path / "out.jsonl"
    words = ["simulate", "--nodes", "64", "--for", "1h", "--trace", str(trace)]
    with subprocess.Popen([sys.executable, "-m", "node.cli.main", *words]) as running:
        while not any(tmp_path.iterdir()):
            assert running.poll() is None
            time.sleep(0.02)
        running.terminate()

    assert running.returncode == 128 + signal.SIGTERM
    assert not any(tmp_path.iterdir())
