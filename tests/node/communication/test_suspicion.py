import pytest

from node.communication.suspicion import CONFIRMATIONS, MAX_TO_MIN, MULTIPLE, Suspicion
from protocol.ids import NodeId

A, B, C, D = (NodeId(name) for name in "abcd")


def suspicion(nodes: int, chance: float = 0.0) -> Suspicion:
    return Suspicion(1, A, nodes, period_s=1.0, now=100.0, chance=chance)


def test_one_accuser_alone_gives_the_suspect_the_longest_time() -> None:
    assert suspicion(nodes=1000).deadline == pytest.approx(100.0 + 3 * MULTIPLE * MAX_TO_MIN)


def test_each_further_accuser_shortens_the_time_down_to_the_minimum() -> None:
    suspect = suspicion(nodes=1000)
    longest = suspect.deadline

    assert suspect.confirm(B)
    middle = suspect.deadline
    assert suspect.confirm(C)

    assert longest > middle > suspect.deadline == pytest.approx(100.0 + 3 * MULTIPLE)


def test_an_accuser_counts_once_and_one_too_many_not_at_all() -> None:
    suspect = suspicion(nodes=1000)

    assert not suspect.confirm(A)
    assert [suspect.confirm(NodeId(f"n{number}")) for number in range(4)] == [
        number < CONFIRMATIONS for number in range(4)
    ]


def test_where_nobody_else_could_confirm_it_the_time_is_short_at_once() -> None:
    assert suspicion(nodes=2).deadline == pytest.approx(100.0 + MULTIPLE)
    assert suspicion(nodes=3).deadline == pytest.approx(100.0 + MULTIPLE * MAX_TO_MIN)


def test_time_in_which_we_did_not_run_is_given_back() -> None:
    suspect = suspicion(nodes=1000)
    deadline, check_at = suspect.deadline, suspect.check_at

    suspect.postpone(16.0)
    assert (suspect.deadline, suspect.check_at) == (deadline + 16.0, check_at + 16.0)
    suspect.confirm(B)
    suspect.confirm(C)
    assert suspect.deadline == pytest.approx(116.0 + 3 * MULTIPLE)


def test_who_is_still_only_suspect_after_the_shortest_time_is_looked_after_at_different_moments() -> (
    None
):
    first, last = suspicion(1000, chance=0.0), suspicion(1000, chance=1.0)

    assert first.at == pytest.approx(100.0 + 3 * MULTIPLE)
    assert last.at == pytest.approx(100.0 + 6 * MULTIPLE)
    first.check_again(first.at)
    assert first.at == pytest.approx(100.0 + 6 * MULTIPLE)
