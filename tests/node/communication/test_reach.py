"""When a node asks how it is seen, whom it asks to dial it back, and when it says that it is public."""

import random
from dataclasses import dataclass, field

import msgspec

from nat.behaviour import Behaviour, SelfKnowledge
from nat.endpoint import Endpoint
from node.communication.desk import Desk
from node.communication.proving import PERIOD_S, PROVERS_MAX
from node.communication.reach import (
    BLOCKED_AGAIN_S,
    LINKS_BACK_S,
    LOOK_FIRST_S,
    LOOK_MAX_S,
    DialedOut,
    Knocked,
    NatKnown,
    Reach,
    Relocated,
)
from node.effects import Call, DialOut, Effect, Note, ProbeNat, Reply
from protocol.digests import LoadDigest, NodeRecord, Public
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import NodeId
from protocol.messages import DialBack, DialedBack, Knock
from protocol.paths import Filtering, Mapping

HOME = ("192.168.1.5:7879",)
AT_LARGE = ("203.0.113.9:7879",)
OUTSIDE = Endpoint("203.0.113.77", 7879)
BEHIND_NAT = SelfKnowledge(
    ipv4=Behaviour(Mapping.INDEPENDENT, Filtering.PORT, Endpoint("192.168.1.5", 7879), (OUTSIDE,))
)
TOKEN = b"0123456789ab"
GONE = ErrorInfo(code=ErrorCode.UNAVAILABLE, reason="gone")
LONG_S = 1.2 * PERIOD_S


@dataclass(slots=True)
class Village:
    """Who is linked, and what they say of themselves."""

    records: dict[NodeId, NodeRecord] = field(default_factory=dict)

    @property
    def linked(self) -> list[NodeId]:
        return sorted(self.records)

    def record(self, peer: NodeId) -> NodeRecord | None:
        return self.records.get(peer)

    def addresses_of(self, peer: NodeId) -> tuple[str, ...]:
        return ("10.0.0.7:7879", f"198.51.100.{len(peer)}:7879")

    def add(self, name: str, public: Public = Public.NO) -> NodeId:
        peer = NodeId(name)
        self.records[peer] = NodeRecord(id=peer, incarnation=1, version=1, public=public)
        return peer


class Place:
    """A node in a village, and its clock."""

    def __init__(self, listens: tuple[str, ...] = HOME) -> None:
        self.village = Village()
        self.reach = Reach(self.village, Desk(), random.Random(1))
        self.now = 0.0
        self.reach.introduced(listens, self.now)

    def links(self, name: str, public: Public = Public.NO) -> NodeId:
        peer = self.village.add(name, public)
        self.reach.linked(peer, self.now)
        return peer

    def wait(self, seconds: float) -> list[Effect]:
        """What it asks for in this time."""
        until = self.now + seconds
        effects: list[Effect] = []
        while self.reach.deadline is not None and self.reach.deadline <= until:
            self.now = max(self.now, self.reach.deadline)
            effects += self.reach.tick(self.now)
        self.now = until
        return effects

    def dial_backs(self, effects: list[Effect]) -> list[tuple[Call, DialBack]]:
        calls = [one for one in effects if isinstance(one, Call)]
        return [(one, one.request) for one in calls if isinstance(one.request, DialBack)]

    def answer(self, call: Call, *, reached: bool, udp: bool, has_udp: bool = True) -> list[Effect]:
        """The asked node tried all that it can: it came in by these ways."""
        asked = call.request
        assert isinstance(asked, DialBack)
        for knock in asked.knocks if udp else ():
            self.reach.learn(Knocked(knock.token), self.now)
        came = asked.addresses if reached else ()
        missed = () if reached else asked.addresses
        sent = tuple(knock.token for knock in asked.knocks) if has_udp else ()
        told = DialedBack(reached=came, missed=missed, sent=sent)
        return self.reach.answered(call.call, call.peer, told, LoadDigest(), self.now)


def probes(effects: list[Effect]) -> list[ProbeNat]:
    return [one for one in effects if isinstance(one, ProbeNat)]


