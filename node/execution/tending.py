"""Looks after the simulated arrays in idle time: sees how far they have drifted, and writes them anew where that pays.

Cells move with the logarithm of their age, so a block is looked at when its arrays have become e times as old as they
were at the last look: some twenty looks in a year. A look derives from disk how the block stands in its arrays by now,
and products use that from then on. Where a tolerance that people ask for has become much dearer than on fresh arrays
the block is written anew, though not sooner than an hour after the last time: drift is quick at first, and writing
wears cells out. Errors that are many times the fresh ones and still cost next to nothing stay as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import e

from node.communication.desk import Desk, OnlyWork
from node.deployment.arrays import Standing
from node.deployment.holding import Holding
from node.deployment.ledger import Lease
from node.deployment.stores import resident_bytes
from node.effects import Effect, Work, note
from node.execution.room import Room
from node.work import Outcome, Reprogram, Reprogrammed
from protocol.errors import ErrorInfo
from protocol.quantities import size_text

TEND_S = 10.0
"""From one block to the next: a look takes a worker for a tenth of a second or so."""

REST_RATIO = 100.0
"""And so many times as long as the last turn took: arrays with wires take seconds, and idle nodes are to be idle."""

LOOK_AGE_RATIO = e

DEARER = 3.0
"""A block is written anew where products take so many times the energy that they took. From readings to whole numbers
is a step of about two, which a writing would win back for some hours; to digital arithmetic one of ten or more."""

REWRITE_S = 3600.0
"""The least from one writing to the next. Of a device that bears a million of them this takes a hundred years."""

PUT_OFF_S = 600.0
"""Until a block is tried again that could not be looked at."""

WORK_MATRICES = 4
"""What programming takes beside the arrays, in matrices of the block's size, as measured."""
WORK_BYTES = 6 * 1024 * 1024
"""And for the solution of wires."""


def due_at(one: Standing) -> float | None:
    """When a block wants to be looked at, or written anew; None if its cells do not move."""
    t0_s = one.arrays.drift_t0_s
    if t0_s is None:
        return None
    look_at = one.written_at + LOOK_AGE_RATIO * max(one.seen_age_s, t0_s)
    return min(look_at, one.written_at + REWRITE_S) if _is_dear(one) else look_at


def wants_writing(one: Standing, now: float) -> bool:
    """What is still here after it was displaced and put off is not being replaced: its cells are due to it."""
    return one.is_displaced or (_is_dear(one) and now >= one.written_at + REWRITE_S)


def work_bytes(one: Standing, slices: int) -> int:
    """Memory to have while its arrays are derived again, or written: those that stand are used until then."""
    matrix = 4 * one.store.rows * one.store.columns
    return resident_bytes(one.store, slices) + WORK_MATRICES * matrix + WORK_BYTES


def _is_dear(one: Standing) -> bool:
    return one.arrays.dearer > DEARER


@dataclass(frozen=True, slots=True)
class _Turn:
    """One block's."""

    standing: Standing
    anew: bool
    lease: Lease
    began_at: float


class Tending(OnlyWork):
    """Told of time and of what became of the work; one block at a time. `is_idle`: nobody waits for a product here."""

    def __init__(
        self, desk: Desk, room: Room, holding: Holding, is_idle: Callable[[], bool]
    ) -> None:
        self._desk = desk
        self._room = room
        self._holding = holding
        self._is_idle = is_idle
        self._not_before = 0.0
        self._turn: _Turn | None = None

    @property
    def at_work(self) -> bool:
        return self._turn is not None

    @property
    def deadline(self) -> float | None:
        """When the next block is to be looked at."""
        soonest = self._holding.inventory.soonest(due_at)
        if self._turn is not None or soonest is None:
            return None
        return max(soonest[0], self._not_before)

    def tick(self, now: float) -> list[Effect]:
        deadline = self.deadline
        if deadline is None or now < deadline:
            return []
        self._not_before = now + TEND_S
        soonest = self._holding.inventory.soonest(due_at)
        if soonest is None or not self._is_idle():
            return []
        return self._begin(soonest[1], now)

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        assert isinstance(outcome, Reprogrammed) and self._turn is not None
        turn = self._turn
        effects = self._end(now)
        store = turn.standing.store
        inventory = self._holding.inventory
        if inventory.of(store.version, store.block) != turn.standing:
            # The weights went meanwhile, or stand in fewer arrays.
            return effects
        if outcome.arrays is None:
            inventory.put_off(turn.standing, now + PUT_OFF_S, is_displaced=True)
            return effects
        inventory.record(store, outcome.arrays, now)
        if turn.anew:
            effects.append(_rewritten(turn, outcome))
        return effects

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        assert self._turn is not None
        turn = self._turn
        return [*self._end(now), self._put_off(turn.standing, error.reason, now)]

    # -- within --------------------------------------------------------------------------------------

    def _begin(self, one: Standing, now: float) -> list[Effect]:
        need = work_bytes(one, one.arrays.slices)
        lease = self._room.take_now("arrays", need, now)
        if lease is None:
            reason = f"{size_text(need)} are not free while nobody multiplies; raise share.memory"
            return [self._put_off(one, reason, now)]
        anew = wants_writing(one, now)
        self._turn = _Turn(one, anew, lease, now)
        return [Work(self._desk.number(self), Reprogram(one.store, one.arrays.slices, anew=anew))]

    def _put_off(self, one: Standing, reason: str, now: float) -> Effect:
        self._holding.inventory.put_off(one, now + PUT_OFF_S)
        return note("arrays.not_tended", name=one.store.name, block=one.store.block, reason=reason)

    def _end(self, now: float) -> list[Effect]:
        assert self._turn is not None
        turn, self._turn = self._turn, None
        self._not_before = max(self._not_before, now + REST_RATIO * (now - turn.began_at))
        return self._room.give_back(turn.lease, now)


def _rewritten(turn: _Turn, outcome: Reprogrammed) -> Effect:
    assert outcome.arrays is not None
    store, before = turn.standing.store, turn.standing.arrays
    return note(
        "arrays.rewritten",
        name=store.name,
        block=store.block,
        writes=outcome.arrays.health.writes,
        dearer=round(before.dearer, 1),
        error_before=before.error,
        error=outcome.arrays.error,
    )
