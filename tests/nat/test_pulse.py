"""A pulse tells a quiet connection from a dead one."""

import random

from nat.pulse import Lost, Pulse, SendPing


class Fixed(random.Random):
    """Always in the middle."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def asked(pulse: Pulse, now: float) -> bytes:
    (effect,) = pulse.tick(now)
    assert isinstance(effect, SendPing)
    return effect.token


def test_the_first_ping_leaves_at_once_and_tells_the_round_trip() -> None:
    pulse = Pulse(Fixed(1), now=10.0)

    token = asked(pulse, now=10.0)
    pulse.pong(token, now=10.08)

    assert round(pulse.rtt_s or 0, 6) == 0.08
    assert pulse.deadline == 10.08 + 25.0


def test_two_pings_without_an_answer_are_the_end() -> None:
    pulse = Pulse(Fixed(1), now=0.0)

    first, second = asked(pulse, now=0.0), asked(pulse, now=5.0)

    assert first != second
    assert pulse.tick(now=10.0) == [Lost(silent_s=10.0)]
    assert pulse.deadline is None
    assert pulse.tick(now=99.0) == []


def test_whatever_is_heard_is_an_answer() -> None:
    pulse = Pulse(Fixed(1), now=0.0)
    asked(pulse, now=0.0)
    asked(pulse, now=5.0)

    pulse.heard(now=9.0)

    assert pulse.tick(now=10.0) == []
    assert pulse.deadline == 34.0
    assert pulse.rtt_s is None


def test_the_answer_to_an_earlier_ping_tells_no_round_trip() -> None:
    pulse = Pulse(Fixed(1), now=0.0)
    late = asked(pulse, now=0.0)
    asked(pulse, now=5.0)

    pulse.pong(late, now=5.5)

    assert pulse.rtt_s is None
    assert pulse.deadline == 30.5


def test_the_least_of_the_last_round_trips_is_told() -> None:
    pulse, now = Pulse(Fixed(1), now=0.0), 0.0
    told = []
    for rtt_s in (0.5, 0.25, 1.0, 1.0, 1.0, 1.0):
        pulse.pong(asked(pulse, now), now + rtt_s)
        told.append(pulse.rtt_s)
        now = pulse.deadline or 0.0

    assert [round(rtt_s or 0, 6) for rtt_s in told] == [0.5, 0.25, 0.25, 0.25, 0.25, 1.0]


def test_who_has_reason_to_doubt_asks_at_once_and_waits_for_less() -> None:
    pulse = Pulse(Fixed(1), now=0.0)
    pulse.pong(asked(pulse, now=0.0), now=0.5)

    (effect,) = pulse.look(now=3.0)

    assert isinstance(effect, SendPing)
    assert pulse.look(now=4.0) == []
    assert len(pulse.tick(now=4.5)) == 1
    assert pulse.tick(now=6.0) == [Lost(silent_s=5.5)]
    assert pulse.look(now=7.0) == []


def test_after_an_answer_the_next_ping_has_its_usual_time() -> None:
    pulse = Pulse(Fixed(1), now=0.0)
    pulse.pong(asked(pulse, now=0.0), now=0.0)
    pulse.look(now=3.0)
    pulse.heard(now=3.1)

    asked(pulse, now=28.1)

    assert pulse.deadline == 33.1


def test_pings_do_not_keep_step() -> None:
    pauses = set()
    for seed in range(20):
        pulse = Pulse(random.Random(seed), now=0.0)
        pulse.pong(asked(pulse, now=0.0), now=0.0)
        assert pulse.deadline is not None
        pauses.add(pulse.deadline)

    assert len(pauses) == 20
    assert min(pauses) >= 20.0
    assert max(pauses) <= 30.0
