import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from node.deployment.ledger import (
    ACTIVATION_RESERVE_MIN,
    LEASE_S,
    MIB,
    OVERHEAD_BYTES,
    PASSING,
    Lease,
    Ledger,
    NoRoom,
    Purpose,
)
from protocol.errors import ConfigError, ErrorCode

BUDGET = 256 * MIB
RESERVE = 12 * MIB
FREE = BUDGET - OVERHEAD_BYTES - RESERVE


def test_weights_leave_the_reserve_to_requests_in_flight() -> None:
    ledger = Ledger(BUDGET)

    ledger.reserve("w", Purpose.WEIGHTS, FREE, now=0.0)

    assert ledger.free_for(Purpose.WEIGHTS) == ledger.free_for(Purpose.SKETCHES) == 0
    assert ledger.free_for(Purpose.ACTIVATIONS) == ledger.free_for(Purpose.STREAM) == RESERVE


def test_requests_in_flight_use_their_reserve_before_they_use_room_for_weights() -> None:
    ledger = Ledger(BUDGET)

    ledger.reserve("t", Purpose.STREAM, RESERVE, now=0.0)
    assert ledger.free_for(Purpose.WEIGHTS) == FREE
    ledger.reserve("t", Purpose.ACTIVATIONS, 5 * MIB, now=0.0)
    assert ledger.free_for(Purpose.WEIGHTS) == FREE - 5 * MIB


def test_a_lease_of_nothing_makes_nobody_give_way() -> None:
    """Even where the process has grown beyond its budget."""
    ledger = Ledger(BUDGET)
    lingering = ledger.reserve("w", Purpose.WEIGHTS, MIB, now=0.0)
    ledger.give_way(lingering.id)
    ledger.memory_measured(BUDGET + MIB, now=1.0)

    ledger.reserve("t", Purpose.ACTIVATIONS, 0, now=2.0)

    assert ledger.holds(lingering.id) and not ledger.evicted


def test_a_refusal_says_what_is_needed_what_is_free_and_what_would_fit() -> None:
    ledger = Ledger(BUDGET)

    with pytest.raises(NoRoom, match="for weights do not fit") as refused:
        ledger.reserve("w", Purpose.WEIGHTS, FREE + 1, now=0.0)

    info = refused.value.info
    assert info.code is ErrorCode.NO_ROOM
    assert (info.need, info.free, info.nearest_fit) == (FREE + 1, FREE, FREE)
    ledger.reserve("w", Purpose.WEIGHTS, FREE, now=0.0)


def test_a_budget_below_the_minimum_is_refused_with_the_minimum() -> None:
    with pytest.raises(ConfigError, match='minimum budget is "84MiB"'):
        Ledger(84 * MIB - 1)
    assert Ledger(84 * MIB).free_for(Purpose.WEIGHTS) == 0


@pytest.mark.parametrize(
    ("budget", "reserve"), [(256 * MIB, 12 * MIB), (1024 * MIB, 32 * MIB), (64 << 30, 256 * MIB)]
)
def test_the_reserve_is_a_share_of_the_budget_within_bounds(budget: int, reserve: int) -> None:
    assert Ledger(budget).activation_reserve == reserve


def test_a_promise_that_is_not_kept_expires_and_is_given_back_once() -> None:
    ledger = Ledger(BUDGET)
    lease = ledger.reserve("put", Purpose.WEIGHTS, MIB, now=0.0, expires_s=LEASE_S)

    assert ledger.deadline == 30.0
    assert ledger.expire(now=29.9) == []
    assert ledger.expire(now=30.0) == [lease]
    assert ledger.expire(now=99.0) == []
    assert ledger.deadline is None
    assert not ledger.holds(lease.id)
    assert ledger.free_for(Purpose.WEIGHTS) == FREE


def test_each_block_that_comes_renews_the_promise() -> None:
    ledger = Ledger(BUDGET)
    lease = ledger.reserve("put", Purpose.WEIGHTS, MIB, now=0.0, expires_s=LEASE_S)

    assert ledger.renew(lease.id, now=20.0).expires_at == 50.0
    assert ledger.deadline == 50.0
    assert ledger.expire(now=49.0) == []


def test_a_promise_kept_in_full_no_longer_expires() -> None:
    ledger = Ledger(BUDGET)
    lease = ledger.reserve("put", Purpose.WEIGHTS, 3 * MIB, now=0.0, expires_s=LEASE_S)

    ledger.touched(lease.id, MIB)
    assert ledger.deadline == 30.0
    ledger.touched(lease.id)
    assert ledger.deadline is None
    assert ledger.renew(lease.id, now=5.0).expires_at is None
    assert ledger.digest().pinned == 3 * MIB


