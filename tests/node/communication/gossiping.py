"""A small world for gossip alone: nodes that call each other on virtual time, every message through the codec.

Membership has no clock here and its packets go nowhere: it judges what it is told.
"""

import heapq
import itertools
import random
from collections.abc import Callable, Iterable

from node.communication.desk import Desk
from node.communication.directory import subject
from node.communication.gossip import Gossip
from node.communication.knowledge import Knowledge
from node.communication.membership import Membership
from node.effects import Call, Effect, Hang, KeepIncarnation, KeepMembers, Note, SendPacket
from node.memory.short_term import ShortTerm
from protocol import codec
from protocol.digests import LoadDigest, MemoryDigest, NodeRecord
from protocol.errors import ErrorCode, ErrorInfo
from protocol.gossip import Compare, Tell
from protocol.ids import MeshId, NodeId, node_id
from protocol.members import Alive, MemberRecord, News
from protocol.messages import RequestHeader, ResponseHeader
from tests.node.communication.swarm import Unsigned

MESH = MeshId("m" * 64)
FRAME_BYTES = 24
"""Before each header on a link."""


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def node(number: int) -> NodeId:
    return node_id(key(number))


def member(number: int, incarnation: int = 1) -> MemberRecord:
    return MemberRecord(key(number), incarnation, 0, (f"192.0.2.{number % 256}:7879",))


def record(number: int, incarnation: int = 1, version: int = 0) -> NodeRecord:
    return NodeRecord(
        id=node(number),
        incarnation=incarnation,
        version=version,
        name=f"n{number}",
        memory=MemoryDigest(1 << 30, 1 << 29, 1 << 28, 1 << 27, 1 << 26, 0.5),
        load=LoadDigest(0.25, 3, 1.5e9, 1 << 29),
    )


def membership(number: int, desk: Desk) -> Membership:
    """Of a node that has heard of nobody yet, and signs nothing."""
    one = Membership(member(number), Unsigned(number), desk, random.Random(number))
    one.introduce(MESH, member(number).addresses, 0.0)
    return one


class Peer:
    """One node: its membership, which hears of others by gossip alone here, and its gossip."""

    def __init__(self, number: int, interval_s: float = 0.5) -> None:
        self.desk = Desk()
        self.membership = membership(number, self.desk)
        self.memory = ShortTerm()
        self.gossip = Gossip(
            record(number),
            self.membership,
            self.desk,
            self.memory,
            random.Random(number),
            interval_s=interval_s,
        )

    @property
    def id(self) -> NodeId:
        return self.membership.own.id

    def meets(self, other: "Peer", now: float = 0.0) -> list[Call]:
        """Its membership has heard of another one, and there is a link."""
        self.hears(Alive(other.membership.own), now=now)
        return calls(self.gossip.link_up(other.id, now))

    def hears(self, *news: News, now: float = 0.0) -> None:
        """By a packet."""
        self.membership.told(news, self.id, now)
        self.note_changes(now)

    def note_changes(self, now: float) -> None:
        """What membership has changed its mind on, gossip is told."""
        for one, _ in self.membership.drain():
            self.gossip.member_changed(one, now)

    def learns(self, *others: "Peer", now: float = 0.0) -> None:
        """All that others say of themselves, told by the first of them."""
        news = tuple(Alive(other.membership.own) for other in others)
        records = tuple(other.gossip.told for other in others)
        self.gossip.asked(others[0].id, Tell(members=news, records=records), now)


def calls(effects: Iterable[Effect]) -> list[Call]:
    return [effect for effect in effects if isinstance(effect, Call)]


def converse(asker: Peer, call: Call, peer: Peer, now: float) -> list[Call]:
    """Carry a call and all that follows from it with this peer, as if it took no time; calls to others."""
    waiting, others = [call], []
    while waiting:
        one = waiting.pop(0)
        if one.peer != peer.id:
            others.append(one)
            continue
        assert isinstance(one.request, Compare | Tell)
        answer, _ = peer.gossip.asked(asker.id, one.request, now)
        asker.desk.settle(one.call)
        waiting += calls(asker.gossip.answered(one.call, peer.id, answer, LoadDigest(), now))
    return others