# -- how it is seen ----------------------------------------------------------------------------------


def test_a_public_member_is_asked_soon_after_it_is_linked() -> None:
    place = Place()
    anna = place.links("anna", Public.BOTH)

    asked = probes(place.wait(2 * LOOK_FIRST_S))

    assert asked == [ProbeNat(((anna, ("198.51.100.4:7879",)),))]


def test_nobody_is_asked_who_is_not_public_by_udp() -> None:
    place = Place()
    place.links("anna")
    place.links("bert", Public.TCP)

    assert probes(place.wait(LONG_S)) == []


def test_it_asks_again_once_there_is_a_second_public_member_and_then_every_ten_minutes() -> None:
    place = Place()
    place.links("anna", Public.BOTH)
    place.wait(60.0)
    place.links("berta", Public.BOTH)

    assert [len(one.servers) for one in probes(place.wait(2 * LOOK_FIRST_S))] == [2]
    assert len(probes(place.wait(5 * PERIOD_S))) in (4, 5)


def test_a_member_that_becomes_public_later_is_noticed_within_seconds() -> None:
    place = Place()
    anna = place.links("anna")
    place.wait(100.0)

    place.village.records[anna] = msgspec.structs.replace(
        place.village.records[anna], public=Public.BOTH
    )

    assert len(probes(place.wait(LOOK_MAX_S))) == 1


def test_it_asks_again_when_the_network_changes_and_once_more_when_links_are_back() -> None:
    place = Place()
    place.links("anna", Public.BOTH)
    place.links("berta", Public.BOTH)
    place.wait(100.0)

    place.reach.learn(Relocated(("192.168.7.5:7879",)), place.now)

    assert len(probes(place.wait(1.0))) == 1
    assert len(probes(place.wait(LINKS_BACK_S))) == 1


def test_where_no_udp_passed_it_asks_again_after_a_minute() -> None:
    place = Place()
    place.links("anna", Public.BOTH)
    place.links("berta", Public.BOTH)
    place.wait(10.0)

    place.reach.learn(NatKnown(SelfKnowledge(ipv4=Behaviour(Mapping.BLOCKED))), place.now)

    assert len(probes(place.wait(BLOCKED_AGAIN_S + 1.0))) == 1


def test_where_addresses_lead_nowhere_nothing_is_ever_due() -> None:
    for listens in (("anna:7879",), ("127.0.0.1:7879",), ()):
        place = Place(listens)
        place.links("anna", Public.BOTH)

        assert place.reach.deadline is None


# -- whether it is public ----------------------------------------------------------------------------


def test_a_node_is_public_once_another_has_come_in_by_tcp_and_udp() -> None:
    place = Place(AT_LARGE)
    anna = place.links("anna")

    ((call, asked),) = place.dial_backs(place.wait(1.0))
    assert (call.peer, asked.addresses) == (anna, AT_LARGE)
    assert [one.to for one in asked.knocks] == [AT_LARGE[0]]
    assert all(one.alternate for one in asked.knocks)
    assert not place.reach.proven
    place.answer(call, reached=True, udp=True)

    assert place.reach.public is Public.BOTH
    assert place.reach.proven == AT_LARGE


def test_without_its_packets_it_is_public_by_tcp_alone() -> None:
    place = Place(AT_LARGE)
    place.links("anna")
    ((call, _),) = place.dial_backs(place.wait(1.0))

    place.answer(call, reached=True, udp=False)

    assert place.reach.public is Public.TCP


def test_a_packet_that_nobody_was_asked_for_proves_nothing() -> None:
    place = Place(AT_LARGE)
    place.links("anna")
    ((call, _),) = place.dial_backs(place.wait(1.0))

    place.reach.learn(Knocked(bytes(12)), place.now)
    place.answer(call, reached=True, udp=False)

    assert place.reach.public is Public.TCP


def test_an_address_that_was_not_asked_about_is_not_believed() -> None:
    place = Place(AT_LARGE)
    place.links("anna")
    ((call, _),) = place.dial_backs(place.wait(1.0))

    lie = DialedBack(reached=("192.0.2.66:80",))
    place.reach.answered(call.call, call.peer, lie, LoadDigest(), place.now)

    assert place.reach.proven == ()


