"""How nodes learn of each other: each tells its neighbours what they do not know yet.

Every node keeps a link to every other and, whenever something changed, tells over each link the records that are
newer than what the other side is known to have; the answer brings what the teller lacks. That is right for some
dozens of nodes. Who is not linked is dialled again for ever, with growing pauses: at once by the node with the
smaller id, after a moment by the other, so that two nodes rarely dial each other at the same time.
"""

import random
from dataclasses import dataclass, field

import msgspec

from node.communication.desk import Desk
from node.effects import Call, Dial, Effect, Hang, KeepPeers, note
from node.memory.short_term import RttSeen, ShortTerm
from node.work import Outcome
from protocol.digests import LoadDigest, NodeRecord
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import MeshId, NodeId, short
from protocol.limits import PEERS_MAX
from protocol.messages import Exchange as ExchangeRequest
from protocol.messages import Exchanged, Response

RECORDS_BYTES = 24 * 1024
"""Of records in one message, and always one: with `HELD_MAX` versions and all its addresses and labels it may take
45 KiB, and together with the stamps that still fits a header."""
KNOWN_PER_MESSAGE = 200
"""Stamps told in one message. A record whose stamp was not told may be sent once too often."""
ANSWER_S = 4.0
"""A neighbour that does not answer for this long is hung up on and dialled anew."""
QUIET_S = 2.0
"""With nothing new to tell, neighbours still hear from us this often: it measures the round trip."""
NEWCOMER_S = 0.05
"""Whoever is new, or has moved, is told of this soon: until then others cannot reach it. Of several who come at
once all are told together."""
POLITE_S = 1.0
"""How long the node with the larger id waits for the other to dial first."""
REDIAL_FIRST_S = 0.1


@dataclass(slots=True)
class _Neighbour:
    """A linked peer: what it is known to know, and the call under way."""

    heard: dict[NodeId, tuple[int, int]] = field(default_factory=dict)
    call: int | None = None
    called_at: float = 0.0
    tell_at: float = 0.0
    catalogue: str = ""


@dataclass(slots=True)
class _Pursuit:
    """A node, or an address, that we want a link to."""

    addresses: tuple[str, ...]
    peer: NodeId | None
    dial_at: float
    pause_s: float = REDIAL_FIRST_S
    dialling: bool = False
    reached: bool = False
    """It is an address and has answered: it is needed again once all links are lost."""
    why: str = ""


