"""How nodes come to know the same: each compares with one peer at a time what it knows, and they tell what differs.

A round (push-pull anti-entropy with version vectors, as in Scuttlebutt, van Renesse et al. 2008):

    asker                                      peer
    Compare   64 hashes               ->       equal: nothing more to say
              <-  Compared   stamps of the buckets that differ
    Tell      what it lacks, what we want  ->
              <-  Told       what we want

Every node begins one in 10 s with a random linked peer, so all agree after about log2(N) such turns; with a peer that
was just linked at once. Whoever has just learnt much (two halves of a mesh have met) compares with further peers in
quick succession. In between, a node whose own record or list of weights changed tells its linked peers by itself.
"""

import random
from dataclasses import dataclass

import msgspec

from node.communication.desk import Desk, OnlyCalls
from node.communication.directory import Directory, subject
from node.communication.knowledge import NOTHING, Knowledge
from node.communication.own_record import OwnRecord
from node.communication.parcel import Members, Parcel
from node.communication.turns import Turns
from node.effects import Call, Effect, Hang
from node.memory.short_term import RttSeen, ShortTerm
from protocol.digests import LoadDigest, NodeRecord
from protocol.errors import ErrorCode, ErrorInfo
from protocol.gossip import Compare, Compared, Stamp, Tell, Told
from protocol.ids import NodeId
from protocol.limits import BUCKETS
from protocol.messages import Response

YIELD_S = 0.5
"""Of two that were just linked, the one with the larger id lets the other compare first."""
ANSWER_S = 4.0
"""A peer that does not answer for this long, and says nothing else either, is hung up on and dialled anew."""
PUSH_ALL_MAX = 64
PUSH_FANOUT = 8
"""With more links than that, news of ourselves goes to a few at random, and round from there."""
WANT_MAX = 150
"""Nodes asked about at a time, 12 KiB: with one large record it still fits a header."""


@dataclass(slots=True)
class _Link:
    """A linked peer."""

    push: int | None = None
    owed: bool = False
    """It has not been told our latest news yet."""
    knows: Stamp = NOTHING
    """Our own stamp, as far as the peer has it for sure."""
    catalogue: str = ""


@dataclass(slots=True)
class _Asked:
    """A call under way."""

    peer: NodeId
    at: float
    own: Stamp
    """Our own stamp, if the peer has it once it has answered."""
    hashes: tuple[int, ...] = ()
    """As compared."""
    wants: int = 0
    agreed: bool = False
    """The peer knows the same nodes in the same incarnations."""
    more: bool = False
    """The round leaves something undone."""


