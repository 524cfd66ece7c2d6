"""Packets and news: the same bytes for ever, read and written alike by another implementation of MessagePack."""

from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import codec
from protocol.errors import PeerError
from protocol.ids import MeshId, NodeId, node_id
from protocol.limits import ADDRESSES_MAX, NEWS_PER_PACKET_MAX
from protocol.members import (
    Ack,
    Alive,
    Cause,
    Dead,
    Gossip,
    MemberRecord,
    Nack,
    News,
    Packet,
    Ping,
    PingFor,
    Suspect,
    signed_bytes,
)

GOLDEN = Path(__file__).parent / "golden" / "packets.hex"
KEY, SIGNATURE = b"\1" * 32, b"\2" * 64
NODE, ACCUSER = NodeId("n" * 52), NodeId("a" * 52)
MESH = MeshId("e" * 64)
RECORD = MemberRecord(KEY, 1_763_000_000, 5, ("192.0.2.1:7879", "[2001:db8::1]:7879"))
SIGNED = msgspec.structs.replace(RECORD, signature=SIGNATURE)
GONE = msgspec.structs.replace(SIGNED, gone=Cause.LEFT)

PACKETS: tuple[Packet, ...] = (
    Ping(7, (Alive(SIGNED), Suspect(NODE, 3, ACCUSER), Dead(NODE, 4))),
    Ack((1 << 32) - 1, (Alive(GONE),)),
    Nack(0),
    PingFor(9, NODE, (Dead(ACCUSER, 1 << 35),)),
    Gossip((Suspect(NODE, 3, ACCUSER),)),
)


def name_of(packet: Packet) -> str:
    return type(packet).__name__


def plain(packet: Packet) -> Any:
    """As another implementation sees it: lists, numbers, text and bytes."""
    return msgspec.to_builtins(packet, builtin_types=(bytes,))


def test_every_kind_of_packet_is_among_the_samples() -> None:
    assert {type(one) for one in PACKETS} == {Ping, Ack, Nack, PingFor, Gossip}


@pytest.mark.parametrize("packet", PACKETS, ids=name_of)
def test_a_packet_reads_the_same_by_another_implementation(packet: Packet) -> None:
    theirs = msgpack.packb(plain(packet))

    assert msgpack.unpackb(codec.encode_packet(packet)) == msgpack.unpackb(theirs)
    assert codec.decode_packet(theirs) == packet


def test_packets_are_encoded_as_they_were_written_down() -> None:
    written = dict(line.split() for line in GOLDEN.read_text().splitlines())

    told = {name_of(one): codec.encode_packet(one).hex() for one in PACKETS}
    assert written == {**told, "signed": signed_bytes(RECORD, MESH).hex()}


def test_a_signature_is_over_all_that_a_member_says_and_its_mesh() -> None:
    signed = signed_bytes(RECORD, MESH)

    assert msgpack.unpackb(signed) == [
        "sedma member",
        MESH,
        KEY,
        1_763_000_000,
        5,
        ["192.0.2.1:7879", "[2001:db8::1]:7879"],
        None,
    ]
    assert signed_bytes(SIGNED, MESH) == signed
    for other in (
        signed_bytes(GONE, MESH),
        signed_bytes(RECORD, MeshId("f" * 64)),
        signed_bytes(msgspec.structs.replace(RECORD, incarnation=1), MESH),
        signed_bytes(msgspec.structs.replace(RECORD, version=6), MESH),
        signed_bytes(msgspec.structs.replace(RECORD, addresses=()), MESH),
        signed_bytes(msgspec.structs.replace(RECORD, key=b"\3" * 32), MESH),
    ):
        assert other != signed


def test_a_member_s_id_is_that_of_its_key() -> None:
    assert RECORD.id == node_id(KEY)


