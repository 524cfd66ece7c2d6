"""Heads of records: what was written is read, and what is none of ours is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat.records import (
    CONTROL_BYTES_MAX,
    DATA,
    DATA_BYTES_MAX,
    HEADER,
    HEADER_BYTES,
    VERSION,
    RecordKind,
    encode_data_head,
    encode_record,
    read_head,
)
from protocol.errors import PeerError

OFFSETS = st.integers(0, (1 << 64) - 1)


def test_a_head_is_written_as_it_was_written_down() -> None:
    ping = encode_record(RecordKind.PING, 7, 1 << 33, b"xy")
    data = encode_data_head(5, 6, DATA_BYTES_MAX)

    assert ping.hex() == "0301000002000000070000000000000000000000020000007879"
    assert data.hex() == "010100000000200005000000000000000600000000000000"


@given(
    kind=st.sampled_from(RecordKind),
    offset=OFFSETS,
    received=OFFSETS,
    payload=st.binary(max_size=64),
)
def test_what_was_written_is_read(
    kind: RecordKind, offset: int, received: int, payload: bytes
) -> None:
    record = encode_record(kind, offset, received, payload)

    assert read_head(memoryview(record)) == (kind, len(payload), offset, received)
    assert record[HEADER_BYTES:] == payload


@pytest.mark.parametrize("kind", [0, 10, 255])
def test_a_kind_that_is_none_is_refused(kind: int) -> None:
    with pytest.raises(PeerError, match=f"begins with {kind}"):
        read_head(memoryview(HEADER.pack(kind, VERSION, 0, 0, 0, 0)))


def test_another_version_is_refused() -> None:
    with pytest.raises(PeerError, match="no record of ours"):
        read_head(memoryview(HEADER.pack(DATA, VERSION + 1, 0, 0, 0, 0)))


@pytest.mark.parametrize("kind", RecordKind)
def test_a_length_beyond_the_limit_is_refused_before_anything_of_it_is_kept(
    kind: RecordKind,
) -> None:
    limit = DATA_BYTES_MAX if kind is RecordKind.DATA else CONTROL_BYTES_MAX
    for length in (limit + 1, (1 << 32) - 1):
        with pytest.raises(PeerError, match=f"the most is {limit}"):
            read_head(memoryview(HEADER.pack(kind, VERSION, 0, length, 0, 0)))
    assert read_head(memoryview(HEADER.pack(kind, VERSION, 0, limit, 0, 0)))[1] == limit
