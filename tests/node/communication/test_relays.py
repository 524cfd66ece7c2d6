"""Whom a node may choose as its home relays, and when that is said."""

from dataclasses import dataclass, field

import pytest

from node.communication.relays import LOOK_FIRST_S, LOOK_MAX_S, TELL_S, Relays
from node.effects import Effect, KeepRelays, RelayAt
from protocol.digests import NodeRecord, Public
from protocol.ids import NodeId
from protocol.paths import relay_in

INWARD = ("127.0.0.1:7879",)
OUTWARD = ("192.168.1.5:7879",)


@dataclass(slots=True)
class Village:
    records: dict[NodeId, NodeRecord] = field(default_factory=dict)
    rtts: dict[NodeId, float] = field(default_factory=dict)
    houses: dict[NodeId, tuple[str, ...]] = field(default_factory=dict)

    def known(self) -> list[NodeId]:
        return sorted(self.houses)

    def record(self, peer: NodeId) -> NodeRecord | None:
        return self.records.get(peer)

    def addresses_of(self, peer: NodeId) -> tuple[str, ...]:
        return self.houses[peer]

    def rtt_s(self, peer: NodeId, now: float) -> float | None:
        return self.rtts.get(peer)

    def add(self, name: str, public: Public = Public.BOTH, *, relays: bool = True) -> NodeId:
        peer = NodeId(name)
        record = NodeRecord(id=peer, incarnation=1, version=1, public=public, relays=relays)
        self.records[peer], self.houses[peer] = record, (f"{name}.example:443",)
        return peer


class Place:
    """A node in a village, and its clock."""

    def __init__(self, listens: tuple[str, ...] = OUTWARD) -> None:
        self.village = Village()
        self.relays = Relays(self.village)
        self.now = 0.0
        self.looks = 0
        self.relays.introduced(listens, self.now)

    def wait(self, seconds: float) -> list[Effect]:
        until = self.now + seconds
        effects: list[Effect] = []
        while self.relays.deadline is not None and self.relays.deadline <= until:
            self.now = max(self.now, self.relays.deadline)
            effects += self.relays.tick(self.now)
            self.looks += 1
            assert self.relays.deadline is None or self.relays.deadline > self.now
        self.now = until
        return effects


def kept(effects: list[Effect]) -> KeepRelays:
    (one,) = effects
    assert isinstance(one, KeepRelays)
    return one


def test_public_members_that_forward_are_told_with_where_they_are_and_how_near() -> None:
    place = Place()
    anna = place.village.add("anna")
    bert = place.village.add("bert", Public.TCP)
    place.village.add("carl", Public.NO)
    place.village.add("dora", relays=False)
    place.village.rtts[bert] = 0.02

    assert kept(place.wait(LOOK_FIRST_S)) == KeepRelays(
        True,
        (
            RelayAt(anna, ("anna.example:443",), None),
            RelayAt(bert, ("bert.example:443",), 0.02),
        ),
    )


def test_of_whom_nothing_is_known_yet_is_no_relay_before_its_record_comes() -> None:
    place = Place()
    anna = place.village.add("anna")
    record = place.village.records.pop(anna)
    first = kept(place.wait(1.0))
    place.village.records[anna] = record

    assert first.relays == ()
    assert [one.node for one in kept(place.wait(LOOK_MAX_S)).relays] == [anna]


def test_what_has_not_changed_is_told_again_only_for_the_round_trips() -> None:
    place = Place()
    anna = place.village.add("anna")
    place.wait(TELL_S / 2)
    place.village.rtts[anna] = 0.5

    (told,) = place.wait(TELL_S - LOOK_MAX_S)
    assert isinstance(told, KeepRelays)
    assert told.relays[0].rtt_s == 0.5


def test_where_there_is_nobody_to_choose_from_nothing_is_repeated() -> None:
    place = Place()

    assert len(place.wait(100 * TELL_S)) == 1


def test_a_relay_that_moves_or_goes_is_told_within_seconds() -> None:
    place = Place()
    anna, bert = place.village.add("anna"), place.village.add("bert")
    place.wait(20.0)
    place.village.houses[anna] = ("203.0.113.7:443",)
    assert kept(place.wait(LOOK_MAX_S)).relays[0].addresses == ("203.0.113.7:443",)

    del place.village.houses[bert]
    assert [one.node for one in kept(place.wait(LOOK_MAX_S)).relays] == [anna]


@pytest.mark.parametrize("public", [Public.TCP, Public.BOTH])
def test_a_node_that_others_dial_needs_none_and_one_that_is_dialled_no_more_does(
    public: Public,
) -> None:
    place = Place()
    place.village.add("anna")
    assert kept(place.wait(1.0)).needed
    place.relays.own_is(public, place.now)
    assert not kept(place.wait(1.0)).needed
    place.relays.own_is(Public.NO, place.now)
    assert kept(place.wait(1.0)).needed


def test_where_nobody_else_could_come_in_nothing_is_looked_for() -> None:
    place = Place(INWARD)
    place.village.add("anna")
    place.relays.own_is(Public.BOTH, 0.0)
    place.relays.look_soon(0.0)

    assert place.wait(1_000.0) == []
    assert place.relays.deadline is None


def test_it_is_looked_ever_less_often_until_somebody_new_is_linked() -> None:
    place = Place()
    place.wait(1_000.0)
    assert place.looks <= 8 + 1_000.0 / LOOK_MAX_S

    place.village.add("anna")
    place.relays.look_soon(place.now)
    assert kept(place.wait(LOOK_FIRST_S)).relays


def test_homes_are_addresses_by_way_of_them() -> None:
    relays = Place().relays
    relays.homes = (NodeId("anna"), NodeId("bert"))

    assert [relay_in(address) for address in relays.addresses] == ["anna", "bert"]
