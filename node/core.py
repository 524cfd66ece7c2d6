"""Node: the whole daemon without a socket, a clock or a byte.

It is told what clients and peers ask, what became of calls and work, and what time it is; it answers with effects.
Everything that it knows is in the machines that it wires: the mesh as it sees it, the ledger, what it holds, the list
of weights, the tasks in flight.
"""

import random

import msgspec

from node.communication.asking import Asking
from node.communication.desk import Desk
from node.communication.knowledge import Knowledge
from node.communication.mesh import Mesh
from node.communication.outstanding import Outstanding
from node.communication.policies import chooser
from node.communication.reach import Fact, HomesAre
from node.communication.scoring import Candidate, HedgeBudget
from node.communication.signatures import Signatures
from node.deployment.catalogue import Catalogue
from node.deployment.holding import Holding
from node.deployment.ledger import Ledger
from node.deployment.placement import Capacity
from node.effects import Effect, Grave, Reply
from node.execution.fleet import Fleet
from node.execution.room import Room
from node.execution.serving import Serving
from node.execution.sketches import SketchCache
from node.execution.strengthening import Strengthening
from node.execution.tasks import Tasks
from node.execution.tending import Tending
from node.execution.upkeep import Upkeep
from node.execution.views import Views
from node.memory.short_term import ShortTerm
from node.policy import Policy
from node.work import Outcome, ShardDone
from protocol.client import (
    MatmulRequest,
    PutRequest,
)
from protocol.digests import LoadDigest, NodeRecord, WeightsVersion
from protocol.errors import ErrorInfo
from protocol.gossip import Compare, Tell
from protocol.ids import MeshId, NodeId, TaskId
from protocol.members import Cause, MemberRecord, Packet
from protocol.messages import (
    Carry,
    DialBack,
    FetchCatalogue,
    FetchManifest,
    Manifest,
    ManifestPart,
    Probe,
    Probed,
    RequestHeader,
    Response,
    Taken,
)

NEVER = float("inf")


