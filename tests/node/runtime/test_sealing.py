"""A packet opens once, at the node that it was sealed for, in the mesh of both, and nowhere else."""

import hashlib

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from node.runtime.sealing import (
    AGREEMENTS_MAX,
    HEADER_BYTES,
    PAYLOAD_BYTES_MAX,
    SEAL_BYTES,
    WINDOW,
    Dropped,
    Sealing,
    Why,
)
from protocol.ids import MeshId, NodeId, key_digest, node_id
from protocol.limits import PACKET_BYTES_MAX
from tests.node.runtime.sealed import MESH, Sealer, key_pair, sealer

GOLDEN = bytes.fromhex(
    "0a01798ec43ab9a2020ffd0a36125be3c4d165308eb1b3ed9387ce18ccf298522c2a"
    "72756e3106b49d2000000001"
    "3d41ac9f72def7a05ea313e1a6a82bfcd58c75f0f6"
)


def pair() -> tuple[Sealer, Sealer]:
    return sealer("anna", "bert"), sealer("bert", "anna")


def sealed(sender: Sealer, receiver: Sealer, payload: bytes = b"hello") -> bytes:
    datagram = sender.sealing.seal(receiver.id, payload)
    assert datagram is not None
    return datagram


def why(receiver: Sealer, datagram: bytes, now: float = 0.0) -> Why | None:
    """Why it is dropped; None if it is heard."""
    try:
        receiver.sealing.open(datagram, now)
    except Dropped as dropped:
        return dropped.why
    return None


def test_a_packet_is_these_bytes() -> None:
    anna, bert = pair()

    assert sealed(anna, bert) == GOLDEN
    assert bert.sealing.open(GOLDEN, 0.0) == (anna.id, b"hello", True)


def test_another_implementation_of_the_standards_opens_it() -> None:
    anna, bert = pair()
    header, text = GOLDEN[:HEADER_BYTES], GOLDEN[HEADER_BYTES:]
    scalar = hashlib.sha512(b"bert".rjust(32, b"\0")).digest()[:32]
    secret = X25519PrivateKey.from_private_bytes(scalar).exchange(
        X25519PublicKey.from_public_bytes(_montgomery(anna.key))
    )
    material = secret + bytes.fromhex(MESH) + anna.key + bert.key
    key = blake3(material, derive_key_context="sedma 2026-11-21 packet key").digest()

    assert header[:2] == b"\x0a\x01"
    assert header[2:34] == key_digest(anna.key)
    assert int.from_bytes(header[38:]) >> 28 == 1_800_000_000
    assert ChaCha20Poly1305(key).decrypt(header[34:], text, header) == b"hello"


def _montgomery(key: bytes) -> bytes:
    """u = (1 + y) / (1 - y) mod 2^255 - 19 (RFC 7748, section 4.1)."""
    prime = 2**255 - 19
    y = int.from_bytes(key, "little") & (1 << 255) - 1
    return ((1 + y) * pow(1 - y, -1, prime) % prime).to_bytes(32, "little")


@given(st.binary(max_size=PAYLOAD_BYTES_MAX))
def test_what_is_sealed_opens_again_within_the_limit(payload: bytes) -> None:
    anna, bert = pair()
    datagram = sealed(anna, bert, payload)

    assert len(datagram) == len(payload) + SEAL_BYTES <= PACKET_BYTES_MAX
    assert bert.sealing.open(datagram, 0.0) == (anna.id, payload, True)


