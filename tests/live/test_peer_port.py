"""What comes to a daemon's peer port from strangers, and from members that have gone wrong."""

import contextlib
import socket
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pytest

from protocol import codec
from protocol.digests import WeightsVersion
from protocol.errors import ErrorCode
from protocol.frames import (
    CRITICAL,
    FrameType,
    encode_data_prefix,
)
from protocol.ids import ContentId, MeshId, NodeId
from protocol.limits import HEADER_BYTES_MAX, STREAMS_MAX
from protocol.messages import (
    BlockEntry,
    ErrorHeader,
    FetchBlock,
    FetchManifest,
    Join,
    ManifestHead,
    ManifestPart,
    Multiply,
    Probe,
    Request,
    Reserve,
    StoreBlock,
    StoreSketch,
)
from tests.live.daemons import eventually
from tests.live.small_mesh import Mesh
from tests.live.wire import STRANGER, Wire, frame, hello, prefix, req

DICE = np.random.default_rng(5)
W = DICE.normal(size=(1100, 900)).astype(np.float32)
X = DICE.normal(size=(2, 1100)).astype(np.float32)
VERSION = WeightsVersion(1, 0, "w")
HUGE = 1 << 62


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """`a` holds weights; `d` is down, and its certificate is in wrong hands."""
    mesh = Mesh(tmp_path_factory.mktemp("port"), "ad")
    try:
        mesh["a"].client.put("w", W, backend="digital", only=["a"])
        mesh["d"].kill()
        yield mesh
    finally:
        mesh.close()


@pytest.fixture(autouse=True)
def unharmed(mesh: Mesh) -> Iterator[None]:
    """After each test the daemon serves as before, and its log tells of no fault of its own."""
    yield
    client = mesh["a"].client
    exact = X.astype(np.float64) @ W
    assert np.linalg.norm(client.matmul("w", X) - exact) < 1e-5 * np.linalg.norm(exact)
    assert client.status()["state"] == "ready"
    assert mesh["a"].faults() == ""


Dial = Callable[..., Wire]


@pytest.fixture
def dial(mesh: Mesh) -> Iterator[Dial]:
    """Opens connections to the daemon, as a stranger or as `d`."""
    with contextlib.ExitStack() as open_ones:

        def open_one(*, member: bool = False, greet: bool = True) -> Wire:
            wire = Wire(mesh, mesh["d"] if member else None, greet=greet)
            open_ones.callback(wire.close)
            return wire

        yield open_one


def noise(nbytes: int) -> bytes:
    return DICE.bytes(nbytes)


# -- who is not even a node --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"",
        b"\x00" * 4096,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise(500),
        noise(100_000),
    ],
    ids=["http", "nothing", "zeros", "half a handshake", "noise"],
)
def test_who_speaks_no_tls_is_dropped(mesh: Mesh, said: bytes) -> None:
    with socket.create_connection(mesh["a"].address, timeout=15.0) as plain:
        try:
            plain.sendall(said)
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(4096):
                pass
        except ConnectionError:
            pass


def test_many_connections_that_say_nothing_do_not_keep_a_stranger_out(
    mesh: Mesh, dial: Dial
) -> None:
    with contextlib.ExitStack() as silent:
        for _ in range(60):
            silent.enter_context(socket.create_connection(mesh["a"].address, timeout=5.0))

        assert dial().ask(Probe()).error.code is ErrorCode.FORBIDDEN


# -- strangers over TLS ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (noise(500), ""),
        (frame(FrameType.HELLO, 0, noise(60)), "Hello"),
        (frame(FrameType.HELLO, 0), "Hello"),
        (req(Probe()), "before HELLO"),
        (prefix(FrameType.HELLO, header=HEADER_BYTES_MAX + 1), "at most"),
        (prefix(FrameType.HELLO, body=10), "only DATA"),
        (prefix(FrameType.DATA, body=(1 << 20) + 1), "at most"),
        (prefix(99, flags=CRITICAL), "critical"),
        (hello(STRANGER, MeshId("f" * 64)), "mesh"),
        (hello(STRANGER, None, protocol_min=98), "98"),
    ],
    ids=[
        "noise",
        "noise as hello",
        "empty hello",
        "no hello",
        "long header",
        "hello with a body",
        "long body",
        "unknown critical frame",
        "other mesh",
        "later protocol",
    ],
)
def test_a_stranger_that_breaks_the_protocol_is_told_why_and_dropped(
    dial: Dial, said: bytes, told: str
) -> None:
    wire = dial(greet=False)

    wire.send(said)

    assert told in wire.reason()


