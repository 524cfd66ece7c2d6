"""What every link promises, asked of plain TCP, of TLS and of the in-memory pair alike."""

import asyncio
import datetime as dt
import ssl
from asyncio import Future
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from node.runtime import frame_link, slow_frames
from node.runtime.frame_link import FrameLink
from node.runtime.links import Link, LinkClosed, LinkListener, StreamCancelled
from node.runtime.memory_link import memory_link_pair
from node.runtime.tcp_link import Security, dial, serve, serve_connections
from protocol.errors import ConfigError, PeerError
from protocol.frames import (
    Frame,
    FrameType,
    TrafficClass,
    _encode,
    encode_data_prefix,
    encode_frame,
)

MIB = 1 << 20
SOON_S = 10.0


class Ear:
    """Keeps all that a link says, and wakes who waits for it."""

    def __init__(self) -> None:
        self.link: FrameLink
        self.frames: list[Frame] = []
        self.bodies: list[int] = []
        self.failures: list[tuple[int, str]] = []
        self.lost: list[str] = []
        self.on_frame: Callable[[Frame], None] = lambda frame: None
        self._heard = asyncio.Event()

    def frame_received(self, link: Link, frame: Frame) -> None:
        self.frames.append(frame)
        self._heard.set()
        self.on_frame(frame)

    def body_received(self, link: Link, stream: int) -> None:
        self.bodies.append(stream)
        self._heard.set()

    def body_failed(self, link: Link, stream: int, reason: str) -> None:
        self.failures.append((stream, reason))
        self._heard.set()

    def link_lost(self, link: Link, reason: str) -> None:
        self.lost.append(reason)
        self._heard.set()

    def met(self, link: Link) -> LinkListener:
        assert isinstance(link, FrameLink)
        self.link = link
        self._heard.set()
        return self

    async def until(self, happened: Callable[[], object]) -> None:
        async with asyncio.timeout(SOON_S):
            while not happened():
                self._heard.clear()
                await self._heard.wait()


Pair = tuple[Ear, Ear]
MakePair = Callable[[], Awaitable[Pair]]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificates(tmp_path_factory.mktemp("certificates"))


