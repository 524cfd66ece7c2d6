"""The mesh as tasks see it: who may hold new weights, who can multiply by those that are there.

What the mesh knows of its members, what was measured (`ShortTerm`) and what we have sent them ourselves come together
here; the choice is made by `policies` and `placement`.
"""

from collections.abc import Callable
from dataclasses import replace
from math import inf

from node.communication.mesh import Mesh
from node.communication.outstanding import Outstanding
from node.communication.scoring import Candidate
from node.deployment.catalogue import Catalogue
from node.deployment.holding import Holding
from node.deployment.ledger import Ledger
from node.deployment.placement import Capacity
from node.memory.short_term import ShortTerm
from protocol.digests import NodeRecord, WeightsVersion
from protocol.ids import NodeId
from protocol.paths import PathKind

RTT_UNKNOWN_S = 0.1
"""Of a node that has never answered us: far enough that a known one is preferred."""

FRESH_S = 5.0
"""A manifest is published when all holders have all their blocks, but their records say so a moment later: for this
time a holder that was linked before counts as ready."""

SPEED_MACS_S_MIN = 1e3
"""Nobody is slower. By a told 1e-300 no time is a number any more, and those never measured would be taken to be
like it."""

COLD_S = 1.0
"""What a block that is still loaded from disk costs, roughly: 256 MiB come in less than a second."""
LOADING_S_MAX = 30.0
"""A node that lacks blocks so long after it came has no memory for them."""


