import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.partition import Block
from node.communication.scoring import (
    HEDGES_SAVED_MAX,
    SPEED_UNKNOWN_MACS_S,
    Candidate,
    Cost,
    Estimate,
    HedgeBudget,
    Pace,
    completion_s,
    guessed,
    hedge_after_s,
    shard_cost,
)


def peer(
    node: str,
    *,
    rtt_s: float = 0.010,
    bandwidth_bytes_s: float = 100e6,
    queue_s: float = 0.0,
    speed_macs_s: float = 1e9,
    reliability: float = 1.0,
    relayed: bool = False,
) -> Candidate:
    return Candidate(
        node, rtt_s, bandwidth_bytes_s, queue_s, speed_macs_s, reliability, relayed=relayed
    )


def test_an_estimate_names_every_cause_of_waiting() -> None:
    candidate = peer("a", queue_s=0.3, reliability=0.9)

    estimate = completion_s(candidate, Cost(1_000_000, 1_000_000, 10**8))

    assert (estimate.rtt_s, estimate.transfer_s, estimate.service_s) == (0.010, 0.02, 0.1)
    assert estimate.queue_s == pytest.approx(0.3 - 0.010), "the queue moves on while X travels"
    assert estimate.risk_s == pytest.approx(0.1 * 1.42)
    assert estimate.total_s == pytest.approx(0.42 + 0.142)


def test_what_was_not_measured_is_assumed() -> None:
    unknown = peer("a", bandwidth_bytes_s=0.0, speed_macs_s=0.0)

    estimate = completion_s(unknown, Cost(25_000_000, 0, 2 * 10**9))

    assert (estimate.transfer_s, estimate.service_s) == (2.0, 1.0)
    assert estimate.assumed_s == 3.0 and estimate.known_s == pytest.approx(0.010)


def test_who_was_never_measured_is_taken_to_be_like_the_others() -> None:
    here = peer("a", speed_macs_s=1e9, bandwidth_bytes_s=float("inf"))
    known = peer("b", speed_macs_s=4e9, bandwidth_bytes_s=1e6)

    *_, unknown = guessed([here, known, peer("c", speed_macs_s=0.0, bandwidth_bytes_s=0.0)])

    assert (unknown.speed_macs_s, unknown.bandwidth_bytes_s) == (0.0, 0.0)
    assert unknown.guess_macs_s == pytest.approx(2e9)
    assert unknown.guess_bytes_s == pytest.approx(1e6)
    assert completion_s(unknown, Cost(10**6, 0, 4 * 10**9)).assumed_s == pytest.approx(3.0)
    assert guessed([here, known]) == [here, known]
    assert guessed([peer("c", speed_macs_s=0.0)])[0].guess_macs_s == SPEED_UNKNOWN_MACS_S


def test_what_a_relay_carries_counts_threefold_and_takes_no_longer_for_it() -> None:
    cost = Cost(1_000_000, 1_000_000, 10**8)
    straight, relayed = completion_s(peer("a"), cost), completion_s(peer("a", relayed=True), cost)

    assert straight.cost_s == straight.total_s
    assert relayed.cost_s == pytest.approx(straight.cost_s + 2 * straight.transfer_s)
    assert relayed.total_s == straight.total_s, "a deadline is met or missed by the clock"
    assert relayed.known_s == straight.known_s


def test_a_node_sends_itself_nothing() -> None:
    here = peer("me", rtt_s=0.0, bandwidth_bytes_s=float("inf"))

    assert completion_s(here, Cost(10**9, 10**9, 10**9)).total_s == 1.0


def test_shared_inputs_and_summed_outputs_travel_once() -> None:
    blocks = [Block(0, 0), Block(1, 0), Block(0, 1)]
    costs = {block: Cost(10, 100, 1000) for block in blocks}

    assert shard_cost(blocks, costs, transpose=False) == Cost(20, 200, 3000)
    tall = [Block(0, 0), Block(1, 0), Block(2, 0)]
    costs = {block: Cost(10, 100, 1000) for block in tall}
    assert shard_cost(tall, costs, transpose=False) == Cost(30, 100, 3000)
    assert shard_cost(tall, costs, transpose=True) == Cost(10, 300, 3000)


def test_a_hedge_goes_out_at_the_tail_of_what_the_peer_usually_takes() -> None:
    estimate = Estimate(rtt_s=0.1, transfer_s=0.0, queue_s=0.0, service_s=0.1, risk_s=0.0)

    assert hedge_after_s(1.5, estimate) == pytest.approx(0.3)
    assert hedge_after_s(None, estimate) == pytest.approx(0.6)
    assert hedge_after_s(0.01, estimate) == 0.02


def test_one_request_in_twenty_may_be_asked_twice() -> None:
    budget = HedgeBudget()
    hedges = 0
    for _ in range(2000):
        budget.requested()
        hedges += budget.take()

    assert 99 <= hedges <= 101


def test_a_quiet_time_saves_up_a_bounded_number_of_hedges() -> None:
    budget = HedgeBudget()
    for _ in range(100_000):
        budget.requested()

    assert [budget.take() for _ in range(10)].count(True) == HEDGES_SAVED_MAX


@given(
    st.floats(0, 10),
    st.floats(0, 2),
    st.floats(1e4, 1e9),
    st.integers(0, 1 << 30),
    st.integers(0, 1 << 40),
    st.booleans(),
)
def test_the_quick_sum_is_the_sum_of_the_terms(
    queue_s: float, rtt_s: float, bandwidth: float, nbytes: int, macs: int, relayed: bool
) -> None:
    candidate = peer(
        "a",
        queue_s=queue_s,
        rtt_s=rtt_s,
        bandwidth_bytes_s=bandwidth,
        reliability=0.9,
        relayed=relayed,
    )

    cost_s = completion_s(candidate, Cost(nbytes, 2 * nbytes, macs)).cost_s

    assert Pace(candidate).done_s(nbytes, 2 * nbytes, macs) == pytest.approx(cost_s)
