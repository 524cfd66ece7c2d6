"""What the settings decide for the core of a node."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """The same for as long as the daemon runs."""

    backend: str
    """Of weights whose put does not say."""
    device: str
    workers: int
    """Products at work at once."""
    hedge_share: float
    interval_s: float
    """Within which neighbours are told of what has changed here."""
    redial_s: float
    """The longest pause between two tries at a lost peer."""
    choice: str = "ours"
    """How holders are chosen; other ways are there to be compared with."""
