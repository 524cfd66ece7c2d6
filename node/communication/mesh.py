"""The mesh as one node sees it: who is alive, what they tell of themselves, to whom there is a link.

Each of its machines decides one thing: `membership` who is there (packets, SWIM), `gossip` what is known of them
(anti-entropy over links), `linking` when to dial those whom `neighbours` has chosen, `reach` how others get to this
node, `relays` who could forward for it. What one of them finds out is news for the others; here it is passed on. Tasks
ask here whom they may count on.
"""

import random

import msgspec

from node.communication.desk import Desk, OnlyCalls
from node.communication.gossip import Gossip
from node.communication.knowledge import Knowledge
from node.communication.linking import Linking
from node.communication.membership import Membership
from node.communication.neighbours import Neighbours
from node.communication.reach import Fact, HomesAre, Reach, Relocated, reachability
from node.communication.relays import Relays
from node.communication.roster import Change
from node.communication.signatures import Signatures
from node.effects import Call, CancelCall, Effect, Grave, Hang
from node.memory.short_term import ShortTerm
from protocol.digests import LoadDigest, NodeRecord
from protocol.errors import ErrorInfo
from protocol.ids import MeshId, NodeId
from protocol.limits import ADDRESSES_MAX
from protocol.members import Alive, Cause, MemberRecord, Packet
from protocol.members import Gossip as GossipPacket
from protocol.messages import Carry, Taken

GOODBYE_S = 1.0
"""How long a node that leaves waits for its neighbours to hear of it."""

CALLS = (Call, CancelCall)
GONE = {
    Cause.SILENT: "it answers nobody",
    Cause.STOPPED: "it was stopped",
    Cause.LEFT: "it has left the mesh",
}


