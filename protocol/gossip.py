"""What two nodes tell each other until both know the same of all nodes: hashes first, then only what differs.

These are operations as those in `messages`, and their tags are numbered with them.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from protocol.digests import Count, Moved, NodeRecord, Text
from protocol.ids import NodeId
from protocol.limits import BUCKETS, PEERS_MAX, WANTED_MAX
from protocol.members import News

Hash = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Stamp = tuple[Count, Count, Count, Count]
"""What a node knows of another one, in short: incarnation of its member record, 0 for there or 1 for gone or dead,
incarnation and version of its digest. Incarnations begin at 1: zeros are what is not known, or does not matter any more
of who is gone."""

Bucket = Annotated[int, Meta(ge=0, lt=BUCKETS)]


class Compare(msgspec.Struct, frozen=True, kw_only=True, tag=14, tag_field="op"):
    """One hash for each bucket of nodes, over the stamps of all nodes in it: equal hashes, equal knowledge.

    The upper half of a hash leaves the versions out: where two upper halves agree, both sides know the same nodes in
    the same incarnations.
    """

    buckets: Annotated[tuple[Hash, ...], Meta(min_length=BUCKETS, max_length=BUCKETS)]
    catalogue: Text = ""
    """Digest of names, versions and tombstones of all weights the sender knows."""


class BucketVersions(msgspec.Struct, frozen=True, array_like=True):
    """A bucket in which only versions differ: they are told in the order of the ids, which both sides know."""

    bucket: Bucket
    versions: Annotated[tuple[Count, ...], Meta(max_length=PEERS_MAX)]


class BucketStamps(msgspec.Struct, frozen=True, array_like=True):
    """A bucket in which the nodes or their incarnations differ, whole."""

    bucket: Bucket
    stamps: Annotated[dict[NodeId, Stamp], Meta(max_length=PEERS_MAX)]


class Compared(msgspec.Struct, frozen=True, kw_only=True, tag=14, tag_field="op"):
    """Of the buckets that differ, as many as a message takes."""

    stamps: Annotated[tuple[BucketStamps, ...], Meta(max_length=BUCKETS)] = ()
    versions: Annotated[tuple[BucketVersions, ...], Meta(max_length=BUCKETS)] = ()
    more: bool = False
    """Buckets with other nodes or incarnations were left out."""
    catalogue: Text = ""


class Tell(msgspec.Struct, frozen=True, kw_only=True, tag=15, tag_field="op"):
    """Brings what the receiver lacks, and asks for what the sender lacks."""

    members: Annotated[tuple[News, ...], Meta(max_length=PEERS_MAX)] = ()
    records: Annotated[tuple[NodeRecord, ...], Meta(max_length=PEERS_MAX)] = ()
    moved: Annotated[tuple[Moved, ...], Meta(max_length=PEERS_MAX)] = ()
    want: Annotated[dict[NodeId, Stamp], Meta(max_length=WANTED_MAX)] = {}
    """What the sender has of the nodes of which it wants more."""
    catalogue: Text = ""


class Told(msgspec.Struct, frozen=True, kw_only=True, tag=15, tag_field="op"):
    """What was asked for, as much as a message takes."""

    members: Annotated[tuple[News, ...], Meta(max_length=PEERS_MAX)] = ()
    records: Annotated[tuple[NodeRecord, ...], Meta(max_length=PEERS_MAX)] = ()
    moved: Annotated[tuple[Moved, ...], Meta(max_length=PEERS_MAX)] = ()
