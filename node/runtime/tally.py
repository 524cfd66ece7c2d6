"""What has become of paths, and who was refused what: numbers that only grow, for `/metrics`.

Whoever tries a path tells of it here. Keys are short texts, so counting is one step in a dict, and a kind that is new
needs nothing but its name. A path counts its own bytes; it is watched here while it is open, and what it has carried is
taken over when it has closed.
"""

from collections import Counter
from typing import Literal, Protocol

from node.runtime.counted import Counted, Watched
from protocol.paths import PathKind

Outcome = Literal["connected", "failed", "lost"]
OUTCOMES: tuple[Outcome, ...] = ("connected", "failed", "lost")
"""A path comes up or does not; one that came up may break before anybody closes it."""

Refused = Literal["client", "peer", "stranger"]
"""Who was told no: over HTTP, over a link, or at the door."""


class Carrier(Counted, Protocol):
    """As much of a path as is looked at here."""

    @property
    def kind(self) -> PathKind: ...


class Tally:
    """Of one daemon, from its start."""

    def __init__(self) -> None:
        self.path_counters: Counter[str] = Counter()
        """`KIND.attempts`, `KIND.connected`, `KIND.failed`, `KIND.lost`, `KIND.bytes_in`, `KIND.bytes_out`."""
        self.refusals: Counter[tuple[Refused, str]] = Counter()
        """By whom they met, and why: an error's code, or for strangers the event that the log has."""
        self._paths = Watched[Carrier](lambda path: _add(self.path_counters, path))

    def attempt(self, kind: PathKind) -> None:
        """Somebody here tries to bring up such a path."""
        self.path_counters[f"{kind}.attempts"] += 1

    def outcome(self, kind: PathKind, outcome: Outcome) -> None:
        """Of a path that is not watched; `watch` counts by itself that one is connected."""
        self.path_counters[f"{kind}.{outcome}"] += 1

    def watch(self, path: Carrier) -> None:
        """It carries a link from now on: it is connected, and its bytes count until it closes."""
        self.outcome(path.kind, "connected")
        self._paths.add(path)

    def paths(self) -> Counter[str]:
        """The counters with the bytes of the paths that are open, and `KIND.open`: how many those are."""
        still = self._paths.open()
        told = self.path_counters.copy()
        for path in still:
            told[f"{path.kind}.open"] += 1
            _add(told, path)
        return told

    def refused(self, whom: Refused, reason: str) -> None:
        self.refusals[whom, reason] += 1


def _add(counters: Counter[str], path: Carrier) -> None:
    counters[f"{path.kind}.bytes_in"] += path.bytes_in
    counters[f"{path.kind}.bytes_out"] += path.bytes_out