class Gossip(OnlyCalls):
    """Told of links, of our own record and of what peers say; answers with what to ask and to tell."""

    def __init__(
        self,
        own: NodeRecord,
        members: Members,
        desk: Desk,
        memory: ShortTerm,
        dice: random.Random,
        *,
        interval_s: float,
    ) -> None:
        self.catalogue = ""
        self.deadline: float | None = None
        self._own = OwnRecord(own, interval_s)
        self.directory = Directory(self._own, members)
        self._members = members
        self._desk = desk
        self._memory = memory
        self._dice = dice
        self._interval_s = interval_s
        self._turns = Turns(dice)
        self._links: dict[NodeId, _Link] = {}
        self._calls: dict[int, _Asked] = {}
        self._push_at: float | None = None
        """Of the catalogue, or what is still owed."""

    # -- what others ask of it -----------------------------------------------------------------------

    @property
    def own(self) -> NodeRecord:
        """Our record as it is now."""
        return self._own.latest

    @property
    def told(self) -> NodeRecord:
        """Our record as others know it, or soon will."""
        return self._own.told

    @property
    def linked(self) -> list[NodeId]:
        """Whom it may talk to, by id."""
        return self._turns.linked

    @property
    def records(self) -> dict[NodeId, NodeRecord]:
        """Of others."""
        return self.directory.records

    def catalogue_of(self, peer: NodeId) -> str:
        """Digest of the weights that a linked peer knew when it last spoke; empty before it has."""
        link = self._links.get(peer)
        return "" if link is None else link.catalogue

    def load(self, peer: NodeId) -> LoadDigest:
        """The freshest that is known: from the last answer, or from the record if that came later."""
        return self.directory.load(peer)

    def load_age_s(self, peer: NodeId, now: float) -> float:
        """How long ago that was told."""
        return self.directory.load_age_s(peer, now)

    # -- what happens --------------------------------------------------------------------------------

    def restore(self, records: dict[NodeId, NodeRecord], knowledge: Knowledge, now: float) -> None:
        """Begin with what other nodes know already; nothing of it is copied entry by entry."""
        self.directory.restore(records, knowledge, now)

    def describe(self, record: NodeRecord, now: float) -> list[Effect]:
        """Our own record has changed; the driver of the change need not count versions."""
        self._own.describe(record, len(self._members.members) + 1, now)
        if not self._links and self._own.due is not None:
            self._publish(now)
        self._rearm()
        return []

    def catalogue_is(self, digest: str, now: float) -> list[Effect]:
        """The weights we know, as one digest: linked peers compare it with theirs."""
        if digest != self.catalogue:
            self.catalogue = digest
            self._owe()
            self._push_by(now + self._interval_s)
            self._rearm()
        return []

    def member_changed(self, node: NodeId, now: float) -> None:
        """Membership has changed its mind on one node, perhaps on ourselves."""
        if self.directory.refresh(node) and self._links:
            self._turns.hear(1, now)
            self._rearm()

    def load_seen(self, peer: NodeId, load: LoadDigest, now: float) -> None:
        """The load that rode on an answer: fresher than the record, and for us alone."""
        self.directory.loads.answered(peer, load, now)

    def link_up(self, peer: NodeId, now: float) -> list[Effect]:
        if peer in self._links:
            self._unlink(peer)
        self._links[peer] = _Link()
        self._turns.meet(peer, now if self.own.id < peer else now + YIELD_S, now)
        return self._go_on(now)

    def link_down(self, peer: NodeId, now: float) -> list[Effect]:
        if peer in self._links:
            self._unlink(peer)
        self._rearm()
        return []

    def sync_now(self, peer: NodeId, now: float) -> list[Effect]:
        """There may be much to tell each other."""
        if peer in self._links:
            self._turns.want(peer, now)
        return self._go_on(now)

    def asked(
        self, peer: NodeId, message: Compare | Tell, now: float
    ) -> tuple[Compared | Told, list[Effect]]:
        """A peer compares or tells; our answer brings what it lacks."""
        if (link := self._links.get(peer)) is not None:
            link.catalogue = message.catalogue
        if isinstance(message, Compare):
            return self._compared(message), []
        effects, learnt = self.directory.learn(message, peer, now)
        parcel = Parcel(self._members, self.directory.record)
        parcel.fill(self.directory.answer(message))
        if learnt:
            self._turns.hear(learnt, now)
            self._rearm()
        return parcel.told(), effects

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        asked = self._calls.pop(call, None)
        if asked is None:
            return []
        self._memory.record(RttSeen(peer, now - asked.at), now)
        link = self._links[peer]
        effects: list[Effect] = []
        if isinstance(response, Compared):
            link.catalogue = response.catalogue
            effects = self._tell(link, asked, response, now)
        elif isinstance(response, Told):
            effects, learnt = self.directory.learn(response, peer, now)
            link.knows = max(link.knows, asked.own)
            if link.push == call:
                link.push = None
            else:
                self._end_round(peer, asked, response, learnt, now)
        return effects + self._go_on(now)

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        asked = self._calls.pop(call, None)
        if asked is None:
            return []
        link = self._links[asked.peer]
        if link.push == call:
            link.push, link.owed = None, True
            self._push_by(now + self._interval_s)
        else:
            self._turns.end(asked.peer)
        if error.code is ErrorCode.DEADLINE:
            self._rearm()
            return [Hang(asked.peer, f"no answer for {ANSWER_S:g} s", quiet_s=ANSWER_S)]
        return self._go_on(now)

    def tick(self, now: float) -> list[Effect]:
        if self.deadline is None or now < self.deadline:
            return []
        return self._go_on(now)

    # -- rounds --------------------------------------------------------------------------------------

    def _go_on(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if self._own.due is not None and self._own.due <= now:
            self._publish(now)
            self._push_by(now)
        if self._push_at is not None and self._push_at <= now:
            effects += self._push(now)
        effects += [self._compare(peer, now) for peer in self._turns.begin(now)]
        self._rearm()
        return effects

    def _compare(self, peer: NodeId, now: float) -> Call:
        hashes = self.directory.knowledge.hashes
        asked = _Asked(peer, now, self._own_stamp(), hashes=hashes)
        return self._call(asked, Compare(buckets=hashes, catalogue=self.catalogue))

    def _compared(self, message: Compare) -> Compared:
        if message.buckets == self.directory.knowledge.hashes:
            return Compared(catalogue=self.catalogue)
        first = self._dice.randrange(BUCKETS)
        differing = self.directory.differing(message.buckets, first)
        return msgspec.structs.replace(differing, catalogue=self.catalogue)

    def _tell(self, link: _Link, compared: _Asked, answer: Compared, now: float) -> list[Effect]:
        """The second half of a round, unless there is nothing to say or to ask."""
        if not answer.stamps:
            self._turns.agree(now)
        if not (answer.stamps or answer.versions):
            link.knows = max(link.knows, compared.own)
        lacks, wants = self.directory.weigh(answer, compared.hashes)
        parcel = Parcel(self._members, self.directory.record)
        parcel.fill(lacks)
        if not parcel and not wants:
            self._turns.end(compared.peer)
            return []
        message = parcel.tell(dict(list(wants.items())[:WANT_MAX]), self.catalogue)
        introduced = any(record.id == self.own.id for record in message.records)
        own = self._own_stamp() if introduced else NOTHING
        asked = _Asked(compared.peer, now, own, wants=len(message.want))
        asked.agreed = not answer.stamps
        asked.more = answer.more or (len(wants) > WANT_MAX and bool(answer.stamps))
        return [self._call(asked, message)]

    def _end_round(
        self, peer: NodeId, asked: _Asked, answer: Told, learnt: int, now: float
    ) -> None:
        self._turns.end(peer)
        if not asked.agreed or learnt:
            more = asked.more or _nodes_in(answer) < asked.wants
            self._turns.learn(learnt, more, now)

    # -- news of ourselves ---------------------------------------------------------------------------

    def _publish(self, now: float) -> None:
        if self._own.publish(now):
            self.directory.refresh(self.own.id)
            self._owe()

    def _owe(self) -> None:
        peers = self._turns.linked
        if len(peers) > PUSH_ALL_MAX:
            peers = self._dice.sample(peers, PUSH_FANOUT)
        for peer in peers:
            self._links[peer].owed = True

    def _push(self, now: float) -> list[Effect]:
        self._push_at = None
        effects: list[Effect] = []
        for peer in self._turns.linked:
            link = self._links[peer]
            if not link.owed:
                continue
            if link.push is not None:
                self._push_by(now + self._interval_s)
                continue
            link.owed = False
            effects.append(self._push_to(peer, link, now))
        return effects

    def _push_to(self, peer: NodeId, link: _Link, now: float) -> Call:
        own = self._own_stamp()
        parcel = Parcel(self._members, self.directory.record)
        parcel.fill([(self.own.id, own, link.knows)])
        call = self._call(_Asked(peer, now, own), parcel.tell({}, self.catalogue))
        link.push = call.call
        return call

    def _push_by(self, moment: float) -> None:
        self._push_at = moment if self._push_at is None else min(self._push_at, moment)

    # -- within --------------------------------------------------------------------------------------

    def _own_stamp(self) -> Stamp:
        return self.directory.stamp(self.own.id)

    def _call(self, asked: _Asked, message: Compare | Tell) -> Call:
        number = self._desk.number(self)
        self._calls[number] = asked
        return Call(number, asked.peer, message, deadline_s=ANSWER_S)

    def _unlink(self, peer: NodeId) -> None:
        del self._links[peer]
        self._turns.part(peer)
        for number in [number for number, asked in self._calls.items() if asked.peer == peer]:
            del self._calls[number]
            self._desk.forget(number)

    def _rearm(self) -> None:
        moments = (self._own.due, self._push_at, self._turns.deadline)
        self.deadline = min((moment for moment in moments if moment is not None), default=None)


def _nodes_in(told: Told) -> int:
    nodes = {subject(news) for news in told.members}
    nodes.update(record.id for record in told.records)
    nodes.update(moved.id for moved in told.moved)
    return len(nodes)