@given(st.data())
def test_a_changed_bit_anywhere_is_noticed(data: st.DataObject) -> None:
    anna, bert = pair()
    datagram = bytearray(sealed(anna, bert))
    bit = data.draw(st.integers(0, 8 * len(datagram) - 1))
    datagram[bit // 8] ^= 1 << bit % 8

    assert why(bert, bytes(datagram)) in {Why.FOREIGN, Why.VERSION, Why.UNKNOWN, Why.FORGED}
    assert why(bert, sealed(anna, bert)) is None


@given(st.binary(max_size=1_300))
def test_noise_is_dropped(noise: bytes) -> None:
    _, bert = pair()

    assert why(bert, noise) is not None


def test_each_packet_is_heard_once() -> None:
    anna, bert = pair()
    first = sealed(anna, bert)

    assert why(bert, first) is None
    assert why(bert, first) is Why.REPLAYED


def test_packets_may_overtake_each_other_so_far_and_no_further() -> None:
    anna, bert = pair()
    old, *packets = (sealed(anna, bert) for _ in range(WINDOW + 1))

    assert bert.sealing.open(packets[-1], 0.0)[2]
    assert not bert.sealing.open(packets[0], 0.0)[2], "it is heard, and known to be an older one"
    assert why(bert, packets[0]) is Why.REPLAYED
    assert why(bert, old) is Why.REPLAYED


@given(st.lists(st.integers(0, 3 * WINDOW), max_size=200))
def test_in_any_order_none_is_heard_twice_and_none_is_lost_that_is_near(order: list[int]) -> None:
    anna, bert = pair()
    packets = [sealed(anna, bert) for _ in range(3 * WINDOW + 1)]
    heard: set[int] = set()

    for number in order:
        is_due = number not in heard and number > max(heard, default=0) - WINDOW
        assert (why(bert, packets[number]) is None) == is_due
        if is_due:
            heard.add(number)


def test_a_packet_for_one_is_not_for_another() -> None:
    anna, bert = sealer("anna", "bert", "carl"), sealer("bert", "anna")
    carl = sealer("carl", "anna", "bert")

    assert why(carl, sealed(anna, bert)) is Why.FORGED
    assert why(anna, sealed(anna, bert)) is Why.UNKNOWN, "sent back to its sender"
    assert why(bert, sealed(carl, bert)) is Why.UNKNOWN


def test_a_packet_of_another_mesh_does_not_open() -> None:
    anna, bert = sealer("anna", "bert", mesh=MeshId("4e" * 32)), sealer("bert", "anna")

    assert why(bert, sealed(anna, bert)) is Why.FORGED


def test_whoever_is_no_member_any_more_is_dropped_at_once() -> None:
    anna, bert = pair()
    assert why(bert, sealed(anna, bert)) is None

    bert.known.clear()

    assert why(bert, sealed(anna, bert)) is Why.UNKNOWN
    assert sealer("dora").sealing.seal(bert.id, b"") is None


def test_a_node_that_started_again_is_heard_and_its_earlier_packets_are_not() -> None:
    anna, bert = pair()
    before = [sealed(anna, bert) for _ in range(2)]
    assert why(bert, before[0]) is None

    again = sealer("anna", "bert", incarnation=1_800_000_001)

    assert why(bert, sealed(again, bert)) is None
    assert why(bert, before[1]) is Why.REPLAYED


def test_a_monstrous_incarnation_still_gives_counters() -> None:
    anna, bert = sealer("anna", "bert", incarnation=1 << 62), sealer("bert", "anna")

    assert why(bert, sealed(anna, bert)) is None


def test_many_who_claim_to_be_members_cost_a_bounded_share_of_time() -> None:
    names = [f"node{number}" for number in range(AGREEMENTS_MAX + 8)]
    bert = sealer("bert", "anna", *names)
    forged = [b"\x0a\x01" + key_digest(key_pair(name).key) + bytes(28) for name in names]

    reasons = [why(bert, one, now=100.0) for one in forged]

    assert reasons == [Why.FORGED] * AGREEMENTS_MAX + [Why.BUSY] * 8
    assert why(bert, forged[-1], now=100.5) is Why.FORGED, "the time goes on"
    assert bert.sealing.seal(sealer("anna").id, b"") is not None, (
        "whom we send to is our own choice"
    )


def test_a_key_that_is_none_is_no_members() -> None:
    nobody = bytes(32)
    bert = Sealing(key_pair("bert"), MESH, 1, b"run1", {node_id(nobody): nobody}.get)

    with pytest.raises(Dropped, match="forged"):
        bert.open(b"\x0a\x01" + key_digest(nobody) + bytes(28), 0.0)


def test_a_peer_that_was_forgotten_gets_no_counter_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.runtime.sealing.PEERS_MAX", 2)
    anna = sealer("anna", "bert", "carl", "dora")
    bert, carl, dora = (sealer(name, "anna") for name in ("bert", "carl", "dora"))
    first = sealed(anna, bert)

    for other in (carl, dora):
        assert why(other, sealed(anna, other)) is None
    again = sealed(anna, bert)

    assert why(bert, first) is None
    assert bert.sealing.open(again, 0.0) == (anna.id, b"hello", True), "its counter is greater"


def test_nobody_is_known_under_a_damaged_id() -> None:
    bert = sealer("bert", "anna")

    assert bert.sealing.seal(NodeId("no id at all"), b"") is None
