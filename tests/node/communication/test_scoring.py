import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.partition import Block
from node.communication.scoring import (
    HEDGES_SAVED_MAX,
    Candidate,
    Cost,
    Estimate,
    HedgeBudget,
    choose_holders,
    completion_s,
    hedge_after_s,
    shard_cost,
)
from protocol.errors import ErrorCode, TaskError

MACS = 64 * 1024 * 1024
COST = Cost(request_bytes=256 * 1024, response_bytes=256 * 1024, macs=MACS)


def peer(
    node: str,
    *,
    rtt_s: float = 0.010,
    bandwidth_bytes_s: float = 100e6,
    queue_s: float = 0.0,
    speed_macs_s: float = 1e9,
    reliability: float = 1.0,
) -> Candidate:
    return Candidate(node, rtt_s, bandwidth_bytes_s, queue_s, speed_macs_s, reliability)


def grid(rows: int, columns: int, *holders: str) -> dict[Block, tuple[str, ...]]:
    return {Block(row, column): holders for column in range(columns) for row in range(rows)}


def last_s(chosen: dict[str, list[Block]], candidates: list[Candidate]) -> float:
    costs = {block: COST for blocks in chosen.values() for block in blocks}
    by_node = {one.node: one for one in candidates}
    whole = {node: shard_cost(blocks, costs, False) for node, blocks in chosen.items()}
    return max(
        completion_s(by_node[node], cost.request_bytes, cost.response_bytes, cost.macs).total_s
        for node, cost in whole.items()
    )


def test_an_estimate_names_every_cause_of_waiting() -> None:
    candidate = peer("a", queue_s=0.3, reliability=0.9)

    estimate = completion_s(candidate, 1_000_000, 1_000_000, 10**8)

    assert (estimate.rtt_s, estimate.transfer_s, estimate.service_s) == (0.010, 0.02, 0.1)
    assert estimate.queue_s == pytest.approx(0.3)
    assert estimate.risk_s == pytest.approx(0.1 * 1.43)
    assert estimate.total_s == pytest.approx(0.43 + 0.143)


def test_what_was_not_measured_is_assumed() -> None:
    unknown = peer("a", bandwidth_bytes_s=0.0, speed_macs_s=0.0)

    estimate = completion_s(unknown, 25_000_000, 0, 2 * 10**9)

    assert (estimate.transfer_s, estimate.service_s) == (2.0, 1.0)


def test_a_node_sends_itself_nothing() -> None:
    here = peer("me", rtt_s=0.0, bandwidth_bytes_s=float("inf"))

    assert completion_s(here, 10**9, 10**9, 10**9).total_s == 1.0


def test_shared_inputs_and_summed_outputs_travel_once() -> None:
    blocks = [Block(0, 0), Block(1, 0), Block(0, 1)]
    costs = {block: Cost(10, 100, 1000) for block in blocks}

    assert shard_cost(blocks, costs, transpose=False) == Cost(20, 200, 3000)
    tall = [Block(0, 0), Block(1, 0), Block(2, 0)]
    costs = {block: Cost(10, 100, 1000) for block in tall}
    assert shard_cost(tall, costs, transpose=False) == Cost(30, 100, 3000)
    assert shard_cost(tall, costs, transpose=True) == Cost(10, 300, 3000)


def test_equal_holders_share_the_work_in_runs_of_neighbours() -> None:
    nodes = [peer("a"), peer("b")]
    blocks = grid(4, 4, "a", "b")

    chosen = choose_holders(blocks, nodes, dict.fromkeys(blocks, COST))

    order = list(blocks)
    assert chosen == {"a": order[:8], "b": order[8:]}


def test_a_faster_holder_gets_more() -> None:
    nodes = [peer("a", speed_macs_s=3e9), peer("b", speed_macs_s=1e9)]
    blocks = grid(4, 4, "a", "b")

    chosen = choose_holders(blocks, nodes, dict.fromkeys(blocks, COST))

    assert 11 <= len(chosen["a"]) <= 13


