"""Work that this node has handed out and has no answer for yet.

A peer's own report of its queue is a moment old. Products that begin within that moment would all choose the same
idle peer if what was just sent there did not count.
"""


class Outstanding:
    """Multiply-accumulates under way at each node, as far as this node sent them (to itself, too)."""

    def __init__(self) -> None:
        self._macs: dict[str, int] = {}

    def started(self, node: str, macs: int) -> None:
        self._macs[node] = self.macs(node) + macs

    def ended(self, node: str, macs: int) -> None:
        """Answered, failed or given up: once for each `started`, with the same number."""
        left = self.macs(node) - macs
        assert left >= 0, f"more work ended at {node} than was started"
        if left:
            self._macs[node] = left
        else:
            self._macs.pop(node, None)

    def macs(self, node: str) -> int:
        return self._macs.get(node, 0)
