"""Nodes of one mesh that hear of each other in one network, on virtual time and with seeded dice."""

import itertools
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat.beacon import (
    ADDRESSES_MAX,
    AGAIN_S,
    ANSWER_S,
    BEACON_BYTES,
    EVERY_S,
    FORGET_S,
    FOUND_MAX,
    HEARD_MAX,
    JITTER,
    PEERS_MAX,
    REST_S,
    Announce,
    Beacon,
    BeaconEffect,
    Found,
    encode,
    parse,
)
from protocol.ids import MeshId, NodeId

MESH, OTHER_MESH = MeshId("3" * 64), MeshId("4" * 64)
ANNA, BERT, CARL = NodeId("a" * 52), NodeId("b" * 52), NodeId("c" * 52)
MEMBERS = [ANNA, BERT, CARL]
SALT = bytes(range(8))
AT_BERT = "192.168.1.20"

GOLDEN = "53646d4201011ec70001020304050607c9b8b1f9074809e46a4ad3e91e333b8d4d7f8f606d2bd6b7"


def beacon(
    own: NodeId = ANNA,
    members: list[NodeId] = MEMBERS,
    seed: int = 1,
    counters: Counter[str] | None = None,
) -> Beacon:
    counted = Counter() if counters is None else counters
    return Beacon(MESH, own, 7879, lambda: members, random.Random(seed), counted)


def said(
    by: NodeId = BERT,
    *,
    port: int = 7879,
    mesh: MeshId = MESH,
    asks: bool = False,
    salt: bytes = SALT,
) -> bytes:
    return encode(mesh, by, port, salt, asks=asks)


@dataclass
class Lan:
    """What one says, all that have come hear at once, from 192.168.1.10 and so on."""

    nodes: dict[NodeId, Beacon]
    spoke: list[tuple[float, NodeId]] = field(default_factory=list)
    found: list[tuple[float, NodeId, Found]] = field(default_factory=list)
    there: list[NodeId] = field(default_factory=list)
    now: float = 0.0

    def host(self, node: NodeId) -> str:
        return f"192.168.1.{10 + list(self.nodes).index(node)}"

    def do(self, node: NodeId, effects: list[BeaconEffect]) -> None:
        for effect in effects:
            match effect:
                case Announce():
                    self.spoke.append((self.now, node))
                    for other in self.there:
                        one = self.nodes[other]
                        self.do(other, one.heard(effect.datagram, self.host(node), self.now))
                case Found():
                    self.found.append((self.now, node, effect))

    def run(self, until: float) -> None:
        while True:
            due = [
                (one.deadline, node) for node, one in self.nodes.items() if one.deadline is not None
            ]
            moment, node = min(due, default=(until, ANNA))
            if moment >= until:
                self.now = until
                return
            self.now = moment
            self.do(node, self.nodes[node].tick(moment))

    def comes(self, node: NodeId) -> None:
        self.there.append(node)
        self.do(node, self.nodes[node].arrived(self.now))


# -- the bytes -----------------------------------------------------------------------------------------


def test_these_are_the_bytes() -> None:
    assert said(asks=True).hex() == GOLDEN
    assert len(said()) == BEACON_BYTES == 40


@given(st.integers(1, 65_535), st.binary(min_size=8, max_size=8), st.booleans())
def test_what_is_said_is_heard(port: int, salt: bytes, asks: bool) -> None:
    heard = parse(encode(MESH, BERT, port, salt, asks=asks))

    assert heard is not None
    assert (heard.port, heard.salt, heard.asks) == (port, salt, asks)
    assert heard.is_of(MESH) and heard.is_by(MESH, BERT)
    assert not heard.is_of(OTHER_MESH) and not heard.is_by(MESH, ANNA)


@given(st.binary(max_size=64))
def test_noise_is_no_beacon(noise: bytes) -> None:
    counters: Counter[str] = Counter()
    one = beacon(counters=counters)

    assert one.heard(noise, AT_BERT, 0.0) == []
    assert counters == {"beacon.ignored": 1}


