"""What the path code tells is counted by kind."""

from dataclasses import dataclass

from node.runtime.tally import Tally
from protocol.paths import PathKind


@dataclass
class Way:
    """As much of a path as `Tally` looks at."""

    kind: PathKind
    bytes_in: int = 0
    bytes_out: int = 0
    closing: bool = False


def test_attempts_and_outcomes_are_counted_by_kind() -> None:
    tally = Tally()
    tally.attempt(PathKind.PUNCHED)
    tally.attempt(PathKind.PUNCHED)
    tally.outcome(PathKind.PUNCHED, "failed")
    tally.watch(Way(PathKind.PUNCHED))
    tally.outcome(PathKind.RELAY, "lost")

    assert tally.path_counters == {
        "punched.attempts": 2,
        "punched.failed": 1,
        "punched.connected": 1,
        "relay.lost": 1,
    }


def test_bytes_count_while_a_path_is_open_and_once_after_it_has_closed() -> None:
    tally, relay, direct = Tally(), Way(PathKind.RELAY), Way(PathKind.LAN)
    tally.watch(relay)
    tally.watch(direct)
    relay.bytes_in, relay.bytes_out, direct.bytes_out = 100, 7, 5
    open_now = tally.paths()
    relay.closing = True
    after, again = tally.paths(), tally.paths()

    assert (open_now["relay.open"], after["relay.open"], after["lan.open"]) == (1, 0, 1)
    for told in (open_now, after, again):
        assert [told["relay.bytes_in"], told["relay.bytes_out"]] == [100, 7]
        assert told["lan.bytes_out"] == 5


def test_paths_that_come_and_go_all_count() -> None:
    tally = Tally()
    for _ in range(100):
        tally.watch(Way(PathKind.LAN, bytes_in=1, closing=True))

    assert tally.paths()["lan.bytes_in"] == 100
    assert tally.paths()["lan.connected"] == 100


def test_refusals_are_counted_by_who_was_refused_and_why() -> None:
    tally = Tally()
    tally.refused("peer", "overloaded")
    tally.refused("peer", "overloaded")
    tally.refused("stranger", "overloaded")

    assert tally.refusals == {("peer", "overloaded"): 2, ("stranger", "overloaded"): 1}
