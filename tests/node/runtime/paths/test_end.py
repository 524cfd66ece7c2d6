"""One end of a path: however what comes in is cut, the same is told of it."""

import asyncio
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat.records import DATA_BYTES_MAX, RecordKind, encode_data_head, encode_record
from node.runtime.paths.end import SCRATCH_BYTES, PathEnd
from protocol.errors import PeerError
from protocol.paths import PathKind


class Wire:
    """What a path needs of a transport; keeps what is written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = self.aborted = False
        self.names: dict[str, object] = {}

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.names.get(name, default)

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self.written += piece

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class Owner:
    """Keeps what it is told. Its memory for the stream is given out in slices of `slice_bytes`."""

    def __init__(self, slice_bytes: int = 1 << 20, received: int = 0) -> None:
        self.received = received
        self.stream = bytearray()
        self.acks: list[int] = []
        self.records: list[tuple[RecordKind, int, bytes]] = []
        self.wrong: list[str] = []
        self.losses: list[tuple[str, bool]] = []
        self.pauses = 0
        self.paused_now = False
        self._memory = memoryview(bytearray(slice_bytes))

    def heard(self, end: PathEnd, received: int) -> None:
        self.acks.append(received)

    def record(self, end: PathEnd, kind: RecordKind, number: int, payload: bytes) -> None:
        if kind is RecordKind.ATTACH:
            raise PeerError("attached already")
        self.records.append((kind, number, payload))

    def get_buffer(self, hint: int) -> memoryview:
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        self.stream += self._memory[:nbytes]
        self.received += nbytes

    def data_ended(self, end: PathEnd) -> None:
        pass

    def paused(self, end: PathEnd) -> None:
        self.paused_now = True

    def resumed(self, end: PathEnd) -> None:
        self.paused_now = False

    def broke(self, end: PathEnd, wrong: PeerError) -> None:
        self.wrong.append(str(wrong))

    def path_lost(self, end: PathEnd, reason: str, *, refused: bool) -> None:
        self.losses.append((reason, refused))


def path(owner: Owner) -> tuple[PathEnd, Wire]:
    end, wire = PathEnd(owner, PathKind.LAN), Wire()
    end.connection_made(cast(asyncio.BaseTransport, wire))
    return end, wire


def bring(end: PathEnd, data: bytes) -> None:
    """As a transport does it: as much as there is room for, each time."""
    view = memoryview(data)
    while view and not end.closing:
        into = end.get_buffer(-1)
        nbytes = min(len(into), len(view))
        into[:nbytes] = view[:nbytes]
        end.buffer_updated(nbytes)
        view = view[nbytes:]


def data(offset: int, payload: bytes, received: int = 0) -> bytes:
    return encode_data_head(offset, received, len(payload)) + payload


SAID = b"".join(
    [
        encode_record(RecordKind.PING, 7, 1),
        data(0, b"hello ", 2),
        encode_record(RecordKind.OFFER, 0, 3, b"o" * 300),
        data(6, b"", 4),
        data(6, b"world", 5),
        data(3, b"lo world, all", 6),
        data(0, b"hello", 7),
        encode_record(RecordKind.ACK, 0, 8),
        data(16, b"!" * 90, 9),
    ]
)
STREAM = b"hello world, all" + b"!" * 90


def told(owner: Owner) -> tuple[bytes, list[int], list[tuple[RecordKind, int, bytes]]]:
    assert owner.wrong == []
    return bytes(owner.stream), owner.acks, owner.records


EXPECTED = (
    STREAM,
    [1, 2, 3, 4, 5, 6, 7, 8, 9],
    [
        (RecordKind.PING, 7, b""),
        (RecordKind.OFFER, 0, b"o" * 300),
        (RecordKind.ACK, 0, b""),
    ],
)


def test_wherever_what_comes_is_cut_in_two_the_same_is_told() -> None:
    for split in range(len(SAID) + 1):
        owner = Owner()
        end, _ = path(owner)
        bring(end, SAID[:split])
        bring(end, SAID[split:])

        assert told(owner) == EXPECTED


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 64))
def test_however_what_comes_is_cut_the_same_is_told(cuts: list[int], slice_bytes: int) -> None:
    owner = Owner(slice_bytes)
    end, _ = path(owner)
    at = 0
    for cut in cuts:
        bring(end, SAID[at : at + cut])
        at += cut
    bring(end, SAID[at:])

    assert told(owner) == EXPECTED


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 30), st.integers(0, 30)), max_size=30),
    st.lists(st.integers(1, 50), min_size=1, max_size=30),
)
def test_of_two_paths_that_bring_the_same_each_byte_is_taken_once(
    plan: list[tuple[int, int, int]], cuts: list[int]
) -> None:
    """Each path's records reach back as far as they like, and never beyond what that path has brought."""
    whole = bytes(number % 251 for number in range(2_000))
    owner = Owner()
    paths = [path(owner)[0] for _ in range(2)]
    waiting: list[bytes] = [b"", b""]
    for which, back, nbytes in plan:
        begin = max(0, owner.received - back)
        waiting[which] += data(begin, whole[begin : begin + nbytes])
        cut = cuts[nbytes % len(cuts)]
        for number in (which, 1 - which):
            bring(paths[number], waiting[number][:cut])
            waiting[number] = waiting[number][cut:]
    for number, rest in enumerate(waiting):
        bring(paths[number], rest)

    assert owner.wrong == []
    assert bytes(owner.stream) == whole[: owner.received]