@pytest.mark.parametrize(
    "request_of_members",
    [
        Probe(),
        Reserve(put="p", nbytes=1),
        FetchBlock(content=ContentId("0" * 64), nbytes=1),
        FetchManifest(name="w"),
    ],
    ids=lambda request: type(request).__name__,
)
def test_a_stranger_may_ask_for_nothing_but_to_join(
    dial: Dial, request_of_members: Request
) -> None:
    assert dial().ask(request_of_members).error.code is ErrorCode.FORBIDDEN


def test_a_stranger_with_a_forged_token_is_refused(dial: Dial) -> None:
    forged = Join(token="forged", public_key=noise(32), proof=noise(64))

    assert dial().ask(forged).error.code is ErrorCode.TICKET_INVALID


# -- members that have gone wrong --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (encode_data_prefix(1, 4, end=True) + b"abcd", "nobody granted"),
        (encode_data_prefix(2, 4, end=False) + b"abcd", "nobody granted"),
        (hello(STRANGER, None), "second HELLO"),
        (req(Probe(), stream=2), "stream 2"),
        (req(Probe(), stream=5) + req(Probe(), stream=5), "stream 5"),
        (req(Probe(), stream=9) + req(Probe(), stream=7), "stream 7"),
        (prefix(FrameType.REQ, klass=9), "class 9"),
        (prefix(FrameType.REQ, header=1 << 31), "at most"),
        (bytes(24), "version"),
        (frame(FrameType.REQ, 1, noise(20))[:-1] + b"\x00", "CRC"),
    ],
    ids=[
        "data without credit",
        "data on our stream",
        "second hello",
        "our stream",
        "same stream twice",
        "stream goes back",
        "class",
        "header",
        "zeros",
        "crc",
    ],
)
def test_a_member_that_breaks_the_protocol_is_told_why_and_dropped(
    mesh: Mesh, dial: Dial, said: bytes, told: str
) -> None:
    wire = dial(member=True)
    wire.until(FrameType.HELLO)
    logged = mesh["a"].log.read_text().count("peer.broke_protocol")

    wire.send(said)

    assert told in wire.reason()
    wire.close()
    eventually(
        lambda: mesh["a"].log.read_text().count("peer.broke_protocol") == logged + 1, "it is logged"
    )


def store(block: tuple[int, int] = (0, 0), rows: int = 1024) -> StoreBlock:
    return StoreBlock(
        put="p",
        name="v",
        version=VERSION,
        block=block,
        rows=rows,
        columns=1024,
        backend="digital",
        device="",
        seed=0,
    )


def multiply(name: str, *blocks: tuple[int, int], m: int = 1) -> Multiply:
    return Multiply(
        name=name, version=VERSION, blocks=blocks, transpose=False, m=m, share=None, x_key=0
    )


