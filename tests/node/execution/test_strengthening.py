"""Further slices are given out of memory that nobody needs, and taken back when somebody does."""

from dataclasses import replace

import pytest

from node.communication.desk import Desk
from node.deployment.ledger import MIB, Purpose
from node.deployment.stores import resident_bytes
from node.execution.strengthening import BUSY_S, REFUSED_S, SPARE_PART, Strengthening
from node.work import BlockArrays, MoreSlices, Reprogram, Reprogrammed
from tests.node.execution import keeper as keepers
from tests.node.execution.keeper import FRESH, LOST, VERSION

STILL = replace(FRESH, drift_t0_s=None)


class Keeper(keepers.Keeper):
    """Gives its blocks, of 1024 x 1024, further slices."""

    def __init__(self, arrays: BlockArrays = STILL, blocks: int = 1) -> None:
        super().__init__(arrays, blocks, mib=300, columns=1024)
        self.strengthening = Strengthening(
            Desk(), self.ledger, self.room, self.holding, lambda: self.idle
        )

    @property
    def more(self) -> int:
        """Bytes that were leased since the beginning."""
        return self.ledger.accounted_bytes - self.leased

    def slices(self, slices: int) -> int:
        """Bytes of so many, beyond the first."""
        return resident_bytes(self.store, slices) - resident_bytes(self.store)

    def want(self, slices: int, now: float = 0.0, row: int = 0) -> None:
        wish = MoreSlices(VERSION, (row, 0), slices)
        assert self.feed(self.strengthening.wanted((wish,), now)) == []

    def tick(self, now: float) -> list[Reprogram]:
        return self.feed(self.strengthening.tick(now))

    def settle(self, now: float) -> list[Reprogram]:
        return self.feed(self.strengthening.settle(now))

    def done(self, now: float) -> list[Reprogram]:
        """The work that was ordered first has been done."""
        job, what = self.first_job()
        assert self.arrays is not None
        arrays = replace(self.arrays, slices=what.slices)
        return self.feed(self.strengthening.job_done(job, Reprogrammed(arrays), now))

    def strengthened(self, slices: int = 2) -> None:
        self.want(slices)
        self.tick(0.0)
        self.done(0.1)

    @property
    def stands_in(self) -> int:
        one = self.holding.inventory.of(VERSION, (0, 0))
        assert one is not None
        return one.arrays.slices


def test_slices_that_would_pay_are_reserved_and_written_in_idle_time() -> None:
    keeper = Keeper()
    keeper.want(3)
    assert keeper.more == keeper.slices(3) > 2 * 4 * MIB

    (order,) = keeper.tick(0.0)
    assert (order.store.block, order.slices, order.anew) == ((0, 0), 3, False)
    assert keeper.more > keeper.slices(3) + 16 * MIB
    keeper.done(0.1)

    assert keeper.stands_in == 3
    assert keeper.more == keeper.slices(3)
    assert keeper.noted == ["arrays.added"]


def test_arrays_whose_cells_have_moved_are_all_written_together() -> None:
    keeper = Keeper(replace(STILL, drift_t0_s=1.0))
    keeper.want(2)

    (order,) = keeper.tick(0.0)

    assert order.anew


def test_slices_that_stand_since_the_last_writing_are_not_written_again() -> None:
    """Those that a restart, or somebody's need for memory, took out of memory."""
    keeper = Keeper(replace(STILL, drift_t0_s=1.0, slices_written=3))
    keeper.want(3)

    (order,) = keeper.tick(0.0)

    assert (order.slices, order.anew) == (3, False)


def test_the_memory_still_counts_as_free_for_weights() -> None:
    keeper = Keeper()
    before = keeper.ledger.free_for(Purpose.WEIGHTS)
    keeper.strengthened()

    assert keeper.ledger.free_for(Purpose.WEIGHTS) == before


