"""A ticket survives copying, and says what is wrong when it does not."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ConfigError, ErrorCode, TaskError
from protocol.ids import MeshId, NodeId
from protocol.ticket import (
    Ticket,
    TokenClaims,
    decode,
    encode,
    make_token,
    read_token,
    to_be_signed,
)

CLAIMS = TokenClaims(
    mesh=MeshId("ab" * 32),
    id="t1",
    expires_at=1_800_000_000.5,
    uses=16,
    may_invite=False,
    minter=NodeId("a" * 52),
)
TICKET = Ticket(
    ca=bytes(range(256)), addresses=("192.0.2.1:7879", "[2001:db8::1]:7879"), token="t.s"
)


@given(
    ca=st.binary(min_size=1, max_size=600),
    addresses=st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=16),
    token=st.text(min_size=1, max_size=400),
)
def test_a_ticket_comes_back_as_it_was(ca: bytes, addresses: list[str], token: str) -> None:
    ticket = Ticket(ca=ca, addresses=tuple(addresses), token=token)

    assert decode(encode(ticket)) == ticket


def test_a_ticket_is_one_line_without_spaces() -> None:
    assert len(encode(TICKET).split()) == 1


def _what_is_read(line: str) -> Ticket | str:
    try:
        return decode(line)
    except ConfigError as wrong:
        return str(wrong).partition(": ")[2]


def test_a_ticket_that_a_terminal_wrapped_is_still_read() -> None:
    line = encode(TICKET)

    assert decode(f"  {line[:40]}\n  {line[40:90]}\r\n{line[90:]}\n") == TICKET


def test_the_mesh_is_the_fingerprint_of_the_ca() -> None:
    assert TICKET.mesh == hashlib.sha256(TICKET.ca).hexdigest()


@given(st.integers(min_value=7, max_value=len(encode(TICKET)) - 1))
def test_a_ticket_cut_short_asks_to_copy_it_again(length: int) -> None:
    with pytest.raises(ConfigError, match="copy the whole line again"):
        decode(encode(TICKET)[:length])


@given(st.integers(min_value=7, max_value=len(encode(TICKET)) - 1), st.characters(codec="ascii"))
def test_a_changed_character_never_gives_another_ticket(place: int, character: str) -> None:
    line = encode(TICKET)
    changed = line[:place] + character + line[place + 1 :]

    assert _what_is_read(changed) in (TICKET, "copy the whole line again")


@given(st.text(max_size=200))
def test_garbage_is_a_config_error_and_nothing_else(text: str) -> None:
    with pytest.raises(ConfigError):
        decode(text)


def test_another_version_names_both_versions() -> None:
    with pytest.raises(ConfigError, match="version 2 and this node reads version 1"):
        decode(encode(TICKET).replace("sedma1:", "sedma2:"))


def test_something_else_says_where_tickets_come_from() -> None:
    with pytest.raises(ConfigError, match="sedma-node ticket"):
        decode("@ticket.txt")


def test_an_endless_line_is_refused_unread() -> None:
    with pytest.raises(ConfigError, match="longer than 16384"):
        decode("sedma1:" + "A" * 10_000_000)


def test_a_token_comes_back_with_the_bytes_that_were_signed() -> None:
    token = read_token(make_token(CLAIMS, b"\7" * 64))

    assert token.claims == CLAIMS
    assert token.signed == to_be_signed(CLAIMS)
    assert token.signature == b"\7" * 64


@given(st.text(max_size=100))
def test_a_token_of_garbage_is_an_invalid_ticket(text: str) -> None:
    with pytest.raises(TaskError) as caught:
        read_token(text)

    assert caught.value.code is ErrorCode.TICKET_INVALID


@given(st.binary(max_size=100))
def test_a_token_of_other_bytes_is_an_invalid_ticket(payload: bytes) -> None:
    text = base64.urlsafe_b64encode(payload).decode().rstrip("=")
    with pytest.raises(TaskError) as caught:
        read_token(f"{text}.{text}")

    assert caught.value.code is ErrorCode.TICKET_INVALID
