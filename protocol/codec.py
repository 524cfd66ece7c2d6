"""The one place where bytes from a peer become checked values.

Headers are MessagePack, decoded against the closed types of `messages`, packets against those of `members`: unknown
keys are ignored, anything else that does not fit is a `PeerError` which says where. Past this door no code looks at a
dict.
"""

from typing import TypeVar

import msgspec

from protocol.errors import PeerError
from protocol.members import Packet
from protocol.messages import ErrorHeader, Goodbye, Hello, RequestHeader, ResponseHeader
from protocol.paths import Attach, Attached, Ending, Offer

Header = (
    Hello
    | RequestHeader
    | ResponseHeader
    | ErrorHeader
    | Goodbye
    | Attach
    | Attached
    | Ending
    | Offer
)
H = TypeVar(
    "H",
    Hello,
    RequestHeader,
    ResponseHeader,
    ErrorHeader,
    Goodbye,
    Attach,
    Attached,
    Ending,
    Offer,
)

_ENCODER = msgspec.msgpack.Encoder()
_PACKETS = msgspec.msgpack.Decoder(Packet)
_DECODERS = {
    kind: msgspec.msgpack.Decoder(kind)
    for kind in (
        Hello,
        RequestHeader,
        ResponseHeader,
        ErrorHeader,
        Goodbye,
        Attach,
        Attached,
        Ending,
        Offer,
    )
}


def encode(header: Header) -> bytes:
    return _ENCODER.encode(header)


def decode(kind: type[H], header: bytes) -> H:
    """The header as a checked value of `kind`, or PeerError with the place that does not fit."""
    try:
        value = _DECODERS[kind].decode(header)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise PeerError(f"{kind.__name__}: {wrong}") from wrong
    assert isinstance(value, kind)
    return value


def encode_packet(packet: Packet) -> bytes:
    return _ENCODER.encode(packet)


def decode_packet(payload: bytes) -> Packet:
    """What one datagram says, or PeerError."""
    try:
        packet: Packet = _PACKETS.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise PeerError(f"packet: {wrong}") from wrong
    return packet
