"""What a node knows of all nodes, in short, and hashes by which two nodes find out quickly what differs.

A *stamp* says how new the knowledge of one node is: (incarnation of its member record, gone or not, incarnation and
version of its digest). Nodes fall into 64 buckets by their id. A bucket's hash is the XOR over its nodes of a 63-bit
mix of id and stamp, so one changed stamp changes it in constant time, and equal knowledge has equal hashes whatever the
order in which it came. The upper 31 bits leave the version of the digest out: where they agree, both sides know the
same nodes in the same incarnations, and versions may be told as a plain list without any id.

Only who is there counts. Graves are told to whoever still takes their owner for living, and to nobody else: told
around, they would outlive their time.
"""

import functools
import hashlib
import struct
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Self

from protocol.digests import NodeRecord
from protocol.gossip import Stamp
from protocol.ids import NodeId
from protocol.limits import BUCKETS, PEERS_MAX
from protocol.members import MemberRecord

NOTHING: Stamp = (0, 0, 0, 0)
"""Incarnations begin at 1."""
VERSIONS_BITS = 32
"""The lower part of a hash: all of the stamps, versions included."""
_VERSIONS_MASK = (1 << VERSIONS_BITS) - 1
_INCARNATIONS_MASK = (1 << 63) - 1 - _VERSIONS_MASK
_PACK = struct.Struct("<QQQQQ").pack


class Knowledge:
    """Stamps of who is there, and their hashes."""

    def __init__(self) -> None:
        self.stamps: dict[NodeId, Stamp] = {}
        self._sums = [0] * BUCKETS
        self._nodes: list[tuple[NodeId, ...]] = [()] * BUCKETS
        self._hashes: tuple[int, ...] | None = None

    @classmethod
    def of(cls, members: Iterable[MemberRecord], records: Mapping[NodeId, NodeRecord]) -> Self:
        """That of a node which knows these members and these records."""
        knowledge = cls()
        for member in members:
            record = records.get(member.id)
            digest = (0, 0) if record is None else record.stamp
            knowledge.take(member.id, (member.incarnation, 0, *digest))
        return knowledge

    @property
    def hashes(self) -> tuple[int, ...]:
        """One for each bucket."""
        if self._hashes is None:
            self._hashes = tuple(self._sums)
        return self._hashes

    def nodes(self, bucket: int) -> tuple[NodeId, ...]:
        """Who is in a bucket, by id."""
        return self._nodes[bucket]

    def take(self, node: NodeId, stamp: Stamp | None) -> bool:
        """What is known of a node now, None if it is not there: whether more than a version changed by that."""
        known = self.stamps.get(node)
        if stamp == known:
            return False
        bucket = bucket_of(node)
        if known is not None and stamp is not None and known[:3] == stamp[:3]:
            self._sums[bucket] ^= _version_mix(node, known) ^ _version_mix(node, stamp)
        else:
            self._sums[bucket] ^= _mix(node, known) ^ _mix(node, stamp)
            self._list(bucket, node, stamp is not None)
        if stamp is None:
            del self.stamps[node]
        else:
            self.stamps[node] = stamp
        self._hashes = None
        return known is None or stamp is None or known[:3] != stamp[:3]

    def copy(self) -> Self:
        """Cheap even with thousands of nodes: stamps and lists are shared, for they never change."""
        other = type(self)()
        other.stamps = self.stamps.copy()
        other._sums = self._sums.copy()
        other._nodes = self._nodes.copy()
        other._hashes = self._hashes
        return other

    def _list(self, bucket: int, node: NodeId, there: bool) -> None:
        nodes = self._nodes[bucket]
        place = bisect_left(nodes, node)
        listed = place < len(nodes) and nodes[place] == node
        if there and not listed:
            self._nodes[bucket] = (*nodes[:place], node, *nodes[place:])
        elif not there and listed:
            self._nodes[bucket] = nodes[:place] + nodes[place + 1 :]


def same_nodes(one: int, other: int) -> bool:
    """Whether two hashes of a bucket stand for the same nodes in the same incarnations."""
    return one >> VERSIONS_BITS == other >> VERSIONS_BITS


def bucket_of(node: NodeId) -> int:
    return _seed(node) % BUCKETS


@functools.lru_cache(maxsize=PEERS_MAX)
def _seed(node: NodeId) -> int:
    return int.from_bytes(hashlib.blake2b(node.encode(), digest_size=8).digest(), "little")


def _mix(node: NodeId, stamp: Stamp | None) -> int:
    if stamp is None:
        return 0
    data = _PACK(_seed(node), stamp[0], stamp[1], stamp[2], 0)
    mixed = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
    return mixed & _INCARNATIONS_MASK | _version_mix(node, stamp)


def _version_mix(node: NodeId, stamp: Stamp) -> int:
    data = _PACK(_seed(node), stamp[0], stamp[1], stamp[2], stamp[3] + 1)
    mixed = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
    return mixed & _VERSIONS_MASK
