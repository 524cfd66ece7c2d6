"""Whether packets that others were asked to send have come: yes, no, or nobody knows."""

import random

from nat.endpoint import Endpoint
from nat.knocks import AGAIN_S, GIVE_UP_S, AskKnock, Knocks

HERE = Endpoint("203.0.113.77", 7879)


def asked(knocks: Knocks) -> AskKnock:
    return knocks.ask("port", "anna", HERE, now=0.0, alternate=True)


def test_a_packet_that_comes_settles_it() -> None:
    knocks = Knocks(random.Random(1))

    knocks.heard(asked(knocks).token)

    assert knocks.came == {"port": True}
    assert knocks.deadline is None


def test_one_that_was_sent_twice_and_did_not_come_is_kept_out() -> None:
    knocks = Knocks(random.Random(1))
    ask = asked(knocks)
    knocks.sent(ask.token)

    assert knocks.tick(AGAIN_S) == [ask]
    assert knocks.tick(AGAIN_S + GIVE_UP_S) == []

    assert knocks.came == {"port": False}


def test_one_that_is_asked_for_again_late_has_as_long_to_come() -> None:
    knocks = Knocks(random.Random(1))
    ask = asked(knocks)
    knocks.sent(ask.token)

    assert knocks.tick(7.0) == [ask]
    assert knocks.tick(7.0) == []
    assert knocks.came == {}
    knocks.heard(ask.token)

    assert knocks.came == {"port": True}


def test_one_of_which_nobody_says_that_it_was_sent_tells_nothing() -> None:
    knocks = Knocks(random.Random(1))
    asked(knocks)
    knocks.tick(AGAIN_S)
    knocks.tick(AGAIN_S + GIVE_UP_S)

    assert knocks.came == {"port": None}


def test_a_refusal_settles_it_at_once_but_not_after_the_first_was_sent() -> None:
    refused, sent = Knocks(random.Random(1)), Knocks(random.Random(1))
    refused.failed(asked(refused).token)
    token = asked(sent).token
    sent.sent(token)
    sent.failed(token)

    assert refused.came == {"port": None}
    assert sent.came == {}


def test_a_packet_that_nobody_was_asked_for_tells_nothing() -> None:
    knocks = Knocks(random.Random(1))
    asked(knocks)

    knocks.heard(b"x" * 12)

    assert knocks.came == {}
