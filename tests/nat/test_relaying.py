"""What a relay does with what it hears."""

import random

import pytest

from nat.relay_channels import Deliver
from nat.relay_wire import (
    HEADER_BYTES,
    OPENER,
    PAYLOAD_BYTES_MAX,
    WINDOW_BYTES,
    Absent,
    Close,
    Data,
    Message,
    Open,
    Opened,
    Ping,
    Pong,
    Unknown,
    Window,
)
from nat.relaying import (
    MESSAGE_COST_BYTES,
    OPEN_COST_BYTES,
    OWN,
    RESERVATION_S,
    SILENT_S,
    TWICE,
    Cut,
    Effect,
    Pause,
    Refuse,
    Relaying,
    RelayLimits,
    Reserve,
    Resume,
)

ANNA, BERT, CARL = (bytes([number]) * 32 for number in (1, 2, 3))
AMPLE = RelayLimits(rate=1e9, burst=1e9, total=1e9)
FULL = bytes(PAYLOAD_BYTES_MAX)


def relay(*guests: bytes, limits: RelayLimits = AMPLE) -> Relaying:
    """Guests 1, 2, ... come from addresses of their own."""
    made = Relaying(limits)
    for number, node in enumerate(guests, 1):
        made.arrived(number, node, f"198.51.100.{number}", now=0.0)
    return made


def with_channel(*guests: bytes, limits: RelayLimits = AMPLE) -> Relaying:
    """The first has opened channel 5 to the second."""
    made = relay(*guests, limits=limits)
    made.heard(1, Open(guests[1], OPENER | 5), now=0.0)
    return made


def test_a_member_gets_a_place() -> None:
    made = Relaying(AMPLE)

    assert made.arrived(1, ANNA, "198.51.100.1", now=7.0) == [Reserve(1, 7.0 + RESERVATION_S)]
    assert made.guests == (ANNA,)


def test_no_more_come_from_one_address_than_may() -> None:
    made = relay(limits=RelayLimits(per_address=2))
    for number, address in enumerate(("::ffff:198.51.100.1", "198.51.100.1")):
        assert isinstance(made.arrived(number, bytes([number]), address, now=0.0)[0], Reserve)

    (refused,) = made.arrived(3, ANNA, "198.51.100.1", now=0.0)
    assert refused == Refuse(3, "2 nodes come from this address: no more may")
    assert isinstance(made.arrived(4, ANNA, "198.51.100.2", now=0.0)[0], Reserve)


def test_a_host_with_many_ipv6_addresses_is_one_source() -> None:
    made = relay(limits=RelayLimits(per_address=1))
    made.arrived(1, ANNA, "2001:db8:0:1::1", now=0.0)

    assert isinstance(made.arrived(2, BERT, "2001:db8:0:1:ffff::2%eth0", now=0.0)[0], Refuse)
    assert isinstance(made.arrived(3, CARL, "2001:db8:0:2::1", now=0.0)[0], Reserve)


def test_nobody_else_takes_the_place_of_the_relay_s_own_node() -> None:
    made = relay(ANNA)
    made.arrived(9, BERT, OWN, now=0.0)

    refused = made.arrived(10, BERT, "198.51.100.7", now=0.0)

    assert refused == [Refuse(10, TWICE)]
    assert made.guests == (ANNA, BERT)
    assert made.gone(10) == []
    assert len(made.heard(9, Open(ANNA, OPENER | 5), now=0.0)) == 2


def test_no_more_come_than_there_are_places() -> None:
    made = relay(ANNA, BERT, limits=RelayLimits(reservations=2))

    assert made.arrived(3, CARL, "203.0.113.1", now=0.0) == [Refuse(3, "all 2 places are taken")]
    made.gone(1)
    assert isinstance(made.arrived(4, CARL, "203.0.113.1", now=0.0)[0], Reserve)


