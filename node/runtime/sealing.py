"""Seals packets so that only the two nodes that they pass between can write or read them.

     0   1   2              34      38           46
    +---+---+--------------+-------+------------+---------------------+----------+
    | m | v | sender's id  |  run  |  counter   | payload, encrypted  |   tag    |
    +---+---+--------------+-------+------------+---------------------+----------+
      1   1       32           4    8 big-endian     0 to 1,136            16

ChaCha20-Poly1305 (RFC 8439); run and counter are the nonce, all before the payload is authenticated with it. The key
belongs to mesh, sender and receiver, so a packet that is sent back, or to somebody else, does not open. It comes from
a secret on which two members agree by their public keys alone: nothing needs to be said before the first packet.

A sender never uses a counter twice: those of each run begin above all earlier ones, in the range of the run's
incarnation. A receiver takes each counter once, and none further back than `WINDOW`, as IPsec does (RFC 4303,
section 3.4.3). Whoever is unknown is dropped before anything is computed for him.
"""

from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from blake3 import blake3
from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_ABYTES,
    crypto_aead_chacha20poly1305_ietf_decrypt,
    crypto_aead_chacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from protocol.errors import PeerError
from protocol.ids import MeshId, NodeId, id_of_digest, key_digest
from protocol.limits import PACKET_BYTES_MAX, PACKET_SEAL_BYTES, PEERS_MAX

MAGIC = 0x0A
"""First byte of a packet: not one that STUN, DTLS, TURN, RTP or QUIC begin with (RFC 9443, section 3)."""
VERSION = 1
RUN_BYTES = 4
RUN_AT = NONCE_AT = 34
COUNTER_AT = RUN_AT + RUN_BYTES
HEADER_BYTES = COUNTER_AT + 8
SEAL_BYTES = HEADER_BYTES + crypto_aead_chacha20poly1305_ietf_ABYTES
PAYLOAD_BYTES_MAX = PACKET_BYTES_MAX - PACKET_SEAL_BYTES

PER_INCARNATION_BITS = 28
"""So many packets to one peer has each incarnation, which is no smaller than the Unix time at its start."""
INCARNATION_BITS = 64 - PER_INCARNATION_BITS
WINDOW = 64
"""How far packets may overtake each other."""

AGREEMENTS_MAX = 256
"""Secrets computed in one second for senders that have proven nothing yet: 91 us each, so never 3 % of a core."""

KEY_CONTEXT = "sedma 2026-11-21 packet key"
"""Keeps these keys apart from whatever else may be derived from the same secret (BLAKE3, key derivation mode)."""

assert SEAL_BYTES <= PACKET_SEAL_BYTES


class Why(StrEnum):
    """Why a packet was dropped."""

    SHORT = "short"
    LONG = "long"
    FOREIGN = "foreign"
    """It does not begin as our packets do."""
    VERSION = "version"
    UNKNOWN = "unknown"
    """Its sender is no member that we know."""
    BUSY = "busy"
    """Too many say that they are members from whom we have not heard yet."""
    REPLAYED = "replayed"
    """It was there before, or is far too late."""
    FORGED = "forged"
    """Its sender has not sealed it, or not for us, or not in this mesh."""
    NONSENSE = "nonsense"
    """A member has sealed it, and nobody understands it."""


class Dropped(PeerError):
    """A packet that is not heard."""

    def __init__(self, why: Why) -> None:
        super().__init__(f"packet: {why}")
        self.why = why


class Agreeing(Protocol):
    """Our key: see `signatures.Ed25519`."""

    key: bytes

    def secret_with(self, key: bytes) -> bytes: ...


class _Pair:
    """What we share with one peer, and the counters of both directions."""

    __slots__ = ("counter", "digest", "highest", "opening", "sealing", "seen")

    def __init__(self, digest: bytes, sealing: bytes, opening: bytes, counter: int) -> None:
        self.digest = digest
        """Of its key: its id as its packets carry it."""
        self.sealing = sealing
        self.opening = opening
        self.counter = counter
        self.highest = -1
        self.seen = 0
        """Bit n: the packet n before the highest was there."""

    def is_fresh(self, counter: int) -> bool:
        back = self.highest - counter
        return back < 0 or (back < WINDOW and not self.seen >> back & 1)

    def take(self, counter: int) -> bool:
        """Remember that it was there; whether it is the newest."""
        ahead = counter - self.highest
        if ahead <= 0:
            self.seen |= 1 << -ahead
            return False
        self.seen = (self.seen << ahead | 1) & (1 << WINDOW) - 1 if ahead < WINDOW else 1
        self.highest = counter
        return True


