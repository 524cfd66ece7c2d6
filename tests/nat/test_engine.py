"""Two engines without sockets, on a clock of the test."""

from dataclasses import replace

import pytest
from qh3 import tls

from nat.engine import Engine, EngineEvent, Heard, Over, Secured, proven_key
from nat.proof import certificates_of
from protocol.errors import PeerError
from tests.nat.members import founder, member

CA = founder()
ALICE, BOB = member(CA), member(CA, by_inviter=True)
ROUND_S = 0.01
DAY_S = 86_400.0


class Pair:
    """A dialler and a listener, and what has happened to each."""

    def __init__(self) -> None:
        self.now = 0.0
        self.near = Engine(ALICE.towards(BOB), dialled=True)
        self.far = Engine(BOB.towards(ALICE), dialled=False)
        self.told: dict[Engine, list[EngineEvent]] = {self.near: [], self.far: []}
        self.packets = 0
        self.near.start(self.now)
        self.pass_time(0.2)

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self._exchange()
            self.now = min(until, max(self.now + ROUND_S, self._next_timer(until)))
            for one in self.told:
                if (deadline := one.deadline()) is not None and deadline <= self.now:
                    one.tick(self.now)

    def heard(self, one: Engine) -> bytes:
        return b"".join(event.data for event in self.told[one] if isinstance(event, Heard))

    def over(self, one: Engine) -> list[str]:
        return [event.error for event in self.told[one] if isinstance(event, Over)]

    def _exchange(self) -> None:
        for one, other in ((self.near, self.far), (self.far, self.near)):
            for datagram in one.datagrams(self.now):
                self.packets += 1
                other.receive(datagram, len(datagram), self.now)
            self.told[other] += other.events()
            self.told[one] += one.events()

    def _next_timer(self, until: float) -> float:
        timers = [deadline for one in self.told if (deadline := one.deadline()) is not None]
        return min([*timers, until])


@pytest.fixture
def pair() -> Pair:
    return Pair()


class NoKey:
    """In place of half a key exchange."""

    def public_key(self) -> bytes:
        return b"no key"


def test_a_dialler_whose_key_is_none_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = Engine(ALICE.towards(BOB), dialled=True), Engine(BOB.towards(ALICE), dialled=False)
    with monkeypatch.context() as patch:
        patch.setattr(tls, "X25519ML768KeyExchange", NoKey)
        near.start(0.0)
    hello = near.datagrams(0.0)

    # The library panics, which is no Exception.
    for datagram in hello:
        far.receive(datagram, len(datagram), 0.0)

    assert [type(event) for event in far.events()] == [Over]
    far.close("what the dialler says is nonsense")
    for datagram in far.datagrams(0.0):
        near.receive(datagram, len(datagram), 0.0)
    assert list(near.events()) == [Over("what the dialler says is nonsense")]


def test_a_listener_whose_key_is_missing_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = Engine(ALICE.towards(BOB), dialled=True), Engine(BOB.towards(ALICE), dialled=False)
    push = tls.push_server_hello
    monkeypatch.setattr(
        tls,
        "push_server_hello",
        lambda buffer, hello: push(buffer, replace(hello, key_share=None)),
    )
    near.start(0.0)
    for one, other in ((near, far), (far, near)):
        for datagram in one.datagrams(0.0):
            other.receive(datagram, len(datagram), 0.0)

    assert [type(event) for event in near.events()] == [Over]


def test_a_dialler_sees_the_certificates_of_the_listener_and_whose_they_are(pair: Pair) -> None:
    (secured,) = [one for one in pair.told[pair.near] if isinstance(one, Secured)]

    assert secured.chain == certificates_of(BOB.chain_pem)
    assert proven_key(secured.chain, ALICE.ca_pem, BOB.id) == BOB.key.key


def test_a_hundred_days_without_a_word_cost_no_packet_and_end_nothing(pair: Pair) -> None:
    pair.near.write(b"good")
    pair.pass_time(1.0)
    before = pair.packets

    pair.pass_time(100 * DAY_S)

    assert pair.packets == before
    pair.near.write(b"bye")
    pair.pass_time(1.0)
    assert pair.heard(pair.far) == b"goodbye"
    assert pair.over(pair.near) == pair.over(pair.far) == []


def test_a_reason_to_close_reaches_the_other_end_at_once(pair: Pair) -> None:
    pair.far.close("this is why")
    pair.pass_time(3 * ROUND_S)

    assert pair.over(pair.near) == ["this is why"]


def test_only_who_has_seen_a_connection_writes_datagrams_that_are_taken_for_its_own(
    pair: Pair,
) -> None:
    pair.near.write(b"something")
    (datagram, *_) = pair.near.datagrams(pair.now)

    assert pair.far.owns(datagram)
    assert not pair.near.owns(datagram)
    assert not pair.far.owns(datagram[:1] + bytes(8) + datagram[9:])


def test_a_listener_makes_nothing_of_what_opens_no_connection() -> None:
    listener = Engine(BOB.towards(ALICE), dialled=False)

    for datagram in (b"\x40" + bytes(1300), b"\xc0\0\0\0\1" + bytes(100), b"\xc0" + bytes(1300)):
        listener.receive(datagram, len(datagram), 0.0)

    assert listener.datagrams(0.0) == []
    assert listener.deadline() is None


def test_a_chain_must_be_of_the_mesh_and_of_the_peer_that_was_meant() -> None:
    stranger = member(founder())

    with pytest.raises(PeerError, match="is not of this mesh"):
        proven_key(certificates_of(stranger.chain_pem), ALICE.ca_pem, stranger.id)
    with pytest.raises(PeerError, match="is not that of node"):
        proven_key(certificates_of(BOB.chain_pem), ALICE.ca_pem, ALICE.id)
    with pytest.raises(PeerError, match="shows 0 certificates"):
        proven_key((), ALICE.ca_pem, BOB.id)
    with pytest.raises(PeerError, match="cannot be read"):
        proven_key((b"nonsense",), ALICE.ca_pem, BOB.id)


def test_a_certificate_with_something_behind_it_cannot_be_read() -> None:
    bob = BOB.towards(ALICE)
    leaf, *others = certificates_of(bob.chain_pem)

    with pytest.raises(PeerError, match="cannot be read"):
        proven_key((leaf + b"more", *others), bob.ca_pem, bob.own)


@pytest.mark.parametrize("skew_s", [-600.0, 600.0])
def test_ten_minutes_between_the_clocks_do_no_harm(skew_s: float) -> None:
    other = member(CA, by_inviter=True, skew_s=skew_s)

    assert proven_key(certificates_of(other.chain_pem), ALICE.ca_pem, other.id) == other.key.key


def test_an_inviter_is_needed_for_who_it_has_let_in() -> None:
    leaf, _ = certificates_of(BOB.chain_pem)

    with pytest.raises(PeerError, match="is not of this mesh"):
        proven_key((leaf,), ALICE.ca_pem, BOB.id)