def test_who_comes_back_takes_the_place_of_its_lost_connection() -> None:
    made = with_channel(ANNA, BERT, limits=RelayLimits(reservations=2))

    effects = made.arrived(3, ANNA, "198.51.100.1", now=1.0)

    assert effects == [
        Cut(1, "the node has come back over another connection"),
        Deliver(2, Absent(ANNA, OPENER | 5)),
        Reserve(3, 1.0 + RESERVATION_S),
    ]
    assert made.gone(1) == []
    assert made.guests == (BERT, ANNA)


def test_a_guest_above_its_quota_waits_and_loses_nothing() -> None:
    made = with_channel(ANNA, BERT, limits=RelayLimits(rate=1000.0, burst=0.0, total=1e9))
    assert len(made.heard(1, Data(BERT, OPENER | 5, bytes(963)), now=20.0)) == 1

    assert made.heard(1, Data(BERT, OPENER | 5, b"late"), now=20.0) == [Pause(1)]

    assert made.deadline == 21.0
    assert made.tick(now=20.9) == []
    assert made.tick(now=21.0) == [Resume(1), Deliver(2, Data(ANNA, OPENER | 5, b"late"))]


def test_a_guest_that_goes_while_it_waits_is_forgotten() -> None:
    made = with_channel(ANNA, BERT, limits=RelayLimits(rate=1000.0, burst=0.0, total=1e9))
    made.heard(1, Data(BERT, OPENER | 5, FULL), now=20.0)
    assert made.heard(1, Data(BERT, OPENER | 5, FULL), now=20.0) == [Pause(1)]

    made.gone(1)

    assert made.tick(now=89.0) == []


def test_when_a_guest_goes_the_other_ends_of_its_channels_are_told() -> None:
    made = with_channel(ANNA, BERT)

    assert made.gone(1) == [Deliver(2, Absent(ANNA, OPENER | 5))]
    assert made.channels == 0


def test_a_ping_is_answered_and_renews_a_reservation_that_runs_out() -> None:
    made = relay(ANNA)
    half = RESERVATION_S / 2

    assert made.heard(1, Ping(b"12345678"), now=1.0) == [Deliver(1, Pong(b"12345678"))]
    assert made.heard(1, Ping(b"12345678"), now=half) == [
        Deliver(1, Pong(b"12345678")),
        Reserve(1, half + RESERVATION_S),
    ]


def test_a_silent_guest_is_cut_off() -> None:
    made = relay(ANNA, BERT)
    made.heard(1, Ping(b"12345678"), now=50.0)

    assert made.deadline == SILENT_S
    assert made.tick(now=SILENT_S) == [Cut(2, "nothing was heard for 90 s")]
    assert made.deadline == 50.0 + SILENT_S


def test_a_guest_that_waits_for_its_quota_is_not_silent() -> None:
    made = with_channel(ANNA, BERT, limits=RelayLimits(rate=500.0, burst=0.0, total=1e9))
    made.heard(1, Data(BERT, OPENER | 5, FULL), now=40.0)
    assert made.heard(1, Ping(b"12345678"), now=40.0) == [Pause(1)]
    made.heard(2, Ping(b"12345678"), now=80.0)

    assert made.tick(now=40.0 + SILENT_S) == []
    assert made.guests == (ANNA, BERT)


def test_what_only_a_relay_says_a_guest_does_not_say() -> None:
    made = with_channel(ANNA, BERT)

    assert made.heard(1, Opened(BERT, 5), now=0.0) == [
        Cut(1, "a node says no Opened"),
        Deliver(2, Absent(ANNA, OPENER | 5)),
    ]


