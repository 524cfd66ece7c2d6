"""Who meets whom, how soon and by which path: all pairs of hosts behind all kinds of routers, one after the other.

    python -m tests.lab.matrix [--pairs port,cgn,one_lan] [--runs 3] [--rtt 80 --loss 0.02] [--lines FILE]

A pair in a line, then all of them in one square, then the figures. `--lines` keeps each single meeting as JSON.
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from protocol.paths import PathKind
from tests.lab.kinds import Kind, Pair
from tests.lab.lab import Lab, why_not
from tests.lab.pairs import KINDS, Meeting, Meetings, Wanted, hosts, wanted
from tests.lab.stations import Stations, stations
from tests.lab.wire import Wire

WIRES = 2
"""Between two hosts: each is attached by one of its own."""
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


def main() -> None:
    asked = _arguments()
    if why := why_not():
        sys.exit(f"error: no laboratory can be made here: {why}")
    began = time.monotonic()
    meetings = asyncio.run(_run(asked))
    print(f"in {time.monotonic() - began:.0f} s, the laboratory itself included")
    if any(one.failure for one in meetings):
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = {one.value: one for one in (*KINDS, *Pair)}

    def chosen(text: str) -> list[Kind | Pair]:
        unknown = [name for name in text.split(",") if name not in names]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(names)}")
        return [names[name] for name in text.split(",")]

    parser.add_argument("--pairs", type=chosen, default=[*names.values()], help="only among these")
    parser.add_argument("--runs", type=int, default=1, help="the figures are medians over them")
    parser.add_argument("--rtt", type=float, default=0.0, help="between two hosts, in milliseconds")
    parser.add_argument("--loss", type=float, default=0.0, help="from host to host, as a fraction")
    parser.add_argument("--lines", type=Path, help="a file for the single meetings, as JSON lines")
    return parser.parse_args()


async def _run(asked: argparse.Namespace) -> list[Meeting]:
    wire = None
    if asked.rtt or asked.loss:
        # There and back, each time over both wires.
        wire = Wire(delay_ms=asked.rtt / (2 * WIRES), loss=1 - (1 - asked.loss) ** (1 / WIRES))
    with (
        tempfile.TemporaryDirectory(prefix="sedma-lab-") as folder,
        contextlib.closing(Lab(hosts(asked.pairs), wire=wire)) as lab,
    ):
        async with stations(lab, Path(folder)) as there:
            pairs = [*wanted(asked.pairs)]
            meetings = await meet_all(there, pairs, asked.runs, asked.rtt / 1000.0)
            # Before the stations end: one that does not end well is no reason to keep this back.
            if asked.lines is not None:
                lines = [msgspec.json.encode(one) + b"\n" for one in meetings]
                asked.lines.write_bytes(b"".join(lines))
            shown = [
                *rows(meetings),
                "",
                *square(meetings),
                "",
                *entering(there),
                *summary(meetings),
            ]
            print("\n".join(shown), flush=True)
            return meetings


async def meet_all(
    there: Stations, pairs: Sequence[Wanted], runs: int = 1, rtt_s: float = 0.0
) -> list[Meeting]:
    """In that order; who dials changes from run to run."""
    meetings, found = Meetings(rtt_s), list[Meeting]()
    for run in range(runs):
        async with asyncio.TaskGroup() as tasks:
            waiting = []
            for pair in pairs:
                ends = [there.of(pair.here)[pair.seats[0]], there.of(pair.there)[pair.seats[1]]]
                here, other = ends[:: -1 if run % 2 else 1]
                waiting.append(tasks.create_task(meetings.meet(here, other, run)))
        found += [one.result() for one in waiting]
    return found


# -- what is shown -----------------------------------------------------------------------------------


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


if __name__ == "__main__":
    main()