def test_whoever_needs_the_memory_gets_it_and_the_block_stands_in_one_slice_again() -> None:
    keeper = Keeper()
    keeper.strengthened(3)
    keeper.ledger.reserve("put", Purpose.WEIGHTS, keeper.ledger.free_for(Purpose.WEIGHTS), 1.0)

    (order,) = keeper.settle(1.0)
    assert (order.slices, order.anew) == (1, False)
    keeper.done(1.1)

    assert keeper.stands_in == 1
    assert keeper.noted == ["arrays.added", "arrays.given_up"]
    keeper.want(3, now=2.0)
    assert keeper.tick(2.0) == []


def test_memory_that_is_needed_before_a_slice_is_written_ends_that() -> None:
    keeper = Keeper()
    keeper.want(2)
    keeper.ledger.reserve("put", Purpose.WEIGHTS, keeper.ledger.free_for(Purpose.WEIGHTS), 0.0)

    assert keeper.settle(0.0) == []
    assert keeper.strengthening.deadline is None


def test_memory_that_is_needed_while_a_slice_is_written_is_given_back_after() -> None:
    keeper = Keeper()
    keeper.want(2)
    keeper.tick(0.0)
    keeper.ledger.reserve("put", Purpose.WEIGHTS, keeper.ledger.free_for(Purpose.WEIGHTS), 0.05)
    assert keeper.settle(0.05) == []

    (order,) = keeper.done(0.1)
    keeper.done(0.2)

    assert order.slices == 1
    assert keeper.stands_in == 1


def test_more_than_a_part_of_what_is_free_is_refused_and_said() -> None:
    keeper = Keeper()
    spare = keeper.ledger.spare_for(Purpose.WEIGHTS)
    left = int(keeper.slices(2) / SPARE_PART) - 1
    keeper.ledger.reserve("others", Purpose.WEIGHTS, spare - left, 0.0)
    before = keeper.more

    keeper.want(2)
    keeper.want(2, now=1.0)

    assert keeper.noted == ["regime.refused"]
    assert keeper.more == before
    keeper.want(2, now=REFUSED_S)
    assert keeper.noted == ["regime.refused"] * 2


def test_while_somebody_waits_for_a_product_no_array_is_written() -> None:
    keeper = Keeper()
    keeper.want(2)
    keeper.idle = False
    assert keeper.tick(5.0) == []
    keeper.idle = True

    assert keeper.strengthening.deadline == 5.0 + BUSY_S
    assert len(keeper.tick(5.0 + BUSY_S)) == 1


def test_one_block_is_written_at_a_time() -> None:
    keeper = Keeper(blocks=2)
    keeper.want(2, row=0)
    keeper.want(2, row=1)

    (first,) = keeper.tick(0.0)
    assert keeper.strengthening.deadline is None
    keeper.done(0.1)
    (second,) = keeper.tick(0.1)

    assert [first.store.block, second.store.block] == [(0, 0), (1, 0)]


def test_a_block_is_given_still_more_slices_where_those_would_pay() -> None:
    keeper = Keeper()
    keeper.strengthened(2)

    keeper.want(2)
    assert keeper.tick(1.0) == []
    keeper.want(4)
    (order,) = keeper.tick(1.0)
    keeper.done(1.1)

    assert order.slices == keeper.stands_in == 4
    assert keeper.more == keeper.slices(4)


def test_the_slices_of_weights_that_go_are_given_back() -> None:
    keeper = Keeper()
    keeper.strengthened()
    keeper.holding.drop(VERSION)
    keeper.settle(1.0)

    assert keeper.more == -resident_bytes(keeper.store)


@pytest.mark.parametrize("gone", [True, False])
def test_what_cannot_be_written_is_given_back(gone: bool) -> None:
    keeper = Keeper()
    keeper.want(2)
    keeper.tick(0.0)
    (job,) = keeper.jobs
    if gone:
        keeper.holding.drop(VERSION)
    keeper.feed(keeper.strengthening.job_failed(job, LOST, 0.1))
    keeper.settle(0.1)

    assert keeper.more == (-resident_bytes(keeper.store) if gone else 0)
    assert keeper.noted == ["arrays.not_added"]
