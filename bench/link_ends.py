"""The two ends that `bench/link.py` compares: our links, and blocking sockets with no layer at all.

Each end is a function that runs to its end in a process of its own, pinned to one core. A message is so
many bytes, answered by a short acknowledgement; `window` messages are on their way at once. Every socket
has the same congestion control, because BBR on loopback costs three to five times the throughput.
"""

import asyncio
import datetime as dt
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from node.runtime.links import Link
from node.runtime.tcp_link import Security, dial, serve
from protocol.frames import Frame, FrameType, TrafficClass

CONGESTION = "reno"
HOST = "127.0.0.1"
ACKNOWLEDGEMENT = b"12345678"
PING_BYTES = 64
BULK_BYTES = 1 << 20

ReportPort = Callable[[int], None]
Ready = Callable[[], None]
"""Called when link and buffers stand, before the first body."""


@dataclass(frozen=True)
class Job:
    """What both ends are to do."""

    side: str
    """"raw" or "link"."""
    tls: str | None
    """Directory with certificates; None for plain."""
    nbytes: int
    count: int
    window: int = 1
    ahead: bool = False
    """Links only: nothing is announced. The receiver grants the body after the next `window` when one
    has come, which is also its acknowledgement; bare sockets never ask, and acknowledge as often."""


# -- certificates ----------------------------------------------------------------------------------