class Fleet:
    """This node and the peers that it can ask: those it is linked to, and in a large mesh those it would dial."""

    def __init__(
        self,
        mesh: Mesh,
        memory: ShortTerm,
        outstanding: Outstanding,
        ledger: Ledger,
        holding: Holding,
        catalogue: Catalogue,
    ) -> None:
        self._mesh = mesh
        self._memory = memory
        self._outstanding = outstanding
        self._ledger = ledger
        self._holding = holding
        self._catalogue = catalogue
        self.backlog_s: Callable[[float], float] = lambda now: 0.0
        """Seconds of others' work that waits here: whoever serves them says so."""
        self.silent_s: Callable[[str, float, float], float] = lambda node, rtt_s, now: 0.0
        """How long a peer has been silent: whoever probes it says so."""
        self._linked_at: dict[NodeId, float] = {}
        self._relayed: set[NodeId] = set()
        """To whom the link runs by way of a relay."""
        self._learnt_at: dict[WeightsVersion, float] = {}

    def link_up(self, peer: NodeId, now: float) -> None:
        self._linked_at[peer] = now

    def link_down(self, peer: NodeId) -> None:
        self._linked_at.pop(peer, None)
        self._relayed.discard(peer)

    def path_is(self, peer: NodeId, kind: PathKind) -> None:
        """What carries the link to it now."""
        if kind is PathKind.RELAY:
            self._relayed.add(peer)
        else:
            self._relayed.discard(peer)

    def learnt(self, version: WeightsVersion, now: float) -> None:
        """A manifest has come."""
        self._learnt_at = {known: at for known, at in self._learnt_at.items() if now - at < FRESH_S}
        self._learnt_at[version] = now

    # -- what tasks ask ------------------------------------------------------------------------------

    @property
    def own(self) -> NodeId:
        return self._mesh.id

    def linked(self) -> list[NodeId]:
        return self._mesh.linked

    def reachable(self, node: NodeId) -> bool:
        return node == self.own or self._mesh.within_reach(node)

    def ready(self, node: NodeId, version: WeightsVersion, now: float) -> bool:
        """Whether the node can be asked now to multiply by its blocks of this version."""
        if node == self.own:
            return version in self._holding.ready
        if not self._mesh.within_reach(node):
            return False
        record = self._mesh.record(node)
        if record is not None and version in record.ready:
            return True
        learnt_at = self._learnt_at.get(version, -inf)
        return now - learnt_at < FRESH_S and self._linked_at.get(node, inf) <= learnt_at

    def candidates(
        self, version: WeightsVersion, now: float, *, analog: bool = False
    ) -> list[Candidate]:
        """Live nodes that have all their blocks of this version in memory, and those that seem to be loading them."""
        found = []
        for node in self._catalogue.holders(version):
            if self.ready(node, version, now):
                found.append(self._candidate(node, now, analog))
            elif self._came_lately(node, now):
                found.append(replace(self._candidate(node, now, analog), cold_s=COLD_S))
        return found

    def everybody(self, now: float) -> list[Candidate]:
        """All live nodes, as if each held what is asked of it."""
        return [self._candidate(node, now, False) for node in (self.own, *self._mesh.reachable())]

    def record(self, node: NodeId) -> NodeRecord | None:
        """What a node has told of itself."""
        return self._mesh.record(node)

    def capacities(self, only: tuple[str, ...], avoid: tuple[str, ...]) -> list[Capacity]:
        """Nodes that may hold new weights, with what they can take."""
        known = [self._mesh.record(peer) for peer in self._mesh.reachable()]
        records = [self._mesh.own, *(record for record in known if record is not None)]
        return [
            Capacity(record.id, self.free_bytes(record))
            for record in records
            if set(only) <= set(record.labels) and not set(avoid) & set(record.labels)
        ]

    def free_bytes(self, record: NodeRecord) -> int:
        if record.id == self.own:
            return self._holding.room_bytes
        return self._mesh.gossip.load(record.id).free

    # -- within --------------------------------------------------------------------------------------

    def _came_lately(self, node: NodeId, now: float) -> bool:
        """So it may be loading what lies on its disk; one that has been there for longer lacks the memory."""
        at = self._linked_at.get(node, -inf)
        return now - at < LOADING_S_MAX and self._mesh.is_linked(node)

    def _candidate(self, node: NodeId, now: float, analog: bool) -> Candidate:
        speed_macs_s = self._memory.forecast_speed_macs_s(node, now, analog=analog) or 0.0
        if node == self.own:
            return self._ourselves(speed_macs_s, now)
        return self._peer(node, speed_macs_s, now, analog)

    def _ourselves(self, speed_macs_s: float, now: float) -> Candidate:
        own, outstanding = self.own, self._outstanding
        others_s = self.backlog_s(now)
        ours_s = outstanding.queue_s(own, now, told_s=0.0, told_at=-inf, rtt_s=0.0)
        return Candidate(
            own,
            0.0,
            inf,
            others_s + ours_s,
            speed_macs_s,
            self._memory.forecast_reliability(own, now),
            told_s=others_s,
            ours=outstanding.count(own),
            workers=self._mesh.own.device.workers or 1,
        )

    def _peer(self, node: NodeId, speed_macs_s: float, now: float, analog: bool) -> Candidate:
        memory, outstanding = self._memory, self._outstanding
        gossip = self._mesh.gossip
        load, age_s = gossip.load(node), gossip.load_age_s(node, now)
        measured_s = self._mesh.rtt_s(node, now)
        rtt_s = RTT_UNKNOWN_S if measured_s is None else measured_s
        told_at = now - age_s
        told_macs_s = load.analog_macs_s if analog else load.speed_macs_s
        record = self._mesh.record(node)
        return Candidate(
            node,
            rtt_s,
            memory.forecast_bandwidth_bytes_s(node, now) or 0.0,
            outstanding.queue_s(node, now, told_s=load.queue_s, told_at=told_at, rtt_s=rtt_s),
            speed_macs_s or (max(told_macs_s, SPEED_MACS_S_MIN) if told_macs_s else 0.0),
            memory.forecast_reliability(node, now),
            silent_s=self.silent_s(node, rtt_s, now),
            told_s=load.queue_s,
            told_in_flight=load.in_flight,
            age_s=age_s,
            ours=outstanding.count(node),
            workers=1 if record is None else record.device.workers or 1,
            relayed=node in self._relayed,
        )
