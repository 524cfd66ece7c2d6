"""What nodes say of the ways between them: the same bytes for ever, and nothing but what may be said."""

import contextlib
from pathlib import Path
from typing import cast

import msgpack  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import codec
from protocol.errors import PeerError
from protocol.ids import NodeId
from protocol.limits import CANDIDATES_MAX
from protocol.paths import (
    Attach,
    Attached,
    Candidate,
    Ending,
    Offer,
    PathKind,
    by_way_of,
    relay_in,
    signed_offer_bytes,
)

GOLDEN = Path(__file__).parent / "golden" / "paths.hex"
LINK, SIGNATURE = bytes(range(16)), b"\2" * 64
SENDER, RECEIVER = NodeId("s" * 52), NodeId("r" * 52)

HOST = Candidate("host", "2001:db8::1", 7879, "host", 2_130_706_431)
MAPPED = Candidate("srflx", "203.0.113.7", 65_535, "srflx", 1)
OFFER = Offer(LINK, 3, True, "user", "p" * 22, (HOST, MAPPED), SIGNATURE)

SAMPLES: dict[str, Attach | Attached | Ending | Offer] = {
    "Attach": Attach(LINK, True, PathKind.RELAY, 1 << 40, False),
    "Attached": Attached(1 << 33),
    "Ending": Ending("no such link"),
    "Offer": OFFER,
}


def decoded(like: Attach | Attached | Ending | Offer, said: bytes) -> Attach:
    """As one of its kind; which that is, no type checker can tell."""
    return codec.decode(cast(type[Attach], type(like)), said)


def test_they_are_encoded_as_they_were_written_down() -> None:
    written = dict(line.split() for line in GOLDEN.read_text().splitlines())

    told = {name: codec.encode(one).hex() for name, one in SAMPLES.items()}
    signed = signed_offer_bytes(OFFER, SENDER, RECEIVER)
    assert written == {**told, "signed_offer": signed.hex()}


@pytest.mark.parametrize("name", SAMPLES)
def test_they_read_the_same_by_another_implementation(name: str) -> None:
    one = SAMPLES[name]
    theirs = msgpack.packb(msgspec.to_builtins(one, builtin_types=(bytes,)))

    assert msgpack.unpackb(codec.encode(one)) == msgpack.unpackb(theirs)
    assert decoded(one, theirs) == one


@given(
    kind=st.sampled_from(PathKind),
    link=st.binary(min_size=16, max_size=16),
    received=st.integers(0, (1 << 53) - 1),
    opener=st.booleans(),
)
def test_what_is_said_of_a_new_path_comes_back_as_it_was(
    kind: PathKind, link: bytes, received: int, opener: bool
) -> None:
    attach = Attach(link, opener, kind, received, fresh=not opener)

    assert codec.decode(Attach, codec.encode(attach)) == attach


@pytest.mark.parametrize(
    "said",
    [
        [bytes(15), True, "relay", 0, True],
        [bytes(17), True, "relay", 0, True],
        [LINK, True, "carrier pigeon", 0, True],
        [LINK, True, "relay", -1, True],
        [LINK, 1, "relay", 0, True],
        [LINK, True, "relay"],
        "attach",
        {},
    ],
)
def test_an_attach_that_does_not_fit_is_refused(said: object) -> None:
    with pytest.raises(PeerError):
        codec.decode(Attach, msgpack.packb(said))


def offer_with(**changes: object) -> bytes:
    return codec.encode(msgspec.structs.replace(OFFER, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"link": bytes(8)},
        {"number": -1},
        {"username": "abc"},
        {"username": "u" * 33},
        {"password": "p" * 21},
        {"password": "p" * 65},
        {"signature": bytes(63)},
        {"candidates": (HOST,) * (CANDIDATES_MAX + 1)},
        {"candidates": (HOST,) * 1000},
        {"candidates": (msgspec.structs.replace(HOST, port=0),)},
        {"candidates": (msgspec.structs.replace(HOST, port=65_536),)},
        {"candidates": (msgspec.structs.replace(HOST, priority=1 << 32),)},
        {"candidates": (msgspec.structs.replace(HOST, priority=-1),)},
        {"candidates": (msgspec.structs.replace(HOST, host="h" * 46),)},
        {"candidates": (msgspec.structs.replace(HOST, kind="far too long"),)},
        {"candidates": (msgspec.structs.replace(HOST, foundation="f" * 33),)},
    ],
    ids=str,
)
def test_an_offer_beyond_the_limits_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(PeerError, match="Offer"):
        codec.decode(Offer, offer_with(**changes))


@given(st.binary(max_size=200))
def test_any_other_bytes_are_nonsense_and_nothing_else(said: bytes) -> None:
    for one in SAMPLES.values():
        with contextlib.suppress(PeerError):
            assert codec.encode(decoded(one, said))


def test_a_signature_is_over_all_of_an_offer_and_both_who_speak() -> None:
    signed = signed_offer_bytes(OFFER, SENDER, RECEIVER)
    other = {
        signed_offer_bytes(OFFER, RECEIVER, SENDER),
        signed_offer_bytes(OFFER, SENDER, SENDER),
        *(
            signed_offer_bytes(msgspec.structs.replace(OFFER, **changed), SENDER, RECEIVER)
            for changed in (
                {"link": bytes(16)},
                {"number": 4},
                {"answers": False},
                {"username": "other"},
                {"password": "q" * 22},
                {"candidates": (HOST,)},
            )
        ),
    }

    assert len(other) == 8
    assert signed not in other
    assert signed == signed_offer_bytes(
        msgspec.structs.replace(OFFER, signature=b"\3" * 64), SENDER, RECEIVER
    )


def test_nothing_in_an_offer_depends_on_a_clock() -> None:
    """Ten minutes of skew cannot matter: what keeps an offer fresh is its number and its link."""
    assert set(Offer.__struct_fields__) == {
        "link",
        "number",
        "answers",
        "username",
        "password",
        "candidates",
        "signature",
    }


def test_an_address_may_name_a_relay() -> None:
    assert relay_in(by_way_of(SENDER)) == SENDER
    assert relay_in("192.0.2.1:7879") is None
