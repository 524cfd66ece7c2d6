"""What nodes tell each other about who is alive: the signed record of a member, news of others, and the packets.

A packet is one UDP datagram of at most `PACKET_BYTES_MAX` bytes, or the same payload over a link where UDP does not
pass. Packets may be lost, doubled, late or out of order; nothing in them needs to arrive, for all news is ordered by
the incarnation of the member that it is about, which only that member raises (SWIM, Das et al. 2002, section 4.2).
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from protocol.digests import Count, Text
from protocol.ids import MeshId, NodeId, node_id
from protocol.limits import ADDRESSES_MAX, NEWS_PER_PACKET_MAX

Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Sequence = Annotated[int, Meta(ge=0, lt=1 << 32)]


class Cause(StrEnum):
    """Why a member is not there any more; every death has one."""

    SILENT = "silent"
    """It answered nobody until its suspicion ran out."""
    STOPPED = "stopped"
    """Its process was asked to end; it comes back with its next start."""
    LEFT = "left"
    """Its owner took it out of the mesh."""


class MemberRecord(msgspec.Struct, frozen=True, array_like=True):
    """One member as it describes itself, signed by its own key. The higher incarnation is the truth."""

    key: Key
    """Ed25519; the member's id is its hash."""
    incarnation: Count
    """Raised by its owner alone: at each start, and to refute what others think of it."""
    version: Count
    """Of its digest when this was signed: whoever has an older one asks for it."""
    addresses: Annotated[tuple[Text, ...], Meta(max_length=ADDRESSES_MAX)]
    """host:port, the likeliest first; TCP and UDP have the same port."""
    gone: Cause | None = None
    """It says goodbye by this record."""
    signature: Signature = bytes(64)

    @property
    def id(self) -> NodeId:
        return node_id(self.key)


def signed_bytes(record: MemberRecord, mesh: MeshId) -> bytes:
    """What the signature is over: all else, bound to this mesh."""
    return _ENCODER.encode(
        (
            "sedma member",
            mesh,
            record.key,
            record.incarnation,
            record.version,
            record.addresses,
            record.gone,
        )
    )


class Alive(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A member is there, or says goodbye."""

    record: MemberRecord


class Suspect(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The accuser had no answer from it."""

    node: NodeId
    incarnation: Count
    accuser: NodeId


class Dead(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Suspected until its time was up."""

    node: NodeId
    incarnation: Count
    cause: Cause = Cause.SILENT


News = Alive | Suspect | Dead
SomeNews = Annotated[tuple[News, ...], Meta(max_length=NEWS_PER_PACKET_MAX)]


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=1):
    sequence: Sequence
    news: SomeNews = ()


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Answers a ping, or a `PingFor` once the target has answered."""

    sequence: Sequence
    news: SomeNews = ()


class Nack(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A helper is there, but the target has not answered it (Lifeguard, section IV.A)."""

    sequence: Sequence
    news: SomeNews = ()


class PingFor(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Asks a helper to ping the target on the sender's behalf."""

    sequence: Sequence
    target: NodeId
    news: SomeNews = ()


class Gossip(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """News alone."""

    news: SomeNews


Packet = Ping | Ack | Nack | PingFor | Gossip

_ENCODER = msgspec.msgpack.Encoder()
