"""STUN messages: what was written is read, the RFC's own examples too, and nonsense is said to be nonsense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat import stun
from nat.endpoint import Endpoint
from nat.stun import Kind, Message, parse
from protocol.errors import PeerError

ID = b"0123456789ab"

RFC5769_IPV4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
"""RFC 5769, section 2.2, with the password's MESSAGE-INTEGRITY, which we do not know and need not."""

hosts = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
endpoints = st.builds(Endpoint, hosts, st.integers(1, 65_535))
transactions = st.binary(min_size=12, max_size=12)


@given(transactions, endpoints, st.none() | endpoints)
def test_an_answer_is_read_as_it_was_written(
    transaction: bytes, mapped: Endpoint, other: Endpoint | None
) -> None:
    written = stun.response(transaction, mapped, other)

    assert parse(written) == Message(Kind.RESPONSE, transaction, mapped, other)


def test_a_request_is_padded_and_an_indication_bare() -> None:
    assert len(stun.request(ID)) == stun.REQUEST_BYTES
    assert parse(stun.request(ID)) == Message(Kind.REQUEST, ID)
    assert parse(stun.indication(ID)) == Message(Kind.INDICATION, ID)
    assert len(stun.indication(ID)) == 20


def test_the_address_is_not_found_in_the_bytes_where_a_router_might_change_it() -> None:
    written = stun.response(ID, Endpoint("192.0.2.1", 32_853))

    assert bytes([192, 0, 2, 1]) not in written


def test_the_example_of_the_rfc_is_refused_for_what_we_do_not_understand_alone() -> None:
    with pytest.raises(PeerError, match="0x0008 is not understood"):
        parse(RFC5769_IPV4)


def test_the_address_of_the_rfc_s_example_is_read() -> None:
    attribute = RFC5769_IPV4[36:48]
    transaction = RFC5769_IPV4[8:20]
    alone = b"\x01\x01\0\x0c" + RFC5769_IPV4[4:20] + attribute

    assert parse(alone) == Message(Kind.RESPONSE, transaction, Endpoint("192.0.2.1", 32_853))


def test_a_fingerprint_is_checked() -> None:
    import zlib

    head = b"\x00\x01\0\x08" + stun.request(ID)[4:20]
    right = (zlib.crc32(head) ^ stun.FINGERPRINT_XOR).to_bytes(4, "big")

    assert parse(head + b"\x80\x28\0\x04" + right) == Message(Kind.REQUEST, ID)
    with pytest.raises(PeerError, match="fingerprint"):
        parse(head + b"\x80\x28\0\x04" + bytes(4))


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        stun.request(ID)[:-1],
        stun.request(ID) + b"\0",
        b"\x01\x11" + stun.request(ID)[2:],
        stun.request(ID)[:4] + b"\0\0\0\0" + stun.request(ID)[8:],
        b"\x01\x01\0\0" + stun.request(ID)[4:20],
        b"\x00\x01\0\x08" + stun.request(ID)[4:20] + b"\x00\x03\0\x04\0\0\0\x06",
        b"\x00\x01\0\x08" + stun.request(ID)[4:20] + b"\x80\x22\0\xff\0\0\0\0",
        b"\x01\x01\0\x0c" + stun.request(ID)[4:20] + b"\x00\x20\0\x08\0\x03\0\x01\0\0\0\0",
        b"\x01\x01\0\x1c" + stun.request(ID)[4:20] + b"\x00\x20\0\x18\0\x02\0\x01" + bytes(20),
    ],
    ids=[
        "empty", "cut", "longer", "an error", "cookie", "says nothing", "CHANGE-REQUEST",
        "attribute over the end", "no such family", "an address too long",
    ],
)  # fmt: skip
def test_what_is_not_wholly_right_is_nonsense(wrong: bytes) -> None:
    with pytest.raises(PeerError, match="STUN"):
        parse(wrong)


@given(st.binary(max_size=stun.MESSAGE_BYTES_MAX + 8))
def test_any_bytes_are_a_message_or_nonsense(datagram: bytes) -> None:
    _parse(datagram)


@given(endpoints, st.data())
def test_a_message_with_a_byte_changed_is_a_message_or_nonsense(
    mapped: Endpoint, data: st.DataObject
) -> None:
    written = bytearray(stun.response(ID, mapped, mapped))
    place = data.draw(st.integers(0, len(written) - 1))
    written[place] = data.draw(st.integers(0, 255))

    _parse(bytes(written))


def _parse(datagram: bytes) -> None:
    """Whatever is read can be said again."""
    try:
        message = parse(datagram)
    except PeerError:
        return
    if message.kind is Kind.RESPONSE:
        assert message.mapped is not None
        again = parse(stun.response(message.transaction, message.mapped, message.other))
        assert again == message