def test_a_small_product_is_not_split() -> None:
    nodes = [peer("far", rtt_s=0.1), peer("me", rtt_s=0.0, bandwidth_bytes_s=float("inf"))]
    blocks = grid(2, 2, "far", "me")

    chosen = choose_holders(blocks, nodes, dict.fromkeys(blocks, Cost(4096, 4096, 10**6)))

    assert list(chosen) == ["me"]


def test_a_busy_holder_is_passed_over() -> None:
    nodes = [peer("a", queue_s=60.0), peer("b")]
    blocks = grid(2, 1, "a", "b")

    assert list(choose_holders(blocks, nodes, dict.fromkeys(blocks, COST))) == ["b"]


def test_blocks_that_nobody_reachable_holds_are_named_with_their_holders() -> None:
    blocks = {Block(0, 0): ("a",), Block(1, 0): ("lostnode1234", "lostnode5678"), Block(0, 1): ()}

    with pytest.raises(TaskError) as refused:
        choose_holders(blocks, [peer("a")], dict.fromkeys(blocks, COST))

    assert refused.value.code is ErrorCode.UNAVAILABLE
    assert "(1, 0) held by lostnode, lostnode; (0, 1) held by nobody" in str(refused.value)
    assert "start one of these nodes" in str(refused.value)
    assert "put the weights again" in str(refused.value)


def test_a_holder_that_has_not_loaded_its_own_blocks_is_told_what_it_lacks() -> None:
    blocks = {Block(0, 0): ("a",), Block(1, 0): ("here", "away")}

    with pytest.raises(TaskError) as refused:
        choose_holders(blocks, [peer("a")], dict.fromkeys(blocks, COST), own="here")

    assert "(1, 0) held by here (this node), away" in str(refused.value)
    assert "weights.not_loaded" in str(refused.value) and "--memory" in str(refused.value)
    assert "start one of these" not in str(refused.value)
    assert str(refused.value).endswith("; or start another of their holders")


def test_of_many_missing_blocks_only_some_are_named() -> None:
    blocks = grid(20, 20, "gone")

    with pytest.raises(TaskError, match="and 397 more"):
        choose_holders(blocks, [], dict.fromkeys(blocks, COST))


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.lists(st.floats(1e8, 1e10), min_size=1, max_size=4),
    st.booleans(),
)
def test_every_block_goes_to_exactly_one_of_its_holders(
    rows: int, columns: int, speeds: list[float], transpose: bool
) -> None:
    nodes = [peer(f"n{index}", speed_macs_s=speed) for index, speed in enumerate(speeds)]
    names = [node.node for node in nodes]
    order = list(grid(rows, columns))
    blocks = {
        block: tuple(names[(at + k) % len(names)] for k in range(min(2, len(names))))
        for at, block in enumerate(order)
    }

    chosen = choose_holders(blocks, nodes, dict.fromkeys(blocks, COST), transpose)

    given_out = [block for part in chosen.values() for block in part]
    assert sorted(given_out) == sorted(order)
    assert all(node in blocks[block] for node, part in chosen.items() for block in part)
    assert all(part == [block for block in order if block in part] for part in chosen.values())


@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.floats(5e8, 5e9), min_size=2, max_size=4))
def test_sharing_is_never_much_slower_than_one_node_alone(
    rows: int, columns: int, speeds: list[float]
) -> None:
    nodes = [peer(f"n{index}", speed_macs_s=speed) for index, speed in enumerate(speeds)]
    blocks = grid(rows, columns, *(node.node for node in nodes))

    chosen = choose_holders(blocks, nodes, dict.fromkeys(blocks, COST))

    alone = min(last_s({node.node: list(blocks)}, nodes) for node in nodes)
    assert last_s(chosen, nodes) <= alone * 1.05 + 1e-9


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