def test_where_one_does_not_come_in_others_are_asked_and_no_more_than_a_few() -> None:
    place = Place(AT_LARGE)
    for name in ("anna", "bert", "cora", "dora", "emil"):
        place.links(name)
    ((call, _),) = place.dial_backs(place.wait(1.0))
    asked = [call.peer]

    effects = place.reach.call_failed(call.call, GONE, place.now)
    while calls := place.dial_backs(effects):
        asked.append(calls[0][0].peer)
        effects = place.answer(calls[0][0], reached=False, udp=False)

    assert len(set(asked)) == len(asked) == PROVERS_MAX
    assert place.reach.public is Public.NO
    assert place.dial_backs(place.wait(PERIOD_S / 2)) == []


def test_a_new_neighbour_is_asked_where_all_others_have_failed() -> None:
    place = Place(AT_LARGE)
    place.links("anna")
    ((call, _),) = place.dial_backs(place.wait(1.0))
    place.answer(call, reached=False, udp=False)
    assert place.dial_backs(place.wait(100.0)) == []

    place.links("bert")

    assert len(place.dial_backs(place.wait(1.0))) == 1


def test_behind_a_nat_its_outside_address_is_tried_once_it_is_known() -> None:
    place = Place()
    place.links("anna")
    assert place.dial_backs(place.wait(10.0)) == []

    place.reach.learn(NatKnown(BEHIND_NAT), place.now)

    ((call, asked),) = place.dial_backs(place.wait(1.0))
    assert asked.addresses == (str(OUTSIDE),)
    place.answer(call, reached=True, udp=True)
    assert place.reach.proven == (str(OUTSIDE),)


def test_an_address_that_comes_to_light_during_a_round_is_tried_after_it() -> None:
    place = Place(("[2001:db8::5]:7879", *HOME))
    place.links("anna")
    ((call, asked),) = place.dial_backs(place.wait(1.0))
    assert asked.addresses == ("[2001:db8::5]:7879",)

    place.reach.learn(NatKnown(BEHIND_NAT), place.now)
    effects = place.answer(call, reached=False, udp=False) + place.wait(1.0)

    ((call, asked),) = place.dial_backs(effects)
    assert str(OUTSIDE) in asked.addresses
    place.answer(call, reached=False, udp=False)
    assert place.dial_backs(place.wait(PERIOD_S / 2)) == []


def test_who_is_not_reached_any_more_stops_saying_so() -> None:
    place = Place(AT_LARGE)
    place.links("anna")
    ((call, _),) = place.dial_backs(place.wait(1.0))
    place.answer(call, reached=True, udp=True)

    ((call, _),) = place.dial_backs(place.wait(LONG_S))
    effects = place.answer(call, reached=False, udp=False)

    assert place.reach.public is Public.NO
    assert [one.event for one in effects if isinstance(one, Note)] == ["node.not_public"]


def test_where_nobody_can_be_asked_what_was_proven_stands() -> None:
    for lose in (True, False):
        place = Place(AT_LARGE)
        anna = place.links("anna")
        ((call, _),) = place.dial_backs(place.wait(1.0))
        place.answer(call, reached=True, udp=True)
        if lose:
            del place.village.records[anna]

        for call, _ in place.dial_backs(place.wait(LONG_S)):
            place.reach.call_failed(call.call, GONE, place.now)

        assert place.reach.proven == AT_LARGE
        assert place.reach.public is Public.BOTH


def test_who_has_moved_and_was_alone_for_long_is_looked_at_as_soon_as_somebody_is_there() -> None:
    """Else it would go on calling itself public for ten minutes, behind its new router."""
    place = Place(AT_LARGE)
    anna = place.links("anna")
    ((call, _),) = place.dial_backs(place.wait(1.0))
    place.answer(call, reached=True, udp=True)
    del place.village.records[anna]
    place.reach.learn(Relocated(HOME), place.now)
    place.wait(2 * LINKS_BACK_S)
    assert place.reach.proven

    place.links("anna")
    place.wait(2.0)

    assert not place.reach.proven


