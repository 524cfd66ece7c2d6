"""Headers: the same bytes for ever, read and written alike by another implementation of MessagePack."""

from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import codec
from protocol.digests import LoadDigest, MemoryDigest, Moved, NodeRecord, WeightsVersion
from protocol.errors import ErrorCode, ErrorInfo, PeerError
from protocol.gossip import (
    BucketStamps,
    BucketVersions,
    Compare,
    Compared,
    Stamp,
    Tell,
    Told,
)
from protocol.ids import ContentId, MeshId, NodeId
from protocol.limits import BUCKETS, DEVICE_CHARS_MAX, WANTED_MAX
from protocol.members import Alive, Cause, Dead, Gossip, MemberRecord, Suspect
from protocol.messages import (
    ANSWERS,
    BlockEntry,
    Carry,
    Catalogue,
    DialBack,
    DialedBack,
    ErrorHeader,
    FetchBlock,
    FetchCatalogue,
    Fetched,
    FetchManifest,
    Goodbye,
    Hello,
    Join,
    Joined,
    Knock,
    ManifestHead,
    ManifestPart,
    Multiplied,
    Multiply,
    Probe,
    Probed,
    Release,
    Request,
    RequestHeader,
    Reserve,
    Reserved,
    Response,
    ResponseHeader,
    StoreBlock,
    Stored,
    StoreSketch,
    Taken,
)

GOLDEN = Path(__file__).parent / "golden" / "headers.hex"
NODE, MESH = NodeId("n" * 52), MeshId("e" * 64)
VERSION = WeightsVersion(1_700_000_000_000, 3, NODE)
CONTENT, SKETCH = ContentId("a" * 64), ContentId("b" * 64)
LOAD = LoadDigest(0.25, 3, 1.5e9, 1 << 30)
PART = ManifestPart(
    head=ManifestHead(name="w", version=VERSION, rows=9, columns=7, holders=(NODE,), blocks=1),
    first=0,
    entries=(BlockEntry(CONTENT, SKETCH, (0,)),),
)
RECORD = NodeRecord(
    id=NODE,
    incarnation=1,
    version=2,
    name="attic",
    memory=MemoryDigest(1 << 30, 1 << 29),
    load=LOAD,
    ready=(VERSION,),
)
MEMBER = MemberRecord(b"\3" * 32, 7, 2, ("192.0.2.1:7879",), Cause.STOPPED, b"\4" * 64)
MOVED = Moved(NODE, 1, 2, 3, MemoryDigest(1 << 30, 1 << 29), LOAD)
STAMP: Stamp = (7, 0, 1, 3)

STORE = StoreBlock(
    put="p",
    name="w",
    version=VERSION,
    block=(1, 2),
    rows=1024,
    columns=512,
    backend="rram",
    device="d",
    seed=7,
)
REQUESTS: tuple[Request, ...] = (
    Join(token="token", public_key=b"\1" * 32, proof=b"\2" * 64),
    Compare(buckets=(*range(BUCKETS - 1), (1 << 63) - 1), catalogue="digest"),
    Tell(
        members=(Alive(MEMBER), Suspect(NODE, 7, NODE), Dead(NODE, 7)),
        records=(RECORD,),
        moved=(MOVED,),
        want={NODE: STAMP},
        catalogue="digest",
    ),
    Carry(packet=Gossip((Alive(MEMBER),))),
    Probe(),
    DialBack(addresses=("192.0.2.1:7879",), knocks=(Knock("[2001:db8::1]:9", b"\5" * 12, True),)),
    PART,
    FetchCatalogue(after="v"),
    FetchManifest(name="w", first=400),
    Reserve(put="p", nbytes=1 << 22),
    Release(put="p"),
    STORE,
    StoreSketch(put="p", nbytes=4096),
    FetchBlock(content=CONTENT, nbytes=4096),
    Multiply(name="w", version=VERSION, blocks=((0, 1),), transpose=True, m=3, share=0.5, x_key=9),
)
RESPONSES: tuple[Response, ...] = (
    Joined(ca="ca", chain="chain"),
    Compared(
        stamps=(BucketStamps(5, {NODE: STAMP}),),
        versions=(BucketVersions(63, (1, 2, 70_000)),),
        more=True,
        catalogue="digest",
    ),
    Told(members=(Alive(MEMBER),), records=(RECORD,), moved=(MOVED,)),
    Probed(),
    DialedBack(reached=("192.0.2.1:7879",), missed=("192.0.2.2:1",), sent=(b"\5" * 12,)),
    Taken(),
    Catalogue(versions={"w": VERSION}, more=False),
    PART,
    Reserved(),
    Stored(CONTENT),
    Fetched(nbytes=4096),
    Multiplied(nbytes=48, analog_macs=5, busy_s=0.1, energy_j=1e-6, regime="fast"),
)
HEADERS: tuple[codec.Header, ...] = (
    Hello(protocol_min=1, protocol_max=2, software="sedma", mesh=MESH, node=NODE, bulk=True),
    *(RequestHeader(request=one, deadline_ms=1500, trace="t", body_bytes=4) for one in REQUESTS),
    *(ResponseHeader(response=one, load=LOAD, body_bytes=4) for one in RESPONSES),
    ErrorHeader(error=ErrorInfo(code=ErrorCode.NO_ROOM, reason="full", need=2, free=1), load=LOAD),
    Goodbye(reason="the node is stopping"),
)


def name_of(header: codec.Header) -> str:
    inner = getattr(header, "request", None) or getattr(header, "response", None)
    return type(header).__name__ + (f"/{type(inner).__name__}" if inner is not None else "")


