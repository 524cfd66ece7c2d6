import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.communication.outstanding import Outstanding, Sent

work = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 1 << 40)))


def part(at: float, work_s: float = 1.0, macs: int = 1) -> Sent:
    return Sent(at, macs, work_s, due_at=at + 100.0)


def queue_s(
    sent: Outstanding, now: float, *, told_s: float = 0.0, told_at: float = 0.0, rtt_s: float = 0.0
) -> float:
    return sent.queue_s("a", now, told_s=told_s, told_at=told_at, rtt_s=rtt_s)


def test_what_was_sent_counts_until_its_answer() -> None:
    outstanding = Outstanding()
    outstanding.started("a", 1, part(0.0, macs=100))
    outstanding.started("a", 2, part(0.0, macs=20))
    outstanding.started("b", 3, part(0.0, macs=3))

    outstanding.ended("a", 1)

    assert [outstanding.macs(node) for node in "abc"] == [20, 3, 0]
    assert [outstanding.count(node) for node in "abc"] == [1, 1, 0]


@given(work, st.randoms(use_true_random=False))
def test_nothing_is_left_when_all_has_ended_in_any_order(
    sent: list[tuple[str, int]], dice: random.Random
) -> None:
    outstanding = Outstanding()
    for number, (node, macs) in enumerate(sent):
        outstanding.started(node, number, part(0.0, macs=macs))

    order = list(enumerate(sent))
    dice.shuffle(order)
    for number, (node, _) in order:
        outstanding.ended(node, number)

    assert not any(outstanding.count(node) for node in "abc")


def test_a_queue_that_was_told_is_worked_off() -> None:
    assert queue_s(Outstanding(), 1.0, told_s=3.0) == 2.0
    assert queue_s(Outstanding(), 9.0, told_s=3.0) == 0.0


def test_what_was_sent_after_a_report_comes_on_top_and_is_worked_off_too() -> None:
    outstanding = Outstanding()
    outstanding.started("a", 1, part(2.0, work_s=5.0))

    assert queue_s(outstanding, 2.0, told_s=3.0) == 6.0
    assert queue_s(outstanding, 4.0, told_s=3.0) == 4.0
    assert queue_s(outstanding, 4.0, told_s=0.5) == 3.0, "it was idle before our part came"


def test_what_a_report_contains_is_not_counted_twice() -> None:
    outstanding = Outstanding()
    outstanding.started("a", 1, part(1.0, work_s=5.0))

    assert queue_s(outstanding, 2.0, told_s=4.5, told_at=1.5) == 4.0
    # Heard at 1.5 it was told at 1.4; what was sent at 1.35 came later.
    outstanding.started("a", 2, part(1.35, work_s=1.0))
    assert queue_s(outstanding, 2.0, told_s=4.5, told_at=1.5, rtt_s=0.2) == pytest.approx(4.8)


def test_the_way_there_is_time_in_which_the_queue_moves_on() -> None:
    assert queue_s(Outstanding(), 1.0, told_s=3.0, told_at=1.0, rtt_s=0.4) == pytest.approx(2.6)


def test_who_is_late_is_believed_to_stay_late_for_as_long_again() -> None:
    outstanding = Outstanding()
    outstanding.started("a", 1, Sent(0.0, 1, work_s=1.0, due_at=1.0))

    assert queue_s(outstanding, 1.5, told_at=-1.0) == 0.5
    assert queue_s(outstanding, 4.0, told_at=-1.0) == 3.0
    outstanding.ended("a", 1)
    assert queue_s(outstanding, 4.0, told_at=-1.0) == 0.0


@given(
    st.floats(0, 10),
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 5)), max_size=10),
    st.floats(0, 1),
)
def test_a_queue_is_never_more_than_all_that_was_told_and_sent(
    told_s: float, sent: list[tuple[float, float]], rtt_s: float
) -> None:
    outstanding = Outstanding()
    for number, (at, work_s) in enumerate(sorted(sent)):
        outstanding.started("a", number, part(at, work_s))

    found = queue_s(outstanding, 10.0, told_s=told_s, rtt_s=rtt_s)

    assert 0.0 <= found <= told_s + sum(work_s for _, work_s in sent) + 1e-9
