import random

from hypothesis import given
from hypothesis import strategies as st

from node.communication.outstanding import Outstanding

work = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 1 << 40)))


def test_what_was_sent_counts_until_its_answer() -> None:
    outstanding = Outstanding()
    outstanding.started("a", 100)
    outstanding.started("a", 20)
    outstanding.started("b", 3)

    outstanding.ended("a", 100)

    assert [outstanding.macs(node) for node in "abc"] == [20, 3, 0]


@given(work, st.randoms(use_true_random=False))
def test_nothing_is_left_when_all_has_ended_in_any_order(
    sent: list[tuple[str, int]], dice: random.Random
) -> None:
    outstanding = Outstanding()
    for node, macs in sent:
        outstanding.started(node, macs)

    dice.shuffle(sent)
    for node, macs in sent:
        outstanding.ended(node, macs)

    assert not any(outstanding.macs(node) for node in "abc")
