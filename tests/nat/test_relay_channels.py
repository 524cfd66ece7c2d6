"""What guests of a relay say to each other in channels, and how much of it the relay holds."""

from collections import Counter

import pytest

from nat.relay_channels import CHANNELS_MAX, OWED_BYTES_MAX, Channels, Deliver, End
from nat.relay_wire import (
    OPENER,
    PAYLOAD_BYTES_MAX,
    WINDOW_BYTES,
    Absent,
    Close,
    Data,
    Open,
    Opened,
    Window,
)

ANNA, BERT, CARL = (bytes([number]) * 32 for number in (1, 2, 3))
FULL = bytes(PAYLOAD_BYTES_MAX)


class Guests:
    """Numbered from 1."""

    def __init__(self, *nodes: bytes) -> None:
        self.counters: Counter[str] = Counter()
        self.channels = Channels(self.counters)
        self._ends = {node: End(number, node) for number, node in enumerate(nodes, 1)}

    def heard(self, number: int, message: Open | Data | Window | Close) -> list[Deliver]:
        end = [*self._ends.values()][number - 1]
        if isinstance(message, Open):
            return self.channels.open(end, self._ends.get(message.peer), message)
        return self.channels.heard(end, message)

    def gone(self, number: int) -> list[Deliver]:
        return self.channels.left([*self._ends.values()][number - 1])


def with_channel(*nodes: bytes) -> Guests:
    """The first has opened channel 5 to the second."""
    made = Guests(*nodes)
    made.heard(1, Open(nodes[1], OPENER | 5))
    return made


def test_a_channel_is_told_to_both_ends_with_the_proven_id() -> None:
    made = Guests(ANNA, BERT)

    assert made.heard(1, Open(BERT, OPENER | 5)) == [
        Deliver(2, Open(ANNA, OPENER | 5)),
        Deliver(1, Opened(BERT, 5)),
    ]
    assert made.heard(1, Data(BERT, OPENER | 5, b"hello")) == [
        Deliver(2, Data(ANNA, OPENER | 5, b"hello"))
    ]
    assert made.heard(2, Data(ANNA, 5, b"welcome")) == [Deliver(1, Data(BERT, 5, b"welcome"))]
    assert made.heard(2, Window(ANNA, 5, 5)) == [Deliver(1, Window(BERT, 5, 5))]
    assert made.heard(2, Close(ANNA, 5, "enough")) == [Deliver(1, Close(BERT, 5, "enough"))]
    assert len(made.channels) == 0


def test_two_nodes_that_open_the_same_number_have_two_channels() -> None:
    made = with_channel(ANNA, BERT)

    made.heard(2, Open(ANNA, OPENER | 5))

    assert len(made.channels) == 2
    assert made.heard(2, Data(ANNA, OPENER | 5, b"mine")) == [
        Deliver(1, Data(BERT, OPENER | 5, b"mine"))
    ]
    assert made.heard(2, Data(ANNA, 5, b"yours")) == [Deliver(1, Data(BERT, 5, b"yours"))]


def test_a_third_guest_says_nothing_in_a_channel_of_others() -> None:
    made = with_channel(ANNA, BERT, CARL)

    for channel in (5, OPENER | 5):
        for peer in (ANNA, BERT):
            assert made.heard(3, Data(peer, channel, b"I am the other")) == []
    assert made.counters["without_channel"] == 4


def test_a_channel_to_nobody_fails_at_once() -> None:
    made = Guests(ANNA)

    assert made.heard(1, Open(BERT, OPENER | 5)) == [Deliver(1, Absent(BERT, 5))]


@pytest.mark.parametrize(
    ("opened", "reason"),
    [(Open(ANNA, OPENER | 6), "the node itself"), (Open(BERT, OPENER | 5), "already")],
)
def test_a_channel_that_cannot_be_is_closed_with_the_reason(opened: Open, reason: str) -> None:
    made = with_channel(ANNA, BERT)

    (effect,) = made.heard(1, opened)

    assert isinstance(effect, Deliver) and isinstance(effect.message, Close)
    assert reason in effect.message.reason
    assert len(made.channels) == 1


def test_a_guest_has_no_more_channels_than_may_be() -> None:
    made = Guests(ANNA, BERT, CARL)
    for number in range(CHANNELS_MAX):
        made.heard(1, Open(BERT, OPENER | number))

    for number, peer in ((1, CARL), (3, ANNA)):
        (effect,) = made.heard(number, Open(peer, OPENER | CHANNELS_MAX))
        assert isinstance(effect, Deliver) and isinstance(effect.message, Close)
    assert len(made.channels) == CHANNELS_MAX


def test_when_a_guest_goes_the_other_ends_are_told() -> None:
    made = with_channel(ANNA, BERT, CARL)
    made.heard(3, Open(ANNA, OPENER | 1))

    assert made.gone(1) == [Deliver(2, Absent(ANNA, OPENER | 5)), Deliver(3, Absent(ANNA, 1))]
    assert len(made.channels) == 0


def test_who_sends_beyond_the_window_loses_the_channel() -> None:
    made = with_channel(ANNA, BERT)
    for _ in range(WINDOW_BYTES // PAYLOAD_BYTES_MAX):
        (effect,) = made.heard(1, Data(BERT, OPENER | 5, FULL))
        assert isinstance(effect, Deliver)

    reason = "more was sent than there was room for"
    assert made.heard(1, Data(BERT, OPENER | 5, b"x")) == [
        Deliver(1, Close(BERT, 5, reason)),
        Deliver(2, Close(ANNA, OPENER | 5, reason)),
    ]
    assert made.heard(1, Data(BERT, OPENER | 5, b"x")) == []


def test_as_much_may_follow_as_has_been_taken() -> None:
    made = with_channel(ANNA, BERT)
    for _ in range(WINDOW_BYTES // PAYLOAD_BYTES_MAX):
        made.heard(1, Data(BERT, OPENER | 5, FULL))

    made.heard(2, Window(ANNA, 5, PAYLOAD_BYTES_MAX))

    (effect,) = made.heard(1, Data(BERT, OPENER | 5, FULL))
    assert effect == Deliver(2, Data(ANNA, OPENER | 5, FULL))
    # The other direction has a window of its own.
    (effect,) = made.heard(2, Data(ANNA, 5, FULL))
    assert effect == Deliver(1, Data(BERT, 5, FULL))


def test_who_takes_more_than_was_sent_loses_the_channel() -> None:
    made = with_channel(ANNA, BERT)
    made.heard(1, Data(BERT, OPENER | 5, b"four"))

    effects = made.heard(2, Window(ANNA, 5, 5))

    assert [effect.message for effect in effects if isinstance(effect, Deliver)] == [
        Close(BERT, 5, "more was taken than had been sent"),
        Close(ANNA, OPENER | 5, "more was taken than had been sent"),
    ]


def test_a_guest_that_reads_nothing_is_not_owed_without_end() -> None:
    made = Guests(ANNA, BERT)
    closed = 0
    for number in range(OWED_BYTES_MAX // WINDOW_BYTES + 1):
        made.heard(1, Open(BERT, OPENER | number))
        for _ in range(WINDOW_BYTES // PAYLOAD_BYTES_MAX):
            effects = made.heard(1, Data(BERT, OPENER | number, FULL))
            closed += len(effects) == 2

    assert closed == 1
    # Once a channel is gone nothing is owed for it.
    made.heard(1, Close(BERT, OPENER, "over"))
    made.heard(1, Open(BERT, OPENER))
    assert len(made.heard(1, Data(BERT, OPENER, FULL))) == 1