def write_certificates(folder: Path) -> Path:
    """A CA and a leaf, which both sides show."""
    ca_key, leaf_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    now = dt.datetime.now(dt.UTC)
    issuer = f"ca of {folder.name}"
    for name, key, ca in ((issuer, ca_key, True), ("leaf", leaf_key, False)):
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(ca_key, None)
        )
        (folder / ("ca.crt" if ca else "leaf.crt")).write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
        )
    (folder / "leaf.key").write_bytes(
        leaf_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder


def security(folder: Path, *, server: bool) -> Security:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(folder / "ca.crt")
    context.load_cert_chain(folder / "leaf.crt", folder / "leaf.key")
    return Security(context, common_name)


def common_name(ssl_object: ssl.SSLObject) -> str | None:
    certificate = ssl_object.getpeercert()
    if not certificate:
        return None
    return dict(entry[0] for entry in certificate["subject"])["commonName"]  # type: ignore


def refused(remote: str, wrong: OSError) -> None:
    raise AssertionError(f"{remote}: {wrong}")


@asynccontextmanager
async def tcp_pair(ours: Security | None, theirs: Security | None) -> AsyncIterator[Pair]:
    left, right = Ear(), Ear()
    server = await serve("127.0.0.1", 0, theirs, right.met, refused)
    link = await dial(*server.address, ours, left.met, timeout_s=SOON_S)
    await right.until(lambda: hasattr(right, "link"))
    try:
        yield left, right
    finally:
        for ear in (left, right):
            ear.link.close("test over")
        await link.closed()
        await right.link.closed()
        await server.close()


@pytest.fixture(params=["plain", "tls", "memory"])
async def pair(request: pytest.FixtureRequest, certificates: Path) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            left, right = Ear(), Ear()
            memory_link_pair(left.met, right.met)
            yield left, right
        elif request.param == "plain":
            yield await stack.enter_async_context(tcp_pair(None, None))
        else:
            ours, theirs = (security(certificates, server=server) for server in (False, True))
            yield await stack.enter_async_context(tcp_pair(ours, theirs))


def request_frame(stream: int, header: bytes = b"") -> Frame:
    return Frame(FrameType.REQ, TrafficClass.RPC, stream, header)


def pattern(nbytes: int, seed: int = 1) -> bytearray:
    return bytearray((seed * 31 + place) % 251 for place in range(251)) * (nbytes // 251 + 1)


async def eventually(happened: Callable[[], object]) -> None:
    """For what nobody tells: counters, refusals, a pause."""
    async with asyncio.timeout(SOON_S):
        while not happened():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def settled(*futures: "Future[None]") -> None:
    async with asyncio.timeout(SOON_S):
        await asyncio.gather(*futures)


async def test_frames_arrive_in_order_both_ways(pair: Pair) -> None:
    left, right = pair
    sent = [request_frame(number, b"h" * (number * 7 % 3000)) for number in range(500)]

    for frame in sent:
        left.link.send(frame)
        right.link.send(frame)
    await right.until(lambda: len(right.frames) == 500)
    await left.until(lambda: len(left.frames) == 500)

    assert right.frames == left.frames == sent
    assert left.link.bytes_out == right.link.bytes_in


@pytest.mark.parametrize("nbytes", [1, 1000, 256 * 1024, 256 * 1024 + 1, 5 * MIB + 17])
async def test_a_body_arrives_whole_where_it_was_expected(pair: Pair, nbytes: int) -> None:
    left, right = pair
    body, into = memoryview(pattern(nbytes))[:nbytes], bytearray(nbytes)
    right.on_frame = lambda frame: right.link.expect_body(frame.stream, memoryview(into))

    left.link.send(request_frame(7))
    sent = left.link.send_body(7, body)
    await right.until(lambda: right.bodies == [7])
    await settled(sent)

    assert into == body
    assert right.failures == []


async def test_many_bodies_share_a_link_both_ways(pair: Pair) -> None:
    left, right = pair
    bodies = [memoryview(pattern(900_000, seed)) for seed in range(8)]
    come: list[list[bytearray]] = []
    for ear in pair:
        places = [bytearray(len(body)) for body in bodies]
        come.append(places)
        for stream, place in enumerate(places):
            ear.link.expect_body(stream, memoryview(place))

    sent = [ear.link.send_body(n, body) for ear in pair for n, body in enumerate(bodies)]
    await left.until(lambda: len(left.bodies) == 8)
    await right.until(lambda: len(right.bodies) == 8)
    await settled(*sent)

    for places in come:
        assert places == bodies


async def test_nothing_moves_without_credit(pair: Pair) -> None:
    left, right = pair
    sent = left.link.send_body(7, memoryview(bytes(1000)))
    left.link.send(request_frame(1))
    await right.until(lambda: right.frames)
    right.link.send(request_frame(2))
    await left.until(lambda: left.frames)

    assert not sent.done()
    assert right.link.bytes_in == 24


async def test_a_body_shorter_than_expected_fails_alone(pair: Pair) -> None:
    left, right = pair
    right.link.expect_body(7, memoryview(bytearray(100)))
    right.on_frame = lambda frame: None

    left.link._transport.write(encode_data_prefix(7, 60, end=True) + bytes(60))
    await right.until(lambda: right.failures)
    left.link.send(request_frame(1))
    await right.until(lambda: right.frames)

    assert right.failures == [(7, "the body ended 40 bytes short of what was said")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encode_data_prefix(7, 101, end=True), "body longer than the 100 bytes granted"),
        (encode_data_prefix(7, 100, end=False) + bytes(100), "body goes on after the 100 bytes"),
        (encode_data_prefix(8, 1, end=True), "1 bytes of a body that nobody granted"),
        (_encode(6, 0, 0, 9, b"", 0, 1001), "credit for more than the 1000 bytes to come"),
        (_encode(2, 0, 0, 1, b"", 0, 0)[:-1] + b"?", "the CRC does not fit"),
        (_encode(11, 0, 0, 0, b"\xc1", 0, 0), "Goodbye: MessagePack data is malformed"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "frame of version 71; this node speaks 1"),
    ],
)
async def test_a_peer_that_breaks_the_rules_is_cut_off_with_the_reason(
    pair: Pair, data: bytes, reason: str
) -> None:
    left, right = pair
    right.link.expect_body(7, memoryview(bytearray(100)))
    sent = right.link.send_body(9, memoryview(bytes(1000)))

    left.link._transport.write(data)
    await right.until(lambda: right.lost)
    await left.until(lambda: left.lost)

    assert reason in right.lost[0]
    assert isinstance(right.link.fault, PeerError)
    assert reason in left.lost[0]
    assert left.link.fault is None
    await right.link.closed()
    assert isinstance(sent.exception(), LinkClosed)