@given(st.integers(0, BEACON_BYTES * 8 - 1))
def test_whichever_bit_is_flipped_nobody_is_found(bit: int) -> None:
    flipped = bytearray(said())
    flipped[bit // 8] ^= 1 << bit % 8

    assert beacon().heard(bytes(flipped), AT_BERT, 0.0) == []


def test_who_speaks_is_told_to_nobody_outside_of_the_mesh_and_never_in_the_same_words() -> None:
    lan = Lan({ANNA: beacon(ANNA)})
    words: list[bytes] = []
    one = lan.nodes[ANNA]
    for effect in one.arrived(0.0):
        assert isinstance(effect, Announce)
        words.append(effect.datagram)
    while one.deadline is not None and one.deadline < 300.0:
        words += [each.datagram for each in one.tick(one.deadline) if isinstance(each, Announce)]

    assert len({word[8:] for word in words}) == len(words) >= 6
    assert not any(ANNA.encode() in word or MESH.encode() in word for word in words)


# -- who speaks, and when ------------------------------------------------------------------------------


def test_a_newcomer_and_those_who_are_there_know_of_each_other_within_half_a_second() -> None:
    lan = Lan({node: beacon(node, seed=seed) for seed, node in enumerate(MEMBERS)})
    for node in (ANNA, BERT):
        lan.comes(node)
    lan.run(200.0)
    lan.spoke.clear()
    lan.found.clear()
    lan.comes(CARL)
    lan.run(200.0 + ANSWER_S + REST_S)

    pairs = {(node, effect.peer): at for at, node, effect in lan.found}
    assert {(CARL, ANNA), (CARL, BERT), (ANNA, CARL), (BERT, CARL)} <= pairs.keys()
    assert all(at <= 200.0 + ANSWER_S for pair, at in pairs.items() if CARL in pair)
    assert lan.nodes[ANNA].addresses_of(CARL, lan.now) == (f"{lan.host(CARL)}:7879",)


def test_in_a_quiet_hour_each_speaks_once_a_minute() -> None:
    lan = Lan({node: beacon(node, seed=seed) for seed, node in enumerate(MEMBERS)})
    for node in MEMBERS:
        lan.comes(node)
    lan.run(30.0)
    lan.spoke.clear()
    lan.run(3630.0)

    for node in MEMBERS:
        moments = [at for at, who in lan.spoke if who == node]
        gaps = [later - at for at, later in itertools.pairwise(moments)]
        assert all(EVERY_S * (1 - JITTER) <= gap <= EVERY_S * (1 + JITTER) for gap in gaps)
        assert max(gaps) - min(gaps) > 5.0


def test_however_many_ask_one_speaks_once_a_second_at_most() -> None:
    one = beacon()
    one.arrived(0.0)
    one.tick(1.0)
    one.tick(4.0)
    spoke: list[float] = []
    for step in range(1, 2000):
        now = 10.0 + step / 100
        one.heard(said(asks=True, salt=random.Random(step).randbytes(8)), AT_BERT, now)
        if one.tick(now):
            spoke.append(now)

    assert 5 <= len(spoke) <= 21
    assert all(later - at >= REST_S - 1e-6 for at, later in itertools.pairwise(spoke))


def test_who_is_not_known_yet_is_answered_all_the_same_for_it_may_know_us() -> None:
    one = beacon(members=[ANNA])
    one.arrived(0.0)
    one.tick(1.0)
    one.tick(4.0)

    assert one.heard(said(asks=True), AT_BERT, 10.0) == []
    assert one.deadline is not None and one.deadline <= 10.0 + ANSWER_S
    assert len(one.tick(one.deadline)) == 1


def test_another_mesh_is_not_answered() -> None:
    one = beacon()
    one.arrived(0.0)
    before = one.deadline

    assert one.heard(said(asks=True, mesh=OTHER_MESH), AT_BERT, 0.5) == []
    assert one.deadline == before


def test_the_same_dice_give_the_same_words_at_the_same_moments() -> None:
    def story() -> list[tuple[float, NodeId]]:
        lan = Lan({node: beacon(node, seed=seed) for seed, node in enumerate(MEMBERS)})
        for node in MEMBERS:
            lan.comes(node)
        lan.run(600.0)
        return lan.spoke

    assert story() == story()


# -- what is believed ----------------------------------------------------------------------------------


def test_nobody_finds_himself() -> None:
    assert beacon(ANNA).heard(said(ANNA), AT_BERT, 0.0) == []


def test_nobody_is_found_who_is_not_known() -> None:
    assert beacon(members=[ANNA]).heard(said(BERT), AT_BERT, 0.0) == []


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.168.1.20", "192.168.1.20:7879"),
        ("10.1.2.3", "10.1.2.3:7879"),
        ("127.0.0.1", "127.0.0.1:7879"),
        ("fe80::1%eth0", "[fe80::1%eth0]:7879"),
        ("fd00::1", "[fd00::1]:7879"),
        ("8.8.8.8", None),
        ("2001:db8::1", None),
        ("224.0.0.1", None),
        ("255.255.255.255", None),
        ("0.0.0.0", None),
        ("nonsense", None),
    ],
)
def test_a_beacon_is_believed_from_within_a_network_only(host: str, address: str | None) -> None:
    found = beacon().heard(said(), host, 0.0)

    assert found == ([] if address is None else [Found(BERT, address)])


