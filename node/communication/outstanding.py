"""Work that this node has handed out and has no answer for yet.

A peer's own report of its queue is a moment old. Products that begin within that moment would all choose the same
idle peer if what was just sent there did not count. What was told and what we sent since are kept apart: a report
made after a part had arrived contains it, an earlier one cannot.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sent:
    """One part under way."""

    at: float
    macs: int
    work_s: float
    """For how long it was expected to keep others waiting there once it begins."""
    due_at: float
    """When its answer was expected."""


class Outstanding:
    """Parts under way at each node, as far as this node sent them (to itself, too)."""

    def __init__(self) -> None:
        self._sent: dict[str, dict[int, Sent]] = {}

    def started(self, node: str, number: int, sent: Sent) -> None:
        there = self._sent.setdefault(node, {})
        assert number not in there, f"part {number} was sent to {node} before"
        there[number] = sent

    def ended(self, node: str, number: int) -> None:
        """Answered, failed or given up: once for each `started`."""
        there = self._sent[node]
        del there[number]
        if not there:
            del self._sent[node]

    def count(self, node: str) -> int:
        return len(self._sent.get(node, ()))

    def macs(self, node: str) -> int:
        return sum(sent.macs for sent in self._sent.get(node, {}).values())

    def queue_s(
        self, node: str, now: float, *, told_s: float, told_at: float, rtt_s: float
    ) -> float:
        """Seconds until work that is sent there now would begin.

        The queue that the node told of when we last heard (`told_at`) shrinks by a second each second; each part
        sent since adds to what is left of it by then.
        """
        way_s = rtt_s / 2
        queue_s, at = told_s, told_at - way_s
        overdue_s = 0.0
        for sent in self._sent.get(node, {}).values():
            overdue_s = max(overdue_s, now - sent.due_at)
            arrives_at = sent.at + way_s
            if arrives_at > told_at - way_s:
                queue_s = max(queue_s - max(arrives_at - at, 0.0), 0.0) + sent.work_s
                at = max(arrives_at, at)
        # What is late for a while will be late for as long again, whatever was reckoned.
        return max(queue_s - max(now + way_s - at, 0.0), overdue_s, 0.0)