def test_a_lease_is_released_once() -> None:
    ledger = Ledger(BUDGET)
    lease = ledger.reserve("w", Purpose.WEIGHTS, MIB, now=0.0)

    ledger.release(lease.id)
    with pytest.raises(AssertionError, match="released twice"):
        ledger.release(lease.id)


def test_the_first_sample_replaces_the_estimate_and_remains_the_least() -> None:
    ledger = Ledger(BUDGET)

    ledger.memory_measured(50 * MIB, now=0.0)
    assert ledger.overhead_bytes == 50 * MIB
    ledger.memory_measured(30 * MIB, now=100.0)
    assert ledger.overhead_bytes == 50 * MIB


def test_the_overhead_is_the_highest_of_a_minute() -> None:
    ledger = Ledger(BUDGET)
    ledger.memory_measured(50 * MIB, now=0.0)

    ledger.memory_measured(60 * MIB, now=1.0)
    ledger.memory_measured(55 * MIB, now=2.0)
    assert ledger.overhead_bytes == 60 * MIB
    ledger.memory_measured(52 * MIB, now=61.5)
    assert ledger.overhead_bytes == 55 * MIB


def test_memory_that_fills_a_promise_is_not_counted_as_overhead() -> None:
    ledger = Ledger(BUDGET)
    ledger.memory_measured(50 * MIB, now=0.0)
    lease = ledger.reserve("put", Purpose.WEIGHTS, 100 * MIB, now=1.0, expires_s=LEASE_S)

    ledger.memory_measured(90 * MIB, now=2.0)
    assert ledger.overhead_bytes == 50 * MIB
    ledger.memory_measured(151 * MIB, now=3.0)
    assert ledger.overhead_bytes == 51 * MIB
    ledger.touched(lease.id)
    ledger.memory_measured(153 * MIB, now=4.0)
    assert ledger.overhead_bytes == 53 * MIB


def test_an_overhead_above_the_budget_leaves_no_room_and_takes_no_lease_back() -> None:
    ledger = Ledger(BUDGET)
    lease = ledger.reserve("w", Purpose.WEIGHTS, 100 * MIB, now=0.0)

    ledger.memory_measured(400 * MIB, now=1.0)

    assert [ledger.free_for(purpose) for purpose in Purpose] == [0, 0, 0, 0]
    assert ledger.holds(lease.id)


def test_the_digest_tells_what_others_need_to_know() -> None:
    ledger = Ledger(BUDGET)
    ledger.memory_measured(64 * MIB, now=0.0)
    ledger.reserve("coming", Purpose.WEIGHTS, 8 * MIB, now=0.0, expires_s=LEASE_S)
    ledger.touched(ledger.reserve("here", Purpose.WEIGHTS, 16 * MIB, now=0.0).id)

    digest = ledger.digest()

    assert digest.budget == BUDGET
    assert digest.free == BUDGET - (64 + 24 + 12) * MIB
    assert digest.largest == BUDGET - (64 + 24) * MIB
    assert (digest.rss, digest.pinned) == (64 * MIB, 16 * MIB)


# -- leases that give way ----------------------------------------------------------------------------


def yielding() -> tuple[Ledger, list[Lease]]:
    """Three leases of 40, 60 and 20 MiB fill it but for 52 MiB; all would give way."""
    ledger = Ledger(BUDGET)
    leases = [ledger.reserve("w", Purpose.WEIGHTS, n * MIB, now=0.0) for n in (40, 60, 20)]
    for lease in leases:
        ledger.give_way(lease.id)
    return ledger, leases


def test_what_gives_way_counts_as_free_for_what_lasts_and_is_accounted_for() -> None:
    ledger, _ = yielding()

    assert ledger.free_for(Purpose.WEIGHTS) == ledger.free_for(Purpose.SKETCHES) == FREE
    assert ledger.digest().free == FREE
    assert ledger.free_for(Purpose.STREAM) == FREE + RESERVE - 120 * MIB
    assert ledger.within_reach(Purpose.STREAM) == FREE + RESERVE
    assert ledger.accounted_bytes == ledger.overhead_bytes + 120 * MIB


def test_a_lease_that_fits_beside_what_gives_way_takes_nothing_of_it() -> None:
    ledger, leases = yielding()

    ledger.reserve("new", Purpose.WEIGHTS, FREE - 120 * MIB, now=1.0)

    assert ledger.evicted == []
    assert all(ledger.holds(lease.id) for lease in leases)


def test_the_oldest_gives_way_first_and_no_more_than_is_needed() -> None:
    ledger, (first, second, third) = yielding()

    ledger.reserve("new", Purpose.WEIGHTS, FREE - 120 * MIB + 41 * MIB, now=1.0)

    assert ledger.evicted == [first, second]
    assert [ledger.holds(one.id) for one in (first, second, third)] == [False, False, True]
    assert ledger.free_for(Purpose.WEIGHTS) == 59 * MIB + 20 * MIB