def write_certificates(folder: Path) -> None:
    """A CA and one Ed25519 leaf, which both sides show: the handshake is mutual."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.x509.oid import NameOID

    def signed(name: str, ca: bool) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")]))
            .public_key((ca_key if ca else leaf_key).public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(ca_key, None)
        )

    ca_key, leaf_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    (folder / "ca.crt").write_bytes(signed("ca", True).public_bytes(pem))
    (folder / "leaf.crt").write_bytes(signed("leaf", False).public_bytes(pem))
    (folder / "leaf.key").write_bytes(
        leaf_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _context(folder: str | None, *, server: bool) -> ssl.SSLContext | None:
    if folder is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(f"{folder}/ca.crt")
    context.load_cert_chain(f"{folder}/leaf.crt", f"{folder}/leaf.key")
    return context


def _security(folder: str | None, *, server: bool) -> Security | None:
    context = _context(folder, server=server)
    return None if context is None else Security(context, lambda _: None)


def _targets(job: Job) -> list[memoryview]:
    """Where the messages of one window come to lie, resident before the clock starts."""
    return [memoryview(bytearray(b"\1" * job.nbytes)) for _ in range(job.window)]


# -- bare sockets ----------------------------------------------------------------------------------


def _listener() -> socket.socket:
    listener = socket.create_server((HOST, 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION.encode())
    return listener


def _tuned(connection: socket.socket) -> socket.socket:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION.encode())
    return connection


def _read(connection: socket.socket, into: memoryview) -> bool:
    """Fill it; False at the end of the stream."""
    got = 0
    while got < len(into):
        nbytes = connection.recv_into(into[got:])
        if not nbytes:
            return False
        got += nbytes
    return True


def raw_receiver(job: Job, report_port: ReportPort) -> None:
    context = _context(job.tls, server=True)
    targets = _targets(job)
    with _listener() as listener:
        report_port(listener.getsockname()[1])
        connection = _tuned(listener.accept()[0])
    if context is not None:
        connection = context.wrap_socket(connection, server_side=True)
    with connection:
        for number in range(job.count):
            _read(connection, targets[number % job.window])
            connection.sendall(ACKNOWLEDGEMENT)


def raw_sender(job: Job, port: int) -> float:
    """Seconds from the first byte to the last acknowledgement."""
    context = _context(job.tls, server=False)
    body = memoryview(bytearray(b"\2" * job.nbytes))
    answer = memoryview(bytearray(len(ACKNOWLEDGEMENT)))
    connection = _tuned(socket.create_connection((HOST, port)))
    if context is not None:
        connection = context.wrap_socket(connection)
    with connection:
        started = time.perf_counter()
        for number in range(job.count):
            connection.sendall(body)
            if number >= job.window - 1:
                _read(connection, answer)
        for _ in range(min(job.window - 1, job.count)):
            _read(connection, answer)
        return time.perf_counter() - started


def raw_echo(job: Job, report_port: ReportPort) -> None:
    """Two connections: one takes all that comes, one gives every ping back."""
    with _listener() as listener:
        report_port(listener.getsockname()[1])
        pings, bulk = (_tuned(listener.accept()[0]) for _ in range(2))
    sink = memoryview(bytearray(BULK_BYTES))

    def drain() -> None:
        while _read(bulk, sink):
            pass

    thread = threading.Thread(target=drain)
    thread.start()
    ping = memoryview(bytearray(PING_BYTES))
    with pings, bulk:
        while _read(pings, ping):
            pings.sendall(ping)
        thread.join()


def raw_pings(job: Job, port: int) -> list[float]:
    """Round trips of 64 bytes, in seconds, while a second connection is kept full."""
    pings = _tuned(socket.create_connection((HOST, port)))
    bulk = _tuned(socket.create_connection((HOST, port)))
    done = threading.Event()
    body = bytes(BULK_BYTES)

    def fill() -> None:
        while not done.is_set():
            bulk.sendall(body)

    thread = threading.Thread(target=fill)
    thread.start()
    ping = memoryview(bytearray(PING_BYTES))
    trips = []
    with pings, bulk:
        for _ in range(job.count):
            started = time.perf_counter()
            pings.sendall(ping)
            _read(pings, ping)
            trips.append(time.perf_counter() - started)
        done.set()
        thread.join()
    return trips


# -- our links -------------------------------------------------------------------------------------


class _Ear:
    """Hears nothing but the end."""

    def frame_received(self, link: Link, frame: Frame) -> None: ...

    def body_received(self, link: Link, stream: int) -> None: ...

    def body_failed(self, link: Link, stream: int, reason: str) -> None:
        raise AssertionError(reason)

    def link_lost(self, link: Link, reason: str) -> None: ...


class _Receiver(_Ear):
    """Takes every body and acknowledges it; gives every ping back."""

    def __init__(self, job: Job, ready: Ready) -> None:
        self._job, self._ready = job, ready
        self._targets = _targets(job)

    def frame_received(self, link: Link, frame: Frame) -> None:
        if frame.type is FrameType.HELLO:
            self._ready()
            for stream in range(self._job.window if self._job.ahead else 0):
                self._take(link, stream)
        elif frame.type is FrameType.REQ:
            self._take(link, frame.stream)
        elif frame.type is FrameType.PING:
            link.send(Frame(FrameType.PONG, TrafficClass.CONTROL, 0, frame.header))

    def body_received(self, link: Link, stream: int) -> None:
        if not self._job.ahead or (stream + 1) % self._job.window == 0:
            link.send(Frame(FrameType.RES, TrafficClass.RPC, stream, ACKNOWLEDGEMENT))
        if self._job.ahead:
            self._take(link, stream + self._job.window)

    def _take(self, link: Link, stream: int) -> None:
        link.expect_body(stream, self._targets[stream % self._job.window])


class _Sender(_Ear):
    """Keeps `window` bodies on their way until `count` are acknowledged, or for ever."""

    def __init__(self, job: Job, *, endless: bool = False) -> None:
        self._job, self._count = job, None if endless else job.count
        self._body = memoryview(bytearray(b"\2" * job.nbytes))
        self._sent = self._answered = 0
        self._step = job.window if job.ahead else 1
        self.done = asyncio.Event()

    def begin(self, link: Link) -> None:
        link.send(Frame(FrameType.HELLO, TrafficClass.CONTROL, 0))
        for _ in range((3 if self._job.ahead else 1) * self._job.window):
            self._send_next(link)

    def frame_received(self, link: Link, frame: Frame) -> None:
        self._answered += self._step
        for _ in range(self._step):
            self._send_next(link)
        if self._answered == self._count:
            self.done.set()

    def _send_next(self, link: Link) -> None:
        if self._sent == self._count:
            return
        if not self._job.ahead:
            link.send(Frame(FrameType.REQ, TrafficClass.RPC, self._sent))
        link.send_body(self._sent, self._body)
        self._sent += 1


class _Pinger(_Ear):
    """One ping after the other."""

    def __init__(self, count: int) -> None:
        self.trips: list[float] = []
        self.done = asyncio.Event()
        self._count = count

    def ping(self, link: Link) -> None:
        self._started = time.perf_counter()
        link.send(Frame(FrameType.PING, TrafficClass.CONTROL, 0, bytes(PING_BYTES - 24)))

    def frame_received(self, link: Link, frame: Frame) -> None:
        self.trips.append(time.perf_counter() - self._started)
        if len(self.trips) < self._count:
            self.ping(link)
        else:
            self.done.set()


def link_receiver(
    job: Job, report_port: ReportPort, links: int = 1, ready: Ready = lambda: None
) -> None:
    """Serves until `links` connections have come and gone."""

    async def main() -> None:
        open_links = links
        gone = asyncio.Event()

        class Receiver(_Receiver):
            def link_lost(self, link: Link, reason: str) -> None:
                nonlocal open_links
                open_links -= 1
                if not open_links:
                    gone.set()

        receiver = Receiver(job, ready)  # its memory stands before anybody looks at a clock
        server = await serve(
            HOST,
            0,
            _security(job.tls, server=True),
            lambda _: receiver,
            _refused,
            congestion=CONGESTION,
        )
        report_port(server.address[1])
        await gone.wait()
        await server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def link_sender(job: Job, port: int, ready: Ready = lambda: None) -> float:
    async def main() -> float:
        sender = _Sender(job)
        link = await _dial(job, port, sender)
        ready()
        started = time.perf_counter()
        sender.begin(link)
        await sender.done.wait()
        elapsed = time.perf_counter() - started
        link.close("done")
        await link.closed()
        return elapsed

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def link_pings(job: Job, port: int) -> list[float]:
    """Round trips of 64 bytes on the control link, in seconds, while the bulk link is kept full."""

    async def main() -> list[float]:
        pinger = _Pinger(job.count)
        sender = _Sender(job, endless=True)
        control, bulk = await _dial(job, port, pinger), await _dial(job, port, sender)
        sender.begin(bulk)
        pinger.ping(control)
        await pinger.done.wait()
        for link in (control, bulk):
            link.close("done")
            await link.closed()
        return pinger.trips

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


async def _dial(job: Job, port: int, listener: _Ear) -> Link:
    security = _security(job.tls, server=False)
    return await dial(
        HOST, port, security, lambda _: listener, timeout_s=10.0, congestion=CONGESTION
    )


def _refused(remote: str, wrong: OSError) -> None:
    raise AssertionError(f"{remote}: {wrong}")
