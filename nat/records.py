"""How the stream of a link is cut into records, on each of its paths.

     0      1      2            4              8                     16                    24
    +------+------+------------+--------------+---------------------+---------------------+----------
    | kind | ver  | 0          | length       | offset              | received            | payload
    +------+------+------------+--------------+---------------------+---------------------+----------

Little endian. `received` says how much of the other side's stream has come in, on every record. `offset` is that of
the payload's first byte in the stream for DATA, a number to be sent back for PING and PONG, else 0.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from protocol.errors import PeerError

VERSION = 1
HEADER = struct.Struct("<BBHIQQ")
HEADER_BYTES = HEADER.size

DATA_BYTES_MAX = 2 * 1024 * 1024
"""Of one record. What is longer goes in several."""

CONTROL_BYTES_MAX = 8 * 1024
"""Payload of any other record."""


class RecordKind(IntEnum):
    DATA = 1
    ACK = 2
    PING = 3
    PONG = 4
    ATTACH = 5
    ATTACHED = 6
    ENDING = 7
    OFFER = 8
    PACKET = 9
    """A sealed packet that has no way of its own."""


DATA = int(RecordKind.DATA)
"""Looking a member up in its enum costs more than all else that is done for a small record."""

_KINDS = frozenset(int(kind) for kind in RecordKind)


@dataclass(frozen=True, slots=True)
class Record:
    """The head of one, and its payload unless it is DATA."""

    kind: RecordKind
    offset: int
    received: int
    payload: bytes = b""


def encode_record(kind: RecordKind, offset: int, received: int, payload: bytes = b"") -> bytes:
    """Any record but DATA."""
    assert len(payload) <= CONTROL_BYTES_MAX, len(payload)
    return HEADER.pack(kind, VERSION, 0, len(payload), offset, received) + payload


def encode_data_head(offset: int, received: int, nbytes: int) -> bytes:
    """What goes before so many bytes of the stream."""
    return HEADER.pack(DATA, VERSION, 0, nbytes, offset, received)


def read_head(buffer: memoryview) -> tuple[int, int, int, int]:
    """(kind, length, offset, received) of the record that begins here; PeerError if none does."""
    kind, version, _, length, offset, received = HEADER.unpack_from(buffer)
    if version != VERSION or kind not in _KINDS:
        raise PeerError(f"no record of ours begins with {kind}, {version}")
    limit = DATA_BYTES_MAX if kind == DATA else CONTROL_BYTES_MAX
    if length > limit:
        raise PeerError(f"a record of {length} bytes: the most is {limit}")
    return kind, length, offset, received
