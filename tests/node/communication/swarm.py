"""Many memberships on virtual time, with a network that loses datagrams and delays links: for tests and benches.

A link never loses what it carries, but each segment that the network drops costs a retransmission, after 0.2 s and
then twice as long each time; a peer to whom there is no link yet takes two round trips more. Who has vanished says
nothing any more, and no connection is reset.
"""

import hashlib
import heapq
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from node.communication.desk import Desk
from node.communication.membership import Membership
from node.communication.roster import Change
from node.effects import Call, Effect, KeepIncarnation, KeepMembers, Note, SendPacket
from protocol.codec import encode_packet
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import MeshId, NodeId, node_id
from protocol.limits import PACKET_BYTES_MAX, PACKET_SEAL_BYTES
from protocol.members import MemberRecord, News, Packet
from protocol.messages import Carry, Taken

MESH = MeshId("5ed3a" * 12 + "5ed3")
LINKS_KEPT_MAX = 64
RETRANSMIT_S = 0.2
HANDSHAKE_TRIPS = 4


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


class Unsigned:
    """Everybody is believed: signing thousands of records would only take time."""

    def __init__(self, number: int) -> None:
        self.key = key(number)

    def sign(self, data: bytes) -> bytes:
        return bytes(64)

    def verifies(self, key: bytes, data: bytes, signature: bytes) -> bool:
        return True


class Hashed:
    """Signs so that a forged record shows, without arithmetic on curves: everybody could sign for everybody."""

    def __init__(self, number: int) -> None:
        self.key = key(number)
        self.checked = 0

    def sign(self, data: bytes) -> bytes:
        return hashlib.sha512(self.key + data).digest()

    def verifies(self, key: bytes, data: bytes, signature: bytes) -> bool:
        self.checked += 1
        return hashlib.sha512(key + data).digest() == signature


def record(number: int, incarnation: int = 1) -> MemberRecord:
    return MemberRecord(key(number), incarnation, 0, (f"10.0.{number >> 8}.{number & 255}:7879",))


class Peer:
    """One node of the swarm."""

    __slots__ = ("blocked_until", "id", "membership", "number", "timer_at", "up")

    def __init__(self, number: int, membership: Membership) -> None:
        self.number = number
        self.id = node_id(key(number))
        self.membership = membership
        self.up = True
        self.blocked_until = 0.0
        self.timer_at: float | None = None


def all_news(membership: Membership) -> tuple[News, ...]:
    """All that it believes, of whomever."""
    nodes = [membership.own.id, *membership.members, *membership.graves]
    return membership.all_news_about(nodes)


@dataclass(frozen=True, slots=True)
class Seen:
    """One node has changed its mind on another."""

    at: float
    by: int
    node: int
    change: Change