async def test_nonsense_that_the_listener_finds_closes_the_link(pair: Pair) -> None:
    left, right = pair

    def complain(frame: Frame) -> None:
        raise PeerError("RequestHeader: expected object")

    right.on_frame = complain
    left.link.send(request_frame(1))
    await left.until(lambda: left.lost)

    assert left.lost == ["RequestHeader: expected object"]


async def test_the_receiver_may_give_a_body_up_half_way(pair: Pair) -> None:
    left, right = pair
    into = bytearray(1000)
    right.link.expect_body(7, memoryview(into))
    left.link._transport.write(encode_data_prefix(7, 600, end=False) + b"x" * 200)
    await eventually(lambda: right.link.bytes_in == 24 + 200)

    right.link.cancel(7)
    right.link.expect_body(9, memoryview(bytearray(5)))
    left.link._transport.write(b"y" * 400 + encode_data_prefix(7, 400, end=True) + b"z" * 400)
    sent = left.link.send_body(9, memoryview(b"after"))
    await right.until(lambda: right.bodies == [9])
    await settled(sent)

    assert left.frames == [Frame(FrameType.CANCEL, TrafficClass.CONTROL, 7)]
    assert into == b"x" * 200 + bytes(800)
    assert right.failures == []


async def test_a_body_that_is_not_wanted_any_more_is_not_sent(pair: Pair) -> None:
    left, right = pair
    sent = left.link.send_body(7, memoryview(bytes(1000)))

    right.link.expect_body(7, memoryview(bytearray(1000)))
    right.link.cancel(7)
    await left.until(lambda: left.frames)

    assert isinstance(sent.exception(), StreamCancelled)
    assert right.link.bytes_in == 0


async def test_the_sender_may_give_a_body_up(pair: Pair) -> None:
    left, right = pair
    sent = left.link.send_body(7, memoryview(bytes(1000)))
    left.link.cancel(7)
    await right.until(lambda: right.frames)
    right.link.expect_body(7, memoryview(bytearray(1000)))
    right.link.expect_body(9, memoryview(bytearray(1000)))
    right.link.send(request_frame(1))
    await left.until(lambda: left.frames)

    left.link.cancel(9)
    await right.until(lambda: right.failures)

    assert isinstance(sent.exception(), StreamCancelled)
    assert right.failures == [(9, "cancelled by the peer")]


async def test_cancelling_the_future_cancels_the_stream(pair: Pair) -> None:
    left, right = pair
    sent = left.link.send_body(7, memoryview(bytes(1000)))

    sent.cancel()
    await right.until(lambda: right.frames)

    assert right.frames == [Frame(FrameType.CANCEL, TrafficClass.CONTROL, 7)]