class World:
    """Peers, the links between them, and a heap of what is on its way."""

    def __init__(self, count: int, seed: int = 1, delay_s: float = 0.05) -> None:
        self.now = 0.0
        self.peers = [Peer(number) for number in range(1, count + 1)]
        self.by_id = {peer.id: peer for peer in self.peers}
        self.sent_bytes = dict.fromkeys(self.by_id, 0)
        self.kinds: dict[str, int] = {}
        self.notes: list[Note] = []
        self.cut: Callable[[NodeId, NodeId], bool] = lambda one, other: False
        self._dice = random.Random(seed)
        self._delay_s = delay_s
        self._order = itertools.count()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._armed: dict[NodeId, float | None] = dict.fromkeys(self.by_id)

    def all_meet(self, first: int = 0, last: int | None = None) -> None:
        """A link between any two of these."""
        some = self.peers[first:last]
        for one, other in itertools.combinations(some, 2):
            self.link(one, other)

    def some_meet(self, links: int) -> None:
        """Each dials so many others at random."""
        for number, one in enumerate(self.peers):
            for other in self._dice.sample(self.peers, links):
                if other is not one and other.id not in one.gossip.linked:
                    self.link(one, other)
            self.link(one, self.peers[number - 1])

    def link(self, one: Peer, other: Peer) -> None:
        if other.id in one.gossip.linked:
            return
        for this, that in ((one, other), (other, one)):
            self.feed(this, list(this.meets(that, self.now)))

    def converge(self, but: int = 0) -> None:
        """All know all, but for so many newcomers at the end."""
        peers = self.peers[: len(self.peers) - but]
        members = {peer.id: peer.membership.own for peer in peers}
        records = {peer.id: peer.gossip.told for peer in peers}
        knowledge = Knowledge.of(members.values(), records)
        for peer in peers:
            peer.membership.restore(members, (), self.now)
            peer.gossip.restore(records, knowledge, self.now)

    def agree(self) -> bool:
        return len({peer.gossip.directory.knowledge.hashes for peer in self.peers}) == 1

    def run(self, until: float) -> None:
        while self._heap and self._heap[0][0] <= until:
            self.now, _, act = heapq.heappop(self._heap)
            act()
        self.now = until

    def run_until_agreed(self, until: float, step_s: float = 0.1) -> float:
        """When all agree, at the latest by then."""
        while self.now < until and not self.agree():
            self.run(self.now + step_s)
        return self.now

    def at(self, moment: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (moment, next(self._order), act))

    def feed(self, peer: Peer, effects: Iterable[Effect]) -> None:
        peer.note_changes(self.now)
        for effect in effects:
            if isinstance(effect, Call):
                self._send(peer, effect)
            elif isinstance(effect, Note):
                self.notes.append(effect)
            else:
                assert isinstance(effect, Hang | SendPacket | KeepMembers | KeepIncarnation)
        self._arm(peer)

    def _arm(self, peer: Peer) -> None:
        deadline = peer.gossip.deadline
        if deadline != self._armed[peer.id]:
            self._armed[peer.id] = deadline
            if deadline is not None:
                self.at(deadline, lambda: self._tick(peer, deadline))

    def _tick(self, peer: Peer, armed: float) -> None:
        if self._armed[peer.id] == armed:
            self._armed[peer.id] = None
            self.feed(peer, peer.gossip.tick(self.now))

    def _send(self, asker: Peer, call: Call) -> None:
        peer = self.by_id[call.peer]
        data = codec.encode(RequestHeader(request=call.request, deadline_ms=4000))
        self._count(asker, type(call.request).__name__, len(data))
        if self.cut(asker.id, peer.id):
            self.at(self.now + call.deadline_s, lambda: self._fail(asker, call))
        else:
            self.at(self.now + self._delay(), lambda: self._ask(asker, peer, call.call, data))

    def _ask(self, asker: Peer, peer: Peer, call: int, data: bytes) -> None:
        request = codec.decode(RequestHeader, data).request
        assert isinstance(request, Compare | Tell)
        answer, effects = peer.gossip.asked(asker.id, request, self.now)
        back = codec.encode(ResponseHeader(response=answer))
        self._count(peer, type(answer).__name__, len(back))
        self.at(self.now + self._delay(), lambda: self._answer(asker, peer, call, back))
        self.feed(peer, effects)

    def _answer(self, asker: Peer, peer: Peer, call: int, data: bytes) -> None:
        response = codec.decode(ResponseHeader, data).response
        if asker.desk.settle(call) is not None:
            effects = asker.gossip.answered(call, peer.id, response, LoadDigest(), self.now)
            self.feed(asker, effects)

    def _fail(self, asker: Peer, call: Call) -> None:
        if asker.desk.settle(call.call) is not None:
            error = ErrorInfo(code=ErrorCode.DEADLINE, reason="late")
            self.feed(asker, asker.gossip.call_failed(call.call, error, self.now))

    def _delay(self) -> float:
        return self._delay_s * self._dice.uniform(0.5, 1.5)

    def _count(self, sender: Peer, kind: str, nbytes: int) -> None:
        self.sent_bytes[sender.id] += nbytes + FRAME_BYTES
        self.kinds[kind] = self.kinds.get(kind, 0) + nbytes + FRAME_BYTES


def subjects(news: Iterable[News]) -> list[NodeId]:
    return [subject(one) for one in news]
