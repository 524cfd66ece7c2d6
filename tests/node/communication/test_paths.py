import pytest

from node.communication.paths import (
    BLOCKED_MIN,
    SAVED_MAX,
    TIMEOUT_MAX_S,
    TIMEOUT_MIN_S,
    TIMEOUT_UNKNOWN_S,
    UDP_RETRY_S,
    Paths,
)
from protocol.ids import NodeId

A, B = NodeId("a"), NodeId("b")


def test_an_unknown_way_is_given_a_quarter_of_a_second() -> None:
    paths = Paths()

    assert paths.timeout_s(A) == TIMEOUT_UNKNOWN_S
    assert paths.rtt_s(A) is None


def test_a_steady_way_is_given_little_more_than_it_takes() -> None:
    paths = Paths()
    for _ in range(100):
        paths.measured(A, 0.2)

    assert paths.rtt_s(A) == pytest.approx(0.2)
    assert paths.timeout_s(A) == pytest.approx(0.2, rel=0.01)


def test_a_way_that_varies_is_given_four_deviations_more() -> None:
    paths = Paths()
    for number in range(400):
        paths.measured(A, 0.1 if number % 2 else 0.3)

    assert paths.timeout_s(A) == pytest.approx(0.2 + 4 * 0.1, rel=0.1)


def test_timeouts_have_a_floor_and_a_ceiling() -> None:
    paths = Paths()
    for _ in range(50):
        paths.measured(A, 0.0001)
        paths.measured(B, 30.0)

    assert paths.timeout_s(A) == TIMEOUT_MIN_S
    assert paths.timeout_s(B) == TIMEOUT_MAX_S


def test_where_udp_never_passed_and_a_link_does_packets_take_the_link() -> None:
    paths = Paths()
    assert not paths.takes_link(A)

    paths.saved_by_link(A, now=0.0)

    assert paths.takes_link(A)
    assert not paths.tries_udp(A, now=1.0)


def test_udp_is_tried_again_once_a_minute_and_taken_when_it_passes() -> None:
    paths = Paths()
    paths.saved_by_link(A, now=0.0)
    paths.saved_by_link(A, now=UDP_RETRY_S / 2)

    assert paths.tries_udp(A, now=UDP_RETRY_S)
    assert not paths.tries_udp(A, now=UDP_RETRY_S + 1.0)
    paths.measured(A, 0.05)
    assert not paths.takes_link(A)
    assert paths.tries_udp(A, now=UDP_RETRY_S + 1.0)


def test_where_udp_has_passed_it_takes_several_failures_to_give_it_up() -> None:
    paths = Paths()
    paths.measured(A, 0.05)

    for number in range(SAVED_MAX):
        assert not paths.takes_link(A), number
        paths.saved_by_link(A, now=float(number))
    assert paths.takes_link(A)


def test_once_udp_passes_to_nobody_all_packets_take_links_until_it_does() -> None:
    paths = Paths()
    for number in range(BLOCKED_MIN):
        assert not paths.takes_link(B)
        paths.saved_by_link(NodeId(f"n{number}"), now=0.0)

    assert paths.takes_link(B)
    assert paths.tries_udp(B, now=1.0)
    assert not paths.tries_udp(B, now=2.0)
    paths.measured(A, 0.05)
    assert not paths.takes_link(NodeId("c"))


def test_a_dead_peer_is_timed_anew_but_still_looked_for_by_the_way_that_passed() -> None:
    paths = Paths()
    paths.measured(A, 0.05)
    paths.saved_by_link(B, now=0.0)

    paths.lost(A)
    paths.lost(B)
    assert (paths.rtt_s(A), paths.takes_link(B)) == (None, True)
    paths.forget(B)
    assert not paths.takes_link(B)
