"""What a node tells of itself: its memory, its load, what it can serve. Where it is reached stands in `members`.

A record belongs to one node and only that node raises its version, so of two records of one node the higher
(incarnation, version) is the truth, whoever passed it on.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from protocol.ids import NodeId
from protocol.limits import HELD_MAX, LABELS_MAX, NAT_CHARS_MAX, TEXT_BYTES_MAX

Text = Annotated[str, Meta(max_length=TEXT_BYTES_MAX)]
Count = Annotated[int, Meta(ge=0, le=1 << 62)]
Seconds = Annotated[float, Meta(ge=0.0, le=1e9)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]


class MemoryDigest(msgspec.Struct, frozen=True, array_like=True):
    """A node's memory in bytes, as its ledger sees it."""

    budget: Count = 0
    free: Count = 0
    """What new weights may still take."""
    largest: Count = 0
    """The largest single lease that would be granted now."""
    rss: Count = 0
    pinned: Count = 0
    """Taken by resident weights."""
    pressure: Share = 0.0
    """Share of the budget that is accounted for; at 1 nothing more fits."""


class LoadDigest(msgspec.Struct, frozen=True, array_like=True):
    """How busy a node is; rides on every answer, so it is kept to a few numbers."""

    queue_s: Seconds = 0.0
    """Estimated seconds until a shard that arrives now would start."""
    in_flight: Count = 0
    speed_macs_s: Annotated[float, Meta(ge=0.0, le=1e18)] = 0.0
    """Multiply-accumulates a second that one shard sees, as measured; 0 when nothing has been measured."""
    free: Count = 0
    """Bytes that new weights may still take."""
    analog_macs_s: Annotated[float, Meta(ge=0.0, le=1e18)] = 0.0
    """The same on simulated arrays; `speed_macs_s` is then that of plain arithmetic."""


SecondsPerMac = Annotated[float, Meta(ge=0.0, le=1.0)]
Sigma = Annotated[float, Meta(ge=0.0, le=100.0)]


class RegimeCosts(msgspec.Struct, frozen=True, array_like=True):
    """Seconds for one multiply-accumulate of a shard in each regime, as measured; 0 where none has been."""

    fast: SecondsPerMac = 0.0
    sliced: SecondsPerMac = 0.0
    integer: SecondsPerMac = 0.0
    digital: SecondsPerMac = 0.0


class DeviceProfile(msgspec.Struct, frozen=True, array_like=True):
    """What a node multiplies with where a put does not say, and how the arrays are that its blocks stand in."""

    backend: Text = ""
    device: Text = ""
    workers: Count = 0
    """Products at work at once."""
    arrays: Count = 0
    """Simulated ones of 128 x 128 cells in use, both polarities; what fills none alone shares one."""
    healthy: Share = 0.0
    """Of their tiles."""
    sigma: tuple[Sigma, Sigma, Sigma] = (0.0, 0.0, 0.0)
    """What a cell is off its target, as a share of the window: the 10, 50 and 90 % quantile of a block's tiles, in the
    mean of all blocks."""
    stuck: Share = 0.0
    """Of their cells."""
    writes: Count = 0
    """Of the cells that were written most often."""
    costs: RegimeCosts = RegimeCosts()


class Reachability(StrEnum):
    """How others get to a node, as far as it knows."""

    UNKNOWN = "unknown"
    DIRECT = "direct"
    """Another node has dialled it."""
    OUTGOING = "outgoing"
    """So far all its links are ones that it dialled itself."""


class Public(StrEnum):
    """Whether another node has come in at a global address of this one, from outside and unasked.

    A key of its own: to a new word in `reach` older nodes would shut their ears.
    """

    NO = ""
    TCP = "tcp"
    """By TCP alone: it can be dialled."""
    BOTH = "tcp+udp"
    """It also answers those who ask it from where they are seen."""


class WeightsVersion(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Hybrid clock: wall milliseconds of the writer, never less than any version it saw, and the writer."""

    wall_ms: Count
    counter: Count
    writer: Text

    def __str__(self) -> str:
        return f"{self.wall_ms:x}.{self.counter:x}.{self.writer[:8]}"


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One node as the mesh knows it."""

    id: NodeId
    incarnation: Count
    """That of its member record when this was written."""
    version: Count
    """Grows with every change within an incarnation."""
    settled: Count = 0
    """The version since which nothing but `memory` and `load` has changed."""
    name: Text = ""
    software: Text = ""
    labels: Annotated[tuple[Text, ...], Meta(max_length=LABELS_MAX)] = ()
    memory: MemoryDigest = MemoryDigest()
    load: LoadDigest = LoadDigest()
    device: DeviceProfile = DeviceProfile()
    reach: Reachability = Reachability.UNKNOWN
    ready: Annotated[tuple[WeightsVersion, ...], Meta(max_length=HELD_MAX)] = ()
    """Versions of weights of which this node has all its blocks in memory."""
    public: Public = Public.NO
    """What it says of itself; whoever relies on it finds out by connecting."""
    relays: bool = False
    """It forwards for others, where it is public."""
    nat: Annotated[str, Meta(max_length=NAT_CHARS_MAX)] = ""
    """What is in front of it, by family of addresses, for people; see `nat/classes.py`."""

    @property
    def stamp(self) -> tuple[int, int]:
        return (self.incarnation, self.version)


class Moved(msgspec.Struct, frozen=True, array_like=True):
    """Memory and load alone: the rest of the record has stayed as it was at version `settled`.

    They change often and the rest hardly ever, while a record that lists hundreds of weights takes 25 KiB.
    """

    id: NodeId
    incarnation: Count
    settled: Count
    version: Count
    memory: MemoryDigest
    load: LoadDigest
