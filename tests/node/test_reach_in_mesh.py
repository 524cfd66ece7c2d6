"""A node that was found public says so: in its digest, in its member record, to people."""

import random

from nat.behaviour import Behaviour, SelfKnowledge
from nat.endpoint import Endpoint
from node.communication.reach import DialedOut, Knocked, NatKnown, Relocated
from node.core import Node
from node.deployment.ledger import Ledger
from node.effects import Call, DialOut, Effect, Reply
from node.execution.views import reach_findings
from node.policy import Policy
from node.runtime.virtual.signatures import PaperSignatures
from node.runtime.virtual.spec import id_of, key_of
from protocol.digests import LoadDigest, NodeRecord, Public
from protocol.ids import MeshId
from protocol.limits import ADDRESSES_MAX
from protocol.messages import DialBack, DialedBack, RequestHeader
from protocol.paths import Filtering, Mapping

HOME = ("192.168.1.5:7879",)
OUTSIDE = "203.0.113.77:7879"
KNOWN = SelfKnowledge(
    ipv4=Behaviour(
        Mapping.INDEPENDENT,
        Filtering.PORT,
        Endpoint("192.168.1.5", 7879),
        (Endpoint("203.0.113.77", 7879),),
    )
)
BERT = id_of("bert")


class Lone:
    """A node at home that has a link to one other, and its clock."""

    def __init__(self, listens: tuple[str, ...] = HOME) -> None:
        record = NodeRecord(id=id_of("anna"), incarnation=1, version=0)
        policy = Policy("digital", "", 1, 0.0, 0.5, 10.0)
        self.node = Node(
            record, Ledger(1 << 30), policy, PaperSignatures(key_of("anna")), random.Random(1)
        )
        self.now = 0.0
        self.node.introduce(MeshId("0" * 64), listens, self.now)
        self.node.link_up(BERT, False, self.now)

    def wait(self, seconds: float) -> list[Effect]:
        until = self.now + seconds
        effects: list[Effect] = []
        while self.node.deadline is not None and self.node.deadline <= until:
            self.now = max(self.now, self.node.deadline)
            effects += self.node.tick(self.now)
        return effects

    def is_found_public(self) -> None:
        """Its outside address is known, and the other has come in there."""
        effects = self.node.learn(NatKnown(KNOWN), self.now) + self.wait(0.1)
        (call, asked) = next(
            (one, one.request)
            for one in effects
            if isinstance(one, Call) and isinstance(one.request, DialBack)
        )
        for knock in asked.knocks:
            self.node.learn(Knocked(knock.token), self.now)
        told = DialedBack(reached=asked.addresses)
        self.node.answered(call.call, BERT, told, LoadDigest(), self.now)


def test_a_proven_address_stands_first_in_the_record_that_others_get() -> None:
    lone = Lone()
    before = lone.node.mesh.membership.own

    lone.is_found_public()

    own = lone.node.mesh.membership.own
    assert own.addresses == (OUTSIDE, *HOME)
    assert own.incarnation > before.incarnation
    assert lone.node.mesh.own.public is Public.BOTH


def test_what_was_proven_before_is_not_told_again() -> None:
    lone = Lone()
    lone.is_found_public()
    own = lone.node.mesh.membership.own

    lone.node.learn(NatKnown(KNOWN), lone.now)
    lone.wait(1.0)

    assert lone.node.mesh.membership.own == own


def test_many_addresses_do_not_make_it_say_the_same_again_and_again() -> None:
    lone = Lone(tuple(f"192.168.1.{n}:7879" for n in range(ADDRESSES_MAX)))
    lone.is_found_public()
    own = lone.node.mesh.membership.own
    assert own.addresses[0] == OUTSIDE

    for token in (b"1" * 12, b"2" * 12):
        lone.node.learn(Knocked(token), lone.now)

    assert lone.node.mesh.membership.own == own


def test_a_node_that_moves_tells_its_new_addresses() -> None:
    lone = Lone()

    lone.node.learn(Relocated(("10.0.0.9:7879",)), 100.0)

    assert lone.node.mesh.membership.own.addresses == ("10.0.0.9:7879",)


def test_people_read_what_was_found() -> None:
    lone = Lone()
    assert "not known" in lone.node.mesh.reach.summary

    lone.is_found_public()

    assert lone.node.mesh.reach.summary == (
        f"public at {OUTSIDE} (another node has come in by TCP and UDP); IPv4: port-restricted NAT"
    )
    assert "it is public" in reach_findings(lone.node.mesh.reach)[0].means


def test_on_one_machine_there_is_nothing_to_say() -> None:
    assert Lone(("127.0.0.1:7879",)).node.mesh.reach.summary == ""


def test_a_member_that_asks_is_dialled_back_and_answered() -> None:
    lone = Lone()
    header = RequestHeader(request=DialBack(addresses=(OUTSIDE,)), deadline_ms=1000)

    effects = lone.node.asked(3, BERT, header, lone.now)

    assert DialOut(3, BERT, (OUTSIDE,), ()) in effects
    outcome = DialedBack(missed=(OUTSIDE,))
    assert Reply(3, outcome) in lone.node.learn(DialedOut(3, outcome), lone.now)


def test_the_others_are_told_what_nat_it_is_behind_once_and_for_as_long_as_that_holds() -> None:
    lone = Lone()
    assert lone.node.mesh.own.nat == ""

    lone.node.learn(NatKnown(KNOWN), lone.now)
    lone.wait(1.0)
    told = lone.node.mesh.gossip.told
    assert told.nat == "IPv4 port-restricted NAT"

    for found in (SelfKnowledge(), SelfKnowledge(ipv4=Behaviour()), KNOWN):
        lone.node.learn(NatKnown(found), lone.now)
        lone.wait(1.0)
    assert lone.node.mesh.gossip.told.nat == told.nat
    assert lone.node.mesh.gossip.told.settled == told.settled, "nothing new is told"

    lone.node.learn(Relocated(("10.0.0.9:7879",)), lone.now + 100.0)
    lone.wait(101.0)
    assert lone.node.mesh.gossip.told.nat == "", "what was found is of another network"