async def test_a_close_brings_its_reason_and_what_was_sent_before(pair: Pair) -> None:
    left, right = pair
    left.link.send(request_frame(1))
    waiting = left.link.send_body(1, memoryview(bytes(10)))
    left.link.close("this node drains")
    left.link.send(request_frame(2))
    late = left.link.send_body(2, memoryview(bytes(10)))
    await left.until(lambda: left.lost)
    await right.until(lambda: right.lost)

    async with asyncio.timeout(SOON_S):
        await left.link.closed()

    assert right.frames == [request_frame(1)]
    assert left.lost == right.lost == ["this node drains"]
    assert isinstance(waiting.exception(), LinkClosed)
    assert isinstance(late.exception(), LinkClosed)


async def test_a_peer_that_vanishes_is_told_as_a_loss(pair: Pair) -> None:
    left, right = pair
    left.link._transport.write(encode_frame(request_frame(1))[:10])
    await eventually(lambda: right.link.bytes_in == 10)
    left.link._transport.abort()
    await right.until(lambda: right.lost)

    assert len(right.lost) == 1
    assert "in the middle of a frame" in right.lost[0]


async def nothing_leaves(link: FrameLink) -> None:
    """Return once all buffers on the way are full. TCP may tell of room in them some 40 ms after there is some."""
    still = 0
    while still < 10:
        before = link.bytes_out
        await asyncio.sleep(0.02)
        still = still + 1 if link._paused and link.bytes_out == before else 0


async def test_a_peer_that_never_reads_costs_no_memory_and_can_be_left(pair: Pair) -> None:
    left, right = pair
    body = memoryview(bytes(32 * MIB))
    right.link.expect_body(7, memoryview(bytearray(len(body))))
    sent = left.link.send_body(7, body)
    await eventually(lambda: right.link.bytes_out > 0)
    right.link._transport.pause_reading()
    await nothing_leaves(left.link)

    assert left.link._transport.get_write_buffer_size() <= 3 * MIB
    left.link.close("waited long enough")
    assert left.lost == [], "nobody is told from within a call"
    await left.until(lambda: left.lost)
    assert not sent.done(), "the transport has its memory still"
    left.link._transport.abort()
    await left.link.closed()

    assert isinstance(sent.exception(), LinkClosed)
    assert left.lost == ["waited long enough"]


async def test_small_frames_that_nobody_reads_close_the_link_in_the_end(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_link, "QUEUE_BYTES_MAX", 100_000)
    monkeypatch.setattr(frame_link, "CLOSE_S", 0.05)
    left, right = pair
    right.link._transport.pause_reading()

    def pester() -> bool:
        left.link.send(request_frame(1, bytes(60_000)))
        return left.link.closing

    await eventually(pester)
    await left.until(lambda: left.lost)

    assert "wait because the peer does not read" in left.lost[0]


async def test_half_a_prefix_is_not_waited_for_for_ever(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_frames, "PARTIAL_FRAME_S", 0.05)
    left, right = pair

    left.link._transport.write(encode_frame(request_frame(1, b"header"))[:25])
    await right.until(lambda: right.lost)

    assert right.lost == ["a frame did not come whole within 0.05 s"]
    assert right.link.fault is not None


async def test_slow_but_whole_frames_are_fine(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_frames, "PARTIAL_FRAME_S", 0.05)
    left, right = pair
    data = encode_frame(request_frame(1, b"header")) * 4
    for start in range(0, len(data), 20):
        left.link._transport.write(data[start : start + 20])
        await asyncio.sleep(0.01)
    await right.until(lambda: len(right.frames) == 4)

    assert right.lost == []


async def test_a_link_knows_its_ends(pair: Pair) -> None:
    left, right = pair

    assert left.link.dialed
    assert not right.link.dialed
    assert left.link.local == right.link.remote
    assert right.link.local == left.link.remote


async def test_both_sides_of_tls_know_who_the_other_is(certificates: Path) -> None:
    ours, theirs = (security(certificates, server=server) for server in (False, True))
    async with tcp_pair(ours, theirs) as (left, right):
        assert left.link.peer == right.link.peer == "leaf"


