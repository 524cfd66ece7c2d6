"""Who is alive: SWIM with Lifeguard's cures, as a machine.

Each node probes one other a second (`probing.py`). Whoever does not answer is suspected, and dead unless it denies
that in time (`judging.py`). News of others rides on the probes and is passed on by gossip while it is fresh
(`rumours.py`); it is merged so that its order does not matter (`roster.py`). The dead are looked for from time to time
(`graveyard.py`), so that what was cut apart comes together again.

    Das, Gupta, Motivala: SWIM, DSN 2002.   Dadgar, Phillips, Currey: Lifeguard, arXiv 1707.00788.

When we were not running for a while (frozen, or the loop was blocked) nobody's silence in that time is held against
him: what is under way begins anew, and the suspects get the time back.
"""

import random
from collections.abc import Iterable, Mapping

from node.communication.awareness import Awareness
from node.communication.desk import Desk, OnlyCalls
from node.communication.graveyard import Buried, Graveyard
from node.communication.helping import Helping
from node.communication.judging import Judging
from node.communication.learning import Learning
from node.communication.own_member import OwnMember
from node.communication.paths import Paths
from node.communication.post import Post
from node.communication.probing import PERIOD_S, SEQUENCES, Prober
from node.communication.roster import Change, Roster
from node.communication.rota import Rota
from node.communication.rumours import ROOM_BYTES
from node.communication.signatures import Signatures
from node.effects import Effect, Grave, KeepMembers, note
from protocol.digests import LoadDigest
from protocol.errors import ErrorInfo
from protocol.ids import MeshId, NodeId, short
from protocol.members import (
    Ack,
    Cause,
    MemberRecord,
    Nack,
    News,
    Packet,
    Ping,
    PingFor,
)
from protocol.messages import Response

GOSSIP_S = 0.2
FANOUT = 3
"""To so many others each `GOSSIP_S`, while there is news."""
BURST_MAX = 4
"""Packets to each of them at once, when much news waits."""
FAREWELLS = 8
"""Members that hear our goodbye from ourselves, at once."""
STALL_S = 0.2
"""So much later than we asked for is later than a busy event loop is: we were not running."""
KEEP_S = 1.0
"""At most so often the disk is told of changes, but once more when we go."""
NEVER = float("inf")