def test_a_lease_that_does_not_fit_even_so_drives_nothing_out() -> None:
    ledger, leases = yielding()

    with pytest.raises(NoRoom):
        ledger.reserve("new", Purpose.WEIGHTS, FREE + 1, now=1.0)

    assert ledger.evicted == []
    assert all(ledger.holds(lease.id) for lease in leases)


def test_requests_in_flight_drive_nothing_out() -> None:
    ledger, _ = yielding()

    ledger.reserve("t", Purpose.STREAM, ledger.free_for(Purpose.STREAM), now=1.0)
    with pytest.raises(NoRoom):
        ledger.reserve("t", Purpose.STREAM, 1, now=1.0)

    assert ledger.evicted == []


def test_what_was_released_before_it_had_to_give_way_is_gone_once() -> None:
    ledger, (first, _, third) = yielding()
    ledger.release(first.id)
    ledger.release(third.id)

    assert ledger.evict_oldest() and not ledger.evict_oldest()

    assert ledger.accounted_bytes == ledger.overhead_bytes


class LedgerMachine(RuleBasedStateMachine):
    """Any order of requests, releases, lapses and samples, against plain accounts kept beside
    it."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(BUDGET)
        self.now = 0.0
        self.held: dict[int, Lease] = {}

    @rule(
        purpose=st.sampled_from(Purpose),
        nbytes=st.integers(0, 120 * MIB),
        expires_s=st.none() | st.floats(0.1, 40.0),
    )
    def reserve(self, purpose: Purpose, nbytes: int, expires_s: float | None) -> None:
        free = {one: self.ledger.free_for(one) for one in Purpose}
        accounted = self.ledger.accounted_bytes
        try:
            lease = self.ledger.reserve("o", purpose, nbytes, self.now, expires_s)
        except NoRoom:
            assert nbytes > free[purpose]
            assert free == {one: self.ledger.free_for(one) for one in Purpose}
            assert accounted == self.ledger.accounted_bytes
            assert self.ledger.evicted == []
        else:
            assert nbytes <= free[purpose]
            gone = sum(self.held.pop(evicted.id).nbytes for evicted in self.ledger.evicted)
            assert self.ledger.accounted_bytes == accounted + nbytes - gone
            assert gone == 0 or purpose not in PASSING
            self.ledger.evicted.clear()
            assert nbytes == 0 or self.ledger.accounted_bytes <= BUDGET
            assert lease.id not in self.held
            self.held[lease.id] = lease

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        lease = self.held.pop(data.draw(st.sampled_from(sorted(self.held))))
        before = self.ledger.accounted_bytes
        assert self.ledger.release(lease.id).nbytes == lease.nbytes
        assert self.ledger.accounted_bytes == before - lease.nbytes

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        self.ledger.touched(data.draw(st.sampled_from(sorted(self.held))))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_way(self, data: st.DataObject) -> None:
        lease_id = data.draw(st.sampled_from(sorted(self.held)))
        if self.held[lease_id].purpose is Purpose.WEIGHTS:
            accounted = self.ledger.accounted_bytes
            self.ledger.give_way(lease_id)
            assert self.ledger.accounted_bytes == accounted

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        self.ledger.renew(data.draw(st.sampled_from(sorted(self.held))), self.now)

    @rule(passed_s=st.floats(0.0, 30.0))
    def expire(self, passed_s: float) -> None:
        self.now += passed_s
        before = self.ledger.accounted_bytes
        lapsed = self.ledger.expire(self.now)
        for lease in lapsed:
            assert lease.expires_at is not None and lease.expires_at <= self.now
            del self.held[lease.id]
        assert self.ledger.accounted_bytes == before - sum(lease.nbytes for lease in lapsed)
        assert self.ledger.deadline is None or self.ledger.deadline > self.now

    @rule(rss_bytes=st.integers(20 * MIB, 300 * MIB))
    def measure(self, rss_bytes: int) -> None:
        leases = sum(lease.nbytes for lease in self.held.values())
        self.ledger.memory_measured(rss_bytes, self.now)
        assert self.ledger.accounted_bytes >= rss_bytes
        assert self.ledger.overhead_bytes >= rss_bytes - leases

    @invariant()
    def the_accounts_agree(self) -> None:
        leases = sum(lease.nbytes for lease in self.held.values())
        assert self.ledger.accounted_bytes == self.ledger.overhead_bytes + leases
        assert all(self.ledger.holds(lease_id) for lease_id in self.held)
        assert self.ledger.free_for(Purpose.WEIGHTS) <= self.ledger.within_reach(Purpose.STREAM)
        assert all(
            self.ledger.free_for(purpose) <= self.ledger.within_reach(purpose)
            for purpose in Purpose
        )
        assert 0 <= self.ledger.digest().pinned <= leases
        assert self.ledger.activation_reserve == ACTIVATION_RESERVE_MIN


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
