"""STUN, as far as we speak it (RFC 8489, and OTHER-ADDRESS and PADDING of RFC 5780): what a message is as bytes.

     0                   1                   2                   3
    |0 0|     message type          |       length after these 20   |
    |                     magic cookie 0x2112A442                   |
    |                    transaction id (96 bits)                   |
    |  attribute type  |  its length  |  value, padded to 4 bytes ...

A node asks "from where do you see me?" (request), a public node answers (response), and a member sends a bare
indication to show that packets from where it stands come through. The first byte is always 0 or 1, by which these
are told apart from sealed packets on the same port. Everything that is not wholly right is a `PeerError`.
"""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from nat.endpoint import Endpoint
from protocol.errors import PeerError

COOKIE = 0x2112A442
HEADER = struct.Struct("!HHI12s")
ATTRIBUTE = struct.Struct("!HH")
TRANSACTION_BYTES = 12
MESSAGE_BYTES_MAX = 576
"""What STUN itself counts on when nothing is known of the path (RFC 8489, section 6.1)."""
ATTRIBUTES_MAX = 16
REQUEST_BYTES = 64
"""Our requests are padded to this: the longest answer, of 68 bytes, is below 1.5 times as much."""

MAPPED_ADDRESS = 0x0001
XOR_MAPPED_ADDRESS = 0x0020
PADDING = 0x0026
OTHER_ADDRESS = 0x802C
FINGERPRINT = 0x8028
FINGERPRINT_XOR = 0x5354554E
OPTIONAL_FROM = 0x8000
"""Attributes from here on may be ignored by who does not know them; all others must be understood."""
IPV4, IPV6 = 1, 2


class Kind(IntEnum):
    """All are of the method Binding."""

    REQUEST = 0x0001
    INDICATION = 0x0011
    RESPONSE = 0x0101


@dataclass(frozen=True, slots=True)
class Message:
    kind: Kind
    transaction: bytes
    mapped: Endpoint | None = None
    """From where the answering node saw the request come."""
    other: Endpoint | None = None
    """Where it answers too. The unspecified address stands for the one that was asked."""


def request(transaction: bytes) -> bytes:
    """Padded, that the answer may be longer than a bare request would allow."""
    room = REQUEST_BYTES - HEADER.size - ATTRIBUTE.size
    return _message(Kind.REQUEST, transaction, [_attribute(PADDING, bytes(room))])


def indication(transaction: bytes) -> bytes:
    """Says nothing but that it came through."""
    return _message(Kind.INDICATION, transaction, [])


def response(transaction: bytes, mapped: Endpoint, other: Endpoint | None = None) -> bytes:
    attributes = [_attribute(XOR_MAPPED_ADDRESS, _xored(_address(mapped), transaction))]
    if other is not None:
        attributes.append(_attribute(OTHER_ADDRESS, _address(other)))
    return _message(Kind.RESPONSE, transaction, attributes)


def parse(datagram: bytes) -> Message:
    """The message, or PeerError with what is wrong about it."""
    if not HEADER.size <= len(datagram) <= MESSAGE_BYTES_MAX:
        raise PeerError(f"STUN: {len(datagram)} bytes")
    word, length, cookie, transaction = HEADER.unpack_from(datagram)
    if cookie != COOKIE or length % 4 or length != len(datagram) - HEADER.size:
        raise PeerError("STUN: wrong cookie or length")
    try:
        kind = Kind(word)
    except ValueError as unknown:
        raise PeerError(f"STUN: message type {word:#06x}") from unknown
    mapped = other = None
    for name, value in _attributes(datagram):
        if name == XOR_MAPPED_ADDRESS:
            mapped = _endpoint(_xored(value, transaction))
        elif name == OTHER_ADDRESS:
            other = _endpoint(value)
        elif name not in (PADDING, MAPPED_ADDRESS) and name < OPTIONAL_FROM:
            # CHANGE-REQUEST among them: nobody makes us send to where he is not.
            raise PeerError(f"STUN: attribute {name:#06x} is not understood")
    if kind is Kind.RESPONSE and mapped is None:
        raise PeerError("STUN: an answer that says nothing")
    return Message(kind, transaction, mapped, other)


# -- attributes --------------------------------------------------------------------------------------


def _message(kind: Kind, transaction: bytes, attributes: list[bytes]) -> bytes:
    assert len(transaction) == TRANSACTION_BYTES
    body = b"".join(attributes)
    return HEADER.pack(kind, len(body), COOKIE, transaction) + body


def _attribute(name: int, value: bytes) -> bytes:
    return ATTRIBUTE.pack(name, len(value)) + value + bytes(-len(value) % 4)


def _attributes(datagram: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    at = HEADER.size
    while at < len(datagram):
        name, length = ATTRIBUTE.unpack_from(datagram, at)
        begin = at + ATTRIBUTE.size
        end = begin + length
        if end + (-length % 4) > len(datagram) or len(found) >= ATTRIBUTES_MAX:
            raise PeerError("STUN: an attribute runs over the end, or there are too many")
        if name == FINGERPRINT:
            _check_fingerprint(datagram, at, datagram[begin:end])
        found.append((name, datagram[begin:end]))
        at = end + (-length % 4)
    return found


def _check_fingerprint(datagram: bytes, at: int, value: bytes) -> None:
    right = zlib.crc32(datagram[:at]) ^ FINGERPRINT_XOR
    if at + ATTRIBUTE.size + 4 != len(datagram) or value != right.to_bytes(4, "big"):
        raise PeerError("STUN: the fingerprint is not that of the message")


# -- addresses ---------------------------------------------------------------------------------------


def _address(endpoint: Endpoint) -> bytes:
    packed = ip_address(endpoint.host).packed
    family = IPV4 if len(packed) == 4 else IPV6
    return struct.pack("!xBH", family, endpoint.port) + packed


def _endpoint(value: bytes) -> Endpoint:
    if len(value) in (8, 20):
        zero, family, port = struct.unpack_from("!BBH", value)
        host = value[4:]
        if zero == 0 and port and (family, len(host)) in ((IPV4, 4), (IPV6, 16)):
            return Endpoint(str(IPv4Address(host) if family == IPV4 else IPv6Address(host)), port)
    raise PeerError("STUN: no address where one belongs")


def _xored(value: bytes, transaction: bytes) -> bytes:
    """An address that a meddling router does not recognise (RFC 8489, section 14.2); what is too long stays so."""
    cookie = COOKIE.to_bytes(4, "big")
    mask = b"\0\0" + cookie[:2] + cookie + transaction
    xored = bytes(one ^ other for one, other in zip(value, mask, strict=False))
    return xored + value[len(mask) :]
