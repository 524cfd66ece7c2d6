"""What the matrix shows of its meetings: a pair in a line, all pairs in a square, and the figures over them."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from protocol.paths import PathKind
from tests.lab.kinds import Kind
from tests.lab.pairs import KINDS, Meeting
from tests.lab.stations import Stations

CONES = frozenset(
    {Kind.FULL, Kind.ADDRESS, Kind.PORT, Kind.RST, Kind.CGN, Kind.SAME_PREFIX, Kind.FIREWALL}
)
"""Endpoint-independent mapping: everybody sees a socket behind these at the same address and port."""
BLOCKED = frozenset({Kind.UDP_BLOCKED, Kind.TLS_ONLY})
LETTER = {
    PathKind.LAN: "L",
    PathKind.IPV6: "6",
    PathKind.IPV4: "4",
    PathKind.PUNCHED: "P",
    PathKind.RELAY: "r",
}


def rows(meetings: Iterable[Meeting]) -> list[str]:
    """A pair in a line."""
    lines = [
        f"{'pair':<42} {'first':>8} {'by':<8} {'direct':>8} {'known':>8} {'path':<8} {'Mbit/s':>8}"
    ]
    for (one, other), its in _by_pair(meetings).items():
        failures = [meeting.failure for meeting in its if meeting.failure]
        if failures:
            lines.append(f"{one + ' - ' + other:<42} failed: {failures[0]}")
            continue
        cells = [
            f"{one + ' - ' + other:<42}",
            _figure([meeting.first_ms for meeting in its]),
            f"{_all(meeting.first_kind for meeting in its):<8}",
            _figure([meeting.direct_ms for meeting in its]),
            _figure([meeting.hopeless_ms for meeting in its]),
            f"{_all(meeting.kind for meeting in its):<8}",
            _figure([meeting.mbit_s for meeting in its]),
        ]
        lines.append(" ".join(cells))
    return lines


def square(meetings: Iterable[Meeting]) -> list[str]:
    """The path of each pair at the end, by one letter; ? where not all runs agree."""
    ends = {
        pair: {LETTER[one.kind] if one.kind else "-" for one in its}
        for pair, its in _by_pair(meetings).items()
    }
    kinds = [kind for kind in KINDS if any(kind in pair for pair in ends)]
    lines = [" " * 22 + "".join(f"{number:>3}" for number in range(1, len(kinds) + 1))]
    for number, one in enumerate(kinds, 1):
        cells = []
        for other in kinds:
            letters = ends.get((one, other), ends.get((other, one), {" "}))
            cells.append(f"{''.join(letters) if len(letters) == 1 else '?':>3}")
        lines.append(f"{number:>2} {one:<19}" + "".join(cells))
    lines.append(", ".join(f"{letter} {kind}" for kind, letter in LETTER.items()))
    return lines


def entering(there: Stations) -> list[str]:
    """How long it takes a host to be reached by others: links to public nodes, and a relay where it needs one."""
    took = {one: [one.entered_s * 1000.0] for one in there.others}
    blocked = [its for one, its in took.items() if one.host.kind in BLOCKED]
    return [
        _spread("reached by others after the start", took.values(), "hosts"),
        _spread("UDP blocked, reached by others after the start", blocked, "hosts"),
    ]


def summary(meetings: Sequence[Meeting]) -> list[str]:
    """The figures, over the medians of the pairs."""
    pairs = _by_pair(meetings)
    connected = [its for its in pairs.values() if not any(one.failure for one in its)]
    direct = [its for its in connected if all(one.is_direct for one in its)]
    cones = [its for pair, its in pairs.items() if CONES.issuperset(pair)]
    blocked = [its for pair, its in pairs.items() if BLOCKED.intersection(pair)]
    return [
        f"connected {len(connected)}/{len(pairs)}, direct {len(direct)}",
        _spread("first byte", [[one.first_ms for one in its] for its in connected]),
        _spread("UDP blocked, first byte", [[one.first_ms for one in its] for its in blocked]),
        _spread("direct path after it", [[one.direct_ms for one in its] for its in direct]),
        _spread(
            "direct path after it, endpoint-independent pairs",
            [[one.direct_ms for one in its] for its in cones],
        ),
        _spread("no direct path, known", [[one.hopeless_ms for one in its] for its in connected]),
    ]


def _by_pair(meetings: Iterable[Meeting]) -> dict[tuple[str, str], list[Meeting]]:
    pairs: dict[tuple[str, str], list[Meeting]] = defaultdict(list)
    for one in meetings:
        ends = (one.here, one.there) if one.run % 2 == 0 else (one.there, one.here)
        pairs[ends].append(one)
    return pairs


def _figure(found: Sequence[float | None]) -> str:
    known = [one for one in found if one is not None]
    return f"{statistics.median(known):>8.1f}" if known else f"{'':>8}"


def _all(found: Iterable[PathKind | None]) -> str:
    """Each once, where runs do not agree."""
    return "/".join(dict.fromkeys("bare" if one is None else one.value for one in found))


def _spread(name: str, found: Iterable[Sequence[float | None]], of: str = "pairs") -> str:
    known = [[one for one in its if one is not None] for its in found]
    medians = [statistics.median(its) for its in known if its]
    if not medians:
        return f"{name}: none"
    return (
        f"{name}: median {statistics.median(medians):.0f} ms, worst {max(medians):.0f} ms"
        f" ({len(medians)} {of})"
    )
