"""Gives blocks further arrays where products would be cheaper with them, out of memory that nobody else needs.

A product says in how many slices it would have taken the least energy. What these take is reserved as memory that gives
way, like weights that linger, and programmed in idle time. Whoever needs the memory gets it at once: the block then
stands in its first slice again, and products do with that, as they do where further slices are refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from node.communication.desk import Desk, OnlyWork
from node.deployment.arrays import Standing
from node.deployment.holding import Holding
from node.deployment.ledger import Lease, Ledger, Purpose
from node.deployment.stores import resident_bytes
from node.effects import Effect, Work, note
from node.execution.room import Room
from node.execution.tending import work_bytes
from node.work import MoreSlices, Outcome, Reprogram, Reprogrammed
from protocol.digests import WeightsVersion
from protocol.errors import ErrorInfo
from protocol.messages import BlockIndex

SPARE_PART = 0.5
"""One block's further slices take at most this part of what is free: the rest is for products."""

BUSY_S = 0.25
"""While somebody waits for a product the next look is so much later."""

REFUSED_S = 600.0
"""What was refused is not asked for again so soon."""

Key = tuple[WeightsVersion, BlockIndex]


@dataclass(frozen=True, slots=True)
class _Turn:
    """One block's arrays are being written."""

    key: Key
    slices: int
    scratch: Lease | None
    """What programming takes for itself; nothing where slices are only let go."""


