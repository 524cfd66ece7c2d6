"""The honest ledger of one node's memory: what is promised, what is resident, what is left.

The budget is judged by the whole process's resident memory, so the ledger keeps accounts of
everything: the leases it has granted, and the overhead, which is all the rest (interpreter,
libraries, connections). Decisions are accounted ahead: memory counts as taken from the moment it is
promised. Samples of the resident size only correct the overhead:

    accounted = overhead + sum of leases

and no lease is granted that would lift it above the budget.

A sample cannot tell how much of a promise is resident already, only that the overhead lies between
rss - (all leases) and rss - (leases known to be resident). So a sample moves the estimate no
further than into that interval; a put under way neither hides a growing overhead for long nor is
counted twice.

A lease can be made to give way: it stands as long as nobody else needs its memory, which counts as
free for what lasts. Requests in flight end by themselves, so they wait for each other's memory and
take none of this, unless they could not be granted at all.
"""

import heapq
from collections import deque
from dataclasses import dataclass, replace
from enum import StrEnum

from protocol.digests import MemoryDigest
from protocol.errors import ConfigError, ErrorCode, TaskError
from protocol.quantities import size_text

MIB = 1024 * 1024

OVERHEAD_BYTES = 72 * MIB
"""What a node takes for itself, until the first sample says better."""

OVERHEAD_WINDOW_S = 60.0
"""The overhead is the highest of the samples of this time: what was needed a moment ago will be
needed again."""

ACTIVATION_RESERVE_MIN = 12 * MIB
ACTIVATION_RESERVE_MAX = 256 * MIB
ACTIVATION_RESERVE_SHARE = 32
"""One part in 32 of the budget, within the two bounds, is kept from weights for requests in
flight."""

LEASE_S = 30.0
"""A promise to a put of which nothing is heard lapses after this time."""


class Purpose(StrEnum):
    """What memory is for."""

    WEIGHTS = "weights"
    ACTIVATIONS = "activations"
    """A request that this node coordinates."""
    SKETCHES = "sketches"
    STREAM = "stream"
    """A shard that this node serves for another."""


PASSING = (Purpose.ACTIVATIONS, Purpose.STREAM)
"""Requests in flight, which end by themselves; they may use the activation reserve, all else may
not."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Memory promised to an owner, until it is released or expires."""

    id: int
    owner: str
    purpose: Purpose
    nbytes: int
    expires_at: float | None
    """None: stays until it is released."""


class NoRoom(TaskError):
    """The ledger refuses; nothing has changed."""

    def __init__(self, purpose: Purpose, need: int, free: int) -> None:
        super().__init__(
            ErrorCode.NO_ROOM,
            f"{size_text(need)} for {purpose} do not fit: {size_text(free)} are free for that;"
            " ask for less, remove weights or raise share.memory",
            need=need,
            free=free,
            nearest_fit=free,
        )


