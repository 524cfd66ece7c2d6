"""What has become of paths, and who was refused what: numbers that only grow, for `/metrics`.

Whoever tries a path tells of it here. Keys are short texts, so counting is one step in a dict, and a kind that is new
needs nothing but its name.
"""

from collections import Counter
from typing import Literal

from protocol.paths import PathKind

Outcome = Literal["connected", "failed", "lost"]
OUTCOMES: tuple[Outcome, ...] = ("connected", "failed", "lost")
"""A path comes up or does not; one that came up may break before anybody closes it."""

Refused = Literal["client", "peer", "stranger"]
"""Who was told no: over HTTP, over a link, or at the door."""


class Tally:
    """Of one daemon, from its start."""

    def __init__(self) -> None:
        self.path_counters: Counter[str] = Counter()
        """`KIND.attempts`, `KIND.connected`, `KIND.failed`, `KIND.lost`, `KIND.bytes_in`, `KIND.bytes_out`."""
        self.refusals: Counter[tuple[Refused, str]] = Counter()
        """By whom they met, and why: an error's code, or for strangers the event that the log has."""

    def attempt(self, kind: PathKind) -> None:
        """Somebody here tries to bring up such a path."""
        self.path_counters[f"{kind}.attempts"] += 1

    def outcome(self, kind: PathKind, outcome: Outcome) -> None:
        self.path_counters[f"{kind}.{outcome}"] += 1

    def carried(self, kind: PathKind, *, bytes_in: int = 0, bytes_out: int = 0) -> None:
        """Such a path has carried so many bytes more."""
        self.path_counters[f"{kind}.bytes_in"] += bytes_in
        self.path_counters[f"{kind}.bytes_out"] += bytes_out

    def refused(self, whom: Refused, reason: str) -> None:
        self.refusals[whom, reason] += 1
