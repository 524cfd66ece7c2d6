import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.runtime.virtual.network import (
    Conditions,
    Network,
    Port,
    by_distance,
    next_retry_at,
    retried_s,
    spread,
)

A, B, C = (Port(index, 1e6, 1e6) for index in range(3))
INDEX = st.integers(0, 100_000)


def network(**conditions: float) -> Network:
    return Network(Conditions(**conditions), random.Random(1))


# -- delays ------------------------------------------------------------------------------------------


@given(INDEX, INDEX, st.integers(0, 2**64))
def test_a_pairs_delay_is_within_its_range_and_the_same_both_ways(
    one: int, other: int, seed: int
) -> None:
    delays = spread(0.01, 0.1, seed)

    assert 0.01 <= delays(one, other) <= 0.1
    assert delays(one, other) == delays(other, one)


def test_delays_of_pairs_fill_their_range() -> None:
    delays = spread(0.0, 1.0, 7)
    drawn = [delays(one, other) for one in range(100) for other in range(one)]

    assert sum(drawn) / len(drawn) == pytest.approx(0.5, abs=0.02)
    assert sum(delay < 0.1 for delay in drawn) / len(drawn) == pytest.approx(0.1, abs=0.02)


def test_delays_may_follow_from_places() -> None:
    delays = by_distance([(0.0, 0.0), (3.0, 4.0)], [0.01, 0.02], speed=50.0)

    assert delays(0, 1) == pytest.approx(0.01 + 0.02 + 5.0 / 50.0)


def test_jitter_moves_each_message_by_at_most_its_share() -> None:
    ways = network(delay_s=0.1, jitter=0.2)
    drawn = [ways.delay_s(A, B) for _ in range(1000)]

    assert min(drawn) == pytest.approx(0.08, abs=0.001)
    assert max(drawn) == pytest.approx(0.12, abs=0.001)


# -- packets -----------------------------------------------------------------------------------------


def test_packets_are_lost_and_doubled_as_often_as_is_said() -> None:
    ways = network(loss=0.2, doubled=0.1)
    arrivals = [len(ways.packet_delays(A, B)) for _ in range(20_000)]

    assert arrivals.count(0) / 20_000 == pytest.approx(0.2, abs=0.01)
    assert arrivals.count(2) / 20_000 == pytest.approx(0.8 * 0.1, abs=0.01)


def test_packets_that_are_held_back_are_overtaken() -> None:
    ways = network(delay_s=0.01, jitter=0.0, held=0.5, held_s=1.0)
    late = [ways.packet_delays(A, B)[0] > 0.01 for _ in range(1000)]

    assert sum(late) / 1000 == pytest.approx(0.5, abs=0.05)


def test_shares_that_make_no_sense_are_refused() -> None:
    with pytest.raises(AssertionError, match="share of packets"):
        Conditions(loss=1.0)


# -- links -------------------------------------------------------------------------------------------


def test_segments_are_late_by_their_retransmissions() -> None:
    ways = network(loss=0.3)
    late = [ways.segments_s(100) for _ in range(20_000)]

    assert sum(one == 0.0 for one in late) / 20_000 == pytest.approx(0.7, abs=0.01)
    assert sum(one == 0.2 for one in late) / 20_000 == pytest.approx(0.3 * 0.7, abs=0.01)
    assert sum(one == pytest.approx(0.6) for one in late) / 20_000 == pytest.approx(
        0.3**2 * 0.7, abs=0.01
    )


def test_of_many_segments_the_unluckiest_counts() -> None:
    ways = network(loss=0.1)
    late = [ways.segments_s(140_000) for _ in range(2000)]

    # All of a hundred at once: 0.9^100.
    assert sum(one == 0.0 for one in late) < 5
    assert sum(one <= 0.2 for one in late) / 2000 == pytest.approx(0.99**100, abs=0.04)


def test_without_losses_nothing_is_retransmitted_and_no_dice_are_thrown() -> None:
    ways = network(jitter=0.0)

    assert ways.segments_s(1 << 30) == 0.0


@given(st.floats(0.0, 1000.0), st.floats(0.0, 500.0))
def test_what_waits_is_tried_again_at_one_of_its_retries(first_at: float, waited_s: float) -> None:
    at = next_retry_at(first_at, first_at + waited_s)

    retries = [first_at + retried_s(count) for count in range(16)]
    assert at >= first_at + waited_s
    assert any(at == pytest.approx(retry) for retry in retries)


# -- ways --------------------------------------------------------------------------------------------


def test_a_cut_has_a_direction_and_a_partition_has_none() -> None:
    ways = network()
    ways.cut([(0, 1)])
    assert ways.is_cut(A, B) and not ways.is_cut(B, A) and not ways.is_cut(A, C)

    ways.mend([(0, 1)])
    assert not ways.is_cut(A, B)

    C.side = 1
    ways.part()
    assert ways.is_cut(A, C) and ways.is_cut(C, B) and not ways.is_cut(A, B)
    ways.mend_all()
    assert not ways.is_cut(A, C)


# -- bandwidth ---------------------------------------------------------------------------------------


def test_a_port_sends_one_body_after_another_and_small_things_between_them() -> None:
    port = Port(0, up_bytes_s=1e6, down_bytes_s=2e6)

    assert port.send(500_000, now=0.0) == 0.5
    assert port.send(500_000, now=0.1) == 1.0
    assert port.send(1000, now=0.2) == pytest.approx(0.201)
    # What was small has taken its bytes from what is large.
    assert port.send(500_000, now=0.3) == pytest.approx(1.501)
    assert port.receive(1_000_000, now=0.0) == 0.5


def test_without_a_bandwidth_nothing_waits() -> None:
    port = Port(0, up_bytes_s=float("inf"), down_bytes_s=float("inf"))

    assert port.send(1 << 40, now=3.0) == port.receive(1 << 40, now=3.0) == 3.0
