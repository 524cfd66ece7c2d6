from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute.partition import Block, BlockGrid
from node.deployment.placement import BlockUnit, Capacity, Placement, nearest_fit, place
from protocol.errors import ErrorCode, TaskError

MIB = 1024 * 1024


def units_of(rows: int, columns: int) -> list[BlockUnit]:
    grid = BlockGrid(rows, columns)
    return [BlockUnit(block, grid.payload_bytes(block)) for block in grid.blocks()]


def column_of(sizes: list[int]) -> list[BlockUnit]:
    return [BlockUnit(Block(row, 0), size) for row, size in enumerate(sizes)]


def fleet(*free: int) -> list[Capacity]:
    return [Capacity(f"n{index}", nbytes) for index, nbytes in enumerate(free)]


def check(
    placement: Placement, units: list[BlockUnit], nodes: list[Capacity], replicas: int
) -> None:
    assert set(placement.holders) == {unit.block for unit in units}
    assert all(len(set(held)) == len(held) == replicas for held in placement.holders.values())
    size = {unit.block: unit.resident_bytes for unit in units}
    for node in nodes:
        taken = sum(size[block] for block in placement.of(node.node))
        assert taken <= max(node.free_bytes, 0)


def fits_by_brute_force(sizes: list[int], free: list[int], replicas: int) -> bool:
    ways = list(combinations(range(len(free)), replicas))
    for choice in product(ways, repeat=len(sizes)):
        taken = [0] * len(free)
        for size, nodes in zip(sizes, choice, strict=True):
            for node in nodes:
                taken[node] += size
        if all(t <= f for t, f in zip(taken, free, strict=True)):
            return True
    return False


def test_blocks_are_dealt_in_proportion_and_in_runs() -> None:
    placement = place(units_of(4096, 2048), fleet(20 * MIB, 60 * MIB), replicas=1)

    assert placement.of("n0") == [Block(0, 0), Block(1, 0)]
    assert placement.of("n1") == [
        *(Block(2, 0), Block(3, 0)),
        *(Block(0, 1), Block(1, 1), Block(2, 1), Block(3, 1)),
    ]


def test_two_replicas_lie_on_two_nodes_even_where_one_node_has_most_of_the_room() -> None:
    units = units_of(4096, 1024)
    nodes = fleet(1000 * MIB, 8 * MIB, 8 * MIB)

    placement = place(units, nodes, replicas=2)

    check(placement, units, nodes, 2)
    assert len(placement.of("n0")) == 4


def test_the_demo_matrix_fits_twice_on_its_four_nodes_but_not_once_on_the_largest() -> None:
    units = units_of(9216, 4608)
    nodes = fleet(76 * MIB, 92 * MIB, 108 * MIB, 124 * MIB)

    check(place(units, nodes, replicas=2), units, nodes, 2)
    with pytest.raises(TaskError) as refused:
        place(units, nodes[3:], replicas=1)
    info = refused.value.info
    assert info.code is ErrorCode.NO_ROOM
    assert (info.need, info.free, info.nearest_fit) == (162 * MIB, 124 * MIB, 120 * MIB)


def test_more_replicas_than_nodes_is_refused_with_what_to_ask_for() -> None:
    with pytest.raises(TaskError, match="replicas=1") as refused:
        place(units_of(1024, 1024), fleet(100 * MIB), replicas=2)
    assert refused.value.code is ErrorCode.NO_ROOM
    assert refused.value.info.nearest_fit == 0


@pytest.mark.parametrize("replicas", [0, -1, 17])
def test_an_impossible_number_of_replicas_is_bad_input(replicas: int) -> None:
    with pytest.raises(TaskError, match="from 1 to 16") as refused:
        place(units_of(1024, 1024), fleet(100 * MIB), replicas)
    assert refused.value.code is ErrorCode.BAD_REQUEST


def test_small_blocks_at_the_edge_fill_what_whole_blocks_leave() -> None:
    units = column_of([4, 4, 1, 1])
    nodes = fleet(5, 5)

    check(place(units, nodes, replicas=1), units, nodes, 1)