class Node:
    """One node of the mesh, as a machine: inputs end in `now`, each returns effects, `deadline` says when to tick."""

    def __init__(
        self,
        record: NodeRecord,
        ledger: Ledger,
        policy: Policy,
        signatures: Signatures,
        dice: random.Random,
    ) -> None:
        self.own = record.id
        self.ledger = ledger
        self.desk = Desk()
        self.room = Room(ledger)
        self.memory = ShortTerm()
        self.outstanding = Outstanding()
        self.hedges = HedgeBudget(policy.hedge_share)
        self.chooser = chooser(policy.choice, dice)
        self.asking = Asking(self.desk, self.chooser)
        self.holding = Holding(self.own, ledger)
        self.catalogue = Catalogue(self.desk)
        self.mesh = Mesh(
            record,
            signatures,
            self.desk,
            self.memory,
            dice,
            interval_s=policy.interval_s,
            redial_s=policy.redial_s,
        )
        self.fleet = Fleet(
            self.mesh, self.memory, self.outstanding, ledger, self.holding, self.catalogue
        )
        self.sketches = SketchCache(self.own, ledger, self.desk, self.fleet.reachable)
        self.serving = Serving(self, policy.workers)
        self.fleet.backlog_s, self.fleet.silent_s = self.serving.backlog_s, self.asking.silent_s
        self.upkeep = Upkeep(
            self.own, self.desk, self.catalogue, self.holding, self.sketches, self.fleet
        )
        self.tending = Tending(
            self.desk,
            self.room,
            self.holding,
            lambda: self.is_idle and not self.strengthening.at_work,
        )
        self.strengthening = Strengthening(
            self.desk,
            ledger,
            self.room,
            self.holding,
            lambda: self.is_idle and not self.tending.at_work,
        )
        self.tasks = Tasks(self, policy.backend, policy.device, dice)
        self.views = Views(self.mesh, self.fleet, self.catalogue, policy.backend, policy.device)
        self._told_changes = -1
        self.deadline: float | None = None
        self._others_at = NEVER
        """When any machine but the mesh wishes for its tick: most of a node's inputs are packets, and move none."""

    # -- clients -------------------------------------------------------------------------------------

    def put(
        self, request: PutRequest, shape: tuple[int, int], wall_ms: int, now: float
    ) -> tuple[TaskId, list[Effect]]:
        """Begin a put of a (K, N) matrix; TaskError when it cannot even begin."""
        task, effects = self.tasks.put(request, shape, wall_ms, now)
        return task, self._settle(effects, now)

    def matmul(
        self, request: MatmulRequest, rows: int, width: int, now: float
    ) -> tuple[TaskId, int, list[Effect]]:
        """Begin a product with X (rows, width); the answer's width, or TaskError."""
        task, gives, effects = self.tasks.matmul(request, rows, width, now)
        return task, gives, self._settle(effects, now)

    def remove(
        self, name: str, if_match: str | None, wall_ms: int, now: float
    ) -> tuple[TaskId, list[Effect]]:
        """Delete weights everywhere."""
        task, effects = self.tasks.remove(name, if_match, wall_ms, now)
        return task, self._settle(effects, now)

    def fetch(self, manifest: Manifest, index: int, now: float) -> tuple[TaskId, list[Effect]]:
        """Begin to bring one block of these weights into the spool."""
        task, effects = self.tasks.fetch(manifest, index, now)
        return task, self._settle(effects, now)

    def cancel(self, task: str, now: float) -> list[Effect]:
        """The client has gone."""
        return self._settle(self.tasks.cancel(task, now), now)

    # -- peers ---------------------------------------------------------------------------------------

    def introduce(self, mesh: MeshId, addresses: tuple[str, ...], now: float) -> list[Effect]:
        """This node belongs to a mesh now, and is reached at these addresses."""
        return self._settle(self.mesh.introduce(mesh, addresses, now), now)

    def restore_members(
        self, members: dict[NodeId, MemberRecord], graves: tuple[Grave, ...], now: float
    ) -> list[Effect]:
        """After a start: who was there, and who was not any more."""
        return self._settle(self.mesh.restore(members, graves, now), now)

    def begin_among(
        self,
        members: dict[NodeId, MemberRecord],
        records: dict[NodeId, NodeRecord],
        knowledge: Knowledge,
        now: float,
    ) -> list[Effect]:
        """In place of a long time together, which a simulation need not wait for."""
        return self._settle(self.mesh.begin_among(members, records, knowledge, now), now)

    def seek(self, addresses: tuple[str, ...], peer: NodeId | None, now: float) -> list[Effect]:
        """Link up with whoever answers there, however long that takes."""
        return self._settle(self.mesh.seek(addresses, peer, now), now)

    def nearby(self, peer: NodeId, now: float) -> list[Effect]:
        """A member says that it is within our own network; a dial would try that way too."""
        return self._settle(self.mesh.nearby(peer, now), now)

    def link_up(self, peer: NodeId, dialled: bool, now: float) -> list[Effect]:
        """`dialled`: by us; else the peer has reached this node."""
        self.fleet.link_up(peer, now)
        self.asking.lost(peer)
        return self._settle(self.mesh.link_up(peer, dialled, now), now)

    def reached(self, addresses: tuple[str, ...]) -> list[Effect]:
        """The address we were told to join at has answered."""
        self.mesh.linking.reached(addresses)
        return []

    def link_down(self, peer: NodeId, reason: str, now: float) -> list[Effect]:
        self.fleet.link_down(peer)
        self.asking.lost(peer)
        return self._settle(self.mesh.link_down(peer, reason, now), now)

    def dial_failed(
        self, addresses: tuple[str, ...], peer: NodeId | None, reason: str, now: float
    ) -> list[Effect]:
        return self._settle(self.mesh.dial_failed(addresses, peer, reason, now), now)

    def packet(self, peer: NodeId, packet: Packet, now: float) -> list[Effect]:
        """A datagram has come, and it is from this member."""
        return self._talked(self.mesh.packet(peer, packet, now), now)

    def leave(self, cause: Cause, now: float) -> list[Effect]:
        """Say goodbye to all others."""
        return self._settle(self.mesh.leave(cause, now), now)

    def learn(self, fact: Fact | HomesAre, now: float) -> list[Effect]:
        """Something was found out about our own way to the world."""
        return self._talked(self.mesh.learn(fact, now), now)

    def asked(self, request: int, peer: NodeId, header: RequestHeader, now: float) -> list[Effect]:
        """A peer asks; every request ends in one Reply or Refuse, unless it is gone before."""
        match header.request:
            case Compare() | Tell() as told:
                answer, effects = self.mesh.gossip.asked(peer, told, now)
                effects = [Reply(request, answer), *effects, *self._compare(peer)]
            case Carry(packet=packet):
                effects = [
                    Reply(request, Taken()),
                    *self.mesh.packet(peer, packet, now, carried=True),
                ]
            case Probe():
                # It changes nothing, and there are many of them.
                return [Reply(request, Probed())]
            case DialBack() as back:
                effects = self.mesh.reach.asked(request, peer, back, self.mesh.addresses, now)
            case ManifestPart() as part:
                effects = self.catalogue.asked(request, part)
            case FetchCatalogue(after=after):
                effects = [Reply(request, self.catalogue.tell_names(after))]
            case FetchManifest(name=name, first=first):
                effects = [self.catalogue.answer_part(request, name, first)]
            case _:
                effects = self.serving.asked(request, peer, header, now)
        return self._settle(effects, now)

    def body_received(self, request: int, now: float) -> list[Effect]:
        return self._settle(self.serving.body_received(request, now), now)

    def request_gone(self, request: int, now: float) -> list[Effect]:
        self.catalogue.request_gone(request)
        self.mesh.reach.request_gone(request)
        return self._settle(self.serving.request_gone(request, now), now)

    def replied(self, request: int, now: float) -> list[Effect]:
        return self._settle(self.serving.replied(request, now), now)

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        self.load_told(peer, load, now)
        waiter = self.desk.settle(call)
        if waiter is None:
            return []
        effects = waiter.answered(call, peer, response, load, now)
        if waiter is self.mesh.gossip:
            effects = [*effects, *self._compare(peer)]
        return self._settle(effects, now)

    def load_told(self, peer: NodeId, load: LoadDigest, now: float) -> list[Effect]:
        """How busy a peer is, by its answer or its refusal: a sign of life, too."""
        self.mesh.gossip.load_seen(peer, load, now)
        self.asking.heard(peer, now)
        return []

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        waiter = self.desk.settle(call)
        return [] if waiter is None else self._settle(waiter.call_failed(call, error, now), now)

    def load(self, now: float) -> LoadDigest:
        """What rides on every answer."""
        return self.serving.load(now)

    # -- what happens here ---------------------------------------------------------------------------

    def restore(self, manifests: list[Manifest], now: float) -> list[Effect]:
        """After a start: take up what the disk remembers and load the blocks that are ours."""
        return self._settle(self.upkeep.restore(manifests, now), now)

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        waiter = self.desk.settle(job)
        effects = [] if waiter is None else waiter.job_done(job, outcome, now)
        if isinstance(outcome, ShardDone) and outcome.wanted:
            effects = [*effects, *self.strengthening.wanted(outcome.wanted, now)]
        return [] if waiter is None and not effects else self._settle(effects, now)

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        waiter = self.desk.settle(job)
        return [] if waiter is None else self._settle(waiter.job_failed(job, error, now), now)

    def measured(self, rss_bytes: int, disk_free_bytes: int, now: float) -> list[Effect]:
        """The process's resident memory, and what the disk still takes."""
        self.ledger.memory_measured(rss_bytes, now)
        self.holding.disk_free_bytes = disk_free_bytes
        # What changed little is not told: gossip sees to that.
        return self._talked(self._describe(now), now)

    def tick(self, now: float) -> list[Effect]:
        effects = self.mesh.tick(now)
        if now < self._others_at:
            return self._talked(effects, now)
        for lease in self.ledger.expire(now):
            effects += self.upkeep.lapsed(lease)
        effects += self.tasks.tick(now)
        effects += self.upkeep.tick(now)
        effects += self.serving.tick(now)
        effects += self.tending.tick(now)
        effects += self.strengthening.tick(now)
        return self._settle(effects, now)

    # -- what tasks ask ------------------------------------------------------------------------------

    def candidates(self, version: WeightsVersion, now: float, *, analog: bool) -> list[Candidate]:
        return self.fleet.candidates(version, now, analog=analog)

    def capacities(self, only: tuple[str, ...], avoid: tuple[str, ...]) -> list[Capacity]:
        return self.fleet.capacities(only, avoid)

    def linked(self) -> list[NodeId]:
        return self.fleet.linked()

    @property
    def is_idle(self) -> bool:
        """Nobody waits for anything here."""
        return not (len(self.tasks) or self.serving.open or self.room.waiting)

    # -- within --------------------------------------------------------------------------------------

    def _settle(self, effects: list[Effect], now: float) -> list[Effect]:
        """After anything happened: forget ended tasks, act on new manifests, tell what changed."""
        effects = effects + self.room.serve(now)
        self.tasks.forget_ended(now)
        effects = effects + self.upkeep.act_on_news(now) + self.strengthening.settle(now)
        effects += self.mesh.gossip.catalogue_is(self.catalogue.digest, now)
        if self.holding.changes != self._told_changes:
            effects += self._describe(now)
        moments = (
            self.ledger.deadline,
            self.upkeep.deadline,
            self.serving.deadline,
            self.tasks.deadline,
            self.tending.deadline,
            self.strengthening.deadline,
        )
        self._others_at = min((at for at in moments if at is not None), default=NEVER)
        return self._talked(effects, now)

    def _talked(self, effects: list[Effect], now: float) -> list[Effect]:
        """Calls go out over their links; those whose link cannot be had come back to who waits for them."""
        effects = self.mesh.pass_on(effects, now)
        failed = self.mesh.linking.failed
        while failed:
            effects = effects + self.call_failed(*failed.pop(0), now)
        soonest = self.mesh.deadline
        if soonest is None or self._others_at < soonest:
            soonest = self._others_at if self._others_at < NEVER else None
        self.deadline = soonest
        return effects

    def _describe(self, now: float) -> list[Effect]:
        self._told_changes = self.holding.changes
        costs = self.memory.forecast_costs_s_mac(self.own, now)
        record = msgspec.structs.replace(
            self.mesh.own,
            device=self.holding.inventory.profile(self.mesh.own.device, costs, now),
            memory=self.ledger.digest(),
            load=self.serving.load(now),
            ready=self.holding.ready,
        )
        return self.mesh.describe(record, now)

    def _compare(self, peer: NodeId) -> list[Effect]:
        return self.catalogue.compare(peer, self.mesh.gossip.catalogue_of(peer))
