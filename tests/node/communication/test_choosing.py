import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.partition import Block
from node.communication.choosing import (
    NEAR,
    RUN_SLACK,
    SECOND_CHANCE,
    choose,
    query,
)
from node.communication.scoring import Candidate, Cost, completion_s, shard_cost
from protocol.errors import ErrorCode, TaskError
from tests.node.communication.test_scoring import peer

MACS = 64 * 1024 * 1024
COST = Cost(request_bytes=256 * 1024, response_bytes=256 * 1024, macs=MACS)


def grid(rows: int, columns: int, *holders: str) -> dict[Block, tuple[str, ...]]:
    return {Block(row, column): holders for column in range(columns) for row in range(rows)}


def dealt(
    blocks: dict[Block, tuple[str, ...]],
    nodes: list[Candidate],
    cost: Cost = COST,
    *,
    transpose: bool = False,
    own: str | None = None,
) -> dict[str, list[Block]]:
    """By node, what each is given when every block costs the same."""
    return choose(query(blocks, nodes, dict.fromkeys(blocks, cost), transpose, own)).hands


def last_s(chosen: dict[str, list[Block]], candidates: list[Candidate]) -> float:
    costs = {block: COST for blocks in chosen.values() for block in blocks}
    by_node = {one.node: one for one in candidates}
    whole = {node: shard_cost(blocks, costs, False) for node, blocks in chosen.items()}
    return max(completion_s(by_node[node], cost).total_s for node, cost in whole.items())


def test_equal_holders_share_the_work_in_runs_of_neighbours() -> None:
    nodes = [peer("a"), peer("b")]
    blocks = grid(4, 4, "a", "b")

    chosen = dealt(blocks, nodes)

    order = list(blocks)
    assert chosen == {"a": order[:8], "b": order[8:]}


def test_a_relay_is_spared_what_a_holder_with_a_path_of_its_own_can_do() -> None:
    relayed, straight = peer("a", relayed=True), peer("b", speed_macs_s=0.5e9)
    heavy = Cost(request_bytes=64 * 1024 * 1024, response_bytes=1024, macs=MACS)

    assert list(dealt(grid(1, 1, "a", "b"), [relayed, straight], heavy)) == ["b"]
    assert list(dealt(grid(1, 1, "a", "b"), [peer("a"), straight], heavy)) == ["a"]
    assert list(dealt(grid(1, 1, "a", "b"), [relayed, straight])) == ["a"], "few bytes, same work"


def test_a_faster_holder_gets_more() -> None:
    nodes = [peer("a", speed_macs_s=3e9), peer("b", speed_macs_s=1e9)]
    blocks = grid(4, 4, "a", "b")

    chosen = dealt(blocks, nodes)

    assert 11 <= len(chosen["a"]) <= 13


def test_a_small_product_is_not_split() -> None:
    nodes = [peer("far", rtt_s=0.1), peer("me", rtt_s=0.0, bandwidth_bytes_s=float("inf"))]
    blocks = grid(2, 2, "far", "me")

    chosen = dealt(blocks, nodes, Cost(4096, 4096, 10**6))

    assert list(chosen) == ["me"]


def test_a_busy_holder_is_passed_over() -> None:
    nodes = [peer("a", queue_s=60.0), peer("b")]
    blocks = grid(2, 1, "a", "b")

    assert list(dealt(blocks, nodes)) == ["b"]


def test_blocks_that_nobody_reachable_holds_are_named_with_their_holders() -> None:
    blocks = {Block(0, 0): ("a",), Block(1, 0): ("lostnode1234", "lostnode5678"), Block(0, 1): ()}

    with pytest.raises(TaskError) as refused:
        dealt(blocks, [peer("a")])

    assert refused.value.code is ErrorCode.UNAVAILABLE
    assert "(1, 0) held by lostnode, lostnode; (0, 1) held by nobody" in str(refused.value)
    assert "start one of these nodes" in str(refused.value)
    assert "put the weights again" in str(refused.value)


