"""Arrays are looked after in idle time, as seldom as their cells move."""

from dataclasses import replace
from math import e

import pytest

from node.communication.desk import Desk
from node.deployment.ledger import Purpose
from node.execution.tending import DEARER, PUT_OFF_S, REST_RATIO, REWRITE_S, TEND_S, Tending
from node.work import BlockArrays, Reprogram, Reprogrammed
from tests.node.execution import keeper as keepers
from tests.node.execution.keeper import FRESH, LOST, VERSION


def aged(age_s: float, error: float = 0.1, writes: int = 1, dearer: float = 1.0) -> BlockArrays:
    health = replace(FRESH.health, age_s=age_s, writes=writes)
    return replace(FRESH, health=health, error=error, dearer=dearer)


class Keeper(keepers.Keeper):
    """Sees how far its blocks have drifted."""

    def __init__(self, arrays: BlockArrays | None = FRESH, blocks: int = 1) -> None:
        super().__init__(arrays, blocks)
        self.tending = Tending(Desk(), self.room, self.holding, lambda: self.idle)
        self.ordered = 0

    def tick(self, now: float) -> list[Reprogram]:
        """What is ordered at this moment."""
        orders = self.feed(self.tending.tick(now))
        self.ordered += len(orders)
        return orders

    def done(self, arrays: BlockArrays | None, now: float) -> None:
        job, _ = self.first_job()
        self.feed(self.tending.job_done(job, Reprogrammed(arrays), now))

    def failed(self, now: float) -> None:
        self.feed(self.tending.job_failed(self.first_job()[0], LOST, now))


def test_a_block_is_looked_at_when_its_arrays_are_e_times_as_old_as_at_the_last_look() -> None:
    keeper = Keeper()
    assert keeper.tending.deadline == pytest.approx(e)
    assert keeper.tick(2.7) == []

    (look,) = keeper.tick(20.0)
    assert (look.store.block, look.slices, look.anew) == ((0, 0), 1, False)
    assert keeper.tending.deadline is None
    keeper.done(aged(20.0), 20.1)

    assert keeper.tending.deadline == pytest.approx(0.1 + 20.0 * e)


def test_a_year_takes_some_twenty_looks() -> None:
    keeper = Keeper()
    while (now := keeper.tending.deadline) is not None and now < 365 * 86_400:
        keeper.tick(now)
        keeper.done(aged(now), now)

    assert 10 < keeper.ordered <= 20


def test_devices_without_drift_and_plain_arithmetic_are_never_tended() -> None:
    still = replace(FRESH, drift_t0_s=None)

    for arrays in (still, None):
        keeper = Keeper(arrays)
        assert keeper.tending.deadline is None
        assert keeper.tick(1e9) == []


def test_one_block_has_its_turn_at_a_time_and_the_next_one_a_while_later() -> None:
    keeper = Keeper(blocks=2)

    assert [look.store.block for look in keeper.tick(5.0)] == [(0, 0)]
    assert keeper.tick(5.0 + TEND_S) == []
    keeper.done(aged(5.0), 5.0625)

    assert keeper.tending.deadline == 5.0 + TEND_S
    assert [look.store.block for look in keeper.tick(5.0 + TEND_S)] == [(1, 0)]


def test_after_a_turn_that_took_long_the_next_one_comes_the_later() -> None:
    keeper = Keeper(blocks=2)
    keeper.tick(5.0)
    keeper.done(aged(5.0), 9.0)

    assert keeper.tending.deadline == pytest.approx(9.0 + REST_RATIO * 4.0)


def test_while_somebody_waits_for_a_product_nothing_is_tended() -> None:
    keeper = Keeper()
    keeper.idle = False
    assert keeper.tick(5.0) == []
    keeper.idle = True

    assert keeper.tending.deadline == 5.0 + TEND_S
    assert len(keeper.tick(5.0 + TEND_S)) == 1


def test_a_block_that_has_become_dear_is_written_anew_once_it_is_an_hour_old() -> None:
    keeper = Keeper()
    keeper.tick(1000.0)
    keeper.done(aged(1000.0, error=0.16, dearer=8.0), 1000.0)

    assert keeper.tending.deadline == pytest.approx(1000.0 * e)
    (look,) = keeper.tick(1000.0 * e)
    assert not look.anew
    keeper.done(aged(1000.0 * e, error=0.17, dearer=8.5), 1000.0 * e)

    assert keeper.tending.deadline == REWRITE_S
    (writing,) = keeper.tick(REWRITE_S)
    assert writing.anew
    keeper.done(aged(0.0, writes=2), REWRITE_S)

    (rewritten,) = keeper.notes
    assert rewritten.event == "arrays.rewritten"
    assert rewritten.fields["writes"] == 2
    assert (rewritten.fields["error_before"], rewritten.fields["error"]) == (0.17, 0.1)
    assert rewritten.fields["dearer"] == 8.5
    assert keeper.tending.deadline == pytest.approx(REWRITE_S + TEND_S)


def test_a_block_that_has_drifted_far_and_costs_what_it_did_is_only_looked_at() -> None:
    keeper = Keeper()
    while (now := keeper.tending.deadline) is not None and now < 365 * 86_400:
        (look,) = keeper.tick(now)
        assert not look.anew
        keeper.done(aged(now, error=2.5, dearer=0.99 * DEARER), now)


def test_the_work_has_memory_of_its_own_which_it_gives_back() -> None:
    keeper = Keeper()
    keeper.tick(5.0)
    matrix = 4 * 1024 * 128
    assert keeper.ledger.accounted_bytes >= keeper.leased + 5 * matrix

    keeper.done(aged(5.0), 5.1)

    assert keeper.ledger.accounted_bytes == keeper.leased


def test_without_memory_for_it_a_block_is_put_off() -> None:
    keeper = Keeper()
    rest = keeper.ledger.free_for(Purpose.STREAM)
    keeper.ledger.reserve("others", Purpose.STREAM, rest, 0.0)

    assert keeper.tick(5.0) == []

    assert keeper.noted == ["arrays.not_tended"]
    assert keeper.tending.deadline == 5.0 + PUT_OFF_S


def test_a_block_that_cannot_be_read_is_put_off_and_the_memory_given_back() -> None:
    keeper = Keeper()
    keeper.tick(5.0)
    keeper.failed(6.0)

    assert [one.fields["reason"] for one in keeper.notes] == ["not on this disk"]
    assert keeper.tending.deadline == 6.0 + PUT_OFF_S
    assert keeper.ledger.accounted_bytes == keeper.leased


def test_a_block_to_whose_cells_others_were_written_is_written_again_if_it_stays() -> None:
    keeper = Keeper()
    keeper.tick(5.0)
    keeper.done(None, 5.1)
    assert keeper.tending.deadline == 5.1 + PUT_OFF_S

    (order,) = keeper.tick(5.1 + PUT_OFF_S)
    keeper.done(aged(0.0, writes=3), 605.2)

    assert order.anew
    (again,) = keeper.tick(800.0)
    assert not again.anew


@pytest.mark.parametrize("arrays", [None, aged(5.0)])
def test_weights_that_went_meanwhile_are_not_remembered(arrays: BlockArrays | None) -> None:
    keeper = Keeper()
    keeper.tick(5.0)
    keeper.holding.drop(VERSION)
    keeper.done(arrays, 5.1)

    assert keeper.holding.inventory.blocks == []
    assert keeper.tending.deadline is None
    assert keeper.tick(100.0) == []
