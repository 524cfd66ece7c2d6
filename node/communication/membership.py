"""Who is alive: SWIM with Lifeguard's cures, as a machine.

Each node probes one other a second (`probing.py`). Whoever does not answer is suspected, and dead unless it denies
that in time (`suspicion.py`). News of others rides on the probes and is passed on by gossip while it is fresh
(`rumours.py`); it is merged so that its order does not matter (`roster.py`). The dead are looked for from time to time
(`graveyard.py`), so that what was cut apart comes together again.

    Das, Gupta, Motivala: SWIM, DSN 2002.   Dadgar, Phillips, Currey: Lifeguard, arXiv 1707.00788.

When we were not running for a while (frozen, or the loop was blocked) nobody's silence in that time is held against
him: what is under way begins anew, and the suspects get the time back.
"""

import random
from collections.abc import Iterable, Mapping

import msgspec

from node.communication.awareness import Awareness
from node.communication.desk import Desk
from node.communication.graveyard import Buried, Graveyard
from node.communication.helping import Helping
from node.communication.paths import Paths
from node.communication.post import Post
from node.communication.probing import PERIOD_S, SEQUENCES, Prober
from node.communication.roster import ALIVE_BYTES_MAX, Change, Roster
from node.communication.rota import Rota
from node.communication.rumours import ROOM_BYTES, news_bytes
from node.communication.signatures import Signatures
from node.effects import Effect, Grave, KeepIncarnation, KeepMembers, note
from node.work import Outcome
from protocol.digests import LoadDigest
from protocol.errors import ErrorInfo
from protocol.ids import MeshId, NodeId, short
from protocol.members import (
    Ack,
    Alive,
    Cause,
    Dead,
    MemberRecord,
    Nack,
    News,
    Packet,
    Ping,
    PingFor,
    Suspect,
    signed_bytes,
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
KEEP_S = 5.0
"""At most so often the disk is told of changes."""
PASSED_ON_MAX = 256
"""With so much news waiting, what a merge of views brings is not passed on as gossip: further merges spread it."""

NEVER = float("inf")


class Membership:
    """Told of packets and links; answers with packets. `changes` is drained by whoever wants to know."""

    def __init__(
        self, own: MemberRecord, signatures: Signatures, desk: Desk, dice: random.Random
    ) -> None:
        """`own`: our key and an incarnation above all that we ever had; the rest comes with `introduce`."""
        self.deadline: float | None = None
        self.changes: list[tuple[NodeId, Change]] = []
        self.gone = False
        """We have said goodbye."""
        self._id = own.id
        self._signatures = signatures
        self._dice = dice
        self._graveyard = Graveyard(dice)
        self._roster = Roster(self._id, signatures, self._graveyard, PERIOD_S, dice)
        self._rota = Rota(dice)
        self._awareness = Awareness()
        self._paths = Paths()
        self._post = Post(own, self._roster, self._paths, desk, self)
        self._prober = Prober(
            self._roster, self._rota, self._paths, self._awareness, self._post, dice
        )
        self._helping = Helping(self._roster, self._paths, self._post)
        self._rumours = self._post.rumours
        self._gossip_at = self._graves_at = self._suspicions_at = self._keep_at = NEVER
        self._gossiped_at = -GOSSIP_S
        self._changed = False
        self._kept_at = -KEEP_S
        self._duplicated = False
        self._owed: dict[NodeId, News] = {}
        """What whoever speaks now must hear in return: it tells what is not true any more."""
        self._stalled_at = NEVER
        """Later than this at our next input, and we were not running."""

    # -- what others ask of it -----------------------------------------------------------------------

    @property
    def own(self) -> MemberRecord:
        return self._post.own

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
    def doubt(self) -> int:
        """0: we trust our own judgement; at most 8."""
        return self._awareness.score

    def is_suspect(self, node: NodeId) -> bool:
        return node in self._roster.suspicions

    def rtt_s(self, peer: NodeId) -> float | None:
        """By UDP, smoothed."""
        return self._paths.rtt_s(peer)

    def timeout_s(self, peer: NodeId) -> float:
        return self._paths.timeout_s(peer)

    def all_news(self) -> tuple[News, ...]:
        """All that we believe, for a merge of views."""
        return self.all_news_about([self._id, *self.members, *self.graves])

    def all_news_about(self, nodes: Iterable[NodeId]) -> tuple[News, ...]:
        news: list[News] = []
        for node in nodes:
            news += (Alive(self.own),) if node == self._id else self._roster.about(node)
        return tuple(news)

    # -- ourselves -----------------------------------------------------------------------------------

    def introduce(self, mesh: MeshId, addresses: tuple[str, ...], now: float) -> list[Effect]:
        """We belong to this mesh, and are reached at these addresses, the likeliest first."""
        first = not self._roster.mesh
        if (mesh, addresses) == (self._roster.mesh, self.own.addresses) and not self.gone:
            return []
        self._roster.mesh, self.gone = mesh, False
        incarnation = self.own.incarnation + (0 if first else 1)
        out: list[Effect] = []
        self._become(incarnation, addresses, None, out)
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
        self._graveyard.restore(graves, now)
        self._rota.restore(self._roster.members)

    def version_is(self, version: int) -> None:
        """Of our digest: rides on our acks, and in our record when it is signed next."""
        self._post.version = version

    def leave(self, cause: Cause, now: float) -> list[Effect]:
        """Say goodbye: a few hear it from us at once, all others from them. Nothing else is sent from now on."""
        out: list[Effect] = []
        if not self._roster.mesh or self.gone:
            return out
        self.gone = True
        self._become(self.own.incarnation + 1, self.own.addresses, cause, out)
        for peer in self._rota.sample(FAREWELLS):
            self._post.gossip(peer, out, (Alive(self.own),))
        self._prober.stop()
        self._graves_at = NEVER
        return self._end(out, now)

    # -- what happens --------------------------------------------------------------------------------

    def met(self, peer: NodeId, now: float) -> list[Effect]:
        """A link with this node has come up: we tell it who we are, and what is believed of it."""
        out = self._begin(now)
        if self._roster.mesh:
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
        out = self._begin(now)
        pieces = tuple(news)
        dead = {one.node: one for one in pieces if isinstance(one, Dead)}
        for one in pieces:
            if isinstance(one, Alive) and (grave := dead.get(one.record.id)) is not None:
                self._learn_of_grave(one.record, grave, teller, now, out)
            else:
                self._learn(one, teller, now, out)
        if self._owed:
            self._post.gossip(teller, out, self._pay())
        return self._end(out, now)

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        out = self._begin(now)
        sequence = self._post.settle(call)
        if sequence is not None and not self.gone:
            self._prober.linked(sequence, now)
        return self._end(out, now)

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        self._post.settle(call)
        return []

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        raise AssertionError("membership orders no work")

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        raise AssertionError("membership orders no work")

    def tick(self, now: float) -> list[Effect]:
        if self.deadline is None or now < self.deadline:
            return []
        out = self._begin(now)
        if now >= self._prober.at:
            silent = self._prober.tick(now, out)
            if silent is not None:
                self._accuse(silent, now, out)
        if now >= self._suspicions_at:
            self._judge(now, out)
        if now >= self._gossip_at:
            self._gossip(now, out)
        if now >= self._helping.at:
            self._helping.tick(now, out)
        if now >= self._graves_at:
            self._search(now, out)
        return self._end(out, now)

    # -- packets -------------------------------------------------------------------------------------

    def _hear(self, peer: NodeId, packet: Packet, now: float, *, carried: bool) -> list[Effect]:
        if self.deadline is None or peer == self._id:
            return []
        out = self._begin(now)
        lost = peer in self.graves and self.graves[peer].cause is Cause.SILENT
        for news in packet.news:
            self._learn(news, peer, now, out)
        if isinstance(packet, Ping):
            if not carried:
                self._post.ack(peer, packet.sequence, out, self._pay())
        elif isinstance(packet, Ack):
            if packet.sequence >= SEQUENCES:
                self._helping.acked(packet.sequence, out)
            else:
                self._prober.acked(peer, packet.sequence, now)
        elif isinstance(packet, Nack):
            self._prober.nacked(packet.sequence)
        elif isinstance(packet, PingFor):
            self._help(peer, packet, now, out)
        if lost:
            self._found_again(peer, out)
        if self._owed:
            self._post.gossip(peer, out, self._pay())
        return self._end(out, now)

    def _pay(self) -> tuple[News, ...]:
        if not self._owed:
            return ()
        owed = tuple(self._owed.values())
        self._owed.clear()
        return owed

    def _help(self, peer: NodeId, packet: PingFor, now: float, out: list[Effect]) -> None:
        if packet.target == self._id:
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
        self.changes.append((peer, Change.ANSWERED))
        out.append(note("peer.returned", peer=short(peer)))

    # -- news ----------------------------------------------------------------------------------------

    def _learn(self, news: News, teller: NodeId, now: float, out: list[Effect]) -> None:
        if isinstance(news, Alive):
            node = news.record.id
            if node == self._id:
                self._learn_of_twin(news.record, out)
                return
        else:
            node = news.node
            if node == self._id:
                self._deny(news, teller, out)
                return
        change = self._roster.learn(news, now)
        if change is not None:
            self._took(node, news, change, now, out)
        elif not isinstance(news, Alive) and teller != self._id:
            self._correct(news)

    def _correct(self, news: Suspect | Dead) -> None:
        """Whoever still tells what was denied long since has missed the denial, and nobody else would repeat it."""
        record = self._roster.record(news.node)
        if record is not None and record.incarnation > news.incarnation:
            self._owed[news.node] = Alive(record)

    def _took(
        self, node: NodeId, news: News, change: Change, now: float, out: list[Effect]
    ) -> None:
        """We believe something new of this node: act on it, pass it on, and say so."""
        if len(self._rumours) < PASSED_ON_MAX or not isinstance(news, Alive):
            self._rumours.add(node, news)
        suspicion = self._roster.suspicions.get(node)
        if suspicion is not None:
            self._suspicions_at = min(self._suspicions_at, suspicion.at)
        if change is Change.CONFIRMED:
            return
        if change is Change.JOINED:
            self._rota.add(node)
        elif change in (Change.DIED, Change.LEFT):
            self._rota.remove(node)
            self._paths.forget(node)
        self.changes.append((node, change))
        self._changed = True
        self._say(node, news, change, out)

    def _say(self, node: NodeId, news: News, change: Change, out: list[Effect]) -> None:
        match change:
            case Change.JOINED:
                addresses = self.members[node].addresses
                out.append(note("peer.joined", peer=short(node), addresses=addresses))
            case Change.SUSPECTED if isinstance(news, Suspect):
                accuser = short(news.accuser)
                out.append(note("peer.suspected", peer=short(node), accuser=accuser))
            case Change.TRUSTED:
                out.append(note("peer.trusted", peer=short(node)))
            case Change.DIED | Change.LEFT:
                cause = self.graves[node].cause.value
                out.append(note("peer.died", peer=short(node), cause=cause))

    def _learn_of_grave(
        self, record: MemberRecord, dead: Dead, teller: NodeId, now: float, out: list[Effect]
    ) -> None:
        known = record.id == self._id or self._roster.standing(record.id) is not None
        if known or dead.incarnation < record.incarnation:
            self._learn(Alive(record), teller, now, out)
        elif (change := self._roster.learn_of_grave(record, dead, now)) is not None:
            self.changes.append((record.id, change))
            self._changed = True

    # -- what is said of ourselves -------------------------------------------------------------------

    def _deny(self, news: Suspect | Dead, teller: NodeId, out: list[Effect]) -> None:
        """They doubt us, or have buried us: only a higher incarnation of ours proves them wrong."""
        if self.gone:
            return
        if news.incarnation < self.own.incarnation:
            self._owed[self._id] = Alive(self.own)
            return
        self._become(news.incarnation + 1, self.own.addresses, None, out)
        self._awareness.worse()
        self._owed[self._id] = Alive(self.own)
        if isinstance(news, Dead):
            self.changes.append((teller, Change.ANSWERED))
        elif news.accuser != teller and news.accuser in self.members:
            self._post.gossip(news.accuser, out, (Alive(self.own),))
        what = "dead" if isinstance(news, Dead) else "suspect"
        incarnation = self.own.incarnation
        out.append(note("self.refuted", what=what, by=short(teller), incarnation=incarnation))

    def _learn_of_twin(self, record: MemberRecord, out: list[Effect]) -> None:
        """Our own record comes back to us. A later one than ours: another process has our key, or had it before."""
        if record.incarnation <= self.own.incarnation or not self._roster.is_genuine(record):
            return
        if not self._duplicated:
            self._duplicated = True
            out.append(note("identity.duplicated", addresses=record.addresses))
        if not self.gone:
            self._become(record.incarnation + 1, self.own.addresses, None, out)

    def _become(
        self,
        incarnation: int,
        addresses: tuple[str, ...],
        gone: Cause | None,
        out: list[Effect],
    ) -> None:
        """Sign a new record of ourselves and tell it."""
        raised = incarnation > self.own.incarnation
        version = self._post.version
        record = self._fitting(MemberRecord(self.own.key, incarnation, version, addresses, gone))
        signature = self._signatures.sign(signed_bytes(record, self._roster.mesh))
        self._post.own = msgspec.structs.replace(record, signature=signature)
        if self.members:
            self._rumours.add(self._id, Alive(self.own))
        self.changes.append((self._id, Change.RAISED))
        if raised:
            out.append(KeepIncarnation(incarnation))

    def _fitting(self, record: MemberRecord) -> MemberRecord:
        """As many of the addresses as travel in a packet, the likeliest first."""
        while news_bytes(Alive(record)) > ALIVE_BYTES_MAX:
            record = msgspec.structs.replace(record, addresses=record.addresses[:-1])
        return record

    # -- at its time ---------------------------------------------------------------------------------

    def _accuse(self, peer: NodeId, now: float, out: list[Effect]) -> None:
        """It has answered nobody: suspect it, and tell it so."""
        standing = self._roster.standing(peer)
        if standing is None or peer not in self.members:
            return
        self._learn(Suspect(peer, standing[0], self._id), self._id, now, out)
        self._post.gossip(peer, out)

    def _judge(self, now: float, out: list[Effect]) -> None:
        for dead in self._roster.overdue(now):
            self._learn(dead, self._id, now, out)
            # If it is there after all, it hears of its death from those who believe it.
            self._post.gossip(dead.node, out)
        for node in self._roster.unsettled(now):
            self._prober.prod(node, now)
        left = self._roster.suspicions.values()
        self._suspicions_at = min((one.at for one in left), default=NEVER)

    def _gossip(self, now: float, out: list[Effect]) -> None:
        # More than one to the same only as far as one has no room for all.
        packets = min(1 + self._rumours.nbytes // ROOM_BYTES, BURST_MAX)
        for peer in self._rota.sample(FANOUT):
            for _ in range(packets):
                self._post.gossip(peer, out)
        self._gossip_at, self._gossiped_at = NEVER, now

    def _search(self, now: float, out: list[Effect]) -> None:
        for node in self._graveyard.forget_old(now):
            self._rumours.drop(node)
            self.changes.append((node, Change.FORGOTTEN))
            self._changed = True
        peer = self._graveyard.search(len(self.members) + 1, now)
        if peer is not None:
            self._post.gossip(peer, out)
        self._graves_at = self._graveyard.next_turn(now)

    # -- every input ---------------------------------------------------------------------------------

    def _begin(self, now: float) -> list[Effect]:
        if now > self._stalled_at:
            self._stalled(now)
        return []

    def _stalled(self, now: float) -> None:
        assert self.deadline is not None
        lost_s = now - self.deadline
        self._awareness.worse()
        self._roster.postpone(lost_s)
        self._suspicions_at += lost_s
        self._prober.stalled(now)
        self._helping.stalled()
        self._rearm()

    def _end(self, out: list[Effect], now: float) -> list[Effect]:
        if self._changed:
            self._keep(now, out)
        if self._rumours and self._gossip_at == NEVER:
            # After a quiet time at once: so news crosses the mesh at the speed of the network.
            self._gossip_at = max(now, self._gossiped_at + GOSSIP_S)
        self._rearm()
        return out

    def _keep(self, now: float, out: list[Effect]) -> None:
        if now < self._kept_at + KEEP_S:
            self._keep_at = self._kept_at + KEEP_S
            return
        self._changed, self._kept_at, self._keep_at = False, now, NEVER
        out.append(KeepMembers(tuple(self.members.values()), self._graveyard.kept(now)))

    def _rearm(self) -> None:
        at = min(
            self._prober.at,
            self._gossip_at,
            self._suspicions_at,
            self._helping.at,
            self._graves_at,
            self._keep_at,
        )
        if at == NEVER:
            self.deadline, self._stalled_at = None, NEVER
        else:
            self.deadline, self._stalled_at = at, at + STALL_S