@pytest.mark.parametrize(
    ("request_of_a_member", "body_bytes", "code"),
    [
        (Reserve(put="p", nbytes=HUGE), 0, ErrorCode.NO_ROOM),
        (store(), 1 << 22, ErrorCode.NO_ROOM),
        (store(), HUGE, ErrorCode.BAD_REQUEST),
        (store(rows=2048), 1 << 23, ErrorCode.BAD_REQUEST),
        (StoreSketch(put="p", nbytes=HUGE), HUGE, ErrorCode.BAD_REQUEST),
        (StoreSketch(put="p", nbytes=64), 64, ErrorCode.NO_ROOM),
        (FetchBlock(content=ContentId("../node.key"), nbytes=32), 0, ErrorCode.BAD_REQUEST),
        (FetchBlock(content=ContentId("0" * 64), nbytes=HUGE), 0, ErrorCode.BAD_REQUEST),
        (FetchBlock(content=ContentId("0" * 64), nbytes=64), 0, ErrorCode.NOT_FOUND),
        (FetchManifest(name="nothing"), 0, ErrorCode.NOT_FOUND),
        (multiply("nothing", (0, 0)), 4096, ErrorCode.UNAVAILABLE),
        (multiply("w", (0, 0), m=1 << 20), HUGE, ErrorCode.UNAVAILABLE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, msgspec.Struct) else str(value),
)
def test_a_request_that_makes_no_sense_is_refused_and_the_connection_stays(
    dial: Dial, request_of_a_member: Request, body_bytes: int, code: ErrorCode
) -> None:
    wire = dial(member=True)

    assert wire.ask(request_of_a_member, 1, body_bytes).error.code is code

    wire.send(req(Probe(), stream=3))
    assert wire.until(FrameType.RES).stream == 3


def test_requests_without_end_are_refused_one_by_one(dial: Dial) -> None:
    wire = dial(member=True)
    asked = 3 * STREAMS_MAX

    wire.send(b"".join(req(StoreSketch(put="p", nbytes=64), 1 + 2 * at, 64) for at in range(asked)))

    assert {wire.until(FrameType.ERR).stream for _ in range(asked)} == set(range(1, 2 * asked, 2))


def test_frames_that_answer_nothing_are_let_pass(dial: Dial) -> None:
    wire = dial(member=True)

    for kind in (FrameType.CANCEL, FrameType.PONG, FrameType.PROGRESS, FrameType.RES):
        wire.send(frame(kind, 77, noise(30)))
    wire.send(frame(FrameType.CREDIT, 77, aux=(1 << 32) - 1))
    wire.send(prefix(98) + prefix(97, body=50) + noise(50))
    wire.send(frame(FrameType.REQ, 1, noise(200)))
    refused = codec.decode(ErrorHeader, wire.until(FrameType.ERR).header)

    assert refused.error.code is ErrorCode.BAD_REQUEST
    wire.send(frame(FrameType.PING, 5))
    assert wire.until(FrameType.PONG).stream == 5


def test_manifests_that_contradict_themselves_change_nothing(mesh: Mesh, dial: Dial) -> None:
    wire = dial(member=True)
    node = NodeId(mesh["a"].id)
    entry = BlockEntry(ContentId("0" * 64), ContentId("1" * 64), (0,))
    odd = [
        ManifestHead(name="w", version=WeightsVersion(HUGE, 0, node), rows=9, columns=9, blocks=2),
        ManifestHead(name="w", version=WeightsVersion(HUGE, 1, node), rows=9, columns=9, blocks=1),
        ManifestHead(name="w", version=WeightsVersion(HUGE, 2, node), rows=0, columns=9, blocks=1),
    ]

    for at, head in enumerate(odd):
        part = ManifestPart(head=head, first=0, entries=(entry,) * head.blocks)
        wire.send(req(part, 1 + 2 * at))
        wire.until(FrameType.RES)

    assert mesh["a"].client["w"].shape == W.shape


def test_a_body_that_breaks_off_leaves_no_buffer_and_no_lease(mesh: Mesh, dial: Dial) -> None:
    version = mesh["a"].client["w"].info["version"]
    wall_ms, counter, _ = version.split(".")
    asked = multiply("w", (0, 0), m=4)
    asked = msgspec.structs.replace(
        asked, version=WeightsVersion(int(wall_ms, 16), int(counter), mesh["a"].id)
    )
    leased = mesh["a"].client.status()["leased_bytes"]
    wire = dial(member=True)
    wire.send(req(asked, 1, 4 * 1024 * 4))
    assert wire.until(FrameType.CREDIT).aux > 0

    wire.send(encode_data_prefix(1, 4096, end=False) + bytes(1000))
    wire.close()

    def given_back() -> bool:
        return bool(mesh["a"].client.status()["leased_bytes"] == leased)

    eventually(given_back, "its memory is free")


def test_random_frames_from_a_member_never_stop_the_daemon(dial: Dial) -> None:
    kinds = [kind for kind in FrameType if kind not in (FrameType.DATA, FrameType.GOAWAY)]
    for _ in range(20):
        wire = dial(member=True)
        for _ in range(30):
            kind = kinds[int(DICE.integers(len(kinds)))]
            stream = int(DICE.integers(8))
            wire.send(frame(kind, stream, noise(int(DICE.integers(80)))))