class Strengthening(OnlyWork):
    """Told what products would have liked, of time and of what became of the work; one block at a time."""

    def __init__(
        self,
        desk: Desk,
        ledger: Ledger,
        room: Room,
        holding: Holding,
        is_idle: Callable[[], bool],
    ) -> None:
        self._desk = desk
        self._ledger = ledger
        self._room = room
        self._holding = holding
        self._is_idle = is_idle
        self._leases: dict[Key, Lease] = {}
        """Of slices beyond the first, written or to be written."""
        self._wished: dict[Key, int] = {}
        """Slices to be written, in the order in which they were asked for."""
        self._refused: dict[Key, float] = {}
        """Until when."""
        self._turns: dict[int, _Turn] = {}
        self._not_before = -inf
        self._seen_changes = 0

    @property
    def at_work(self) -> bool:
        return bool(self._turns)

    @property
    def deadline(self) -> float | None:
        """When the next block is to be written to more arrays."""
        return self._not_before if self._wished and not self._turns else None

    def wanted(self, wishes: tuple[MoreSlices, ...], now: float) -> list[Effect]:
        """Products would have been cheaper with so many slices."""
        effects: list[Effect] = []
        for wish in wishes:
            key = (wish.version, wish.block)
            one = self._holding.inventory.of(*key)
            under_way = key in self._wished or any(turn.key == key for turn in self._turns.values())
            if one is None or under_way or now < self._refused.get(key, -inf):
                continue
            if wish.slices > one.arrays.slices:
                effects += self._ask(key, one, wish.slices, now)
        return effects

    def settle(self, now: float) -> list[Effect]:
        """See which memory had to be given back, and which blocks are not here any more."""
        self._forget_gone()
        effects: list[Effect] = []
        taken = {lease.id: key for key, lease in self._leases.items()}
        for lease in self._holding.ousted_slices():
            if (key := taken.get(lease.id)) is None:
                continue
            del self._leases[key]
            self._wished.pop(key, None)
            self._refused[key] = now + REFUSED_S
            effects += self._weaken(key)
        return effects

    def tick(self, now: float) -> list[Effect]:
        if (deadline := self.deadline) is None or now < deadline:
            return []
        if not self._is_idle():
            self._not_before = now + BUSY_S
            return []
        key, slices = next(iter(self._wished.items()))
        del self._wished[key]
        one = self._holding.inventory.of(*key)
        assert one is not None, "what is gone was forgotten"
        scratch = self._room.take_now("slices", work_bytes(one, slices), now)
        if scratch is None:
            refused = self._refuse(key, one, slices, now)
            # It stands in its first slice alone from now on, which what was asked for is more than.
            self._release(key)
            return [refused, *self._weaken(key)]
        job = self._desk.number(self)
        self._turns[job] = _Turn(key, slices, scratch)
        # A residual is cut from arrays as they stand: where these have moved, all are written together.
        moves = one.arrays.drift_t0_s is not None
        anew = moves and slices > one.arrays.slices_written
        return [Work(job, Reprogram(one.store, slices, anew=anew))]

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        assert isinstance(outcome, Reprogrammed)
        turn = self._turns.pop(job)
        effects = [] if turn.scratch is None else self._room.give_back(turn.scratch, now)
        version, block = turn.key
        one = self._holding.inventory.of(version, block)
        if outcome.arrays is None or one is None:
            return effects
        self._holding.inventory.record(one.store, outcome.arrays, now)
        if turn.slices == 1:
            return effects
        if turn.key not in self._leases:
            # Its memory was needed while it was being written.
            return [*effects, *self._weaken(turn.key)]
        self._ledger.touched(self._leases[turn.key].id)
        told = note("arrays.added", name=one.store.name, block=block, slices=turn.slices)
        return [*effects, told]

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        turn = self._turns.pop(job)
        effects = [] if turn.scratch is None else self._room.give_back(turn.scratch, now)
        self._refused[turn.key] = now + REFUSED_S
        self._release(turn.key)
        told = note("arrays.not_added", block=turn.key[1], reason=error.reason)
        return [*effects, told, *self._weaken(turn.key)]

    # -- within --------------------------------------------------------------------------------------

    def _ask(self, key: Key, one: Standing, slices: int, now: float) -> list[Effect]:
        need = _more_bytes(one, slices)
        standing = self._leases.get(key)
        beyond = need - (standing.nbytes if standing else 0)
        if beyond > SPARE_PART * self._ledger.spare_for(Purpose.WEIGHTS):
            return [self._refuse(key, one, slices, now)]
        self._release(key)
        lease = self._ledger.reserve("slices", Purpose.WEIGHTS, need, now)
        self._ledger.give_way(lease.id)
        self._leases[key] = lease
        self._wished[key] = slices
        return []

    def _refuse(self, key: Key, one: Standing, slices: int, now: float) -> Effect:
        self._refused[key] = now + REFUSED_S
        return note(
            "regime.refused",
            regime="sliced",
            name=one.store.name,
            block=one.store.block,
            slices=slices,
            need=_more_bytes(one, slices),
            free=self._ledger.spare_for(Purpose.WEIGHTS),
        )

    def _weaken(self, key: Key) -> list[Effect]:
        """Let all slices go but the first; nothing waits for that, and it takes no memory."""
        one = self._holding.inventory.of(*key)
        if one is None or one.arrays.slices == 1:
            return []
        job = self._desk.number(self)
        self._turns[job] = _Turn(key, 1, None)
        told = note("arrays.given_up", name=one.store.name, block=one.store.block)
        return [Work(job, Reprogram(one.store, 1, anew=False)), told]

    def _forget_gone(self) -> None:
        inventory = self._holding.inventory
        if self._seen_changes == inventory.changes:
            return
        self._seen_changes = inventory.changes
        for key in [key for key in self._refused if inventory.of(*key) is None]:
            del self._refused[key]
        for key in [key for key in self._leases if inventory.of(*key) is None]:
            self._release(key)

    def _release(self, key: Key) -> None:
        self._wished.pop(key, None)
        lease = self._leases.pop(key, None)
        if lease is not None and self._ledger.holds(lease.id):
            self._ledger.release(lease.id)


def _more_bytes(one: Standing, slices: int) -> int:
    """Beyond what the block was granted when it came."""
    return resident_bytes(one.store, slices) - resident_bytes(one.store)
