"""Chips of real daemons, drawn by seed."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.live.daemons import Daemon

Start = Callable[..., Daemon]


def begun(daemon: Daemon, *words: object) -> "subprocess.Popen[str]":
    line = ["sweep", "--data-dir", str(daemon.data_dir), "--json", *map(str, words)]
    return subprocess.Popen(
        [sys.executable, "-m", "node.cli.main", *line],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeds_interrupts,
    )


def heeds_interrupts() -> None:
    """Whatever runs behind a shell's `&` ignores them, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def products(daemon: Daemon, *words: object) -> dict[tuple[int, float | None], Any]:
    """What was read, by seed and tolerance."""
    told, wrong = begun(daemon, *words).communicate(timeout=60)
    assert not wrong
    read = [json.loads(line) for line in told.splitlines()]
    return {(one["seed"], one["rtol"]): one for one in read if one["kind"] == "product"}


def test_chips_differ_by_their_seeds_and_are_the_same_on_another_mesh(
    daemon: Start, tmp_path: Path
) -> None:
    cells = tmp_path / "cells.toml"
    cells.write_text('base = "rram-wan2022"\nname = "attic"\n[faults]\nstuck_high = 0.05\n')
    words = ("--device", cells, "--seeds", 3, "--size", 70, 40, "--rtol", "1e-2,none")
    first, other = daemon("a"), daemon("b")
    client = first.client()
    other.client()

    here, there = products(first, *words), products(other, *words)

    assert client.weights() == []
    # How a tolerance is kept depends on the probes of each put, too.
    assert [here[seed, None]["error"] for seed in range(3)] == [
        there[seed, None]["error"] for seed in range(3)
    ]
    for rtol in (1e-2, None):
        assert len({here[seed, rtol]["error"] for seed in range(3)}) == 3
    for seed in range(3):
        certified, raw = here[seed, 1e-2], here[seed, None]
        assert certified["error"] <= certified["bound"] <= 1e-2 < raw["error"]
        assert certified["energy_j"] > raw["energy_j"] > 0.0
        assert json.loads(raw["device"])["name"] == "attic"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_sweep_and_leaves_nothing_in_the_mesh(daemon: Start, number: int) -> None:
    running = daemon()
    client = running.client()
    with begun(running, "--seeds", 1000, "--size", 64, 64, "--device", "rram-wan2022") as sweep:
        assert sweep.stdout is not None
        assert json.loads(sweep.stdout.readline())["kind"] == "product"
        sweep.send_signal(number)
        try:
            sweep.communicate(timeout=30)
        finally:
            sweep.kill()

    assert sweep.returncode == 128 + number
    assert client.weights() == []