def test_a_holder_that_has_not_loaded_its_own_blocks_is_told_what_it_lacks() -> None:
    blocks = {Block(0, 0): ("a",), Block(1, 0): ("here", "away")}

    with pytest.raises(TaskError) as refused:
        dealt(blocks, [peer("a")], own="here")

    assert "(1, 0) held by here (this node), away" in str(refused.value)
    assert "weights.not_loaded" in str(refused.value) and "--memory" in str(refused.value)
    assert "start one of these" not in str(refused.value)
    assert str(refused.value).endswith("; or start another of their holders")


def test_of_many_missing_blocks_only_some_are_named() -> None:
    blocks = grid(20, 20, "gone")

    with pytest.raises(TaskError, match="and 397 more"):
        dealt(blocks, [])


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

    chosen = dealt(blocks, nodes, transpose=transpose)

    given_out = [block for part in chosen.values() for block in part]
    assert sorted(given_out) == sorted(order)
    assert all(node in blocks[block] for node, part in chosen.items() for block in part)
    assert all(part == [block for block in order if block in part] for part in chosen.values())


@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.floats(5e8, 5e9), min_size=2, max_size=4))
def test_sharing_is_never_slower_than_one_node_alone(
    rows: int, columns: int, speeds: list[float]
) -> None:
    nodes = [peer(f"n{index}", speed_macs_s=speed) for index, speed in enumerate(speeds)]
    blocks = grid(rows, columns, *(node.node for node in nodes))

    chosen = dealt(blocks, nodes)

    alone = min(last_s({node.node: list(blocks)}, nodes) for node in nodes)
    assert last_s(chosen, nodes) <= alone * (1 + 1e-9)


def test_one_that_holds_all_does_a_small_product_whole_though_others_are_idle() -> None:
    nodes = [peer("all", rtt_s=0.05), peer("left", rtt_s=0.06), peer("right", rtt_s=0.04)]
    blocks = {Block(0, 0): ("left", "all"), Block(0, 1): ("right", "all")}

    small, large = (
        choose(query(blocks, nodes, dict.fromkeys(blocks, Cost(4096, 4096, macs))))
        for macs in (10**5, 10**9)
    )

    assert list(small.hands) == ["all"]
    assert len(large.hands) == 2
    alone = next(other for other in large.others if list(other.hands) == ["all"])
    assert large.option.last_s < 0.6 * alone.last_s


def test_dice_take_the_second_best_now_and_then_if_it_is_nearly_as_good() -> None:
    near, far = peer("b", rtt_s=0.0105), peer("c", rtt_s=0.5)
    blocks = grid(1, 1, "a", "b", "c")
    asked = query(blocks, [peer("a"), near, far], dict.fromkeys(blocks, Cost(0, 0, 10**6)))
    dice = random.Random(1)

    taken = Counter(next(iter(choose(asked, dice).hands)) for _ in range(2000))

    assert set(taken) == {"a", "b"}
    assert taken["b"] / 2000 == pytest.approx(SECOND_CHANCE, abs=0.05)
    assert choose(asked).option.last_s * NEAR < far.rtt_s


@given(st.integers(0, 1 << 30), st.lists(st.floats(5e8, 5e9), min_size=2, max_size=4))
def test_dice_never_cost_more_than_nearly_as_good_is_worth(seed: int, speeds: list[float]) -> None:
    nodes = [peer(f"n{index}", speed_macs_s=speed) for index, speed in enumerate(speeds)]
    asked = query(
        blocks := grid(3, 2, *(n.node for n in nodes)), nodes, dict.fromkeys(blocks, COST)
    )

    best_s = choose(asked).option.last_s
    taken_s = choose(asked, random.Random(seed)).option.last_s

    assert taken_s <= best_s * NEAR**2 * RUN_SLACK + COST.macs / min(speeds)


def test_estimates_are_told_of_who_was_not_chosen_too() -> None:
    blocks = grid(2, 1, "a", "b")
    nodes = [peer("a"), peer("b", queue_s=5.0)]

    deal = choose(query(blocks, nodes, dict.fromkeys(blocks, COST)))

    assert list(deal.hands) == ["a"]
    assert deal.estimates["b"].total_s > 5.0
    assert deal.estimates["a"].total_s == pytest.approx(deal.option.last_s)
