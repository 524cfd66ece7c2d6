"""A path that is doubted while there is no other, and then there is one."""

import random

from nat.path import PATIENCE_S_MIN, PathChoice, Ping, Use
from protocol.paths import PathKind


def doubted_since(now: float) -> PathChoice:
    """Its only path has not answered what was sent on it."""
    choice = PathChoice(random.Random(7), dialed=True)
    choice.opened(1, PathKind.PUNCHED, 0.0)
    choice.heard(1, 0.1)
    choice.tick(PATIENCE_S_MIN)
    choice.sent(now - PATIENCE_S_MIN)
    assert [type(effect) for effect in choice.tick(now)] == [Ping]
    return choice


def test_the_first_other_path_is_used_at_once_if_the_doubted_one_had_its_time() -> None:
    choice = doubted_since(10.0)
    choice.tick(10.0 + PATIENCE_S_MIN)

    effects = choice.opened(2, PathKind.RELAY, 10.7)

    assert [effect.path for effect in effects if isinstance(effect, Use)] == [2]
    assert choice.active == 2
    assert choice.kinds == [PathKind.RELAY]


def test_a_path_that_may_still_answer_is_not_left_for_one_that_is_worse() -> None:
    choice = doubted_since(10.0)

    assert [type(effect) for effect in choice.opened(2, PathKind.RELAY, 10.1)] == [Ping]
    assert choice.active == 1
    assert choice.heard(1, 10.2) == []
    assert choice.kinds == [PathKind.PUNCHED, PathKind.RELAY]
