"""What guests of a relay say to each other in channels, and how much of it the relay holds."""

from collections import Counter

import pytest

from nat.relay_channels import (
    CHANNELS_MAX,
    OWED_BYTES_MAX,
    PAIR_CHANNELS_MAX,
    Channels,
    Deliver,
    End,
)
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
    others = [bytes([10 + number]) * 32 for number in range(CHANNELS_MAX // PAIR_CHANNELS_MAX)]
    made = Guests(ANNA, BERT, *others)
    for peer in others:
        for channel in range(PAIR_CHANNELS_MAX):
            made.heard(1, Open(peer, OPENER | channel))

    for number, peer in ((1, BERT), (2, ANNA)):
        (told,) = made.heard(number, Open(peer, OPENER | 1))
        assert isinstance(told.message, Close)
        assert told.message.reason == "one of the two has 512 channels: no more may be"
    assert len(made.channels) == CHANNELS_MAX


def test_no_guest_takes_all_the_channels_that_another_may_have() -> None:
    made = Guests(ANNA, BERT, CARL)
    for channel in range(CHANNELS_MAX):
        made.heard(1, Open(BERT, OPENER | channel))

    assert len(made.channels) == PAIR_CHANNELS_MAX
    (told,) = made.heard(2, Open(ANNA, OPENER | 1))
    assert told == Deliver(2, Close(ANNA, 1, "the two have 16 channels: no more may be"))
    assert len(made.heard(3, Open(BERT, OPENER | 1))) == 2


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


def test_of_a_guest_that_is_owed_too_much_the_fullest_channel_is_closed() -> None:
    flooding = [bytes([10 + number]) * 32 for number in range(OWED_BYTES_MAX // WINDOW_BYTES)]
    made = Guests(ANNA, BERT, *flooding)
    made.heard(1, Open(BERT, OPENER | 1))
    made.heard(1, Data(BERT, OPENER | 1, b"hello"))
    for number in range(3, 3 + len(flooding)):
        made.heard(number, Open(BERT, OPENER | 5))
        for _ in range(WINDOW_BYTES // PAYLOAD_BYTES_MAX):
            told = made.heard(number, Data(BERT, OPENER | 5, FULL))

    # Of the last one only the first channel of the flood stood in the way; who sends little is heard.
    reason = "more than 8388608 bytes are on their way to one of the two"
    assert told == [
        Deliver(3, Close(BERT, 5, reason)),
        Deliver(2, Close(flooding[0], OPENER | 5, reason)),
        Deliver(2, Data(flooding[-1], OPENER | 5, FULL)),
    ]
    assert made.heard(1, Data(BERT, OPENER | 1, b"still here")) == [
        Deliver(2, Data(ANNA, OPENER | 1, b"still here"))
    ]


def test_nothing_is_owed_for_a_channel_that_is_gone() -> None:
    made = Guests(ANNA, BERT)
    for _ in range(OWED_BYTES_MAX // WINDOW_BYTES + 1):
        made.heard(1, Open(BERT, OPENER))
        for _ in range(WINDOW_BYTES // PAYLOAD_BYTES_MAX):
            assert len(made.heard(1, Data(BERT, OPENER, FULL))) == 1
        made.heard(1, Close(BERT, OPENER, "over"))
