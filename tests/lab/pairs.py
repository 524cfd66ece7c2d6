"""How two stations meet: one dials the other, asks it something, sends it a body, and what happens is noted.

A pair is alone from the dial until it has a direct path, or has none after a while. Those that still look for one then
go on beside the next pair: punching in vain costs next to nothing, and waiting for its end seconds a pair.
"""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from nat.pathfinder import DIRECT as DIALLED
from protocol.paths import PathKind
from tests.lab.kinds import Kind, Pair
from tests.lab.stations import Station
from tests.lab.words import (
    Answered,
    Dial,
    Down,
    Failed,
    Hang,
    Hopeless,
    Know,
    Send,
    Sent,
    Used,
    Word,
    a,
)

KINDS = (
    Kind.OPEN,
    Kind.FIREWALL,
    Kind.FULL,
    Kind.ADDRESS,
    Kind.PORT,
    Kind.RST,
    Kind.CGN,
    Kind.SAME_PREFIX,
    Kind.SYMMETRIC_RANDOM,
    Kind.SYMMETRIC_SEQUENTIAL,
    Kind.DUAL_STACK,
    Kind.IPV6_ONLY,
    Kind.UDP_BLOCKED,
    Kind.TLS_ONLY,
)
DIRECT = frozenset({*DIALLED, PathKind.PUNCHED})
Settled = Answered | Used | Hopeless
ALONE_S = 0.6
ALONE_TRIPS = 8
"""A pair has so long and so many round trips to itself."""
FIRST_S = 15.0
KNOWN_S = 8.0
"""By then a pair has a direct path or knows that it has none."""
SENT_S = 90.0
DOWN_S = 5.0
DIRECT_BYTES = 4 * 1024 * 1024
RELAYED_BYTES = 512 * 1024
SLOW_BYTES = 128 * 1024
"""Over slow wires; with two losses in a hundred a megabyte takes ten seconds."""


class Meeting(msgspec.Struct, frozen=True):
    """What came of one attempt. Times in milliseconds; None where there was nothing to measure."""

    here: str
    there: str
    run: int
    failure: str = ""
    first_ms: float | None = None
    """From the dial to the first answer."""
    first_kind: PathKind | None = None
    """Of the path by which it came."""
    direct_ms: float | None = None
    """From that to the direct path; 0 if it came by one."""
    hopeless_ms: float | None = None
    """From the dial until it was known that there is none."""
    kind: PathKind | None = None
    """Of the path at the end."""
    mbit_s: float | None = None
    """Of a body."""

    @property
    def is_direct(self) -> bool:
        return self.kind in DIRECT


@dataclass(frozen=True, slots=True)
class Wanted:
    """Two hosts that shall meet."""

    here: Kind | Pair
    there: Kind | Pair
    seats: tuple[int, int]
    """Which of the hosts of its kind each is."""


def wanted(chosen: Sequence[Kind | Pair]) -> Iterator[Wanted]:
    """Each kind with itself and each other one, and the hosts of each pair."""
    kinds = [one for one in chosen if isinstance(one, Kind)]
    for here, there in itertools.combinations_with_replacement(kinds, 2):
        yield Wanted(here, there, (0, 1 if here is there else 0))
    for pair in chosen:
        if isinstance(pair, Pair):
            yield Wanted(pair, pair, (0, 1))


def hosts(chosen: Sequence[Kind | Pair]) -> list[Kind | Pair]:
    """That all of these meet: two of each kind."""
    kinds = [one for one in chosen if isinstance(one, Kind)]
    return [*kinds, *kinds, *(one for one in chosen if isinstance(one, Pair))]


class Meetings:
    """Of one laboratory, whose round trip between two hosts is `rtt_s`."""

    def __init__(self, rtt_s: float = 0.0) -> None:
        self._alone = asyncio.Lock()
        self._alone_s = ALONE_S + ALONE_TRIPS * rtt_s
        self._bytes = (SLOW_BYTES, SLOW_BYTES) if rtt_s else (RELAYED_BYTES, DIRECT_BYTES)

    async def meet(self, here: Station, there: Station, run: int = 0) -> Meeting:
        meeting = Meeting(here.host.kind, there.host.kind, run)
        async with self._alone:
            here.forget(there.node)
            there.forget(here.node)
            there.order(Know(here.whereabouts))
            here.order(Dial(there.whereabouts))
            first: Answered | Failed | None = await here.told(
                _answered, of=there.node, within_s=FIRST_S
            )
            if not isinstance(first, Answered):
                late = f"no answer within {FIRST_S:g} s"
                failure = late if first is None else first.reason
                return msgspec.structs.replace(meeting, failure=failure)
            meeting = msgspec.structs.replace(
                meeting, first_ms=_ms(first.at - first.dialled_at), first_kind=first.kind
            )
            settled = await self._settled(here, there, first, self._alone_s)
            if settled is not None:
                return await self._end(here, there, _with(meeting, first, settled))
        settled = await self._settled(here, there, first, KNOWN_S)
        async with self._alone:
            return await self._end(here, there, _with(meeting, first, settled))

    async def _settled(
        self, here: Station, there: Station, first: Answered, within_s: float
    ) -> Settled | None:
        """What told that there is a direct path, or none."""
        if first.kind in DIRECT:
            return first

        return await here.told(_settles, of=there.node, within_s=within_s)

    async def _end(self, here: Station, there: Station, meeting: Meeting) -> Meeting:
        """Send a body, and hang up."""
        nbytes = self._bytes[meeting.direct_ms is not None]
        here.order(Send(there.node, nbytes))
        sent: Sent | Failed | Down | None = await here.told(_sent, of=there.node, within_s=SENT_S)
        here.order(Hang(there.node))
        await here.told(a(Down), of=there.node, within_s=DOWN_S)
        await there.told(a(Down), of=here.node, within_s=DOWN_S)
        if not isinstance(sent, Sent):
            late = f"a body was not taken within {SENT_S:g} s"
            return msgspec.structs.replace(meeting, failure=late if sent is None else sent.reason)
        rate = round(nbytes * 8 / sent.took_s / 1e6, 2)
        return msgspec.structs.replace(meeting, kind=sent.kind, mbit_s=rate)


def _answered(word: Word) -> Answered | Failed | None:
    return word if isinstance(word, Answered | Failed) else None


def _sent(word: Word) -> Sent | Failed | Down | None:
    return word if isinstance(word, Sent | Failed | Down) else None


def _settles(word: Word) -> Used | Hopeless | None:
    match word:
        case Used(kind=kind) if kind in DIRECT:
            return word
        case Hopeless():
            return word
        case _:
            return None


def _with(meeting: Meeting, first: Answered, settled: Settled | None) -> Meeting:
    match settled:
        case None:
            return meeting
        case Hopeless():
            known_ms = _ms(settled.at - first.dialled_at)
            return msgspec.structs.replace(meeting, hopeless_ms=known_ms)
        case Answered() | Used():
            return msgspec.structs.replace(meeting, direct_ms=_ms(settled.at - first.at))


def _ms(seconds: float) -> float:
    return round(seconds * 1000.0, 1)
