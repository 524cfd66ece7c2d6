"""How a dialler proves its key to a listener on a punched path, where TLS proves the listener's alone.

The first record on the stream holds the dialler's certificates and its signature over who dials whom, what both have
agreed on for this attempt (each side has drawn a part of it, so an old signature is worth nothing), and the very
certificate that the listener has shown (so it is worth nothing with anybody else). It travels with the first data,
and costs no round trip. Until it is there and true, nothing is served.

    u16 length | Proof in MessagePack
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import Meta

from protocol.errors import PeerError
from protocol.ids import NodeId
from protocol.paths import Offer

CERTIFICATES_MAX = 3
"""The leaf, and whoever signed it below the CA."""
CERTIFICATE_BYTES_MAX = 2048
PROOF_BYTES_MAX = 8192
AGREEMENT_BYTES_MIN = 16
LENGTH_BYTES = 2
CONTEXT = "sedma punched path 1"

Verifies = Callable[[bytes, bytes, bytes], bool]
"""Whether the owner of this raw public key has signed this data: (key, data, signature)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """With what one end proves itself, and whom it expects at the other."""

    own: NodeId
    peer: NodeId
    chain_pem: bytes
    """Our leaf, and behind it whoever signed it, but the CA."""
    key_pem: bytes = field(repr=False)
    ca_pem: bytes
    agreement: bytes
    """The same at both ends and new for each attempt; a part of it is drawn by each of them."""
    sign: Callable[[bytes], bytes]
    """By our node's key; 64 bytes."""
    verifies: Verifies


class Proof(msgspec.Struct, frozen=True, array_like=True):
    """The first record of a dialler."""

    chain: Annotated[
        tuple[Annotated[bytes, Meta(max_length=CERTIFICATE_BYTES_MAX)], ...],
        Meta(min_length=1, max_length=CERTIFICATES_MAX),
    ]
    """DER, the leaf first."""
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


def agreed_on(offer: Offer, answer: Offer) -> bytes:
    """The `agreement` of an attempt, the same at both ends: each has drawn a password for it."""
    assert answer.answers and not offer.answers
    assert (offer.link, offer.number) == (answer.link, answer.number)
    drawn = [(one.username, one.password) for one in (offer, answer)]
    return hashlib.sha256(_ENCODER.encode((offer.link, offer.number, drawn))).digest()


def certificates_of(chain_pem: bytes) -> tuple[bytes, ...]:
    """DER, in the order of the file."""
    parts = chain_pem.split(b"-----BEGIN CERTIFICATE-----")[1:]
    bodies = (part.partition(b"-----END CERTIFICATE-----")[0] for part in parts)
    return tuple(base64.b64decode(b"".join(body.split()), validate=True) for body in bodies)


def signed_bytes(
    listener: NodeId, dialler: NodeId, agreement: bytes, listener_leaf: bytes
) -> bytes:
    """What the dialler signs."""
    assert len(agreement) >= AGREEMENT_BYTES_MIN
    leaf = hashlib.sha256(listener_leaf).digest()
    return _ENCODER.encode((CONTEXT, listener, dialler, agreement, leaf))


def encode_proof(proof: Proof) -> bytes:
    body = _ENCODER.encode(proof)
    assert len(body) <= PROOF_BYTES_MAX
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


class ProofReader:
    """Collects the first record from what comes in."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> tuple[Proof, bytes] | None:
        """The proof and what came behind it, once it is whole; PeerError if it is none."""
        self._buffer += data
        if len(self._buffer) < LENGTH_BYTES:
            return None
        length = int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
        if length > PROOF_BYTES_MAX:
            raise PeerError(f"a proof of {length} bytes; it may have {PROOF_BYTES_MAX}")
        end = LENGTH_BYTES + length
        if len(self._buffer) < end:
            return None
        try:
            proof = _DECODER.decode(bytes(self._buffer[LENGTH_BYTES:end]))
        except msgspec.DecodeError as wrong:
            raise PeerError(f"what came first is no proof of a node's key: {wrong}") from wrong
        return proof, bytes(self._buffer[end:])


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Proof)
