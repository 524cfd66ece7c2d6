"""The one line that lets a node into a mesh: whom to trust, where to go, and what to show there.

A ticket carries the mesh CA's whole certificate (about 370 bytes), not only its fingerprint: the
joiner's very first handshake then trusts exactly this CA, and no byte is ever exchanged with
somebody unproven. The token is signed by the node that minted it, which alone redeems it and counts
its uses. Nothing here is secret but the token, and that one expires.

    ticket  sedma1:<base64url of MessagePack [ca, addresses, token] + 4 bytes of its SHA-256>
    token   <base64url of MessagePack [mesh, id, expires_at, ...]>.<base64url of the signature>
"""

import base64
import binascii
import hashlib
import re
from typing import Annotated

import msgspec
from msgspec import Meta

from protocol.digests import Text
from protocol.errors import ConfigError, ErrorCode, TaskError
from protocol.ids import NODE_ID_LENGTH, MeshId, NodeId
from protocol.limits import ADDRESSES_MAX, TOKEN_CHARS_MAX

VERSION = 1
PREFIX = f"sedma{VERSION}:"
TICKET_CHARS_MAX = 16_384
"""Looked at before anything is decoded. A usual ticket has about a thousand characters."""
CA_BYTES_MAX = 2_048
USES_MAX = 10_000
TTL_S_MAX = 366 * 86_400.0
"""A ticket is a secret: one that outlives its purpose by a year is forgotten somewhere."""
CHECKSUM_BYTES = 4
SIGNATURE_BYTES = 64

SIGNED_AS = b"sedma ticket token 1\n"
"""Stands before what the minter signs: no other signature of its key can pass for a token's."""


class TokenClaims(msgspec.Struct, frozen=True, array_like=True):
    """What the minter promises to whoever shows the token. Fields are only added, at the end."""

    mesh: Annotated[MeshId, Meta(min_length=64, max_length=64)]
    id: Annotated[str, Meta(min_length=1, max_length=64)]
    """Under this name the minter counts the uses."""
    expires_at: float
    """Unix time of the minter's clock: the joiner's clock does not matter."""
    uses: Annotated[int, Meta(ge=1, le=USES_MAX)]
    """How many different nodes may join with it."""
    may_invite: bool
    """Whoever joins with it may mint tickets too."""
    minter: Annotated[NodeId, Meta(min_length=NODE_ID_LENGTH, max_length=NODE_ID_LENGTH)]


class Token(msgspec.Struct, frozen=True):
    """A token taken apart; believe nothing in it before `signature` is checked over `signed`."""

    claims: TokenClaims
    signed: bytes
    signature: bytes


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """All that a stranger needs to join."""

    ca: Annotated[bytes, Meta(min_length=1, max_length=CA_BYTES_MAX)]
    """The mesh CA's certificate, DER."""
    addresses: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=ADDRESSES_MAX)]
    """host:port of the minter, the likeliest first."""
    token: Annotated[str, Meta(min_length=1, max_length=TOKEN_CHARS_MAX)]

    @property
    def mesh(self) -> MeshId:
        return mesh_id(self.ca)


def mesh_id(ca: bytes) -> MeshId:
    """The id of the mesh whose CA certificate (DER) this is."""
    return MeshId(hashlib.sha256(ca).hexdigest())


def encode(ticket: Ticket) -> str:
    """The ticket as one line of text."""
    payload = msgspec.msgpack.encode(ticket)
    return PREFIX + _to_text(payload + _checksum(payload))


def decode(text: str) -> Ticket:
    """The ticket in a line of text, or ConfigError saying what is wrong with the line.

    White space is ignored anywhere: terminals and mail programs wrap long lines.
    """
    line = "".join(text[: TICKET_CHARS_MAX + 1].split())
    if len(text) > TICKET_CHARS_MAX:
        raise ConfigError(f"this is no ticket: it is longer than {TICKET_CHARS_MAX} characters")
    _check_prefix(line)
    try:
        data = _from_text(line.removeprefix(PREFIX))
    except ValueError as wrong:
        raise ConfigError(
            "the ticket is cut short or holds characters that do not belong there: "
            "copy the whole line again"
        ) from wrong
    payload, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    if _checksum(payload) != checksum:
        raise ConfigError(
            "the ticket is cut short or was altered on the way: copy the whole line again"
        )
    try:
        return msgspec.msgpack.decode(payload, type=Ticket)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise ConfigError(
            f"the ticket does not hold what a ticket must ({wrong}): "
            "mint a new one with `sedma-node ticket`"
        ) from wrong


def to_be_signed(claims: TokenClaims) -> bytes:
    """The bytes over which the minter signs."""
    return SIGNED_AS + msgspec.msgpack.encode(claims)


def make_token(claims: TokenClaims, signature: bytes) -> str:
    """The token's text, with the minter's signature over `to_be_signed(claims)`."""
    assert len(signature) == SIGNATURE_BYTES
    return f"{_to_text(msgspec.msgpack.encode(claims))}.{_to_text(signature)}"


def read_token(token: str) -> Token:
    """A token taken apart, or TaskError TICKET_INVALID. Whoever has the key checks the signature."""
    payload_text, _, signature_text = token.partition(".")
    try:
        payload, signature = _from_text(payload_text), _from_text(signature_text)
        claims = msgspec.msgpack.decode(payload, type=TokenClaims)
        if len(signature) != SIGNATURE_BYTES:
            raise ValueError(f"a signature of {len(signature)} bytes, not {SIGNATURE_BYTES}")
    except ValueError as wrong:
        raise TaskError(
            ErrorCode.TICKET_INVALID,
            f"the ticket's token cannot be read ({wrong}): "
            "mint a new ticket with `sedma-node ticket`",
        ) from wrong
    return Token(claims=claims, signed=SIGNED_AS + payload, signature=signature)


def _check_prefix(line: str) -> None:
    if line.startswith(PREFIX):
        return
    if other := re.match(r"sedma(\d{1,9}):", line):
        raise ConfigError(
            f"the ticket is of version {other[1]} and this node reads version {VERSION}: "
            "update the older of the two nodes"
        )
    raise ConfigError(
        f"this is no ticket: a ticket begins with {PREFIX!r}; a node of the mesh prints one with "
        "`sedma-node ticket` (from a file: --join @FILE)"
    )


def _checksum(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()[:CHECKSUM_BYTES]


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _from_text(text: str) -> bytes:
    """Strict: a character outside the alphabet is an error (ValueError), not skipped."""
    if not text.isascii():
        raise ValueError("characters outside ASCII")
    padded = text.encode() + b"=" * (-len(text) % 4)
    try:
        return base64.b64decode(padded, altchars=b"-_", validate=True)
    except binascii.Error as wrong:
        raise ValueError(str(wrong)) from wrong