class Mesh(OnlyCalls):
    """Told of links, packets and members; answers with what to send, whom to dial, whom to hang up on."""

    def __init__(
        self,
        record: NodeRecord,
        signatures: Signatures,
        desk: Desk,
        memory: ShortTerm,
        dice: random.Random,
        *,
        interval_s: float,
        redial_s: float,
    ) -> None:
        self.id = record.id
        self.mesh = MeshId("")
        own = MemberRecord(signatures.key, record.incarnation, version=0, addresses=())
        assert own.id == record.id, "a node's id is the hash of its key"
        self.membership = Membership(own, signatures, desk, dice)
        self.linking = Linking(record.id, dice, redial_s)
        self._neighbours = Neighbours(self.membership, self.linking, dice)
        self.gossip = Gossip(record, self.membership, desk, memory, dice, interval_s=interval_s)
        self.reach = Reach(self, desk, dice)
        self.relays = Relays(self)
        self.changed_at: dict[NodeId, float] = {}
        """When we last changed our mind about a member."""
        self._listens: tuple[str, ...] = ()
        self._told: tuple[str, ...] = ()
        """Those, and where else another node has come in."""
        self._desk = desk
        self._memory = memory
        self._doubted: dict[NodeId, None] = {}
        """Members that were suspected, and have not denied it."""

    # -- what others ask of it -----------------------------------------------------------------------

    @property
    def own(self) -> NodeRecord:
        return self.gossip.own

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where this node is reached."""
        return self.membership.own.addresses

    @property
    def linked(self) -> list[NodeId]:
        return self.linking.linked

    def is_linked(self, peer: NodeId) -> bool:
        return self.linking.is_linked(peer)

    def is_suspect(self, peer: NodeId) -> bool:
        """Somebody had no answer from it, and it has not spoken up yet."""
        return self.membership.is_suspect(peer)

    def within_reach(self, peer: NodeId) -> bool:
        """Whether it can be asked now: it is linked, or it is alive and would be dialled for the question."""
        return self._neighbours.within_reach(peer)

    def reachable(self) -> list[NodeId]:
        """All that can be asked now, in the order of their ids."""
        return self._neighbours.reachable()

    def record(self, peer: NodeId) -> NodeRecord | None:
        """What a node has told of itself."""
        return self.own if peer == self.id else self.gossip.records.get(peer)

    def known(self) -> list[NodeId]:
        """All other members that are alive."""
        return sorted(self.membership.members)

    def acquainted(self) -> list[NodeId]:
        """All members that we have heard of, whether they are there or not."""
        return [*self.membership.members, *self.membership.graves]

    def addresses_of(self, peer: NodeId) -> tuple[str, ...]:
        known = self.membership.record(peer)
        return () if known is None else known.addresses

    def incarnation_of(self, peer: NodeId) -> int:
        """The highest that is known of it; 0 of a stranger."""
        known = self.membership.record(peer)
        return 0 if known is None else known.incarnation

    def key_of(self, peer: NodeId) -> bytes | None:
        """Its public key, by which a packet proves that it comes from there."""
        known = self.membership.record(peer)
        return None if known is None else known.key

    def rtt_s(self, peer: NodeId, now: float) -> float | None:
        """The least of the last while, from calls on its link; else what packets take."""
        measured = self._memory.forecast_rtt_s(peer, now)
        return self.membership.rtt_s(peer) if measured is None else measured

    def cause(self, peer: NodeId) -> Cause | None:
        """Why it is gone; None of who is there."""
        grave = self.membership.graves.get(peer)
        return None if grave is None else grave.cause

    # -- what happens --------------------------------------------------------------------------------

    def introduce(self, mesh: MeshId, addresses: tuple[str, ...], now: float) -> list[Effect]:
        """Now we belong to a mesh and are reached at these addresses."""
        self.mesh = mesh
        self._listens = self._told = addresses
        self.reach.introduced(addresses, now)
        self.relays.introduced(addresses, now)
        effects = self.membership.introduce(mesh, addresses, now)
        effects += self.gossip.describe(self._incarnate(self.own), now)
        return effects

    def learn(self, fact: Fact | HomesAre, now: float) -> list[Effect]:
        """Something was found out about our own way to the world."""
        if isinstance(fact, HomesAre):
            self.relays.homes, self.reach.news = fact.homes, True
            return []
        if isinstance(fact, Relocated):
            self._listens = fact.addresses
        return self.reach.learn(fact, now)

    def restore(
        self, members: dict[NodeId, MemberRecord], graves: tuple[Grave, ...], now: float
    ) -> list[Effect]:
        """After a start: who was there, and who was not any more."""
        self.membership.restore(members, graves, now)
        for peer in (*self.membership.members, *self.membership.graves):
            self.gossip.member_changed(peer, now)
        self._neighbours.choose(now)
        return self.linking.tick(now)

    def begin_among(
        self,
        members: dict[NodeId, MemberRecord],
        records: dict[NodeId, NodeRecord],
        knowledge: Knowledge,
        now: float,
    ) -> list[Effect]:
        """As one of those who have known each other for long, ourselves among them; for simulations."""
        self.membership.restore(members, (), now)
        self.gossip.restore(records, knowledge, now)
        self._neighbours.choose(now)
        return self.linking.tick(now)

    def describe(self, record: NodeRecord, now: float) -> list[Effect]:
        """Our own record has changed."""
        effects = self.gossip.describe(self._incarnate(record), now)
        self.membership.version_is(self.gossip.told.version)
        return effects

    def seek(self, addresses: tuple[str, ...], peer: NodeId | None, now: float) -> list[Effect]:
        """Want a link to whoever answers at these addresses; tried for ever."""
        self.linking.seek(addresses, peer, now)
        return self.linking.tick(now)

    def nearby(self, peer: NodeId, now: float) -> list[Effect]:
        """A member says that it is within our own network; where, the driver knows."""
        self.linking.nearby(peer, now)
        return self.linking.tick(now)

    def link_up(self, peer: NodeId, dialled: bool, now: float) -> list[Effect]:
        effects = self.linking.link_up(peer, now)
        effects += self.membership.met(peer, now)
        effects += self.gossip.link_up(peer, now)
        self.reach.linked(peer, now)
        self.relays.look_soon(now)
        if (reach := reachability(self.own.reach, dialled=dialled)) is not self.own.reach:
            effects += self.describe(msgspec.structs.replace(self.own, reach=reach), now)
        return effects

    def link_down(self, peer: NodeId, reason: str, now: float) -> list[Effect]:
        effects = self.linking.link_down(peer, reason, now)
        if not effects:
            return []
        effects += self.gossip.link_down(peer, now)
        effects += self.membership.prod(peer, now)
        self.changed_at[peer] = now
        return effects

    def dial_failed(
        self, addresses: tuple[str, ...], peer: NodeId | None, reason: str, now: float
    ) -> list[Effect]:
        return self.linking.dial_failed(addresses, peer, reason, now)

    def packet(
        self, peer: NodeId, packet: Packet, now: float, *, carried: bool = False
    ) -> list[Effect]:
        """A datagram of a member, or, `carried`, what took the link to be sure to arrive."""
        if carried:
            return self.membership.carried(peer, packet, now)
        return self.membership.heard(peer, packet, now)

    def leave(self, cause: Cause, now: float) -> list[Effect]:
        """Say goodbye: by packets, and over every link."""
        effects = self.membership.leave(cause, now)
        news = (Alive(self.membership.own),)
        for peer in self.linking.linked:
            call = self._desk.number(self)
            effects.append(Call(call, peer, Carry(packet=GossipPacket(news)), GOODBYE_S))
        return effects

    def answered(
        self, call: int, peer: NodeId, response: object, load: LoadDigest, now: float
    ) -> list[Effect]:
        assert isinstance(response, Taken)
        return []

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        # A goodbye that does not arrive: its silence will tell.
        return []

    def tick(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for machine in (self.membership, self.gossip, self.linking, self.reach, self.relays):
            if machine.deadline is not None and machine.deadline <= now:
                effects += machine.tick(now)
        return effects

    @property
    def deadline(self) -> float | None:
        soonest = self.membership.deadline
        for machine in (self.gossip, self.linking, self.reach, self.relays):
            moment = machine.deadline
            if moment is not None and (soonest is None or moment < soonest):
                soonest = moment
        return soonest

    def pass_on(self, effects: list[Effect], now: float) -> list[Effect]:
        """After every input: what one machine found out reaches the others; calls go out, or wait for their link."""
        if self.reach.news:
            effects = effects + self._tell_reach(now)
        while changes := self.membership.drain():
            for peer, change in changes:
                effects = effects + self._changed(peer, change, now)
        for effect in effects:
            if isinstance(effect, CALLS):
                return self._route(effects, now)
        return effects

    # -- within --------------------------------------------------------------------------------------

    def _route(self, effects: list[Effect], now: float) -> list[Effect]:
        routed: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Call):
                routed += self.linking.call(effect, self.addresses_of(effect.peer), now)
            elif not (isinstance(effect, CancelCall) and self.linking.cancel(effect.call)):
                routed.append(effect)
        return routed

    def _changed(self, peer: NodeId, change: Change, now: float) -> list[Effect]:
        if change is Change.RAISED:
            self.gossip.member_changed(peer, now)
            return self.describe(self.own, now)
        self.changed_at[peer] = now
        if change is Change.ANSWERED:
            return self.gossip.sync_now(peer, now)
        # One that denied its death or a suspicion did so by a new record.
        self.gossip.member_changed(peer, now)
        if change in (Change.SUSPECTED, Change.CONFIRMED):
            self._doubted[peer] = None
            return []
        was_doubted = self._doubted.pop(peer, peer) is None
        if change is Change.TRUSTED:
            return []
        self._neighbours.consider(peer, now)
        if change is Change.FORGOTTEN:
            del self.changed_at[peer]
        return [*self._catch_up(peer, now), *self._part(peer, was_doubted)]

    def _catch_up(self, peer: NodeId, now: float) -> list[Effect]:
        """Its member record names a later digest than the one that we have: ask it, if we can at once."""
        member, known = self.membership.members.get(peer), self.gossip.records.get(peer)
        if member is None or not self.linking.is_linked(peer):
            return []
        if known is not None and known.version >= member.version:
            return []
        return self.gossip.sync_now(peer, now)

    def _part(self, peer: NodeId, was_doubted: bool) -> list[Effect]:
        """Hang up on who is gone.

        Not on one whose silence we know from hearsay alone: halves of a mesh that meet again tell each other of dead
        who are well, and will deny it in a moment. If such a one is dead, its link shows it.
        """
        cause = self.cause(peer)
        if cause is None or not self.linking.is_linked(peer):
            return []
        if cause is Cause.SILENT and not was_doubted:
            return []
        return [Hang(peer, GONE[cause])]

    def _incarnate(self, record: NodeRecord) -> NodeRecord:
        """Our record, with the incarnation that membership gave us."""
        return msgspec.structs.replace(record, incarnation=self.membership.own.incarnation)

    def _tell_reach(self, now: float) -> list[Effect]:
        """Whether we are public, and where another node has come in, though we have not said so."""
        self.reach.news = False
        if not self.mesh or self.membership.gone:
            return []
        self.relays.own_is(self.reach.public, now)
        # Relays before our own: of a record that is too long for a packet the last ones are left out.
        ours = [*self.reach.proven, *self.relays.addresses, *self._listens]
        addresses = tuple(dict.fromkeys(ours))[:ADDRESSES_MAX]
        effects: list[Effect] = []
        if addresses != self._told:
            # Compared with what we told, not with what of it had room in our record.
            self._told = addresses
            effects += self.membership.introduce(self.mesh, addresses, now)
        nat = str(self.reach.classes)
        record = msgspec.structs.replace(self.own, public=self.reach.public, nat=nat)
        return effects + self.describe(record, now)