class Exchange:
    """Told of links and records; answers with whom to dial and what to tell."""

    def __init__(
        self,
        own: NodeRecord,
        desk: Desk,
        memory: ShortTerm,
        dice: random.Random,
        *,
        interval_s: float,
        redial_s: float,
    ) -> None:
        self.own = own
        self.records: dict[NodeId, NodeRecord] = {}
        self.changed_at: dict[NodeId, float] = {}
        self.rtt_s: dict[NodeId, float] = {}
        """What the memory made of the round trips to each peer, when the last one was measured."""
        self.catalogue = ""
        self.deadline: float | None = None
        self._desk = desk
        self._memory = memory
        self._dice = dice
        self._interval_s = interval_s
        self._redial_s = redial_s
        self._neighbours: dict[NodeId, _Neighbour] = {}
        self._loads: dict[NodeId, tuple[LoadDigest, float]] = {}
        self._pursuits: dict[str, _Pursuit] = {}

    # -- what others ask of it -----------------------------------------------------------------------

    @property
    def linked(self) -> list[NodeId]:
        return sorted(self._neighbours)

    def is_linked(self, peer: NodeId) -> bool:
        return peer in self._neighbours

    def why_apart(self, peer: NodeId) -> str:
        """Why there is no link to this peer, in words; empty while there is one or none was tried."""
        pursuit = self._pursuits.get(peer)
        return "" if pursuit is None or peer in self._neighbours else pursuit.why

    def obstacles(self) -> list[str]:
        """What stands between us and the others, for as long as none of them is reached."""
        if self._neighbours:
            return []
        return list(dict.fromkeys(p.why for _, p in sorted(self._pursuits.items()) if p.why))

    def other_catalogues(self) -> dict[NodeId, str]:
        """Digest of the weights each neighbour knew when it last spoke."""
        return {peer: n.catalogue for peer, n in sorted(self._neighbours.items()) if n.catalogue}

    # -- what happens --------------------------------------------------------------------------------

    def seek(self, addresses: tuple[str, ...], peer: NodeId | None, now: float) -> list[Effect]:
        """Want a link to whoever answers at these addresses; tried for ever."""
        key = peer or "|".join(addresses)
        if key not in self._pursuits and addresses and peer != self.own.id:
            self._pursuits[key] = _Pursuit(addresses, peer, dial_at=now)
        return self._rearm()

    def describe(self, record: NodeRecord, now: float) -> list[Effect]:
        """Our own record has changed; the driver of the change need not count versions."""
        assert record.id == self.own.id
        stamped = msgspec.structs.replace(record, version=self.own.version + 1)
        self.own = stamped
        return self._tell_by(now + self._interval_s)

    def introduce(self, mesh: MeshId, addresses: tuple[str, ...], now: float) -> list[Effect]:
        """Now we belong to a mesh and are reached at these addresses."""
        return self.describe(msgspec.structs.replace(self.own, mesh=mesh, addresses=addresses), now)

    def catalogue_is(self, digest: str, now: float) -> list[Effect]:
        """The weights we know, as one digest: neighbours compare it with theirs."""
        if digest == self.catalogue:
            return []
        self.catalogue = digest
        return self._tell_by(now + self._interval_s)

    def link_up(self, peer: NodeId, now: float) -> list[Effect]:
        self._neighbours[peer] = _Neighbour(tell_at=now)
        pursuit = self._pursuits.get(peer)
        if pursuit is not None:
            pursuit.dialling, pursuit.pause_s, pursuit.why = False, REDIAL_FIRST_S, ""
        return [note("peer.linked", peer=short(peer)), *self.tick(now)]

    def reached(self, addresses: tuple[str, ...]) -> None:
        """An address that was dialled without knowing who is there has answered."""
        if (pursuit := self._pursuits.get("|".join(addresses))) is not None:
            pursuit.dialling, pursuit.pause_s, pursuit.why = False, REDIAL_FIRST_S, ""
            pursuit.reached = True
        self._rearm()

    def link_down(self, peer: NodeId, reason: str, now: float) -> list[Effect]:
        neighbour = self._neighbours.pop(peer, None)
        if neighbour is None:
            return []
        if neighbour.call is not None:
            self._desk.forget(neighbour.call)
        self._pursue(peer, now)
        if (pursuit := self._pursuits.get(peer)) is not None:
            pursuit.why, pursuit.dial_at = reason, now + self._patience_s(peer)
        self.changed_at[peer] = now
        self._rearm()
        return [note("peer.lost", peer=short(peer), reason=reason)]

    def dial_failed(
        self, addresses: tuple[str, ...], peer: NodeId | None, reason: str, now: float
    ) -> list[Effect]:
        pursuit = self._pursuits.get(peer or "|".join(addresses))
        if pursuit is None:
            return []
        news = [] if pursuit.why == reason else [note("dial.failed", to=addresses, reason=reason)]
        pursuit.dialling, pursuit.why = False, reason
        # Full jitter: nodes that lost the same peer at the same moment do not return in step.
        pursuit.dial_at = now + pursuit.pause_s * self._dice.uniform(0.5, 1.0)
        pursuit.pause_s = min(pursuit.pause_s * 2, self._redial_s)
        self._rearm()
        return list(news)

    def asked(
        self, peer: NodeId, message: ExchangeRequest, now: float
    ) -> tuple[Exchanged, list[Effect]]:
        """A neighbour tells; our answer brings what it lacks."""
        effects = self._learn(peer, message.records, message.catalogue, now)
        known = dict(message.known)
        for record in message.records:
            known[record.id] = max(known.get(record.id, (-1, -1)), record.stamp)
        if (neighbour := self._neighbours.get(peer)) is not None:
            neighbour.heard.update(known)
        news = _fitting(self._news_for(known))
        if neighbour is not None:
            neighbour.heard.update({record.id: record.stamp for record in news})
        return Exchanged(records=tuple(news), catalogue=self.catalogue), effects

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        assert isinstance(response, Exchanged)
        neighbour = self._neighbours.get(peer)
        if neighbour is None or neighbour.call != call:
            return []
        neighbour.call = None
        sample_s = now - neighbour.called_at
        self._memory.record(RttSeen(peer, sample_s), now)
        least_s = self._memory.forecast_rtt_s(peer, now)
        assert least_s is not None, "what was just recorded is known"
        self.rtt_s[peer] = least_s
        effects = self._learn(peer, response.records, response.catalogue, now)
        return effects + self.tick(now)

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        for peer, neighbour in self._neighbours.items():
            if neighbour.call == call:
                neighbour.call = None
                # What we told may not have arrived: tell it again.
                neighbour.heard.clear()
                neighbour.tell_at = now + self._interval_s
                self._rearm()
                if error.code is ErrorCode.DEADLINE:
                    return [Hang(peer, f"no answer for {ANSWER_S:g} s")]
        return []

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        raise AssertionError("the exchange orders no work")

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        raise AssertionError("the exchange orders no work")

    def load_seen(self, peer: NodeId, load: LoadDigest, now: float) -> None:
        """The load that rode on an answer: fresher than the record, and for us alone."""
        self._loads[peer] = (load, now)

    def load(self, peer: NodeId) -> LoadDigest:
        """The freshest that is known: from the last answer, or from the record if that came later."""
        return self._loads[peer][0] if peer in self._loads else LoadDigest()

    def load_age_s(self, peer: NodeId, now: float) -> float:
        """How long ago that was told."""
        return now - self._loads[peer][1] if peer in self._loads else 0.0

    def tick(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for peer in sorted(self._neighbours):
            if self._neighbours[peer].call is None and self._neighbours[peer].tell_at <= now:
                effects.append(self._tell(peer, now))
        for key in sorted(self._pursuits):
            effects += self._dial(self._pursuits[key], now)
        self._rearm()
        return effects

    # -- within --------------------------------------------------------------------------------------

    def _tell(self, peer: NodeId, now: float) -> Call:
        neighbour = self._neighbours[peer]
        all_news = self._news_for(neighbour.heard)
        news = _fitting(all_news)
        neighbour.heard.update({record.id: record.stamp for record in news})
        known = {node: record.stamp for node, record in self.records.items()}
        known[self.own.id] = self.own.stamp
        message = ExchangeRequest(
            records=tuple(news),
            known={node: known[node] for node in sorted(known)[:KNOWN_PER_MESSAGE]},
            catalogue=self.catalogue,
        )
        neighbour.call = self._desk.number(self)
        neighbour.called_at = now
        more = len(news) < len(all_news)
        neighbour.tell_at = now + (self._interval_s if more else QUIET_S)
        return Call(neighbour.call, peer, message, deadline_s=ANSWER_S)

    def _tell_by(self, moment: float) -> list[Effect]:
        for neighbour in self._neighbours.values():
            neighbour.tell_at = min(neighbour.tell_at, moment)
        self._rearm()
        return []

    def _news_for(self, known: dict[NodeId, tuple[int, int]]) -> list[NodeRecord]:
        unknown = (-1, -1)
        ours = [self.own, *(self.records[node] for node in sorted(self.records))]
        return [record for record in ours if record.stamp > known.get(record.id, unknown)]

    def _learn(
        self, teller: NodeId, records: tuple[NodeRecord, ...], catalogue: str, now: float
    ) -> list[Effect]:
        effects: list[Effect] = []
        fresh = False
        for record in records:
            if record.mesh != self.own.mesh:
                continue
            if record.id == self.own.id:
                effects += self._hear_of_ourselves(record, teller)
            elif self._is_news(record):
                known = self.records.get(record.id)
                fresh = fresh or known is None or known.addresses != record.addresses
                self.records[record.id] = record
                load = msgspec.structs.replace(record.load, free=record.memory.free)
                self._loads[record.id] = (load, now)
                self.changed_at[record.id] = now
                self._pursue(record.id, now)
        if (neighbour := self._neighbours.get(teller)) is not None:
            neighbour.catalogue = catalogue
        if fresh:
            effects.append(self._keep_peers())
            effects += self._tell_by(now + NEWCOMER_S)
        self._rearm()
        return effects

    def _is_news(self, record: NodeRecord) -> bool:
        known = self.records.get(record.id)
        if known is None:
            return len(self.records) < PEERS_MAX
        return record.stamp > known.stamp

    def _hear_of_ourselves(self, record: NodeRecord, teller: NodeId) -> list[Effect]:
        """Only we raise our stamp, so a higher one means that another process runs under our key."""
        if record.stamp <= self.own.stamp:
            return []
        reason = "another process runs with a copy of this data directory; give each its own"
        return [note("identity.duplicated", teller=short(teller), reason=reason)]

    def _pursue(self, peer: NodeId, now: float) -> None:
        """Keep the wish for a link in step with the record: gone when it left, new addresses taken up."""
        record = self.records.get(peer)
        if record is None:
            return
        if record.left or not record.addresses:
            self._pursuits.pop(peer, None)
            return
        dial_at = now + self._patience_s(peer)
        pursuit = self._pursuits.setdefault(peer, _Pursuit(record.addresses, peer, dial_at))
        if pursuit.addresses != record.addresses:
            pursuit.addresses, pursuit.dial_at = record.addresses, dial_at

    def _patience_s(self, peer: NodeId) -> float:
        return 0.0 if self.own.id < peer else POLITE_S

    def _is_apart(self, pursuit: _Pursuit) -> bool:
        """Whether a dial is called for, and none is under way."""
        if pursuit.dialling:
            return False
        if pursuit.peer is None:
            return not (pursuit.reached and self._neighbours)
        return pursuit.peer not in self._neighbours

    def _dial(self, pursuit: _Pursuit, now: float) -> list[Effect]:
        if pursuit.dial_at > now or not self._is_apart(pursuit):
            return []
        pursuit.dialling = True
        return [Dial(pursuit.addresses, pursuit.peer)]

    def _keep_peers(self) -> KeepPeers:
        known = sorted(self.records.items())
        return KeepPeers(tuple((node, record.addresses) for node, record in known))

    def _rearm(self) -> list[Effect]:
        moments = [n.tell_at for n in self._neighbours.values() if n.call is None]
        for pursuit in self._pursuits.values():
            if self._is_apart(pursuit):
                moments.append(pursuit.dial_at)
        self.deadline = min(moments, default=None)
        return []


def _fitting(news: list[NodeRecord]) -> list[NodeRecord]:
    """As many as one message takes, in their order."""
    left = RECORDS_BYTES
    for number, record in enumerate(news):
        left -= len(msgspec.msgpack.encode(record))
        if left < 0:
            return news[: max(number, 1)]
    return news
