"""What paths cost on which nothing happens, and what becomes of one that dies meanwhile."""

import random

from nat.path import DEAD_S, JITTER, KEEPALIVE_S, Choice, Drop, PathChoice, Ping, Use
from protocol.paths import PathKind

LONG = 1.5 * (1.0 + JITTER)
"""The most by which the keepalive of the end that answers is longer."""
HOUR_S = 3600.0
RTT_S = 0.02


def choice(*, dialed: bool = True) -> PathChoice:
    return PathChoice(random.Random(1), dialed=dialed)


def answered(one: PathChoice, effects: list[Choice], now: float, *, by: set[int]) -> None:
    """These paths echo what is asked on them."""
    for ping in effects:
        if isinstance(ping, Ping) and ping.path in by:
            one.heard(ping.path, now + RTT_S)
            one.ponged(ping.path, ping.token, now + RTT_S)


def opened(one: PathChoice, path: int, kind: PathKind, now: float = 0.0) -> None:
    answered(one, one.opened(path, kind, now), now, by={path})


def until(one: PathChoice, end: float, *, alive: set[int]) -> list[tuple[float, Choice]]:
    """All that it does up to then, each at the moment at which it wants to."""
    done: list[tuple[float, Choice]] = []
    while one.deadline is not None and one.deadline <= end:
        now = one.deadline
        effects = one.tick(now)
        done += [(now, effect) for effect in effects]
        answered(one, effects, now, by=alive)
    return done


def pings(done: list[tuple[float, Choice]], path: int) -> int:
    return sum(isinstance(effect, Ping) and effect.path == path for _, effect in done)


def test_nothing_is_asked_on_an_idle_punched_path_which_has_a_keeper_of_its_own() -> None:
    for dialed in (True, False):
        one = choice(dialed=dialed)
        opened(one, 1, PathKind.PUNCHED)

        assert until(one, HOUR_S, alive={1}) == []


def test_an_idle_path_beside_the_one_in_use_is_asked_once_in_some_minutes() -> None:
    one = choice()
    opened(one, 1, PathKind.RELAY)
    opened(one, 2, PathKind.IPV4)
    done = until(one, HOUR_S, alive={1, 2})

    assert 10 <= pings(done, 1) <= 14
    assert 70 <= pings(done, 2) <= 90


def test_a_path_that_comes_into_use_after_a_long_rest_is_asked_as_often_as_any_that_is_in_use() -> (
    None
):
    one = choice()
    opened(one, 1, PathKind.RELAY)
    opened(one, 2, PathKind.IPV4)
    until(one, 200.0, alive={1, 2})

    assert one.closed(2, 200.0) == [Use(1, "ipv4 is gone")]
    first, *_ = until(one, 400.0, alive={1})

    assert first[0] - 200.0 <= KEEPALIVE_S * (1.0 + JITTER)


def test_a_path_that_was_idle_for_long_is_not_given_up_for_one_ping_that_is_lost() -> None:
    for kind in (PathKind.IPV4, PathKind.RELAY):
        one = choice()
        opened(one, 1, kind)
        done = until(one, 2.0 * KEEPALIVE_S * LONG, alive=set())
        asked = [at for at, effect in done if isinstance(effect, Ping)]
        dropped = [at for at, effect in done if isinstance(effect, Drop)]

        assert DEAD_S <= dropped[0] - asked[0] <= DEAD_S + 2.0
        assert len(asked) >= DEAD_S - 2.0


def test_a_punched_path_that_died_while_it_was_idle_is_left_within_a_second_of_the_next_word() -> (
    None
):
    one = choice()
    opened(one, 1, PathKind.RELAY)
    opened(one, 2, PathKind.PUNCHED)
    until(one, 100.0, alive={1, 2})

    one.sent(100.0)
    done = until(one, 101.0, alive={1})

    assert Use(1, "punched is silent") in [effect for _, effect in done]
    dropped = [at for at, one in until(one, 200.0, alive={1}) if isinstance(one, Drop)]
    assert 109.0 < dropped[0] < 113.0
