"""aioquic behind the same door as qh3 (`nat/engine.py`), and as it comes. For `bench/quic.py` alone.

It reaches into aioquic where that has no public way to tell what waits in its buffer; it proves no client, as the
bench has nobody to refuse.
"""

import asyncio
import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from cryptography.hazmat.primitives.serialization import Encoding

from nat.engine import ADDRESS, ALPN, STREAM, STREAM_BYTES_MAX, EngineEvent, Heard, Over, Secured
from nat.proof import Credentials, certificates_of

DATAGRAM_BYTES = 1452
SLICE = 256 * 1024


def configuration(credentials: Credentials, *, dialled: bool) -> QuicConfiguration:
    made = QuicConfiguration(
        is_client=dialled,
        alpn_protocols=[ALPN],
        max_data=STREAM_BYTES_MAX,
        max_stream_data=STREAM_BYTES_MAX,
        max_datagram_size=DATAGRAM_BYTES,
        congestion_control_algorithm="cubic",
    )
    if dialled:
        made.verify_mode = ssl.CERT_NONE
        return made
    with tempfile.TemporaryDirectory() as folder:
        chain, key = Path(folder, "chain"), Path(folder, "key")
        chain.write_bytes(credentials.chain_pem)
        key.write_bytes(credentials.key_pem)
        made.load_cert_chain(chain, key)
    return made


class AioquicEngine:
    """The methods of `nat.engine.Engine`."""

    def __init__(self, credentials: Credentials, *, dialled: bool) -> None:
        self._configuration = configuration(credentials, dialled=dialled)
        self._dialled = dialled
        self._chain = certificates_of(credentials.ca_pem)
        self._connection: QuicConnection | None = None
        self.peer_chain: tuple[bytes, ...] = ()
        if dialled:
            self._connection = QuicConnection(configuration=self._configuration)

    def start(self, now: float) -> None:
        if self._dialled:
            assert self._connection is not None
            self._connection.connect(ADDRESS, now)

    def owns(self, datagram: bytes) -> bool:
        return True

    def receive(self, buffer: bytes, segment: int, now: float) -> None:
        if self._connection is None:
            self._connection = QuicConnection(
                configuration=self._configuration,
                original_destination_connection_id=buffer[6 : 6 + buffer[5]],
            )
        for start in range(0, len(buffer), segment):
            self._connection.receive_datagram(buffer[start : start + segment], ADDRESS, now)

    def datagrams(self, now: float) -> list[bytes]:
        if self._connection is None:
            return []
        return [datagram for datagram, _ in self._connection.datagrams_to_send(now)]

    def deadline(self) -> float | None:
        return None if self._connection is None else self._connection.get_timer()

    def tick(self, now: float) -> None:
        if self._connection is not None:
            self._connection.handle_timer(now)

    def awaits(self, now: float) -> bool:
        return False

    def hurry(self, now: float) -> None:
        """Never asked: see `awaits`."""

    def write(self, data: bytes | bytearray | memoryview, *, end: bool = False) -> None:
        assert self._connection is not None
        self._connection.send_stream_data(STREAM, bytes(data), end)

    def unsent(self) -> int:
        if self._connection is None or (stream := self._connection._streams.get(STREAM)) is None:
            return 0
        return stream.sender._buffer_stop - stream.sender.next_offset

    def close(self, reason: str) -> None:
        if self._connection is not None:
            self._connection.close(error_code=1 if reason else 0, reason_phrase=reason)

    def events(self) -> Iterator[EngineEvent]:
        while self._connection is not None and (event := self._connection.next_event()) is not None:
            match event:
                case events.StreamDataReceived():
                    yield Heard(event.data, event.end_stream)
                case events.HandshakeCompleted():
                    yield Secured(self._peer_chain())
                case events.ConnectionTerminated():
                    yield Over(event.reason_phrase if event.error_code else "")

    def _peer_chain(self) -> tuple[bytes, ...]:
        assert self._connection is not None
        leaf = self._connection.tls._peer_certificate
        return () if leaf is None else (leaf.public_bytes(Encoding.DER),)


async def plain_listen(credentials: Credentials, nbytes: int) -> tuple[int, asyncio.Future[None]]:
    """aioquic's own server: the port, and when so many bytes have come."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    class Counter(QuicConnectionProtocol):
        received = 0

        def quic_event_received(self, event: events.QuicEvent) -> None:
            if isinstance(event, events.StreamDataReceived):
                self.received += len(event.data)
                if self.received >= nbytes and not done.done():
                    # One byte back: the sender stops its clock by it.
                    self._quic.send_stream_data(event.stream_id, b"!")
                    self.transmit()
                    done.set_result(None)

    server = await serve(
        "127.0.0.1",
        0,
        configuration=configuration(credentials, dialled=False),
        create_protocol=Counter,
    )
    assert server._transport is not None
    return server._transport.get_extra_info("sockname")[1], done


async def plain_send(credentials: Credentials, port: int, nbytes: int) -> float:
    """aioquic's own client and streams: how many seconds it took once they were connected.

    They have no back-pressure: what waits for acknowledgement is bounded here.
    """
    async with connect(
        "127.0.0.1", port, configuration=configuration(credentials, dialled=True)
    ) as client:
        reader, writer = await client.create_stream()
        piece = bytes(SLICE)
        began = time.perf_counter()
        for _ in range(0, nbytes, SLICE):
            writer.write(piece)
            sender = client._quic._streams[STREAM].sender
            while sender._buffer_stop - sender.next_offset > SLICE:  # noqa: ASYNC110
                await asyncio.sleep(0.0005)
        await reader.read(1)
        return time.perf_counter() - began