def test_room_that_only_an_odd_packing_uses_is_found() -> None:
    units = column_of([6, 5, 5, 4, 4, 3, 3])
    nodes = fleet(15, 15)

    check(place(units, nodes, replicas=1), units, nodes, 1)


def test_a_node_over_its_budget_counts_as_full() -> None:
    units = units_of(2048, 1024)
    nodes = fleet(-50 * MIB, 8 * MIB)

    check(place(units, nodes, replicas=1), units, nodes, 1)


def test_a_large_fleet_and_a_hopeless_request_are_refused_soon() -> None:
    nodes = fleet(*([5] * 60))

    with pytest.raises(TaskError):
        place(column_of([4] * 23 + [6]), nodes, replicas=12)


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=5)
rooms = st.lists(st.integers(-2, 20), min_size=1, max_size=3)


@settings(max_examples=200)
@given(sizes, rooms, st.integers(1, 3))
def test_on_small_cases_it_places_exactly_what_can_be_placed(
    sizes: list[int], free: list[int], replicas: int
) -> None:
    units, nodes = column_of(sizes), fleet(*free)

    if fits_by_brute_force(sizes, [max(f, 0) for f in free], replicas):
        check(place(units, nodes, replicas), units, nodes, replicas)
    else:
        with pytest.raises(TaskError):
            place(units, nodes, replicas)


@given(
    st.integers(1, 60), st.lists(st.integers(0, 300), min_size=1, max_size=12), st.integers(1, 4)
)
def test_equal_blocks_fit_exactly_when_the_nodes_can_hold_them_all_on_distinct_nodes(
    blocks: int, free: list[int], replicas: int
) -> None:
    units, nodes = column_of([7] * blocks), fleet(*free)
    fits = sum(min(nbytes // 7, blocks) for nbytes in free) >= replicas * blocks

    if fits:
        check(place(units, nodes, replicas), units, nodes, replicas)
    else:
        with pytest.raises(TaskError):
            place(units, nodes, replicas)


@given(
    st.integers(1, 200), st.lists(st.integers(1, 50), min_size=4, max_size=12), st.integers(1, 4)
)
def test_every_node_is_within_one_block_of_its_share_where_room_allows(
    blocks: int, weights: list[int], replicas: int
) -> None:
    free = [weight * 10_000 for weight in weights]
    quotas = [replicas * blocks * nbytes / sum(free) for nbytes in free]
    placement = place(column_of([10] * blocks), fleet(*free), replicas)

    if max(quotas) <= blocks:
        for index, quota in enumerate(quotas):
            assert abs(len(placement.of(f"n{index}")) - quota) < 1


@given(st.data(), st.integers(1, 3))
def test_the_order_of_what_is_given_does_not_matter(data: st.DataObject, replicas: int) -> None:
    units, nodes = units_of(5000, 3000), fleet(30 * MIB, 50 * MIB, 90 * MIB, 61 * MIB)
    shuffled = data.draw(st.permutations(units)), data.draw(st.permutations(nodes))

    expected = place(units, nodes, replicas)
    assert place(*shuffled, replicas) == expected
    assert list(place(*shuffled, replicas).holders) == list(expected.holders)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=8), st.integers(1, 4))
def test_the_nearest_fit_fits_and_one_block_more_does_not(free: list[int], replicas: int) -> None:
    nodes = fleet(*free)
    fit = nearest_fit(nodes, unit_payload=7, unit_resident=14, replicas=replicas)

    def try_blocks(sizes: list[int]) -> Placement:
        return place(column_of(sizes), nodes, replicas)

    if fit >= 7:
        try_blocks([14] * (fit // 7))
    elif fit > 0:
        try_blocks([2 * fit])
    with pytest.raises(TaskError):
        try_blocks([14] * (fit // 7 + 1))


def test_sixty_five_thousand_blocks_are_placed() -> None:
    units = [BlockUnit(Block(at % 256, at // 256), 4 * MIB) for at in range(1 << 16)]
    nodes = fleet(*(gib * 1024 * MIB for gib in range(16, 48)))

    check(place(units, nodes, replicas=2), units, nodes, 2)