COUNTS = st.integers(0, 1 << 62)
NODES = st.integers(0, 1 << 200).map(lambda number: node_id(number.to_bytes(32, "big")))
RECORDS = st.builds(
    MemberRecord,
    st.binary(min_size=32, max_size=32),
    COUNTS,
    COUNTS,
    st.lists(st.text(max_size=60), max_size=ADDRESSES_MAX).map(tuple),
    st.none() | st.sampled_from(Cause),
    st.binary(min_size=64, max_size=64),
)
NEWS: st.SearchStrategy[News] = st.one_of(
    st.builds(Alive, RECORDS),
    st.builds(Suspect, NODES, COUNTS, NODES),
    st.builds(Dead, NODES, COUNTS, st.sampled_from(Cause)),
)
SOME_NEWS = st.lists(NEWS, max_size=5).map(tuple)
SEQUENCES = st.integers(0, (1 << 32) - 1)
ALL_PACKETS: st.SearchStrategy[Packet] = st.one_of(
    st.builds(Ping, SEQUENCES, SOME_NEWS),
    st.builds(Ack, SEQUENCES, SOME_NEWS),
    st.builds(Nack, SEQUENCES, SOME_NEWS),
    st.builds(PingFor, SEQUENCES, NODES, SOME_NEWS),
    st.builds(Gossip, SOME_NEWS),
)


@given(ALL_PACKETS)
def test_the_codec_gives_back_what_it_was_given(packet: Packet) -> None:
    assert codec.decode_packet(codec.encode_packet(packet)) == packet


@given(ALL_PACKETS)
def test_another_implementation_writes_what_we_read(packet: Packet) -> None:
    assert codec.decode_packet(msgpack.packb(plain(packet))) == packet


@given(st.binary(max_size=200))
def test_any_bytes_are_a_packet_or_a_peer_s_error(data: bytes) -> None:
    try:
        packet = codec.decode_packet(data)
    except PeerError:
        return
    assert isinstance(packet, Packet)


@given(ALL_PACKETS, st.data())
def test_a_packet_with_a_flipped_bit_is_another_packet_or_a_peer_s_error(
    packet: Packet, data: st.DataObject
) -> None:
    whole = bytearray(codec.encode_packet(packet))
    place = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[place // 8] ^= 1 << place % 8
    try:
        other = codec.decode_packet(bytes(whole))
    except PeerError:
        return
    assert isinstance(other, Packet)


@pytest.mark.parametrize("packet", PACKETS, ids=name_of)
def test_a_packet_that_is_cut_or_goes_on_is_refused(packet: Packet) -> None:
    whole = codec.encode_packet(packet)

    for broken in (whole[:-1], whole + b"\0", b""):
        with pytest.raises(PeerError, match="packet"):
            codec.decode_packet(broken)


@pytest.mark.parametrize(
    "packet",
    [
        Ping(-1),
        Ping(1 << 32),
        Gossip((Dead(NODE, 1),) * (NEWS_PER_PACKET_MAX + 1)),
        Gossip((Dead(NODE, -1),)),
        Gossip((Alive(msgspec.structs.replace(SIGNED, key=b"\1" * 31)),)),
        Gossip((Alive(msgspec.structs.replace(SIGNED, signature=b"\1" * 65)),)),
        Gossip((Alive(msgspec.structs.replace(SIGNED, addresses=("a",) * 17)),)),
        Gossip((Alive(msgspec.structs.replace(SIGNED, addresses=("a" * 257,))),)),
    ],
    ids=lambda packet: str(packet)[:60],
)
def test_a_packet_past_a_limit_is_refused(packet: Packet) -> None:
    with pytest.raises(PeerError, match=r"packet: .*\$"):
        codec.decode_packet(codec.encode_packet(packet))


@pytest.mark.parametrize("wrong", [[9, 1], [1], ["1", 1], {}, None, [5, [[4, "n"]]]])
def test_what_is_no_packet_is_refused(wrong: Any) -> None:
    with pytest.raises(PeerError, match="packet"):
        codec.decode_packet(msgpack.packb(wrong))


@pytest.mark.parametrize("packet", PACKETS, ids=name_of)
def test_fields_of_a_later_version_are_ignored(packet: Packet) -> None:
    later = msgpack.packb([*plain(packet), "of a later version"])

    assert codec.decode_packet(later) == packet
