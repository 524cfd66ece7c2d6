"""QUIC without a socket or a clock, by qh3: the only file that knows it. Loaded when a path is punched first.

qh3 was chosen by measurement (`bench/quic.py`): its packets are made and read in Rust. It takes 4 MiB of memory and
70 ms, which a node that punches nowhere spares. Of what QUIC offers one stream is used, both ways. ICE moves the path
below, so QUIC sees one constant address.
"""

import logging
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qh3 import tls
from qh3._hazmat import CryptoError, X25519KeyExchange
from qh3.quic import events
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection, QuicConnectionError

from nat.proof import CERTIFICATES_MAX, Credentials
from protocol.errors import PeerError
from protocol.ids import NodeId, node_id, short

ALPN = "sedma-path/1"
STREAM = 0
ADDRESS = ("127.0.0.1", 1)
"""Where QUIC believes the other side to be."""
IDLE_S_MAX = 365 * 86_400.0
"""Whether a silent path lives is found out by the keeper of the path, long before."""
BACKOFF_S_MAX = 120.0
"""A timer that is set for later is not one that waits for an acknowledgement."""
STREAM_BYTES_MAX = 4 << 20
"""That may be on the way: enough for 50 MB/s at 80 ms. It bounds what a receiver holds for bytes that are missing."""
ID_BYTES = 8
"""Of a connection id: too long to be guessed by who does not see the packets."""
ID_BYTES_MAX = 20
INITIAL_BYTES_MIN = 1200
NONSENSE = (ValueError, TypeError, CryptoError)
"""What qh3 raises at messages and certificates that make no sense to it, beside its own errors."""
PANIC = "PanicException"
"""The same of its part in Rust: it descends from BaseException, and no module gives it out."""
ED25519_KEY_INFO = bytes.fromhex("302a300506032b6570032100")
"""An Ed25519 subjectPublicKeyInfo up to its 32 bytes of key (RFC 8410, section 4)."""
REASON_CHARS_MAX = 200
"""Of the sentence with which a connection is closed: it fits into one datagram."""

# It warns of each close by the other side, which we tell in our own words.
logging.getLogger("quic").setLevel(logging.ERROR)

# The first key of a process takes 40 ms to draw, for what draws them is made then. Here nobody waits for it: this file
# is loaded beside the loop, before a path is punched.
X25519KeyExchange()


@dataclass(frozen=True, slots=True)
class Secured:
    """TLS is through. The dialler sees the certificates of the listener, leaf first, whose key is proven."""

    chain: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    data: bytes
    ended: bool


@dataclass(frozen=True, slots=True)
class Over:
    """The connection is closed; no error where the other side said nothing of one."""

    error: str


EngineEvent = Secured | Heard | Over


class _Connection(QuicConnection):
    """Two things that qh3 has no switch for; tests notice if a later version does them otherwise."""

    @property
    def closed_by(self) -> events.ConnectionTerminated | None:
        """Why it is closing. The event comes only when all stray packets are gone, three timeouts later."""
        return self._close_event

    def _log_packets(self, event: str, data: bytes) -> None:
        """Spares the parsing of each sent packet for a log that nobody keeps: an eighth of a sender's time."""


