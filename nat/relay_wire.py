"""What nodes and a relay say to each other; each message is one binary message of a WebSocket.

     0      1         5              37
    +------+---------+--------------+-----------------+
    | kind | channel | id           | payload         |
    +------+---------+--------------+-----------------+
       1        4       32, a digest   0 to 65,536

To the relay the id says for whom a message is. From the relay it says whose it is: the relay writes it there itself,
as the certificate of the connection has proven it, so nobody speaks in another's name.

A channel is a stream of bytes both ways between two nodes. Whoever opens it chooses its number; the highest bit of
`channel` is set in all that the opener says and in nothing that the other end says, so two nodes that open the same
number to each other have two channels. Each end may send `WINDOW_BYTES` ahead of what the other has taken.

`ping`, `pong`, `reserved` and `refused` are between a node and its relay: their id and channel are zero.
"""

import struct
from enum import IntEnum

import msgspec

from protocol.errors import PeerError
from protocol.limits import TEXT_BYTES_MAX
from protocol.members import Signature

PATH = "/relay"
"""Where a relay listens for WebSockets."""

OPENER = 1 << 31
"""The bit of a channel that says: I have opened it."""

PAYLOAD_BYTES_MAX = 64 * 1024
WINDOW_BYTES = 256 * 1024
"""Bytes of a channel, each way, that are on their way or wait where they have come to."""

ID_BYTES = 32
TOKEN_BYTES = 8
RESERVED_BYTES_MAX = 512
NOBODY = bytes(ID_BYTES)

_HEADER = struct.Struct(f">BI{ID_BYTES}s")
_WINDOW = struct.Struct(">I")
HEADER_BYTES = _HEADER.size
MESSAGE_BYTES_MAX = HEADER_BYTES + PAYLOAD_BYTES_MAX


class Kind(IntEnum):
    OPEN = 1
    DATA = 2
    WINDOW = 3
    CLOSE = 4
    RESERVED = 16
    REFUSED = 17
    OPENED = 18
    ABSENT = 19
    PING = 20
    PONG = 21


class Open(msgspec.Struct, frozen=True):
    """Begins a channel. Data may follow at once."""

    peer: bytes
    channel: int


class Data(msgspec.Struct, frozen=True):
    peer: bytes
    channel: int
    payload: bytes


class Window(msgspec.Struct, frozen=True):
    """So many bytes more have been taken: as many may follow."""

    peer: bytes
    channel: int
    nbytes: int


class Close(msgspec.Struct, frozen=True):
    """The channel is over, both ways; the reason is for people."""

    peer: bytes
    channel: int
    reason: str


class Opened(msgspec.Struct, frozen=True):
    """From the relay: the other end is there, and has been told of the channel."""

    peer: bytes
    channel: int


class Absent(msgspec.Struct, frozen=True):
    """From the relay: the other end of this channel is not there, or not any more."""

    peer: bytes
    channel: int


class Reserved(msgspec.Struct, frozen=True, array_like=True):
    """From the relay: it forwards for this node, and signs that it does so. Said again before the time is up."""

    node: bytes
    relay: bytes
    until: int
    """Unix time by the relay's clock."""
    rate: int
    """Bytes a second that the node may send."""
    seen: str
    """host:port from which the node comes, as the relay sees it."""
    signature: Signature = bytes(64)


class Refused(msgspec.Struct, frozen=True):
    """From the relay, which hangs up then."""

    reason: str


class Ping(msgspec.Struct, frozen=True):
    token: bytes


class Pong(msgspec.Struct, frozen=True):
    token: bytes


class Unknown(msgspec.Struct, frozen=True):
    """Of a kind that only a later version knows: counted, and otherwise passed over."""

    kind: int
    nbytes: int
    """Of the whole message."""


Told = Open | Data | Window | Close
"""What one end of a channel says to the other."""
Message = Told | Opened | Absent | Reserved | Refused | Ping | Pong | Unknown


