"""When a path is doubted, and how long it is waited for."""

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


def both(rtt_s: float = 0.05) -> PathChoice:
    """A punched path, in use, and a relay beside it, as they are after one ping each at 0 s."""
    choice = PathChoice(random.Random(7), dialed=True)
    for path, kind in ((1, PathKind.PUNCHED), (2, PathKind.RELAY)):
        for effect in choice.opened(path, kind, 0.0):
            if isinstance(effect, Ping):
                choice.heard(path, rtt_s)
                choice.ponged(path, effect.token, rtt_s)
    return choice


def test_the_end_of_one_path_is_a_reason_to_doubt_the_other() -> None:
    choice = both()

    assert [type(effect) for effect in choice.closed(2, 10.0)] == [Ping]
    effects = choice.opened(3, PathKind.RELAY, 11.0)

    assert [effect.path for effect in effects if isinstance(effect, Use)] == [3]


def test_the_other_is_used_on_if_it_answers() -> None:
    choice = both()
    (ping,) = choice.closed(2, 10.0)
    assert isinstance(ping, Ping)
    choice.heard(1, 10.05)
    choice.ponged(1, ping.token, 10.05)

    assert [type(effect) for effect in choice.opened(3, PathKind.RELAY, 11.0)] == [Ping]
    assert choice.active == 1


def test_an_echo_that_comes_sooner_than_a_pong_corrects_the_round_trip() -> None:
    choice = both(rtt_s=0.5)
    choice.sent(10.0)
    choice.acknowledged(True, 10.02)

    assert round(choice.rtt_s(1) or 0, 6) == 0.02
    choice.sent(20.0)
    choice.acknowledged(True, 20.3)
    assert round(choice.rtt_s(1) or 0, 6) == 0.02


def test_of_what_follows_in_a_stream_nothing_is_known_but_that_it_has_come() -> None:
    choice = both(rtt_s=0.5)
    choice.sent(10.0)
    choice.acknowledged(False, 10.4)
    choice.acknowledged(True, 10.401)

    assert round(choice.rtt_s(1) or 0, 6) == 0.4
