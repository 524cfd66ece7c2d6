"""Who meets whom, how soon and by which path: all pairs of hosts behind all kinds of routers, one after the other.

    python -m tests.lab.matrix [--pairs port,cgn,one_lan] [--runs 3] [--rtt 80 --loss 0.02] [--lines FILE]

A pair in a line, then all of them in one square, then the figures. `--lines` keeps each single meeting as JSON.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.lab.kinds import Kind, Pair
from tests.lab.lab import Lab, why_not
from tests.lab.pairs import KINDS, Meeting, Meetings, Wanted, hosts, wanted
from tests.lab.stations import Stations, stations
from tests.lab.tables import entering, rows, square, summary
from tests.lab.wire import Wire

WIRES = 2
"""Between two hosts: each is attached by one of its own."""


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
    parser.add_argument("--runs", type=_count, default=1, help="the figures are medians over them")
    parser.add_argument(
        "--rtt", type=_delay, default=0.0, help="between two hosts, in milliseconds"
    )
    parser.add_argument("--loss", type=_part, default=0.0, help="from host to host, as a fraction")
    parser.add_argument("--lines", type=_file, help="for the single meetings, as JSON lines")
    return parser.parse_args()


def _count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is none")
    return int(text)


def _delay(text: str) -> float:
    if float(text) < 0.0:
        raise argparse.ArgumentTypeError(f"{text} is less than nothing")
    return float(text)


def _part(text: str) -> float:
    if not 0.0 <= float(text) < 1.0:
        part = float(text) / 100.0
        raise argparse.ArgumentTypeError(
            f"{text} is no part of a whole: write {part:g} for {text} %"
        )
    return float(text)


def _file(text: str) -> Path:
    """Emptied now: that it cannot be written must not turn out after a quarter of an hour."""
    try:
        Path(text).write_bytes(b"")
    except OSError as wrong:
        raise argparse.ArgumentTypeError(f"{wrong.strerror}: {text}") from None
    return Path(text)


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


if __name__ == "__main__":
    main()