class Membership(OnlyCalls):
    """Told of packets and links; answers with packets. What it believes anew is drained by whoever wants to know."""

    def __init__(
        self, record: MemberRecord, signatures: Signatures, desk: Desk, dice: random.Random
    ) -> None:
        """`record`: our key and an incarnation above all that we ever had; the rest comes with `introduce`."""
        self.deadline: float | None = None
        self._own = own = OwnMember(record, signatures)
        self._graveyard = Graveyard(dice)
        self._roster = roster = Roster(own, signatures, self._graveyard, PERIOD_S, dice)
        self._rota = rota = Rota(dice)
        self._awareness = awareness = Awareness()
        self._paths = paths = Paths()
        self._post = post = Post(own, roster, paths, desk, self)
        self._learning = Learning(own, roster, rota, paths, awareness, post)
        self._prober = prober = Prober(roster, rota, paths, awareness, post, dice)
        self._judging = Judging(own, roster, paths, self._learning, prober, post)
        self._helping = Helping(roster, paths, post)
        self._gossip_at = self._graves_at = self._keep_at = NEVER
        self._gossiped_at = -GOSSIP_S
        self._kept_at = -NEVER

    # -- what others ask of it -----------------------------------------------------------------------

    @property
    def own(self) -> MemberRecord:
        return self._own.record

    @property
    def gone(self) -> bool:
        """We have said goodbye."""
        return self._own.gone

    @property
    def members(self) -> dict[NodeId, MemberRecord]:
        """All others that are alive or suspect; not to be changed."""
        return self._roster.members

    @property
    def graves(self) -> dict[NodeId, Buried]:
        return self._graveyard.graves

    @property
    def counters(self) -> Mapping[str, int]:
        """News that was dropped: unknown, forged, absurd, oversized, full."""
        return self._roster.counters

    @property
    def twin(self) -> str:
        """Why we believe that another process runs with our key; empty while nothing says so."""
        return self._learning.twin

    @property
    def doubt(self) -> int:
        """0: we trust our own judgement; at most 8."""
        return self._awareness.score

    def drain(self) -> list[tuple[NodeId, Change]]:
        """What we believe anew since this was last asked."""
        changes = self._learning.changes
        if changes:
            self._learning.changes = []
        return changes

    def record(self, node: NodeId) -> MemberRecord | None:
        """The newest of another node that we have heard of, alive or not."""
        return self._roster.record(node)

    def is_suspect(self, node: NodeId) -> bool:
        return node in self._roster.suspicions

    def rtt_s(self, peer: NodeId) -> float | None:
        """By UDP, smoothed."""
        return self._paths.rtt_s(peer)

    def timeout_s(self, peer: NodeId) -> float:
        """How long an answer from there may take, our doubts apart."""
        return self._paths.timeout_s(peer)

    def all_news_about(self, nodes: Iterable[NodeId]) -> tuple[News, ...]:
        """All that we believe of these nodes, ourselves included, for a merge of views."""
        news: list[News] = []
        for node in nodes:
            news += (self._own.news,) if node == self._own.id else self._roster.about(node)
        return tuple(news)

    # -- ourselves -----------------------------------------------------------------------------------

    def introduce(self, mesh: MeshId, addresses: tuple[str, ...], now: float) -> list[Effect]:
        """We belong to this mesh, and are reached at these addresses, the likeliest first."""
        own, first = self.own, self._own.mesh is None
        if (mesh, addresses) == (self._own.mesh, own.addresses) and not self.gone:
            return []
        self._own.mesh = mesh
        out: list[Effect] = []
        self._learning.become(own.incarnation + (not first), addresses, None, out)
        if self._prober.at == NEVER:
            self._prober.begin(now)
            self._graves_at = self._graveyard.next_turn(now)
        return self._end(out, now)

    def restore(
        self, members: Mapping[NodeId, MemberRecord], graves: Iterable[Grave], now: float
    ) -> None:
        """What the last process believed; it is a start, and probes will tell. The members are copied.

        Before `introduce` for them to hear of us by gossip; after it where they know our record as it is.
        """
        self._roster.restore(members)
        # In a folder copied from another node we may lie ourselves.
        self._graveyard.restore((one for one in graves if one.record.id != self._own.id), now)
        self._rota.restore(self._roster.members)

    def version_is(self, version: int) -> None:
        """Of our digest: it stands in our record when that is signed next."""
        self._own.version = version

    def leave(self, cause: Cause, now: float) -> list[Effect]:
        """Say goodbye: a few hear it from us at once, all others from them. Nothing else is sent from now on."""
        out: list[Effect] = []
        if self._own.mesh is None or self.gone:
            return out
        self._learning.become(self.own.incarnation + 1, self.own.addresses, cause, out)
        for peer in self._rota.sample(FAREWELLS):
            self._post.gossip(peer, out, (self._own.news,))
        self._prober.stop()
        self._graves_at = NEVER
        self._kept_at = -NEVER
        return self._end(out, now)

    # -- what happens --------------------------------------------------------------------------------

    def met(self, peer: NodeId, now: float) -> list[Effect]:
        """A link with this node has come up: we tell it who we are, and what is believed of it."""
        out = self._begin(now)
        if self._own.mesh is not None:
            self._post.introduce(peer, out)
        return self._end(out, now)

    def prod(self, peer: NodeId, now: float) -> list[Effect]:
        """The link with this member broke, or it refused one: see at once whether it is there."""
        out = self._begin(now)
        if peer in self.members and not self.gone:
            self._prober.prod(peer, now)
        return self._end(out, now)

    def heard(self, peer: NodeId, packet: Packet, now: float) -> list[Effect]:
        """A packet has come by UDP, and `peer` has sealed it."""
        return self._hear(peer, packet, now, carried=False)

    def carried(self, peer: NodeId, packet: Packet, now: float) -> list[Effect]:
        """A packet has come by the link (`Carry`); that the call is answered acknowledges a ping."""
        return self._hear(peer, packet, now, carried=True)

    def told(self, news: Iterable[News], teller: NodeId, now: float) -> list[Effect]:
        """A merge of views: the same as news on packets, in bulk."""
        if self._own.mesh is None:
            return []
        out = self._begin(now)
        self._learning.learn_all(tuple(news), teller, now, out)
        if owed := self._learning.owed():
            self._post.gossip(teller, out, owed)
        return self._end(out, now)

    def twin_seen(self, teller: NodeId) -> list[Effect]:
        """There is a later record of ours than ours, by this peer's word: said once."""
        out: list[Effect] = []
        self._learning.tell_of_twin(teller, (), out)
        return out

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        out = self._begin(now)
        sequence = self._post.settle(call)
        if sequence is not None and not self.gone:
            self._prober.linked(peer, sequence, now)
        return self._end(out, now)

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        self._post.settle(call)
        return []

    def tick(self, now: float) -> list[Effect]:
        if self.deadline is None or now < self.deadline:
            return []
        out = self._begin(now)
        if now >= self._prober.at:
            silent = self._prober.tick(now, out)
            if silent is not None:
                self._judging.accuse(silent, now, out)
        if now >= self._judging.at:
            self._judging.tick(now, out)
        if now >= self._gossip_at:
            self._gossip(now, out)
        if now >= self._helping.at:
            self._helping.tick(now, out)
        if now >= self._graves_at:
            self._search(now, out)
        return self._end(out, now)

    # -- packets -------------------------------------------------------------------------------------

    def _hear(self, peer: NodeId, packet: Packet, now: float, *, carried: bool) -> list[Effect]:
        if self.deadline is None or peer == self._own.id:
            return []
        out = self._begin(now)
        graves = self._roster.graves
        lost = bool(graves) and peer in graves and graves[peer].cause is Cause.SILENT
        owed: tuple[News, ...] = ()
        if packet.news:
            for news in packet.news:
                self._learning.learn(news, peer, now, out)
            owed = self._learning.owed()
        if isinstance(packet, Ping) and not carried:
            self._post.ack(peer, packet.sequence, out, owed)
        else:
            self._take(peer, packet, now, out)
            if owed:
                self._post.gossip(peer, out, owed)
        if lost:
            self._found_again(peer, out)
        return self._end(out, now)

    def _take(self, peer: NodeId, packet: Packet, now: float, out: list[Effect]) -> None:
        """What is not about news."""
        if isinstance(packet, Ack):
            if packet.sequence < SEQUENCES:
                self._prober.acked(peer, packet.sequence, now)
            else:
                self._helping.acked(packet.sequence, out)
        elif isinstance(packet, Nack):
            self._prober.nacked(packet.sequence)
        elif isinstance(packet, PingFor):
            self._help(peer, packet, now, out)

    def _help(self, peer: NodeId, packet: PingFor, now: float, out: list[Effect]) -> None:
        if packet.target == self._own.id:
            self._post.ack(peer, packet.sequence, out)
        else:
            self._helping.asked(peer, packet, now, out)

    def _found_again(self, peer: NodeId, out: list[Effect]) -> None:
        """One that we had buried speaks: most likely it had buried us, and others with us."""
        grave = self.graves.get(peer)
        if grave is not None:
            if grave.answered:
                return
            grave.answered = True
            self._post.gossip(peer, out)
        self._learning.changes.append((peer, Change.ANSWERED))
        out.append(note("peer.returned", peer=short(peer)))

    # -- at its time ---------------------------------------------------------------------------------

    def _gossip(self, now: float, out: list[Effect]) -> None:
        # More than one to the same only as far as one has no room for all.
        packets = min(1 + self._post.rumours.nbytes // ROOM_BYTES, BURST_MAX)
        for peer in self._rota.sample(FANOUT):
            for _ in range(packets):
                self._post.gossip(peer, out)
        self._gossip_at, self._gossiped_at = NEVER, now

    def _search(self, now: float, out: list[Effect]) -> None:
        old = self._graveyard.forget_old(now)
        self._learning.forget(node for node in old if node not in self.members)
        peer = self._graveyard.search(len(self.members) + 1, now)
        if peer is not None and self.graves[peer].by_link:
            self._post.introduce(peer, out)
        elif peer is not None:
            self._post.gossip(peer, out)
        self._graves_at = self._graveyard.next_turn(now)

    # -- every input ---------------------------------------------------------------------------------

    def _begin(self, now: float) -> list[Effect]:
        if self.deadline is not None and now > self.deadline + STALL_S:
            # Later than a tick can be late: we were not running.
            self._stalled(now)
        return []

    def _stalled(self, now: float) -> None:
        assert self.deadline is not None
        lost_s = now - self.deadline
        self._awareness.worse()
        self._judging.stalled(lost_s)
        self._prober.stalled(now)
        self._helping.stalled()
        self._rearm()

    def _end(self, out: list[Effect], now: float) -> list[Effect]:
        if self._learning.worth_keeping:
            self._keep(now, out)
        if self._post.rumours.nbytes and self._gossip_at == NEVER:
            # After a quiet time at once: so news crosses the mesh at the speed of the network.
            self._gossip_at = max(now, self._gossiped_at + GOSSIP_S)
        self._rearm()
        return out

    def _keep(self, now: float, out: list[Effect]) -> None:
        if now < self._kept_at + KEEP_S:
            self._keep_at = self._kept_at + KEEP_S
            return
        self._learning.worth_keeping = False
        self._kept_at, self._keep_at = now, NEVER
        out.append(KeepMembers(tuple(self.members.values()), self._graveyard.kept(now)))

    def _rearm(self) -> None:
        at = min(
            self._prober.at,
            self._gossip_at,
            self._judging.at,
            self._helping.at,
            self._graves_at,
            self._keep_at,
        )
        self.deadline = None if at == NEVER else at
