"""Fills one message with what a peer lacks, as far as it fits.

Of each node go only the parts that are newer than what the peer has: news of its membership, and its record, whole or
the moved part alone. A parcel takes one node however long its record is; after that it is full at `RECORDS_BYTES`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from node.communication.graveyard import Buried
from node.effects import Effect
from protocol.digests import Moved, NodeRecord
from protocol.gossip import Stamp, Tell, Told
from protocol.ids import NodeId
from protocol.members import MemberRecord, News

RECORDS_BYTES = 24 * 1024
"""In one message. A single record may take 45 KiB, its news 5: with what is wanted it still fits a header."""

_ENCODER = msgspec.msgpack.Encoder()


class Members(Protocol):
    """What the exchange of digests must know of membership."""

    @property
    def own(self) -> MemberRecord: ...

    @property
    def members(self) -> Mapping[NodeId, MemberRecord]:
        """Who is there, without ourselves."""
        ...

    @property
    def graves(self) -> Mapping[NodeId, Buried]: ...

    def all_news_about(self, nodes: Iterable[NodeId]) -> tuple[News, ...]:
        """All that somebody who never heard of these must hear; nothing of those whom we do not know either."""
        ...

    def told(self, news: Iterable[News], teller: NodeId, now: float) -> list[Effect]: ...

    def twin_seen(self, teller: NodeId) -> list[Effect]:
        """There is a later record of ours than ours, by this peer's word."""
        ...


Lack = tuple[NodeId, Stamp, Stamp]
"""A node, what we know of it, and what a peer does."""


class Parcel:
    """What goes into one `Tell` or `Told`."""

    def __init__(self, members: Members, find: Callable[[NodeId], NodeRecord]) -> None:
        self.news: list[News] = []
        self.records: list[NodeRecord] = []
        self.moved: list[Moved] = []
        self.left_out = False
        """More than a move was left out."""
        self._members = members
        self._find = find
        self._room_bytes = RECORDS_BYTES
        self._begun = 0
        self._full = False

    def __bool__(self) -> bool:
        return bool(self.news or self.records or self.moved)

    def fill(self, lacks: Iterable[Lack]) -> None:
        """As many as fit; what is more than a move goes first."""
        moves: list[NodeRecord] = []
        for node, ours, theirs in lacks:
            self._begun += 1
            if ours[:2] > theirs[:2]:
                self._add_news(node)
            if ours[2:] > theirs[2:]:
                record = self._find(node)
                if is_move(record, theirs):
                    moves.append(record)
                else:
                    self._add_record(record)
        for record in moves:
            self._add_move(record)

    def tell(self, want: dict[NodeId, Stamp], catalogue: str) -> Tell:
        """To a peer that lacks this and is asked for that."""
        return Tell(
            members=tuple(self.news),
            records=tuple(self.records),
            moved=tuple(self.moved),
            want=want,
            catalogue=catalogue,
        )

    def told(self) -> Told:
        """The answer to one that asked."""
        return Told(members=tuple(self.news), records=tuple(self.records), moved=tuple(self.moved))

    def _add_news(self, node: NodeId) -> None:
        news = self._members.all_news_about((node,))
        if self._fits(news, settled=True):
            self.news += news

    def _add_record(self, record: NodeRecord) -> None:
        if self._fits(record, settled=True):
            self.records.append(record)

    def _add_move(self, record: NodeRecord) -> None:
        moved = Moved(
            record.id,
            record.incarnation,
            record.settled,
            record.version,
            record.memory,
            record.load,
        )
        if self._fits(moved, settled=False):
            self.moved.append(moved)

    def _fits(self, entry: object, settled: bool) -> bool:
        if not self._full:
            self._room_bytes -= len(_ENCODER.encode(entry))
            self._full = self._room_bytes < 0 and self._begun > 1
        self.left_out = self.left_out or (self._full and settled)
        return not self._full


def is_move(record: NodeRecord, theirs: Stamp) -> bool:
    """Whether a peer that has the version in this stamp lacks nothing but what moved."""
    return theirs[2] == record.incarnation and theirs[3] >= record.settled


def after_move(known: NodeRecord, moved: Moved) -> NodeRecord | None:
    """The record with what moved; None if that is no news, or if more than that has changed since."""
    fits = known.incarnation == moved.incarnation and moved.settled <= known.version
    if not fits or moved.version <= known.version:
        return None
    return msgspec.structs.replace(
        known,
        version=moved.version,
        settled=moved.settled,
        memory=moved.memory,
        load=moved.load,
    )
