"""What the machine gives, judged by figures."""

import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from node.cli.checkup.machine import (
    Memory,
    judge_congestion,
    judge_files,
    judge_memory,
    judge_udp_buffer,
    of_files,
    of_memory,
    udp_buffer,
)
from node.config import Settings, ShareConfig

GIB = 1 << 30
MEMORY = Memory(budget=4 * GIB, taken=GIB, available=3 * GIB, swapped=0, limit=None)


def test_what_is_offered_and_can_be_had_is_fine() -> None:
    (told,) = judge_memory(MEMORY)

    assert (told.state, told.found) == ("ok", "4 GiB offered, 1 GiB taken; 3 GiB available")


def test_more_offered_than_can_be_had_is_a_warning() -> None:
    (told,) = judge_memory(replace(MEMORY, available=2 * GIB))

    assert told.state == "warning"
    assert told.fix.endswith("3 GiB at most")


def test_a_limit_below_what_is_offered_is_a_problem() -> None:
    (told,) = judge_memory(replace(MEMORY, limit=2 * GIB))

    assert told.state == "problem"
    assert next(iter(judge_memory(replace(MEMORY, limit=4 * GIB)))).state == "ok"


def test_a_daemon_that_lies_in_swap_is_a_warning() -> None:
    _, told = judge_memory(replace(MEMORY, swapped=GIB))

    assert (told.check, told.state) == ("swap", "warning")


@pytest.mark.parametrize(("memory", "means"), [("1MiB", "too little"), ("900TiB", "more than")])
def test_memory_with_which_no_daemon_starts_is_a_problem(memory: str, means: str) -> None:
    (told,) = of_memory(Settings(share=ShareConfig(memory=memory)), None, None)

    assert told.state == "problem"
    assert means in told.found


def test_few_files_or_few_that_are_left_are_a_warning() -> None:
    assert judge_files(256, None).state == "warning"
    assert judge_files(1024, 900).state == "warning"
    assert judge_files(1024, 100).state == "ok"
    assert judge_files(resource.RLIM_INFINITY, 10**6).state == "ok"


def test_the_files_of_a_process_are_counted() -> None:
    assert f"of {resource.getrlimit(resource.RLIMIT_NOFILE)[0]} open" in of_files(os.getpid()).found


def test_the_swap_and_the_files_of_a_process_that_cannot_be_looked_at_are_not_guessed() -> None:
    nobody = 1 << 23
    swap, memory = of_memory(Settings(), {"budget_bytes": 1, "rss_bytes": 1}, nobody)

    assert "cannot be looked at" in swap.found
    assert "cannot be looked at" in of_files(nobody).found
    assert memory.found.startswith("1 B offered, 1 B taken")


def test_the_kernel_says_how_much_buffer_it_grants() -> None:
    limit = int(Path("/proc/sys/net/core/rmem_max").read_text())

    assert udp_buffer(limit * 4) == limit
    assert udp_buffer(limit // 2) == limit // 2


def test_a_smaller_buffer_is_told_and_harms_only_once_packets_are_lost() -> None:
    asked, granted = 1 << 20, 212_992

    quiet = judge_udp_buffer(asked, granted, 0)
    lossy = judge_udp_buffer(asked, granted, 1200)
    assert quiet.state == "ok"
    assert quiet.found == "208 KiB of 1 MiB granted, some 184 packets; 0 dropped"
    assert (lossy.state, lossy.fix[:38]) == ("warning", "sysctl -w net.core.rmem_max=1048576, t")
    assert judge_udp_buffer(asked, 32_768, None).state == "warning"
    assert "loop_lag" in judge_udp_buffer(asked, asked, 5).fix


@pytest.mark.parametrize(
    ("chosen", "available", "fix"),
    [
        ("bbr", "reno bbr cubic", "if all nodes are near each other: sysctl -w"),
        ("cubic", "reno bbr cubic", "if nodes are far from each other: sysctl -w"),
        ("cubic", "reno cubic", "if nodes are far from each other: modprobe tcp_bbr && sysctl"),
    ],
)
def test_the_congestion_control_is_told_with_what_would_change_it(
    tmp_path: Path, chosen: str, available: str, fix: str
) -> None:
    (tmp_path / "tcp_congestion_control").write_text(f"{chosen}\n")
    (tmp_path / "tcp_available_congestion_control").write_text(f"{available}\n")
    told = judge_congestion(tmp_path)

    assert (told.state, told.found) == ("ok", chosen)
    assert told.fix.startswith(fix)


def test_where_the_kernel_does_not_tell_nothing_is_advised(tmp_path: Path) -> None:
    assert judge_congestion(tmp_path).fix == ""