class Swarm:
    """`watched`: which changes are kept in `seen`."""

    def __init__(
        self,
        nodes: int,
        seed: int,
        *,
        loss: float = 0.0,
        delay_s: tuple[float, float] = (0.01, 0.1),
        converged: bool = True,
        udp: bool = True,
        count_bytes: bool = False,
    ) -> None:
        self.now = 0.0
        self.loss = loss
        self.udp = udp
        self.seen: list[Seen] = []
        self.notes: list[tuple[float, int, Note]] = []
        self.kept: dict[int, int] = {}
        self.packets = 0
        self.packet_bytes = 0
        self.calls = 0
        self.apart: Callable[[int, int], bool] | None = None
        """Whether two nodes are cut off from each other."""
        self._count_bytes = count_bytes
        self._dice = random.Random(f"swarm {seed}")
        self._delay_s = delay_s
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0
        self._linked = nodes <= LINKS_KEPT_MAX + 1
        self.peers = [self._peer(number, seed) for number in range(nodes)]
        self.by_id = {peer.id: peer for peer in self.peers}
        if converged:
            self._converge()

    def _peer(self, number: int, seed: int) -> Peer:
        dice = random.Random(f"{seed} {number}")
        return Peer(number, Membership(record(number), Unsigned(number), Desk(), dice))

    def _converge(self) -> None:
        """Everybody knows everybody."""
        everybody: dict[NodeId, MemberRecord] = {
            peer.id: record(peer.number) for peer in self.peers
        }
        for peer in self.peers:
            addresses = record(peer.number).addresses
            effects = peer.membership.introduce(MESH, addresses, 0.0)
            peer.membership.restore(everybody, (), 0.0)
            self.feed(peer, effects)

    # -- what befalls the swarm ----------------------------------------------------------------------

    def vanish(self, number: int) -> None:
        self.peers[number].up = False

    def block(self, number: int, seconds: float) -> None:
        """It does not run for so long; what comes waits."""
        self.peers[number].blocked_until = self.now + seconds

    def link(self, one: int, other: int) -> None:
        """A link comes up between the two, and they compare what they know."""
        a, b = self.peers[one], self.peers[other]
        for peer in (a, b):
            self.feed(
                peer, peer.membership.introduce(MESH, record(peer.number).addresses, self.now)
            )
        self.feed(a, a.membership.met(b.id, self.now))
        self.feed(b, b.membership.met(a.id, self.now))
        self._merge(a, b)

    def at(self, moment: float, act: Callable[..., None], *arguments: Any) -> None:
        self._push(moment, act, *arguments)

    def run(self, until: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= until:
            at, _, act, arguments = heapq.heappop(heap)
            self.now = at
            act(*arguments)
        self.now = until

    # -- what nodes want -----------------------------------------------------------------------------

    def feed(self, peer: Peer, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if type(effect) is SendPacket:
                self._send(peer, effect)
            elif isinstance(effect, Call):
                self._call(peer, effect)
            elif isinstance(effect, KeepIncarnation):
                self.kept[peer.number] = effect.incarnation
            elif isinstance(effect, Note):
                self.notes.append((self.now, peer.number, effect))
            else:
                assert isinstance(effect, KeepMembers), effect
        if changes := peer.membership.drain():
            self._took(peer, changes)
        deadline = peer.membership.deadline
        if deadline is not None and (peer.timer_at is None or deadline < peer.timer_at):
            peer.timer_at = deadline
            self._push(deadline, self._wake, peer, deadline)

    def _wake(self, peer: Peer, planned: float) -> None:
        if peer.timer_at != planned or not self._is_awake(peer, self._wake, peer, planned):
            return
        peer.timer_at = None
        self.feed(peer, peer.membership.tick(self.now))

    def _took(self, peer: Peer, changes: list[tuple[NodeId, Change]]) -> None:
        for node, change in changes:
            about = self.by_id[node]
            self.seen.append(Seen(self.now, peer.number, about.number, change))
            if change is Change.ANSWERED:
                self._merge(peer, about)

    def _send(self, peer: Peer, send: SendPacket) -> None:
        self.packets += 1
        if self._count_bytes:
            nbytes = len(encode_packet(send.packet)) + PACKET_SEAL_BYTES
            assert nbytes <= PACKET_BYTES_MAX
            self.packet_bytes += nbytes
        if not self.udp or self._dice.random() < self.loss:
            return
        to = self.by_id[send.peer]
        low, high = self._delay_s
        at = self.now + low + (high - low) * self._dice.random()
        self._push(at, self._deliver, peer, to, send.packet)

    def _deliver(self, peer: Peer, to: Peer, packet: Packet) -> None:
        if self._reaches(peer, to) and self._is_awake(to, self._deliver, peer, to, packet):
            self.feed(to, to.membership.heard(peer.id, packet, self.now))

    # -- links ---------------------------------------------------------------------------------------

    def _call(self, peer: Peer, call: Call) -> None:
        self.calls += 1
        assert isinstance(call.request, Carry)
        to = self.by_id[call.peer]
        there = self._late_s(1 if self._linked else 1 + HANDSHAKE_TRIPS)
        if there + self._late_s(0) > call.deadline_s:
            self._push(self.now + call.deadline_s, self._fail, peer, call)
            return
        self._push(self.now + there, self._carry, peer, to, call, self.now + call.deadline_s)

    def _carry(self, peer: Peer, to: Peer, call: Call, until: float) -> None:
        assert isinstance(call.request, Carry)
        if not self._reaches(peer, to):
            self._push(until, self._fail, peer, call)
        elif self._is_awake(to, self._carry, peer, to, call, until):
            self.feed(to, to.membership.carried(peer.id, call.request.packet, self.now))
            back_at = self.now + self._late_s(1)
            if back_at > until:
                self._push(max(until, self.now), self._fail, peer, call)
            else:
                self._push(back_at, self._answer, peer, call)

    def _answer(self, peer: Peer, call: Call) -> None:
        if peer.up and self._is_awake(peer, self._answer, peer, call):
            told = peer.membership.answered(call.call, call.peer, Taken(), LoadDigest(), self.now)
            self.feed(peer, told)

    def _fail(self, peer: Peer, call: Call) -> None:
        if peer.up and self._is_awake(peer, self._fail, peer, call):
            error = ErrorInfo(code=ErrorCode.DEADLINE, reason="no answer")
            self.feed(peer, peer.membership.call_failed(call.call, error, self.now))

    def _merge(self, peer: Peer, other: Peer) -> None:
        """Each tells the other all that it believes."""
        self._push(self.now + self._late_s(5), self._tell, peer, other, True)

    def _tell(self, peer: Peer, to: Peer, back: bool) -> None:
        if self._reaches(peer, to) and self._is_awake(to, self._tell, peer, to, back):
            news = all_news(peer.membership)
            self.feed(to, to.membership.told(news, peer.id, self.now))
            if back:
                self._push(self.now + self._late_s(1), self._tell, to, peer, False)

    # -- within --------------------------------------------------------------------------------------

    def _late_s(self, segments: int) -> float:
        """So many segments one after another, each sent again until it arrives."""
        late_s = 0.0
        low, high = self._delay_s
        for _ in range(segments):
            late_s += low + (high - low) * self._dice.random()
            again_s = RETRANSMIT_S
            while self._dice.random() < self.loss:
                late_s += again_s
                again_s *= 2
        return late_s

    def _reaches(self, peer: Peer, to: Peer) -> bool:
        return to.up and (self.apart is None or not self.apart(peer.number, to.number))

    def _is_awake(self, peer: Peer, act: Callable[..., None], *arguments: Any) -> bool:
        """Else this happens to it when it runs again."""
        if not peer.up:
            return False
        if peer.blocked_until > self.now:
            self._push(peer.blocked_until, act, *arguments)
            return False
        return True

    def _push(self, at: float, act: Callable[..., None], *arguments: Any) -> None:
        self._order += 1
        heapq.heappush(self._heap, (at, self._order, act, arguments))
