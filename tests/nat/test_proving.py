"""Who proves what on a punched path, without a path; what a refusal looks like on one is told in `test_quic.py`."""

import pytest

from nat.proof import certificates_of
from nat.proving import Proving
from protocol.errors import PeerError
from tests.nat.members import founder, member

CA = founder()
ALICE, BOB = member(CA), member(CA, by_inviter=True)
SHOWN = certificates_of(BOB.towards(ALICE).chain_pem)


def dialler() -> Proving:
    return Proving(ALICE.towards(BOB), dialled=True)


def listener() -> Proving:
    return Proving(BOB.towards(ALICE), dialled=False)


def test_a_dialler_proves_itself_once_it_has_seen_the_listener_and_a_listener_hears_it_out() -> (
    None
):
    said = dialler().secured(SHOWN)
    bob = listener()

    assert bob.secured(()) is None
    assert said is not None
    assert bob.heard(said[:100]) is None
    assert bob.heard(said[100:] + b"and more") == b"and more"


def test_nothing_may_come_behind_a_proof() -> None:
    said = dialler().secured(SHOWN)

    assert said is not None
    assert listener().heard(said) == b""


def test_a_listener_that_speaks_before_it_has_shown_who_it_is_is_refused() -> None:
    with pytest.raises(PeerError, match="before the handshake was through"):
        dialler().heard(b"hello")


def test_what_one_dialler_has_signed_is_worth_nothing_to_another_listener() -> None:
    carl = member(CA)
    said = dialler().secured(SHOWN)

    assert said is not None
    with pytest.raises(PeerError, match="has not signed for this connection"):
        Proving(carl.towards(ALICE), dialled=False).heard(said)
