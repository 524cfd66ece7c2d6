"""Numbers for what is under way, and who waits for which number.

Every call to a peer and every piece of work gets a number from here. When its answer comes, the node finds in one
look-up who asked.
"""

from typing import Protocol

from node.effects import Effect
from node.work import BufferRef, Outcome
from protocol.digests import LoadDigest
from protocol.errors import ErrorInfo
from protocol.ids import NodeId
from protocol.messages import Response


class Waiter(Protocol):
    """Whoever asked for something and is told what became of it."""

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]: ...

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]: ...

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]: ...

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]: ...


class OnlyCalls:
    """For a waiter that orders no work."""

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        raise AssertionError(f"{type(self).__name__} orders no work")

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        raise AssertionError(f"{type(self).__name__} orders no work")


class OnlyWork:
    """For a waiter that calls nobody."""

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        raise AssertionError(f"{type(self).__name__} calls nobody")

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        raise AssertionError(f"{type(self).__name__} calls nobody")


class Desk:
    """Draws numbers; a number is known until it is answered or forgotten."""

    def __init__(self) -> None:
        self._last = 0
        self._waiters: dict[int, Waiter] = {}

    def number(self, waiter: Waiter) -> int:
        self._last += 1
        self._waiters[self._last] = waiter
        return self._last

    def buffer(self, nbytes: int) -> BufferRef:
        self._last += 1
        return BufferRef(self._last, nbytes)

    def settle(self, number: int) -> Waiter | None:
        """Who waits for this number; None if it was forgotten (cancelled, answered by another)."""
        return self._waiters.pop(number, None)

    def forget(self, number: int) -> None:
        self._waiters.pop(number, None)
