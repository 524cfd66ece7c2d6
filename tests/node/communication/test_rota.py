import random

from hypothesis import given
from hypothesis import strategies as st

from node.communication.rota import Rota
from protocol.ids import NodeId


def nodes(count: int) -> list[NodeId]:
    return [NodeId(f"n{number}") for number in range(count)]


def rota(count: int, seed: int = 1) -> Rota:
    made = Rota(random.Random(seed))
    made.restore(nodes(count))
    return made


def test_nobody_has_no_turn() -> None:
    assert rota(0).next() is None
    assert rota(0).sample(3) == []


def test_everybody_has_one_turn_in_each_round_in_another_order() -> None:
    turns = rota(50)

    first = [turns.next() for _ in range(50)]
    second = [turns.next() for _ in range(50)]

    assert sorted(first, key=str) == sorted(second, key=str) == sorted(nodes(50))
    assert first != second


def test_a_new_one_has_its_turn_within_the_round() -> None:
    turns = rota(10)
    turns.next()
    turns.add(NodeId("new"))

    assert NodeId("new") in [turns.next() for _ in range(10)]


def test_one_that_is_gone_has_no_turn_and_one_that_came_back_has_one() -> None:
    turns = rota(10)
    turns.remove(NodeId("n3"))
    turns.remove(NodeId("n4"))
    turns.add(NodeId("n3"))

    round_ = [turns.next() for _ in range(9)]
    assert sorted(map(str, round_)) == sorted(set(nodes(10)) - {"n4"})
    assert len(turns) == 9


def test_a_sample_is_of_different_nodes_without_the_one_to_avoid() -> None:
    turns = rota(20)
    turns.remove(NodeId("n1"))

    for _ in range(100):
        drawn = turns.sample(3, avoid=NodeId("n0"))
        assert len(set(drawn)) == 3
        assert not {"n0", "n1"} & set(drawn)


def test_a_small_mesh_is_sampled_whole() -> None:
    turns = rota(3)
    turns.remove(NodeId("n1"))

    assert turns.sample(3, avoid=NodeId("n0")) == ["n2"]


@given(
    st.lists(st.tuples(st.sampled_from("+-?"), st.integers(0, 12)), max_size=80),
    st.integers(0, 1000),
)
def test_whatever_comes_and_goes_a_round_is_a_round(
    steps: list[tuple[str, int]], seed: int
) -> None:
    turns, there = rota(0, seed), dict[NodeId, None]()
    for what, number in steps:
        node = NodeId(f"n{number}")
        if what == "+" and node not in there:
            there[node] = None
            turns.add(node)
        elif what == "-" and node in there:
            del there[node]
            turns.remove(node)
        elif what == "?":
            drawn = turns.next()
            assert drawn in there if there else drawn is None

    # A round under way is ended, then each has its turn once.
    drawn_twice = [turns.next() for _ in range(2 * len(there))]
    assert len(turns) == len(there)
    assert {one for one in drawn_twice if one is not None} == set(there)
