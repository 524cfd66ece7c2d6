"""Who waits for memory: requests in flight get theirs in turn, and no two kinds can starve each other.

A task that this node coordinates holds memory while it waits for other nodes; a shard that it serves for another
holds memory only while it computes. If coordinators could take everything, two nodes could wait for each other
for ever. So half of the activation reserve is left to served shards, which always end by themselves; or half of what
is left of it, where the process has come to take more for itself than it did when weights were laid upon it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from node.deployment.ledger import Lease, Ledger, Purpose
from node.effects import Effect
from protocol.errors import ErrorCode, TaskError
from protocol.quantities import size_text

Granted = Callable[[Lease, float], list[Effect]]
WAITING_MAX = 4096
"""Requests that wait for memory at once; further ones are shed with a hint to come back."""


@dataclass(frozen=True, slots=True)
class _Wish:
    owner: str
    purpose: Purpose
    nbytes: int
    granted: Granted


class Room:
    """Grants activation memory in the order it was asked for, one queue for each purpose."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._queues: dict[Purpose, deque[_Wish]] = {
            Purpose.ACTIVATIONS: deque(),
            Purpose.STREAM: deque(),
        }
        self._out = 0

    @property
    def waiting(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def largest(self, purpose: Purpose) -> int:
        """The most that one request could ever be granted, with nothing else in flight."""
        return self._ledger.within_reach(purpose) + self._out - self._kept_back(purpose)

    def ask(
        self, owner: str, purpose: Purpose, nbytes: int, now: float, granted: Granted
    ) -> list[Effect]:
        """Calls `granted` now or when its turn comes; TaskError if it could never be granted."""
        possible = self.largest(purpose)
        if nbytes > possible:
            raise TaskError(
                ErrorCode.NO_ROOM,
                f"the request needs {size_text(nbytes)} for its activations and this node can give at most"
                f" {size_text(max(possible, 0))}; send fewer rows at a time or raise share.memory",
                need=nbytes,
                free=max(possible, 0),
                nearest_fit=max(possible, 0),
            )
        queue = self._queues[purpose]
        if len(queue) >= WAITING_MAX:
            reason = f"{WAITING_MAX} requests already wait for memory here; come back later"
            raise TaskError(ErrorCode.OVERLOADED, reason, retry_after_s=1.0)
        queue.append(_Wish(owner, purpose, nbytes, granted))
        # What it could not even have when all others have ended, has to be made free.
        self._ledger.make_room(purpose, nbytes + self._kept_back(purpose) - self._out)
        return self.serve(now)

    def take_now(self, owner: str, nbytes: int, now: float) -> Lease | None:
        """Memory for a second try of a part, if there is any this moment."""
        purpose = Purpose.ACTIVATIONS
        if self._ledger.free_for(purpose) < nbytes:
            return None
        self._out += nbytes
        return self._ledger.reserve(owner, purpose, nbytes, now)

    def give_back(self, lease: Lease, now: float) -> list[Effect]:
        self._ledger.release(lease.id)
        self._out -= lease.nbytes
        return self.serve(now)

    def withdraw(self, owner: str) -> None:
        """The owner no longer wants what it waits for; `serve` sees whether that lets others in."""
        for purpose, queue in self._queues.items():
            self._queues[purpose] = deque(wish for wish in queue if wish.owner != owner)

    def serve(self, now: float) -> list[Effect]:
        """Grant what fits by now: memory also comes free where nobody gives back a lease of ours."""
        effects: list[Effect] = []
        for purpose in (Purpose.STREAM, Purpose.ACTIVATIONS):
            while (queue := self._queues[purpose]) and self._fits(queue[0]):
                wish = queue.popleft()
                self._out += wish.nbytes
                lease = self._ledger.reserve(wish.owner, purpose, wish.nbytes, now)
                effects += wish.granted(lease, now)
        return effects

    def _fits(self, wish: _Wish) -> bool:
        free = self._ledger.free_for(wish.purpose) - self._kept_back(wish.purpose)
        return wish.nbytes <= free

    def _kept_back(self, purpose: Purpose) -> int:
        """Half of the reserve; where the process itself has grown into it, half of what is left."""
        if purpose is not Purpose.ACTIVATIONS:
            return 0
        reach = self._ledger.within_reach(purpose) + self._out
        return min(self._ledger.activation_reserve, reach) // 2
