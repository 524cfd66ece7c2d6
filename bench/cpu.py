"""CPU seconds of this process for pieces of work. Of many rounds the least counts: what others do can only add."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

Name = TypeVar("Name")
Work = Callable[[], object]


def once_s(work: Work) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def least_s(work: Work, rounds: int) -> float:
    return min(once_s(work) for _ in range(rounds))


def least_in_turn_s(
    contenders: Mapping[Name, Work], rounds: int, turns: int = 1
) -> dict[Name, float]:
    """Of each contender, who come after each other in every round; each works `turns` times in a row, so that short
    work is long against the clock, and what is told is for one of them."""
    least = dict.fromkeys(contenders, float("inf"))
    for _ in range(rounds):
        for name, work in contenders.items():
            least[name] = min(least[name], once_s(partial(_in_a_row, work, turns)) / turns)
    return least


def _in_a_row(work: Work, turns: int) -> None:
    for _ in range(turns):
        work()