def test_a_large_record_goes_straight_to_its_place() -> None:
    content = bytes(range(256)) * 4_096
    owner = Owner(slice_bytes=4 * SCRATCH_BYTES)
    end, _ = path(owner)
    bring(end, data(0, content)[:100])

    assert len(end.get_buffer(-1)) == 4 * SCRATCH_BYTES
    bring(end, data(0, content)[100:])
    assert bytes(owner.stream) == content
    assert not end.in_record


def test_a_gap_in_the_stream_is_nonsense_and_nothing_of_it_is_taken() -> None:
    owner = Owner()
    end, _ = path(owner)
    bring(end, data(0, b"one") + data(4, b"two") + data(3, b"three"))

    assert owner.wrong == ["the stream lacks 1 bytes"]
    assert bytes(owner.stream) == b"one"


@pytest.mark.parametrize(
    "said",
    [
        bytes(24),
        encode_data_head(0, 0, DATA_BYTES_MAX + 1),
        encode_record(RecordKind.ATTACH, 0, 0),
    ],
)
def test_after_nonsense_nothing_more_is_read(said: bytes) -> None:
    owner = Owner()
    end, _ = path(owner)
    bring(end, said + encode_record(RecordKind.PING, 1, 0))
    bring(end, encode_record(RecordKind.PING, 2, 0))

    assert len(owner.wrong) == 1
    assert owner.records == []
    assert end.closing


@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_are_records_or_nonsense_and_nothing_else(said: bytes) -> None:
    owner = Owner()
    end, _ = path(owner)
    bring(end, said)

    assert end.closing == bool(owner.wrong)


def test_what_is_sent_is_counted_and_nothing_leaves_after_the_end() -> None:
    owner = Owner()
    end, wire = path(owner)
    end.send(RecordKind.PING, 5, 6, b"x")
    end.send_data([encode_data_head(0, 6, 3), b"abc"], 3)
    end.close()
    end.send(RecordKind.PING, 7, 6)

    assert wire.closed
    assert wire.written == encode_record(RecordKind.PING, 5, 6, b"x") + data(0, b"abc", 6)


def test_who_cannot_write_more_is_paused_and_resumed() -> None:
    owner = Owner()
    end, wire = path(owner)
    assert wire.limits == (1, 0)

    end.pause_writing()
    assert end.is_paused
    assert owner.paused_now
    end.resume_writing()
    assert not end.is_paused
    assert not owner.paused_now


@pytest.mark.parametrize(
    ("wrong", "reason", "refused"),
    [
        (None, "the other side closed it", True),
        (ConnectionResetError("reset"), "reset", True),
        (TimeoutError(), "TimeoutError", False),
        (OSError(113, "No route to host"), "[Errno 113] No route to host", False),
    ],
)
def test_whether_the_other_side_has_ended_it_is_told_with_the_reason(
    wrong: Exception | None, reason: str, refused: bool
) -> None:
    owner = Owner()
    end, _ = path(owner)
    end.connection_lost(wrong)

    assert owner.losses == [(reason, refused)]


def test_a_path_names_its_ends() -> None:
    end, wire = path(Owner())
    wire.names = {
        "sockname": ("::ffff:192.0.2.1", 5, 0, 0),
        "peername": ("2001:db8::1", 6, 0, 0),
    }

    assert end.remote == "[2001:db8::1]:6"
    assert end.local_host == "192.0.2.1"
    wire.names = {"sockname": "", "peername": None}
    assert (end.local, end.remote, end.local_host) == ("", "", "")