async def test_a_stranger_from_another_mesh_is_refused_on_both_sides(
    certificates: Path, tmp_path: Path
) -> None:
    refusals: list[OSError] = []
    ear = Ear()
    theirs = security(certificates, server=True)
    server = await serve(
        "127.0.0.1", 0, theirs, ear.met, lambda remote, wrong: refusals.append(wrong)
    )
    stranger = security(write_certificates(tmp_path), server=False)

    with pytest.raises(ssl.SSLCertVerificationError):
        await dial(*server.address, stranger, ear.met, timeout_s=SOON_S)
    await eventually(lambda: refusals)
    await server.close()

    assert isinstance(refusals[0], OSError)


async def test_a_certificate_that_the_server_refuses_is_learned_as_the_loss_of_the_link(
    certificates: Path, tmp_path: Path
) -> None:
    """In TLS 1.3 the client's handshake is over before the server has seen its certificate."""
    refusals: list[OSError] = []
    us, them = Ear(), Ear()
    theirs = security(certificates, server=True)
    server = await serve(
        "127.0.0.1", 0, theirs, them.met, lambda remote, wrong: refusals.append(wrong)
    )
    stranger = security(write_certificates(tmp_path), server=False)
    stranger.context.load_verify_locations(certificates / "ca.crt")

    await dial(*server.address, stranger, us.met, timeout_s=SOON_S)
    await us.until(lambda: us.lost)
    await server.close()

    assert isinstance(refusals[0], ssl.SSLCertVerificationError)
    assert us.lost == ["the peer closed the connection"]


async def test_a_port_in_use_is_a_clear_error() -> None:
    server = await serve("127.0.0.1", 0, None, Ear().met, refused)
    port = server.address[1]

    with pytest.raises(
        ConfigError, match=f"127.0.0.1, port {port}: .*in use; .*--listen 127"
    ) as no:
        await serve("127.0.0.1", port, None, Ear().met, refused)
    await server.close()
    assert "(mesh.listen) with another port" in str(no.value)


async def test_the_setting_that_names_the_address_is_told() -> None:
    with pytest.raises(ConfigError, match="write 0.0.0.0:443 in mesh.also_listen"):
        await serve_connections(
            "192.0.2.1", 443, None, asyncio.Protocol, refused, setting="mesh.also_listen"
        )


async def test_an_address_of_another_machine_is_a_clear_error() -> None:
    # Reserved for documentation: no machine has it.
    with pytest.raises(ConfigError, match="cannot listen on 192.0.2.1, .*`--listen 0.0.0.0:7879`"):
        await serve("192.0.2.1", 7879, None, Ear().met, refused)


async def test_nobody_there_is_an_os_error() -> None:
    server = await serve("127.0.0.1", 0, None, Ear().met, refused)
    await server.close()

    with pytest.raises(ConnectionRefusedError):
        await dial(*server.address, None, Ear().met, timeout_s=SOON_S)


async def test_who_never_finishes_its_handshake_does_not_block_others(
    certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.runtime.tcp_link.HANDSHAKES_MAX", 2)
    refusals: list[str] = []
    ear, us = Ear(), Ear()
    server = await serve(
        "127.0.0.1",
        0,
        security(certificates, server=True),
        ear.met,
        lambda remote, wrong: refusals.append(str(wrong)),
    )
    silent = [await asyncio.open_connection(*server.address) for _ in range(3)]
    await eventually(lambda: refusals)
    for _, writer in silent:
        writer.close()
        await writer.wait_closed()
    await eventually(lambda: len(refusals) == 3)
    link = await dial(
        *server.address, security(certificates, server=False), us.met, timeout_s=SOON_S
    )
    link.close("done")
    await link.closed()
    await server.close()

    assert refusals[0] == "2 handshakes are under way"