class Sealing:
    """Seals what we send and opens what comes in, for one run of one node in one mesh."""

    def __init__(
        self,
        signatures: Agreeing,
        mesh: MeshId,
        incarnation: int,
        run: bytes,
        key_of: Callable[[NodeId], bytes | None],
    ) -> None:
        """`run`: drawn anew, so that two processes on copies of one data directory never share a nonce. `key_of` tells
        the public key of a member, None of everybody else."""
        assert len(run) == RUN_BYTES
        self._signatures = signatures
        self._own = key_digest(signatures.key)
        self._mesh = bytes.fromhex(mesh)
        self._prefix = bytes((MAGIC, VERSION)) + self._own + run
        self._key_of = key_of
        # A peer may have made us raise our incarnation beyond what a clock says; a counter has 64 bits all the same.
        self._first = incarnation % (1 << INCARNATION_BITS) << PER_INCARNATION_BITS
        self._pairs: OrderedDict[NodeId, _Pair] = OrderedDict()
        """Who was heard from last at the end."""
        self._peers: dict[bytes, NodeId] = {}
        self._agreements = 0.0
        self._agreed_at = 0.0

    def seal(self, peer: NodeId, payload: bytes) -> bytes | None:
        """The datagram; None if this peer is no member that we know. PeerError if its key is none."""
        assert len(payload) <= PAYLOAD_BYTES_MAX
        pair = self._pairs.get(peer)
        if pair is None:
            key = self._key_of(peer)
            if key is None:
                return None
            pair = self._agree(peer, key)
        pair.counter += 1
        header = self._prefix + pair.counter.to_bytes(8, "big")
        return header + crypto_aead_chacha20poly1305_ietf_encrypt(
            payload, header, header[NONCE_AT:], pair.sealing
        )

    def open(self, datagram: bytes, now: float) -> tuple[NodeId, bytes, bool]:
        """(who sent it, what it says, whether nothing newer of his was there before); Dropped otherwise."""
        if len(datagram) > PACKET_BYTES_MAX:
            raise Dropped(Why.LONG)
        if len(datagram) < SEAL_BYTES:
            raise Dropped(Why.SHORT)
        if datagram[0] != MAGIC:
            raise Dropped(Why.FOREIGN)
        if datagram[1] != VERSION:
            raise Dropped(Why.VERSION)
        peer, pair = self._sender(datagram[2:RUN_AT], now)
        header = datagram[:HEADER_BYTES]
        counter = int.from_bytes(header[COUNTER_AT:], "big")
        if not pair.is_fresh(counter):
            raise Dropped(Why.REPLAYED)
        try:
            payload = crypto_aead_chacha20poly1305_ietf_decrypt(
                datagram[HEADER_BYTES:], header, header[NONCE_AT:], pair.opening
            )
        except CryptoError as wrong:
            raise Dropped(Why.FORGED) from wrong
        return peer, payload, pair.take(counter)

    # -- within --------------------------------------------------------------------------------------

    def _sender(self, digest: bytes, now: float) -> tuple[NodeId, _Pair]:
        """The member that this claims to be from."""
        peer = self._peers.get(digest) or id_of_digest(digest)
        # Asked for every packet: whoever left or was banned is unknown from that moment on.
        key = self._key_of(peer)
        if key is None or digest == self._own:
            raise Dropped(Why.UNKNOWN)
        pair = self._pairs.get(peer)
        if pair is not None:
            self._pairs.move_to_end(peer)
            return peer, pair
        self._spend_agreement(now)
        try:
            return peer, self._agree(peer, key)
        except PeerError as wrong:
            raise Dropped(Why.FORGED) from wrong

    def _spend_agreement(self, now: float) -> None:
        """As from a bucket that fills up within a second."""
        spent = self._agreements - (now - self._agreed_at) * AGREEMENTS_MAX
        self._agreements, self._agreed_at = max(spent, 0.0), now
        if self._agreements + 1.0 > AGREEMENTS_MAX:
            raise Dropped(Why.BUSY)
        self._agreements += 1.0

    def _agree(self, peer: NodeId, key: bytes) -> _Pair:
        own, secret = self._signatures.key, self._signatures.secret_with(key)
        pair = _Pair(
            key_digest(key),
            sealing=self._derive(secret + self._mesh + own + key),
            opening=self._derive(secret + self._mesh + key + own),
            counter=self._first,
        )
        self._pairs[peer] = pair
        self._peers[pair.digest] = peer
        if len(self._pairs) > PEERS_MAX:
            _, oldest = self._pairs.popitem(last=False)
            del self._peers[oldest.digest]
            # Should it come back, its counter must not begin where it began before.
            self._first = max(self._first, oldest.counter)
        return pair

    def _derive(self, material: bytes) -> bytes:
        return blake3(material, derive_key_context=KEY_CONTEXT).digest()
