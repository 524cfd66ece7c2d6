"""Frames: whole, cut anywhere, damaged, too long, unknown, and as they were written down for ever."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.frames import (
    CRITICAL,
    END,
    FRAME_VERSION,
    PREFIX_BYTES,
    BodyPart,
    Event,
    Frame,
    FrameDecoder,
    FrameError,
    FrameType,
    TrafficClass,
    _encode,
    encode_data_prefix,
    encode_frame,
)
from protocol.limits import BODY_BYTES_MAX, HEADER_BYTES_MAX

GOLDEN = Path(__file__).parent / "golden" / "frames.hex"

GOLDEN_FRAMES: list[tuple[str, Frame | BodyPart]] = [
    (kind.name, Frame(kind, TrafficClass.RPC, 7, b"\x81\xa1a\x01"))
    for kind in FrameType
    if kind not in (FrameType.DATA, FrameType.CREDIT, FrameType.CANCEL)
] + [
    ("CREDIT", Frame(FrameType.CREDIT, TrafficClass.CONTROL, 9, b"", 262_144)),
    ("CANCEL", Frame(FrameType.CANCEL, TrafficClass.CONTROL, 2**32 - 1)),
    ("DATA", BodyPart(3, 5, end=False)),
    ("DATA_END", BodyPart(3, 5, end=True)),
    ("CRITICAL_PING", Frame(FrameType.PING, TrafficClass.CONTROL, 0, flags=CRITICAL)),
]

frames = st.builds(
    Frame,
    st.sampled_from([kind for kind in FrameType if kind is not FrameType.DATA]),
    st.sampled_from(TrafficClass),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=300),
    st.integers(0, 2**32 - 1),
    st.integers(0, 255),
)
parts = st.tuples(st.integers(0, 5), st.binary(max_size=400), st.booleans())
unknown = st.tuples(st.integers(12, 255), st.binary(max_size=50), st.binary(max_size=90))
conversations = st.lists(st.one_of(frames, parts, unknown), max_size=12)


class Collector:
    """A decoder, the memory that its bodies go to, and all that it said."""

    def __init__(self, *, unwanted: int | None = None, bodies_due: bool = False) -> None:
        self.heard: list[tuple[Event, bytes]] = []
        self._memory = bytearray()
        self._unwanted = unwanted
        self.decoder = FrameDecoder(self._sink)
        self.decoder.bodies_due = bodies_due

    def _sink(self, stream: int, nbytes: int) -> memoryview | None:
        if stream == self._unwanted:
            return None
        self._memory = bytearray(nbytes)
        return memoryview(self._memory)

    def feed(self, data: bytes, cut: int = 1 << 30) -> None:
        """At most `cut` bytes at a time, and never more than the decoder asks for."""
        while data:
            buffer = self.decoder.get_buffer(65_536)
            nbytes = min(len(buffer), len(data), cut)
            assert nbytes > 0
            buffer[:nbytes], data = data[:nbytes], data[nbytes:]
            for event in self.decoder.buffer_updated(nbytes):
                body = bytes(self._memory) if isinstance(event, BodyPart) else b""
                self.heard.append((event, body))


def wire(item: Frame | tuple[int, bytes, bool] | tuple[int, bytes, bytes]) -> bytes:
    if isinstance(item, Frame):
        return encode_frame(item)
    number, first, second = item
    if isinstance(second, bool):
        return encode_data_prefix(number, len(first), end=second) + first
    return _encode(number, 0, 77, 0, first, len(second), 0) + second


def heard(data: bytes, *, bodies_due: bool = False) -> list[tuple[Event, bytes]]:
    collector = Collector(bodies_due=bodies_due)
    collector.feed(data)
    return collector.heard


@given(conversations)
def test_what_is_encoded_comes_out_again(items: list[Frame | tuple[int, bytes, bool]]) -> None:
    expected: list[tuple[Event, bytes]] = []
    for item in items:
        if isinstance(item, Frame):
            expected.append((item, b""))
        elif isinstance(item[2], bool):
            expected.append((BodyPart(item[0], len(item[1]), item[2]), item[1]))

    assert heard(b"".join(wire(item) for item in items)) == expected


@given(conversations, st.integers(1, 400), st.booleans())
def test_every_cut_of_the_bytes_says_the_same(
    items: list[Frame | tuple[int, bytes, bool]], cut: int, bodies_due: bool
) -> None:
    data = b"".join(wire(item) for item in items)
    collector = Collector(bodies_due=bodies_due)

    collector.feed(data, cut)

    assert collector.heard == heard(data)
    assert collector.decoder.between_frames


@settings(max_examples=300)
@given(
    conversations,
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(1, 200),
)
def test_damage_is_a_frame_error_or_goes_unnoticed_in_a_body(
    items: list[Frame | tuple[int, bytes, bool]], changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(b"".join(wire(item) for item in items) or b"\0")
    for place, value in changes:
        data[place % len(data)] = value

    outcomes = []
    for step in (cut, 1 << 30):
        collector = Collector()
        try:
            collector.feed(bytes(data), step)
        except FrameError as wrong:
            outcomes.append((collector.heard, str(wrong)))
        else:
            outcomes.append((collector.heard, ""))

    assert outcomes[0] == outcomes[1]


@given(st.binary(max_size=200))
def test_noise_is_a_frame_error_at_most(noise: bytes) -> None:
    with suppress(FrameError):
        heard(bytes([FRAME_VERSION]) + noise)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x02" + bytes(23), "frame of version 2; this node speaks 1"),
        (b"GET / HTTP/1.1\r\nHost: localhost", "frame of version 71"),
        (
            b"\x01" + bytes(7) + b"\x01\x00\x01\x00" + bytes(12),
            "header of 65537 bytes; at most 65536",
        ),
        (encode_frame(Frame(FrameType.PING, TrafficClass.RPC, 1))[:-1] + b"?", "CRC"),
        (
            _encode(5, 0, 3, 1, b"", BODY_BYTES_MAX + 1, 0),
            "body of 1048577 bytes in one frame; at most",
        ),
        (_encode(99, CRITICAL, 0, 1, b"", 0, 0), "critical frame of type 99"),
        (_encode(2, 0, 2, 1, b"", 10, 0), "REQ with a body of 10 bytes"),
        (_encode(2, 0, 9, 1, b"", 0, 0), "REQ of class 9"),
        (_encode(5, 0, 3, 1, b"ab", 10, 0), "DATA with a header of 2 bytes"),
    ],
)
def test_a_bad_frame_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(FrameError, match=reason):
        heard(data)


def test_what_came_before_a_bad_frame_is_heard() -> None:
    good = Frame(FrameType.PING, TrafficClass.CONTROL, 1)
    collector = Collector()

    with pytest.raises(FrameError):
        collector.feed(encode_frame(good) + b"\x09" + bytes(30))

    assert collector.heard == [(good, b"")]


def test_an_unknown_type_that_is_not_critical_is_skipped_with_its_body_and_counted() -> None:
    ping = Frame(FrameType.PING, TrafficClass.CONTROL, 1)
    collector = Collector()

    collector.feed(_encode(99, 0, 0, 1, b"new", 100_000, 0) + bytes(100_000) + encode_frame(ping))

    assert collector.heard == [(ping, b"")]
    assert collector.decoder.skipped_frames == 1
    assert collector.decoder.skipped_bytes == 100_000


def test_a_body_that_nobody_wants_is_skipped() -> None:
    collector = Collector(unwanted=4)

    collector.feed(encode_data_prefix(4, 1000, end=True) + bytes(1000), 64)
    collector.feed(encode_data_prefix(5, 2, end=True) + b"ok")

    assert collector.heard == [(BodyPart(5, 2, True), b"ok")]
    assert collector.decoder.skipped_bytes == 1000


def test_an_abandoned_body_is_not_written_any_more() -> None:
    memory = bytearray(1000)
    decoder = FrameDecoder(lambda stream, nbytes: memoryview(memory))
    first = encode_data_prefix(6, 1000, end=True) + b"x" * 100
    decoder.get_buffer(0)[: len(first)] = first
    assert list(decoder.buffer_updated(len(first))) == []

    decoder.abandon(6)
    decoder.get_buffer(0)[:900] = b"y" * 900

    assert list(decoder.buffer_updated(900)) == []
    assert memory == b"x" * 100 + bytes(900)
    assert decoder.between_frames


def test_a_body_goes_straight_to_its_memory() -> None:
    memory = memoryview(bytearray(1000))
    decoder = FrameDecoder(lambda stream, nbytes: memory)
    decoder.bodies_due = True
    assert len(decoder.get_buffer(0)) == PREFIX_BYTES

    decoder.get_buffer(0)[:] = encode_data_prefix(6, 1000, end=True)
    assert list(decoder.buffer_updated(PREFIX_BYTES)) == []

    decoder.get_buffer(0)[:] = b"z" * 1000
    assert memory == b"z" * 1000


def test_the_longest_frame_fits_and_a_partial_one_is_noticed() -> None:
    longest = Frame(FrameType.RES, TrafficClass.RPC, 1, b"h" * HEADER_BYTES_MAX)
    data = encode_frame(longest)
    collector = Collector()

    collector.feed(data[:-1])
    assert collector.decoder.partial

    collector.feed(data[-1:])
    assert not collector.decoder.partial
    assert collector.heard == [(longest, b"")]


def test_the_bytes_on_the_wire_are_those_written_down() -> None:
    """A changed line is a broken protocol: raise FRAME_VERSION instead, and keep reading the old."""
    written = dict(line.split() for line in GOLDEN.read_text().splitlines())

    assert written == {name: golden(frame).hex() for name, frame in GOLDEN_FRAMES}
    assert {name.removesuffix("_END") for name in written} >= {kind.name for kind in FrameType}
    for name, frame in GOLDEN_FRAMES:
        assert [event for event, _ in heard(bytes.fromhex(written[name]))] == [frame]


def golden(frame: Frame | BodyPart) -> bytes:
    if isinstance(frame, Frame):
        return encode_frame(frame)
    return encode_data_prefix(frame.stream, frame.nbytes, end=frame.end) + b"sedma"[: frame.nbytes]


def test_the_prefix_is_laid_out_as_drawn() -> None:
    data = encode_frame(Frame(FrameType.REQ, TrafficClass.RPC, 0x01020304, b"hh", 0x0A0B0C0D, END))

    assert data[:4] == bytes([FRAME_VERSION, FrameType.REQ, END, TrafficClass.RPC])
    assert data[4:8] == bytes([4, 3, 2, 1])
    assert data[8:16] == bytes([2, 0, 0, 0, 0, 0, 0, 0])
    assert data[16:20] == bytes([0x0D, 0x0C, 0x0B, 0x0A])
    assert data[24:] == b"hh"