def encode(message: Message) -> bytes:
    match message:
        case Data(peer, channel, payload):
            assert 0 < len(payload) <= PAYLOAD_BYTES_MAX
            return _HEADER.pack(Kind.DATA, channel, peer) + payload
        case Window(peer, channel, nbytes):
            return _HEADER.pack(Kind.WINDOW, channel, peer) + _WINDOW.pack(nbytes)
        case Open(peer, channel):
            return _HEADER.pack(Kind.OPEN, channel, peer)
        case Close(peer, channel, reason):
            return _HEADER.pack(Kind.CLOSE, channel, peer) + _short(reason)
        case Opened(peer, channel):
            return _HEADER.pack(Kind.OPENED, channel, peer)
        case Absent(peer, channel):
            return _HEADER.pack(Kind.ABSENT, channel, peer)
        case Reserved():
            return _HEADER.pack(Kind.RESERVED, 0, NOBODY) + _ENCODER.encode(message)
        case Refused(reason):
            return _HEADER.pack(Kind.REFUSED, 0, NOBODY) + _short(reason)
        case Ping(token):
            return _HEADER.pack(Kind.PING, 0, NOBODY) + token
        case Pong(token):
            return _HEADER.pack(Kind.PONG, 0, NOBODY) + token
        case Unknown():
            raise AssertionError("nobody says what he does not know")


def decode(data: bytes) -> Message:
    """The message, or PeerError."""
    if not HEADER_BYTES <= len(data) <= MESSAGE_BYTES_MAX:
        raise PeerError(f"a relay message of {len(data)} bytes")
    kind, channel, peer = _HEADER.unpack_from(data)
    match kind:
        case Kind.OPEN | Kind.DATA | Kind.WINDOW | Kind.CLOSE | Kind.OPENED | Kind.ABSENT:
            return _decode_of_channel(kind, channel, peer, data)
        case Kind.RESERVED | Kind.REFUSED | Kind.PING | Kind.PONG:
            if channel or peer != NOBODY:
                raise _nonsense(kind, "names a channel")
            return _decode_of_relay(kind, data[HEADER_BYTES:])
        case _:
            return Unknown(kind, len(data))


def signed_reservation_bytes(reserved: Reserved) -> bytes:
    """What the relay's signature is over: all else."""
    unsigned = msgspec.structs.replace(reserved, signature=bytes(64))
    return _ENCODER.encode(("sedma reservation", unsigned))


# -- within ------------------------------------------------------------------------------------------


def _decode_of_channel(kind: int, channel: int, peer: bytes, data: bytes) -> Message:
    nbytes = len(data) - HEADER_BYTES
    match kind:
        case Kind.DATA:
            if nbytes == 0:
                raise _nonsense(kind, "is empty")
            return Data(peer, channel, data[HEADER_BYTES:])
        case Kind.WINDOW:
            _check(kind, nbytes, _WINDOW.size)
            (taken,) = _WINDOW.unpack_from(data, HEADER_BYTES)
            if not 0 < taken <= WINDOW_BYTES:
                raise _nonsense(kind, f"gives {taken} bytes")
            return Window(peer, channel, taken)
        case Kind.CLOSE:
            return Close(peer, channel, _text(kind, data[HEADER_BYTES:]))
    _check(kind, nbytes, 0)
    match kind:
        case Kind.OPEN:
            if not channel & OPENER:
                raise _nonsense(kind, "is not by its opener")
            return Open(peer, channel)
        case Kind.OPENED:
            return Opened(peer, channel)
        case _:
            return Absent(peer, channel)


def _decode_of_relay(kind: int, payload: bytes) -> Message:
    match kind:
        case Kind.RESERVED:
            return _decode_reserved(payload)
        case Kind.REFUSED:
            return Refused(_text(kind, payload))
    _check(kind, len(payload), TOKEN_BYTES)
    return Ping(payload) if kind == Kind.PING else Pong(payload)


def _decode_reserved(payload: bytes) -> Reserved:
    if len(payload) > RESERVED_BYTES_MAX:
        raise _nonsense(Kind.RESERVED, f"has {len(payload)} bytes")
    try:
        reserved = _RESERVED.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise PeerError(f"relay message RESERVED: {wrong}") from wrong
    if not len(reserved.node) == len(reserved.relay) == ID_BYTES:
        raise _nonsense(Kind.RESERVED, "names nobody")
    return reserved


def _check(kind: int, nbytes: int, expected: int) -> None:
    if nbytes != expected:
        raise _nonsense(kind, f"carries {nbytes} bytes, not {expected}")


def _short(reason: str) -> bytes:
    return reason.encode()[:TEXT_BYTES_MAX]


def _text(kind: int, payload: bytes) -> str:
    if len(payload) > TEXT_BYTES_MAX:
        raise _nonsense(kind, f"gives a reason of {len(payload)} bytes")
    # Cut to its length, a reason may end within a character.
    return payload.decode(errors="replace")


def _nonsense(kind: int, how: str) -> PeerError:
    return PeerError(f"relay message {Kind(kind).name} {how}")


_ENCODER = msgspec.msgpack.Encoder()
_RESERVED = msgspec.msgpack.Decoder(Reserved)