class Engine:
    """One end of a QUIC connection that carries one stream."""

    def __init__(self, credentials: Credentials, *, dialled: bool) -> None:
        self._dialled = dialled
        self._configuration = _configuration(credentials, dialled=dialled)
        self._connection: _Connection | None = None
        self._ids: set[bytes] = set()
        self._over: str | None = None
        """Why nothing more will come."""
        self._told = False
        if dialled:
            self._begin(None)

    def start(self, now: float) -> None:
        """The dialler's first words; a listener waits for them."""
        if self._dialled:
            assert self._connection is not None
            self._connection.connect(ADDRESS, now)

    def owns(self, datagram: bytes) -> bool:
        """Whether it was written by somebody who has seen packets of this connection."""
        return datagram[1 : 1 + ID_BYTES] in self._ids

    def receive(self, buffer: bytes, segment: int, now: float) -> None:
        """Datagrams of `segment` bytes each, the last may be shorter."""
        if self._connection is None:
            first = buffer[:segment]
            if not _opens(first):
                return
            self._begin(first[6 : 6 + first[5]])
        assert self._connection is not None
        try:
            if len(buffer) <= segment:
                self._connection.receive_datagram(buffer, ADDRESS, now)
            else:
                self._connection.receive_gro_buffer(buffer, segment, ADDRESS, now)
        except QuicConnectionError as wrong:
            self._fail(wrong.reason_phrase)
        except BaseException as wrong:
            # A peer that has the keys of the handshake, and says nonsense in it.
            if not _is_nonsense(wrong):
                raise
            self._fail(str(wrong) or type(wrong).__name__)

    def datagrams(self, now: float) -> list[bytes]:
        """What is to be sent now; call again after each input."""
        if self._connection is None:
            return []
        try:
            return [datagram for datagram, _ in self._connection.datagrams_to_send(now)]
        except QuicConnectionError as wrong:
            self._fail(wrong.reason_phrase)
            return []

    def deadline(self) -> float | None:
        return None if self._connection is None else self._connection.get_timer()

    def tick(self, now: float) -> None:
        if self._connection is None:
            return
        try:
            self._connection.handle_timer(now)
        except QuicConnectionError as wrong:
            self._fail(wrong.reason_phrase)

    def awaits(self, now: float) -> bool:
        """Whether an acknowledgement is due."""
        return self._connection is not None and self._connection.should_wait_for_ack(now)

    def hurry(self, now: float) -> None:
        """The way is there again: ask for acknowledgements now, not when a timer says that has doubled each time."""
        deadline = self.deadline()
        if self.awaits(now) and deadline is not None and now < deadline < now + BACKOFF_S_MAX:
            self.tick(deadline)

    def write(self, data: bytes | bytearray | memoryview, *, end: bool = False) -> None:
        """Taken over in whole; `unsent` tells what waits."""
        assert self._connection is not None
        try:
            self._connection.send_stream_data(STREAM, data, end)
        except QuicConnectionError as wrong:
            self._fail(wrong.reason_phrase)

    def unsent(self) -> int:
        """Bytes that were written and have not left yet."""
        return 0 if self._connection is None else self._connection.get_send_buffer_size(STREAM)

    def close(self, reason: str) -> None:
        """At once: nothing that waits is sent any more."""
        if self._connection is not None:
            code = 1 if reason else 0
            self._connection.close(error_code=code, reason_phrase=reason[:REASON_CHARS_MAX])

    def events(self) -> Iterator[EngineEvent]:
        """What happened since this was asked last."""
        connection = self._connection
        while connection is not None and (event := connection.next_event()) is not None:
            match event:
                case events.StreamDataReceived():
                    if event.stream_id == STREAM:
                        yield Heard(event.data, event.end_stream)
                case events.HandshakeCompleted():
                    yield Secured(self._peer_chain(connection))
                case events.ConnectionIdIssued():
                    self._ids.add(event.connection_id)
                case events.ConnectionIdRetired():
                    self._ids.discard(event.connection_id)
                case events.StreamReset() | events.StopSendingReceived():
                    yield Over("the peer gave the path up")
        if connection is not None and self._over is None and (end := connection.closed_by):
            self._over = end.reason_phrase if end.error_code else ""
        if self._over is not None and not self._told:
            self._told = True
            yield Over(self._over)

    def _fail(self, why: str) -> None:
        """Told with the next events."""
        self._over = f"QUIC failed: {why}"

    def _begin(self, original: bytes | None) -> None:
        self._connection = _Connection(
            configuration=self._configuration, original_destination_connection_id=original
        )
        self._ids.add(self._connection.host_cid)

    def _peer_chain(self, connection: QuicConnection) -> tuple[bytes, ...]:
        leaf = connection.get_peercert()
        if leaf is None:
            return ()
        return (leaf.public_bytes(), *(one.public_bytes() for one in connection.get_issuercerts()))


def proven_key(chain: Sequence[bytes], ca_pem: bytes, peer: NodeId) -> bytes:
    """The key in the first of these certificates, which the mesh has signed for this node; else PeerError."""
    if not 1 <= len(chain) <= CERTIFICATES_MAX:
        raise PeerError(f"node {short(peer)} shows {len(chain)} certificates")
    pem = "".join(ssl.DER_cert_to_PEM_cert(one) for one in chain)
    try:
        leaf, *others = tls.load_pem_x509_certificates(pem.encode())
        key = leaf.public_key()
    except BaseException as wrong:
        if not _is_nonsense(wrong):
            raise
        raise PeerError(f"a certificate of node {short(peer)} cannot be read") from wrong
    if not key.startswith(ED25519_KEY_INFO) or node_id(key[-32:]) != peer:
        raise PeerError(f"the certificate shown is not that of node {short(peer)}")
    try:
        tls.verify_certificate(leaf, others, cadata=ca_pem, server_name=_name(peer))
    except tls.Alert as wrong:
        raise PeerError(f"node {short(peer)} is not of this mesh: {wrong}") from wrong
    return key[-32:]


def _configuration(credentials: Credentials, *, dialled: bool) -> QuicConfiguration:
    configuration = QuicConfiguration(
        is_client=dialled,
        alpn_protocols=[ALPN],
        connection_id_length=ID_BYTES,
        idle_timeout=IDLE_S_MAX,
        max_data=STREAM_BYTES_MAX,
        max_stream_data=STREAM_BYTES_MAX,
    )
    if dialled:
        configuration.server_name = _name(credentials.peer)
        # That the listener has the key of its certificate is checked all the same. Whose certificate it is, both
        # sides judge by `proven_key`, which says in words what is wrong.
        configuration.verify_mode = ssl.CERT_NONE
        configuration.signature_algorithms = [tls.SignatureAlgorithm.ED25519]
    else:
        configuration.load_cert_chain(credentials.chain_pem, credentials.key_pem)
    return configuration


def _opens(datagram: bytes) -> bool:
    """Whether a connection begins with it: an Initial of version 1, padded (RFC 9000, section 14.1)."""
    return (
        len(datagram) >= INITIAL_BYTES_MIN
        and datagram[0] & 0xF0 == 0xC0
        and datagram[1:5] == b"\0\0\0\1"
        and datagram[5] <= ID_BYTES_MAX
    )


def _is_nonsense(wrong: BaseException) -> bool:
    """Whether qh3 raises this at what a peer has written, and not at a fault of ours."""
    return isinstance(wrong, NONSENSE) or type(wrong).__name__ == PANIC


def _name(node: NodeId) -> str:
    """As it stands in the certificate of a node."""
    return f"{node}.sedma"
