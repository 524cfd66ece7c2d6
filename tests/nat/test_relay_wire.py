"""Relay messages: what was said is what is read, and nothing else is."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat.relay_wire import (
    HEADER_BYTES,
    MESSAGE_BYTES_MAX,
    OPENER,
    PAYLOAD_BYTES_MAX,
    WINDOW_BYTES,
    Absent,
    Close,
    Data,
    Message,
    Open,
    Opened,
    Ping,
    Pong,
    Refused,
    Reserved,
    Unknown,
    Window,
    decode,
    encode,
    signed_reservation_bytes,
)
from protocol.errors import PeerError

ANNA, BERT = bytes(range(32)), bytes(range(32, 64))

ids = st.binary(min_size=32, max_size=32)
channels = st.integers(0, 2**32 - 1)
texts = st.text(max_size=64)
messages = st.one_of(
    st.builds(Open, ids, channels.map(lambda number: number | OPENER)),
    st.builds(Data, ids, channels, st.binary(min_size=1, max_size=300)),
    st.builds(Window, ids, channels, st.integers(1, WINDOW_BYTES)),
    st.builds(Close, ids, channels, texts),
    st.builds(Opened, ids, channels),
    st.builds(Absent, ids, channels),
    st.builds(
        Reserved,
        ids,
        ids,
        st.integers(0, 2**40),
        st.integers(0, 2**40),
        texts,
        st.binary(min_size=64, max_size=64),
    ),
    st.builds(Refused, texts),
    st.builds(Ping, st.binary(min_size=8, max_size=8)),
    st.builds(Pong, st.binary(min_size=8, max_size=8)),
)


@given(messages)
def test_what_was_said_is_read(message: Message) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=2 * HEADER_BYTES))
def test_whatever_comes_is_a_message_or_nonsense(data: bytes) -> None:
    try:
        message = decode(data)
    except PeerError:
        return
    assert isinstance(message, Unknown) or encode(message)[0] == data[0]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (Open(ANNA, OPENER | 5), "0180000005"),
        (Data(ANNA, 5, b"\xaa\xbb"), "0200000005"),
        (Window(ANNA, 5, 0x01_0000), "0300000005"),
        (Close(ANNA, 5, "over"), "0400000005"),
        (Opened(ANNA, 5), "1200000005"),
        (Absent(ANNA, 5), "1300000005"),
    ],
)
def test_a_message_of_a_channel_is_written_so(message: Message, expected: str) -> None:
    tail = {Data: "aabb", Window: "00010000", Close: "6f766572"}.get(type(message), "")

    assert encode(message).hex() == expected + ANNA.hex() + tail


def test_what_the_relay_itself_says_is_written_so() -> None:
    nobody = "00" * 36

    assert encode(Refused("full")).hex() == "11" + nobody + "66756c6c"
    assert encode(Ping(b"12345678")).hex() == "14" + nobody + "3132333435363738"
    assert encode(Pong(b"12345678")).hex() == "15" + nobody + "3132333435363738"
    assert encode(Reserved(ANNA, BERT, 7, 9, "a:1"))[37:].hex() == (
        "96c420" + ANNA.hex() + "c420" + BERT.hex() + "0709" + "a3613a31" + "c440" + "00" * 64
    )


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        (b"", "of 0 bytes"),
        (bytes(36), "of 36 bytes"),
        (bytes([2]) + bytes(MESSAGE_BYTES_MAX), f"of {MESSAGE_BYTES_MAX + 1} bytes"),
        (bytes([2]) + bytes(36), "DATA is empty"),
        (bytes([1]) + bytes(36), "OPEN is not by its opener"),
        (bytes([1]) + bytes(37), "OPEN carries 1 bytes, not 0"),
        (bytes([18]) + bytes(37), "OPENED carries 1 bytes, not 0"),
        (bytes([3]) + bytes(39), "WINDOW carries 3 bytes, not 4"),
        (bytes([3]) + bytes(40), "WINDOW gives 0 bytes"),
        (bytes([3]) + bytes(36) + b"\x00\x04\x00\x01", f"WINDOW gives {WINDOW_BYTES + 1} bytes"),
        (bytes([4]) + bytes(36 + 257), "CLOSE gives a reason of 257 bytes"),
        (bytes([20]) + bytes(36 + 7), "PING carries 7 bytes, not 8"),
        (bytes([20]) + bytes(35) + bytes([1]) + bytes(8), "PING names a channel"),
        (bytes([16]) + bytes(36), "RESERVED"),
        (bytes([16]) + bytes(36 + 513), "RESERVED has 513 bytes"),
        (encode(Reserved(b"short", BERT, 7, 9, "a:1")), "RESERVED names nobody"),
    ],
)
def test_nonsense_is_told_apart(data: bytes, wrong: str) -> None:
    with pytest.raises(PeerError, match=wrong):
        decode(data)


def test_a_kind_of_a_later_version_is_passed_over() -> None:
    assert decode(bytes([99]) + bytes(50)) == Unknown(99, nbytes=51)


def test_the_largest_payload_fits() -> None:
    message = Data(ANNA, 1, bytes(PAYLOAD_BYTES_MAX))

    assert len(encode(message)) == MESSAGE_BYTES_MAX
    assert decode(encode(message)) == message


def test_a_long_reason_is_cut() -> None:
    cut = decode(encode(Close(ANNA, 1, "ä" * 500)))

    assert cut == Close(ANNA, 1, "ä" * 128)


def test_a_signature_is_over_all_that_a_reservation_says() -> None:
    reserved = Reserved(ANNA, BERT, 7, 9, "a:1", signature=b"s" * 64)
    told = {"node": BERT, "relay": ANNA, "until": 8, "rate": 8, "seen": "b:1"}

    signed = signed_reservation_bytes(reserved)

    assert signed == signed_reservation_bytes(
        msgspec.structs.replace(reserved, signature=bytes(64))
    )
    for name, value in told.items():
        assert signed != signed_reservation_bytes(
            msgspec.structs.replace(reserved, **{name: value})
        )
