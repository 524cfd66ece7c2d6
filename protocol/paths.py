"""What two nodes say to each other about the ways between them: who is attached to which link, where to punch.

A link outlives the connections that carry it, its *paths*. On each path the first record names the link that it shall
carry; later ones, still inside the TLS of that path, offer addresses for a better one.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from protocol.digests import Count, Text
from protocol.ids import NodeId
from protocol.limits import CANDIDATES_MAX


class PathKind(StrEnum):
    """How a path runs; the better first."""

    LAN = "lan"
    """TCP within one network."""
    IPV6 = "ipv6"
    """TCP, dialled."""
    IPV4 = "ipv4"
    """TCP, dialled."""
    PUNCHED = "punched"
    """QUIC over UDP, through the NATs of both sides."""
    RELAY = "relay"
    """By way of a public node, which sees ciphertext."""


class Mapping(StrEnum):
    """How a NAT chooses the outside address for a socket (RFC 4787, section 4.1)."""

    UNKNOWN = "unknown"
    NONE = "none"
    """There is none: the socket's own address is seen from outside."""
    INDEPENDENT = "independent"
    """The same towards everybody: others can be told of it."""
    DEPENDENT = "dependent"
    """Another one for each destination: a symmetric NAT."""
    BLOCKED = "blocked"
    """No UDP passes at all."""


class Filtering(StrEnum):
    """From whom a NAT or firewall lets packets in (RFC 4787, section 5)."""

    UNKNOWN = "unknown"
    INDEPENDENT = "independent"
    """From everybody."""
    ADDRESS = "address"
    """From hosts to which we have sent."""
    PORT = "port"
    """From addresses and ports to which we have sent."""


class Attach(msgspec.Struct, frozen=True, array_like=True):
    """First record on a path, by whoever dialled it."""

    link: Annotated[bytes, Meta(min_length=16, max_length=16)]
    """Drawn by whoever opened the link; known to its two ends only."""
    opener: bool
    """The sender opened the link; either side may open further paths for it."""
    kind: PathKind
    received: Count
    """Bytes of the link's stream that have come to the sender."""
    fresh: bool
    """The link begins with this path; else it must be there already."""


class Attached(msgspec.Struct, frozen=True, array_like=True):
    """Answers `Attach`: the path may be used."""

    received: Count


class Ending(msgspec.Struct, frozen=True, array_like=True):
    """The link, or this attempt to attach, is over; the reason is for people."""

    reason: Text


class Candidate(msgspec.Struct, frozen=True, array_like=True):
    """An address at which a node may be reached by UDP, in the words of ICE (RFC 8445, section 5.1)."""

    foundation: Annotated[str, Meta(max_length=32)]
    host: Annotated[str, Meta(max_length=45)]
    """An IP address."""
    port: Annotated[int, Meta(ge=1, le=65_535)]
    kind: Annotated[str, Meta(max_length=8)]
    """host | srflx"""
    priority: Annotated[int, Meta(ge=0, lt=1 << 32)]


class Offer(msgspec.Struct, frozen=True, array_like=True):
    """Where its sender can be punched through to, for one attempt. Told over the link, and signed all the same."""

    link: Annotated[bytes, Meta(min_length=16, max_length=16)]
    number: Count
    """Grows with each attempt on this link: an old offer is never taken again."""
    answers: bool
    """It answers the offer of the same number."""
    username: Annotated[str, Meta(min_length=4, max_length=32)]
    password: Annotated[str, Meta(min_length=22, max_length=64)]
    candidates: Annotated[tuple[Candidate, ...], Meta(max_length=CANDIDATES_MAX)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)] = bytes(64)


def signed_offer_bytes(offer: Offer, sender: NodeId, receiver: NodeId) -> bytes:
    """What the signature is over: all else, bound to who says it to whom."""
    unsigned = msgspec.structs.replace(offer, signature=bytes(64))
    return _ENCODER.encode(("sedma offer", sender, receiver, unsigned))


_ENCODER = msgspec.msgpack.Encoder()


VIA = "via:"
"""An address that begins so names the relay by way of which a node is reached. Others are host:port."""


def by_way_of(relay: NodeId) -> str:
    """The address of whoever has a reservation there."""
    return VIA + relay


def relay_in(address: str) -> NodeId | None:
    """The relay that an address names; None if it is one to dial."""
    return NodeId(address.removeprefix(VIA)) if address.startswith(VIA) else None
