"""What one node signs others can check, and two nodes agree on a secret without having spoken."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from node.runtime import identity
from node.runtime.datadir import DataDir
from node.runtime.signatures import Ed25519
from protocol.errors import PeerError

# RFC 8032, section 7.1, test 3.
SEED = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
KEY = bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
SIGNED = bytes.fromhex(
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
    "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
)
ANNA, BERT = Ed25519(bytes(31) + b"a"), Ed25519(bytes(31) + b"b")


def test_a_signature_is_that_of_the_standard() -> None:
    signatures = Ed25519(SEED)

    assert signatures.key == KEY
    assert signatures.sign(b"\xaf\x82") == SIGNED


@given(st.binary(max_size=200))
def test_what_one_signs_the_other_can_check(data: bytes) -> None:
    assert BERT.verifies(ANNA.key, data, ANNA.sign(data))
    assert not BERT.verifies(ANNA.key, data + b"!", ANNA.sign(data))
    assert not BERT.verifies(BERT.key, data, ANNA.sign(data))


@given(st.binary(max_size=70), st.binary(max_size=70))
def test_whatever_stands_for_a_key_and_a_signature_is_judged(key: bytes, signature: bytes) -> None:
    assert not ANNA.verifies(key, b"data", signature)


def test_the_key_is_the_one_of_the_nodes_certificate(tmp_path: Path) -> None:
    with DataDir(tmp_path) as data_dir:
        who = identity.load_or_create(data_dir)

    assert Ed25519(who.seed()).key == who.public_key()


def test_two_nodes_agree_on_a_secret_that_a_third_does_not_have() -> None:
    third = Ed25519(Ed25519PrivateKey.generate().private_bytes_raw())

    assert ANNA.secret_with(BERT.key) == BERT.secret_with(ANNA.key)
    assert third.secret_with(BERT.key) != ANNA.secret_with(BERT.key)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(32), b"\xff" * 32, b"\x01" + bytes(31)])
def test_a_key_that_would_give_the_secret_away_is_refused(key: bytes) -> None:
    with pytest.raises(PeerError):
        ANNA.secret_with(key)