@pytest.mark.parametrize(
    ("message", "cost_bytes"),
    [
        (Data(BERT, OPENER | 5, FULL), PAYLOAD_BYTES_MAX + HEADER_BYTES),
        (Unknown(99, nbytes=60_000), 60_000),
        (Data(BERT, OPENER | 5, b"x"), MESSAGE_COST_BYTES),
        (Window(BERT, OPENER | 5, 1), MESSAGE_COST_BYTES),
        (Ping(b"12345678"), MESSAGE_COST_BYTES),
        (Open(BERT, OPENER | 6), OPEN_COST_BYTES),
        (Open(CARL, OPENER | 7), OPEN_COST_BYTES),
    ],
)
def test_whatever_is_work_for_others_counts_against_the_quota(
    message: Message, cost_bytes: int
) -> None:
    made = with_channel(ANNA, BERT, limits=RelayLimits(rate=2000.0, burst=0.0, total=1e9))
    made.heard(1, message, now=30.0)

    assert made.heard(1, Ping(b"12345678"), now=30.0) == [Pause(1)]
    assert made.deadline == 30.0 + cost_bytes / 2000.0


def test_a_kind_of_a_later_version_is_counted_and_passed_over() -> None:
    made = relay(ANNA)

    assert made.heard(1, Unknown(99, nbytes=60), now=0.0) == []
    assert made.counters["unknown_kind"] == 1


def test_the_relay_s_own_node_needs_no_place_and_has_no_quota() -> None:
    made = relay(ANNA, limits=RelayLimits(reservations=1, per_address=1, rate=1.0, burst=0.0))
    assert made.arrived(9, BERT, OWN, now=0.0) == [Reserve(9, RESERVATION_S)]

    made.heard(9, Open(ANNA, OPENER | 5), now=0.0)
    for _ in range(WINDOW_BYTES // PAYLOAD_BYTES_MAX):
        (effect,) = made.heard(9, Data(ANNA, OPENER | 5, FULL), now=0.0)
        assert isinstance(effect, Deliver)
    made.heard(1, Ping(b"12345678"), now=80.0)
    assert made.tick(now=SILENT_S) == []


def test_nothing_is_left_over_whatever_guests_do() -> None:
    dice = random.Random(7)
    made = Relaying(RelayLimits(rate=4e4, burst=2e4, total=8e4, reservations=3))
    nodes = [bytes([number]) * 32 for number in range(4)]
    here: dict[int, bytes] = {}
    paused: set[int] = set()
    now, number = 0.0, 0

    def follow(effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Cut(guest) | Refuse(guest):
                    here.pop(guest, None)
                    paused.discard(guest)
                case Pause(guest):
                    paused.add(guest)
                case Resume(guest):
                    paused.remove(guest)
                case Deliver(guest, _) | Reserve(guest, _):
                    assert guest in here

    for _ in range(5000):
        now += dice.expovariate(20.0)
        if dice.random() < 0.05:
            number += 1
            here[number] = dice.choice(nodes)
            follow(made.arrived(number, here[number], f"10.0.0.{dice.randint(1, 2)}", now))
        if speaking := [guest for guest in here if guest not in paused]:
            follow(made.heard(dice.choice(speaking), _anything(dice, nodes), now))
        if here and dice.random() < 0.02:
            gone = dice.choice([*here])
            del here[gone]
            paused.discard(gone)
            follow(made.gone(gone))
        follow(made.tick(now))
        assert len(here) == len(made.guests) <= 3
    assert min(made.counters[what] for what in ("forwarded", "closed", "paused", "absent")) > 10
    for guest in tuple(here):
        del here[guest]
        paused.discard(guest)
        follow(made.gone(guest))
    assert (made.guests, made.channels, made.deadline) == ((), 0, None)


def _anything(dice: random.Random, nodes: list[bytes]) -> Message:
    peer, channel = dice.choice(nodes), dice.randint(0, 1) | dice.choice((0, OPENER))
    made: list[Message] = [
        Open(peer, channel | OPENER),
        Data(peer, channel, bytes(dice.randint(1, 5000))),
        Data(peer, channel, bytes(dice.randint(1, 5000))),
        Window(peer, channel, dice.randint(1, 5000)),
        Close(peer, channel, ""),
        Ping(bytes(8)),
    ]
    return dice.choices(made, [4, 8, 8, 4, 1, 1])[0]