class Ledger:
    """Grants leases within a budget in bytes; ConfigError if a node cannot run in that budget at
    all. `activation_reserve`: bytes kept from weights; None takes a share of the budget."""

    def __init__(self, budget_bytes: int, activation_reserve: int | None = None) -> None:
        reserve = activation_reserve
        if reserve is None:
            share = budget_bytes // ACTIVATION_RESERVE_SHARE
            reserve = min(max(ACTIVATION_RESERVE_MIN, share), ACTIVATION_RESERVE_MAX)
        if reserve < ACTIVATION_RESERVE_MIN:
            raise ConfigError(
                f"memory.activations of {size_text(reserve)} is too little: other nodes count on"
                f' "{ACTIVATION_RESERVE_MIN // MIB}MiB" at least'
            )
        minimum = OVERHEAD_BYTES + reserve
        if budget_bytes < minimum:
            raise ConfigError(
                f"share.memory of {size_text(budget_bytes)} is too little: a node takes about"
                f" {OVERHEAD_BYTES // MIB} MiB for itself and keeps"
                f" {reserve // MIB} MiB for requests in flight;"
                f' the minimum budget is "{minimum // MIB}MiB"'
            )
        self.budget_bytes = budget_bytes
        self.activation_reserve = reserve
        """In bytes."""
        self.rss_bytes = 0
        """The last sample."""
        self._last_id = 0
        self._leases: dict[int, Lease] = {}
        self._taken = dict.fromkeys(Purpose, 0)
        self._resident: dict[int, int] = {}
        self._resident_bytes = dict.fromkeys(Purpose, 0)
        self._expiries: list[tuple[float, int]] = []
        self._yielding: dict[int, Lease] = {}
        """Leases that give way, oldest first."""
        self.evicted: list[Lease] = []
        """Leases that had to give way, for whoever holds something under them to see and clear."""
        self._samples: deque[tuple[float, int]] = deque()
        self._overhead_floor: int | None = None

    # -- what there is -----------------------------------------------------------------------------

    @property
    def overhead_bytes(self) -> int:
        """All memory that is under no lease, by estimate."""
        if self._overhead_floor is None:
            return OVERHEAD_BYTES
        return max(self._overhead_floor, self._samples[0][1])

    @property
    def accounted_bytes(self) -> int:
        return self.overhead_bytes + sum(self._taken.values())

    def free_for(self, purpose: Purpose) -> int:
        """The largest lease in bytes that would be granted now for this purpose."""
        return max(self._spare(purpose), 0) if purpose in PASSING else self.within_reach(purpose)

    def spare_for(self, purpose: Purpose) -> int:
        """Bytes that are free without anybody giving way."""
        return max(self._spare(purpose), 0)

    def within_reach(self, purpose: Purpose) -> int:
        """Bytes that are free once all leases that give way have done so."""
        yielding = sum(lease.nbytes for lease in self._yielding.values())
        return max(self._spare(purpose) + yielding, 0)

    def digest(self) -> MemoryDigest:
        """What others are told."""
        return MemoryDigest(
            budget=self.budget_bytes,
            free=self.free_for(Purpose.WEIGHTS),
            largest=self.free_for(Purpose.STREAM),
            rss=self.rss_bytes,
            pinned=self._resident_bytes[Purpose.WEIGHTS],
        )

    @property
    def deadline(self) -> float | None:
        """When the next lease expires."""
        while self._expiries and not self._is_current(*self._expiries[0]):
            heapq.heappop(self._expiries)
        return self._expiries[0][0] if self._expiries else None

    def holds(self, lease_id: int) -> bool:
        """Whether this lease still stands: neither released nor expired."""
        return lease_id in self._leases

    # -- what happens ------------------------------------------------------------------------------

    def reserve(
        self, owner: str, purpose: Purpose, nbytes: int, now: float, expires_s: float | None = None
    ) -> Lease:
        """Promise memory, for `expires_s` seconds if given; NoRoom, and nothing changed, if it does
        not fit."""
        assert nbytes >= 0
        free = self.free_for(purpose)
        if nbytes > free:
            raise NoRoom(purpose, nbytes, free)
        self.make_room(purpose, nbytes)
        self._last_id += 1
        expires_at = None if expires_s is None else now + expires_s
        lease = Lease(self._last_id, owner, purpose, nbytes, expires_at)
        self._taken[purpose] += nbytes
        self._resident[lease.id] = 0
        self._keep(lease)
        return lease

    def renew(self, lease_id: int, now: float, expires_s: float = LEASE_S) -> Lease:
        """Something was heard of it: give an expiring lease its time again."""
        lease = self._leases[lease_id]
        if lease.expires_at is None:
            return lease
        renewed = replace(lease, expires_at=now + expires_s)
        self._keep(renewed)
        return renewed

    def touched(self, lease_id: int, nbytes: int | None = None) -> None:
        """So many more bytes of the promise are resident now (None: all); a promise kept in full
        stays for good."""
        lease = self._leases[lease_id]
        before = self._resident[lease_id]
        after = lease.nbytes if nbytes is None else before + nbytes
        assert before <= after <= lease.nbytes
        self._resident[lease_id] = after
        self._resident_bytes[lease.purpose] += after - before
        if after == lease.nbytes:
            self._leases[lease_id] = replace(lease, expires_at=None)

    def release(self, lease_id: int) -> Lease:
        """Take a lease back. Each lease goes once: after its release or expiry its id is not known
        here."""
        lease = self._leases.pop(lease_id, None)
        assert lease is not None, f"lease {lease_id} was released twice"
        self._yielding.pop(lease_id, None)
        self._taken[lease.purpose] -= lease.nbytes
        self._resident_bytes[lease.purpose] -= self._resident.pop(lease_id)
        return lease

    def give_way(self, lease_id: int) -> None:
        """From now on this lease stands only as long as nobody else needs its memory."""
        self._yielding[lease_id] = self._leases[lease_id]

    def make_room(self, purpose: Purpose, nbytes: int) -> None:
        """Take back leases that give way, oldest first, until so much is free; none if all of them
        are too little."""
        if 0 < nbytes <= self.within_reach(purpose):
            while self._spare(purpose) < nbytes and self.evict_oldest():
                pass

    def evict_oldest(self) -> bool:
        """Take back the first of the leases that give way; False if there is none."""
        oldest = next(iter(self._yielding), None)
        if oldest is not None:
            self.evicted.append(self.release(oldest))
        return oldest is not None

    def expire(self, now: float) -> list[Lease]:
        """Take back what has lapsed; whoever holds something under these leases must let it go."""
        lapsed: list[Lease] = []
        while (deadline := self.deadline) is not None and deadline <= now:
            _, lease_id = heapq.heappop(self._expiries)
            lapsed.append(self.release(lease_id))
        return lapsed

    def memory_measured(self, rss_bytes: int, now: float) -> None:
        """A sample of the process's resident memory; it corrects the overhead, never a lease."""
        self.rss_bytes = rss_bytes
        least = max(rss_bytes - sum(self._taken.values()), 0)
        most = max(rss_bytes - sum(self._resident_bytes.values()), 0)
        last = self._samples[-1][1] if self._samples else OVERHEAD_BYTES
        sample = min(max(last, least), most)
        if self._overhead_floor is None:
            self._overhead_floor = sample
        while self._samples and self._samples[0][0] <= now - OVERHEAD_WINDOW_S:
            self._samples.popleft()
        # Only a sample higher than all later ones can ever be the highest: the rest need not be
        # kept.
        while self._samples and self._samples[-1][1] <= sample:
            self._samples.pop()
        self._samples.append((now, sample))

    # -- within ------------------------------------------------------------------------------------

    def _spare(self, purpose: Purpose) -> int:
        """Bytes that are under no lease and may be used for this; below 0 if the overhead has grown
        too large."""
        passing = sum(self._taken[one] for one in PASSING)
        lasting = sum(self._taken.values()) - passing
        # Requests in flight fill their reserve first, so a lasting lease steps round whichever is
        # larger.
        kept = passing if purpose in PASSING else max(passing, self.activation_reserve)
        return self.budget_bytes - self.overhead_bytes - lasting - kept

    def _keep(self, lease: Lease) -> None:
        self._leases[lease.id] = lease
        if lease.expires_at is not None:
            heapq.heappush(self._expiries, (lease.expires_at, lease.id))

    def _is_current(self, expires_at: float, lease_id: int) -> bool:
        """Renewals and releases leave stale entries in the heap."""
        lease = self._leases.get(lease_id)
        return lease is not None and lease.expires_at == expires_at
