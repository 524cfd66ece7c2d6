"""What the path code tells is counted by kind."""

from node.runtime.tally import Tally
from protocol.paths import PathKind


def test_attempts_outcomes_and_bytes_are_counted_by_kind() -> None:
    tally = Tally()
    tally.attempt(PathKind.PUNCHED)
    tally.attempt(PathKind.PUNCHED)
    tally.outcome(PathKind.PUNCHED, "connected")
    tally.outcome(PathKind.RELAY, "lost")
    tally.carried(PathKind.LAN, bytes_in=3, bytes_out=4)
    tally.carried(PathKind.LAN, bytes_out=1)

    assert tally.path_counters == {
        "punched.attempts": 2,
        "punched.connected": 1,
        "relay.lost": 1,
        "lan.bytes_in": 3,
        "lan.bytes_out": 5,
    }


def test_refusals_are_counted_by_who_was_refused_and_why() -> None:
    tally = Tally()
    tally.refused("peer", "overloaded")
    tally.refused("peer", "overloaded")
    tally.refused("stranger", "overloaded")

    assert tally.refusals == {("peer", "overloaded"): 2, ("stranger", "overloaded"): 1}