def test_a_prover_that_has_no_udp_itself_says_nothing_of_ours() -> None:
    place = Place(AT_LARGE)
    place.links("anna")
    ((call, _),) = place.dial_backs(place.wait(1.0))
    place.answer(call, reached=True, udp=True)

    for has_udp, expected in ((False, Public.BOTH), (True, Public.TCP)):
        ((call, _),) = place.dial_backs(place.wait(LONG_S))
        place.answer(call, reached=True, udp=False, has_udp=has_udp)

        assert place.reach.public is expected


def test_with_nobody_there_it_does_not_spin() -> None:
    place = Place(AT_LARGE)
    ticks = 0
    while place.reach.deadline is not None and place.reach.deadline < 60.0:
        place.reach.tick(place.reach.deadline)
        ticks += 1

    assert ticks < 30


def test_a_public_member_is_asked_before_others() -> None:
    place = Place(AT_LARGE)
    for name in ("anna", "bert", "cora"):
        place.links(name)
    dora = place.links("dora", Public.TCP)
    place.village.add("dora", Public.BOTH)

    ((call, _), *_) = place.dial_backs(place.wait(1.0))

    assert call.peer == dora


# -- what it does for others -------------------------------------------------------------------------


def test_who_asks_is_dialled_back_and_told_what_came_of_it() -> None:
    place = Place(AT_LARGE)
    anna = place.links("anna")
    knock = Knock("192.0.2.1:9", bytes(12), True)
    asked = DialBack(addresses=("192.0.2.1:7879", "10.0.0.1:80"), knocks=(knock,))

    effects = place.reach.asked(5, anna, asked, AT_LARGE, place.now)

    assert effects == [DialOut(5, anna, ("192.0.2.1:7879",), (knock,))]
    outcome = DialedBack(reached=("192.0.2.1:7879",))
    assert place.reach.learn(DialedOut(5, outcome), place.now) == [Reply(5, outcome)]


def test_who_has_gone_meanwhile_is_not_answered() -> None:
    place = Place(AT_LARGE)
    anna = place.links("anna")
    place.reach.asked(5, anna, DialBack(addresses=("192.0.2.1:7879",)), AT_LARGE, place.now)

    place.reach.request_gone(5)

    assert place.reach.learn(DialedOut(5, DialedBack()), place.now) == []


def test_who_asks_for_nothing_allowed_is_answered_at_once() -> None:
    place = Place(AT_LARGE)
    anna = place.links("anna")

    effects = place.reach.asked(5, anna, DialBack(addresses=("127.0.0.1:22",)), (), place.now)

    assert effects == [Reply(5, DialedBack())]


def test_nobody_behind_the_same_router_is_dialled_back() -> None:
    place = Place()
    anna = place.links("anna")
    place.reach.learn(NatKnown(BEHIND_NAT), place.now)
    asked = DialBack(
        addresses=(f"{OUTSIDE.host}:9999",), knocks=(Knock(str(OUTSIDE), TOKEN, True),)
    )

    assert place.reach.asked(5, anna, asked, HOME, place.now) == [Reply(5, DialedBack())]


def test_a_public_member_that_lies_about_where_we_are_makes_us_say_nothing() -> None:
    place = Place()
    for name in ("anna", "bert", "cora"):
        place.links(name)
    victim = Endpoint("192.0.2.66", 80)
    seen = Behaviour(Mapping.INDEPENDENT, local=Endpoint("192.168.1.5", 7879), mapped=(victim,))

    effects = place.reach.learn(NatKnown(SelfKnowledge(ipv4=seen)), place.now) + place.wait(1.0)
    tried = 0
    while calls := place.dial_backs(effects):
        ((call, asked),) = calls
        tried += len(asked.addresses) + len(asked.knocks)
        effects = place.answer(call, reached=False, udp=False)

    assert not place.reach.proven
    assert 0 < tried <= 20
