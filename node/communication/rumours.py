"""News that still has to be passed on, and which of it goes into the next packet.

Each node that has heard a piece of news sends it `4 (1 + log10(N + 1))` times, to random others: so it reaches all of
N with a probability close to one (SWIM, section 4.1). With n times, of which the share p arrives, each of the others
misses it with probability exp(-n p): of 1,000 at a loss of 10 %, all hear of it in 999 of 1,000 cases. What was sent
least goes first. Newer news of a node replaces what waits about it.
"""

import math

import msgspec

from protocol.ids import NodeId
from protocol.limits import NEWS_PER_PACKET_MAX, PACKET_BYTES_MAX, PACKET_SEAL_BYTES
from protocol.members import News

REPEATS = 4
WAITING_MAX = 1_024
"""Pieces of news; past it what was sent most is passed on no more. Anti-entropy brings it to whoever missed it."""

PACKET_HEAD_BYTES = 64
"""The most that a packet without its news takes: two array headers, tag, sequence, a node's id."""
ROOM_BYTES = PACKET_BYTES_MAX - PACKET_SEAL_BYTES - PACKET_HEAD_BYTES
"""For the news in one packet."""
ALIVE_BYTES_MAX = ROOM_BYTES - 160
"""A record that takes more cannot travel in a packet beside a suspicion: its owner tells fewer addresses."""
NEWS_BYTES_MIN = 66
"""No piece of news is smaller: each names a node."""

_ENCODER = msgspec.msgpack.Encoder()


def news_bytes(news: News) -> int:
    """What a piece of news takes within a packet."""
    return len(_ENCODER.encode(news))


class Rumours:
    """News by the number of times that we have sent it."""

    __slots__ = ("_level_of", "_levels", "nbytes")

    def __init__(self) -> None:
        self._levels: list[dict[NodeId, tuple[News, int]]] = [{}]
        """At place n: what was sent n times; each piece with its size in bytes."""
        self._level_of: dict[NodeId, int] = {}
        self.nbytes = 0
        """Of all that waits."""

    def __len__(self) -> int:
        return len(self._level_of)

    def add(self, node: NodeId, news: News) -> None:
        """Pass this on; it is the newest about this node."""
        size = news_bytes(news)
        if size > ROOM_BYTES:
            return
        self.drop(node)
        if len(self._level_of) >= WAITING_MAX:
            self._drop_one()
        self._levels[0][node] = (news, size)
        self._level_of[node] = 0
        self.nbytes += size

    def drop(self, node: NodeId) -> None:
        level = self._level_of.pop(node, None)
        if level is not None:
            self.nbytes -= self._levels[level].pop(node)[1]

    def take(self, room_bytes: int, count_max: int, nodes: int) -> list[News]:
        """What goes into a packet with so much room, in a mesh of so many nodes."""
        chosen: list[tuple[int, NodeId, News, int]] = []
        for level, waiting in enumerate(self._levels):
            for node, (news, size) in waiting.items():
                if size > room_bytes or len(chosen) == count_max:
                    break
                chosen.append((level, node, news, size))
                room_bytes -= size
            if room_bytes < NEWS_BYTES_MIN:
                break
        limit = repeats(nodes)
        for level, node, news, size in chosen:
            self._sent(level, node, news, size, limit)
        return [news for _, _, news, _ in chosen]

    def _sent(self, level: int, node: NodeId, news: News, size: int, limit: int) -> None:
        del self._levels[level][node]
        if level + 1 >= limit:
            del self._level_of[node]
            self.nbytes -= size
            return
        if level + 1 == len(self._levels):
            self._levels.append({})
        self._levels[level + 1][node] = (news, size)
        self._level_of[node] = level + 1

    def _drop_one(self) -> None:
        for waiting in reversed(self._levels):
            for node in waiting:
                self.drop(node)
                return


def repeats(nodes: int) -> int:
    """How often each node passes a piece of news on."""
    return math.ceil(REPEATS * (1.0 + math.log10(nodes + 1)))


assert NEWS_PER_PACKET_MAX * NEWS_BYTES_MIN > ROOM_BYTES, "the room is used up before the number"