def plain(header: codec.Header) -> Any:
    """As another implementation sees it: maps, lists, numbers, text and bytes."""
    return msgspec.to_builtins(header, builtin_types=(bytes,))


def test_every_kind_of_request_and_answer_is_among_the_samples() -> None:
    assert {type(one) for one in REQUESTS} == set(ANSWERS)
    assert {type(one) for one in RESPONSES} == set(ANSWERS.values())


@pytest.mark.parametrize("header", HEADERS, ids=name_of)
def test_a_header_reads_the_same_by_another_implementation(header: codec.Header) -> None:
    theirs = msgpack.packb(plain(header))

    assert msgpack.unpackb(codec.encode(header)) == msgpack.unpackb(theirs)
    assert codec.decode(type(header), theirs) == header  # type: ignore[type-var]


def test_headers_are_encoded_as_they_were_written_down() -> None:
    written = dict(line.split() for line in GOLDEN.read_text().splitlines())

    assert written == {name_of(one): codec.encode(one).hex() for one in HEADERS}


@pytest.mark.parametrize("header", HEADERS, ids=name_of)
def test_keys_of_a_later_version_are_ignored(header: codec.Header) -> None:
    later = msgpack.packb({**plain(header), "of_a_later_version": [1, {"a": None}]})

    assert codec.decode(type(header), later) == header  # type: ignore[type-var]


@pytest.mark.parametrize("header", HEADERS, ids=name_of)
def test_a_header_that_is_cut_or_goes_on_is_refused(header: codec.Header) -> None:
    whole = codec.encode(header)

    for broken in (whole[:-1], whole + b"\0"):
        with pytest.raises(PeerError, match=type(header).__name__):
            codec.decode(type(header), broken)  # type: ignore[type-var]


@pytest.mark.parametrize("request_", [PART, STORE], ids=lambda one: type(one).__name__)
def test_a_device_may_be_described_at_some_length_and_no_more(request_: Request) -> None:
    def sent(chars: int) -> bytes:
        told = plain(RequestHeader(request=request_, deadline_ms=1))
        place = told["request"].get("head", told["request"])
        place["device"] = "d" * chars
        packed: bytes = msgpack.packb(told)
        return packed

    assert codec.decode(RequestHeader, sent(DEVICE_CHARS_MAX))
    with pytest.raises(PeerError, match="device"):
        codec.decode(RequestHeader, sent(DEVICE_CHARS_MAX + 1))


def test_what_does_not_fit_is_refused_with_its_place() -> None:
    told = plain(RequestHeader(request=Reserve(put="p", nbytes=1), deadline_ms=1))
    told["request"]["nbytes"] = -1

    with pytest.raises(PeerError, match=r"\$\.request\.nbytes"):
        codec.decode(RequestHeader, msgpack.packb(told))


@pytest.mark.parametrize(
    ("request_", "place"),
    [
        (Compare(buckets=(0,) * (BUCKETS - 1)), "buckets"),
        (Compare(buckets=(0,) * (BUCKETS + 1)), "buckets"),
        (Compare(buckets=(-1,) * BUCKETS), r"buckets\[0\]"),
        (Compare(buckets=(1 << 63,) * BUCKETS), r"buckets\[0\]"),
        (Tell(want={NodeId(str(n)): STAMP for n in range(WANTED_MAX + 1)}), "want"),
        (Tell(want={NODE: (-1, 0, 0, 0)}), r"want\[...\]"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_compares_more_or_less_than_it_may_is_refused(request_: Request, place: str) -> None:
    header = codec.encode(RequestHeader(request=request_, deadline_ms=1))

    with pytest.raises(PeerError, match=rf"\$\.request\.{place}"):
        codec.decode(RequestHeader, header)


@pytest.mark.parametrize("bucket", [-1, BUCKETS])
def test_a_bucket_that_does_not_exist_is_refused(bucket: int) -> None:
    for compared in (
        Compared(stamps=(BucketStamps(bucket, {}),)),
        Compared(versions=(BucketVersions(bucket, ()),)),
    ):
        with pytest.raises(PeerError):
            codec.decode(ResponseHeader, codec.encode(ResponseHeader(response=compared)))


@pytest.mark.parametrize(
    "request_",
    [
        FetchManifest(name="w\n"),
        FetchManifest(name="../w"),
        FetchBlock(content=ContentId(CONTENT + "\n"), nbytes=1),
        FetchBlock(content=ContentId("../manifests/w"), nbytes=1),
        FetchBlock(content=ContentId("c" * 63), nbytes=1),
    ],
)
def test_a_name_that_could_be_taken_for_something_else_is_refused(request_: Request) -> None:
    with pytest.raises(PeerError, match="regex"):
        codec.decode(RequestHeader, codec.encode(RequestHeader(request=request_, deadline_ms=1)))


@pytest.mark.parametrize("beyond", [float("inf"), float("nan"), -1.0])
def test_a_figure_beyond_all_measure_is_refused(beyond: float) -> None:
    late = ErrorInfo(code=ErrorCode.OVERLOADED, reason="later", retry_after_s=beyond)
    with pytest.raises(PeerError, match="retry_after_s"):
        codec.decode(ErrorHeader, codec.encode(ErrorHeader(error=late)))

    for done in (Multiplied(nbytes=1, energy_j=beyond), Multiplied(nbytes=1, latency_s=beyond)):
        with pytest.raises(PeerError, match=r"\$\.response\.(energy_j|latency_s)"):
            codec.decode(ResponseHeader, codec.encode(ResponseHeader(response=done)))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_header_or_a_peer_s_error(data: bytes) -> None:
    try:
        header = codec.decode(RequestHeader, data)
    except PeerError:
        return
    assert isinstance(header, RequestHeader)