def test_a_peer_is_told_of_again_when_it_is_heard_again_after_a_while() -> None:
    one = beacon()
    heard = [bool(one.heard(said(), AT_BERT, at)) for at in (0.0, AGAIN_S / 2, AGAIN_S, 60.0)]

    assert heard == [True, False, True, True]


def test_where_a_peer_was_long_ago_is_forgotten() -> None:
    one = beacon()
    one.heard(said(), AT_BERT, 0.0)
    one.heard(said(port=8000), "10.0.0.7", 50.0)

    assert one.addresses_of(BERT, 60.0) == ("10.0.0.7:8000", "192.168.1.20:7879")
    assert one.addresses_of(BERT, FORGET_S + 1.0) == ("10.0.0.7:8000",)
    assert one.addresses_of(BERT, FORGET_S + 51.0) == ()
    assert one.addresses_of(CARL, 60.0) == ()


def test_whoever_says_again_what_he_heard_makes_us_dial_few_addresses_and_remember_fewer() -> None:
    one = beacon()
    heard = said()
    found = [one.heard(heard, f"10.0.{last}.1", last / 10) for last in range(250)]

    assert sum(map(len, found)) <= FOUND_MAX * (1 + 25 / 60) + 1
    assert len(one.addresses_of(BERT, 25.0)) <= ADDRESSES_MAX


def test_a_flood_of_a_members_beacons_is_looked_at_for_a_while_only() -> None:
    asked: list[int] = []

    def members() -> list[NodeId]:
        asked.append(1)
        return MEMBERS

    counters: Counter[str] = Counter()
    one = Beacon(MESH, ANNA, 7879, members, random.Random(1), counters)
    for _ in range(5000):
        one.heard(said(), AT_BERT, 0.0)

    assert len(asked) == HEARD_MAX
    assert counters == {"beacon.ignored": 5000 - HEARD_MAX}


def test_of_many_peers_the_ones_that_were_heard_last_are_remembered() -> None:
    many = [NodeId(f"{number:052d}") for number in range(PEERS_MAX + 20)]
    one = beacon(members=many)
    for number, peer in enumerate(many):
        one.heard(said(peer), AT_BERT, number * 1.0)

    remembered = [bool(one.addresses_of(peer, float(number))) for number, peer in enumerate(many)]
    assert not any(remembered[:20]) and all(remembered[20:])
