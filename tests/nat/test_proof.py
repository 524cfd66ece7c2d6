import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat.proof import (
    PROOF_BYTES_MAX,
    Proof,
    ProofReader,
    agreed_on,
    certificates_of,
    encode_proof,
    signed_bytes,
)
from protocol.errors import PeerError
from protocol.ids import NodeId
from protocol.paths import Offer
from tests.nat.members import founder, member

PROOF = Proof((b"leaf", b"inviter"), bytes(64))
ONE, OTHER = NodeId("a" * 52), NodeId("b" * 52)


@given(st.lists(st.integers(1, 200), max_size=10), st.binary(max_size=50))
def test_a_proof_is_read_from_pieces_of_any_size_and_what_follows_is_kept(
    cuts: list[int], behind: bytes
) -> None:
    reader, data = ProofReader(), encode_proof(PROOF) + behind
    found, kept = None, b""
    for size in [*cuts, len(data)]:
        piece, data = data[:size], data[size:]
        if found is not None:
            kept += piece
        elif (read := reader.feed(piece)) is not None:
            found, kept = read

    assert found == PROOF
    assert kept == behind


@pytest.mark.parametrize(
    "body", [b"", b"\xc0", b"\x92\x90\xc4\x40" + bytes(64), b"\x92\x91\xc4\x01x\xc4\x01y"]
)
def test_what_is_no_proof_is_refused(body: bytes) -> None:
    with pytest.raises(PeerError, match="no proof of a node's key"):
        ProofReader().feed(len(body).to_bytes(2, "big") + body)


def test_a_proof_beyond_the_limit_is_refused_by_its_length_alone() -> None:
    with pytest.raises(PeerError, match="it may have"):
        ProofReader().feed((PROOF_BYTES_MAX + 1).to_bytes(2, "big"))


def test_what_is_signed_changes_with_each_of_its_parts() -> None:
    first = (ONE, OTHER, b"agreement of today", b"leaf")
    others = [
        (OTHER, ONE, b"agreement of today", b"leaf"),
        (ONE, OTHER, b"agreement of yesterday", b"leaf"),
        (ONE, OTHER, b"agreement of today", b"another leaf"),
    ]

    assert len({signed_bytes(*said) for said in [first, *others]}) == 4


def test_both_ends_agree_and_no_two_attempts_agree_on_the_same() -> None:
    ask = Offer(bytes(16), 1, False, "dial", "p" * 22, ())
    answer = Offer(bytes(16), 1, True, "hear", "q" * 22, ())
    another = Offer(bytes(16), 1, True, "hear", "r" * 22, ())

    assert agreed_on(ask, answer) == agreed_on(ask, answer)
    assert agreed_on(ask, answer) != agreed_on(ask, another)


def test_the_longest_chain_of_certificates_fits_into_a_proof() -> None:
    invited = member(founder(), by_inviter=True)
    chain = certificates_of(invited.chain_pem)

    assert len(chain) == 2
    assert len(encode_proof(Proof(chain, bytes(64)))) < PROOF_BYTES_MAX / 4


def test_secrets_are_not_shown() -> None:
    one, other = member(founder()), member(founder())

    assert "PRIVATE" not in repr(one.towards(other))
