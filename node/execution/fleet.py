"""The mesh as tasks see it: who may hold new weights, who can multiply by those that are there.

What the mesh knows of its members, what was measured (`ShortTerm`) and what we have sent them ourselves come together
here; the choice is made by `scoring` and `placement`.
"""

from math import inf

from node.communication.mesh import Mesh
from node.communication.outstanding import Outstanding
from node.communication.scoring import SPEED_UNKNOWN_MACS_S, Candidate
from node.deployment.catalogue import Catalogue
from node.deployment.holding import Holding
from node.deployment.ledger import Ledger
from node.deployment.placement import Capacity
from node.memory.short_term import ShortTerm
from protocol.digests import NodeRecord, WeightsVersion
from protocol.ids import NodeId

RTT_UNKNOWN_S = 0.1
"""Of a node that has never answered us: far enough that a known one is preferred."""

FRESH_S = 5.0
"""A manifest is published when all holders have all their blocks, but their records say so a moment later: for this
time a holder that was linked before counts as ready."""


class Fleet:
    """This node and its linked peers."""

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
        self._linked_at: dict[NodeId, float] = {}
        self._learnt_at: dict[WeightsVersion, float] = {}

    def link_up(self, peer: NodeId, now: float) -> None:
        self._linked_at[peer] = now

    def link_down(self, peer: NodeId) -> None:
        self._linked_at.pop(peer, None)

    def learnt(self, version: WeightsVersion, now: float) -> None:
        """A manifest has come."""
        self._learnt_at = {v: at for v, at in self._learnt_at.items() if now - at < FRESH_S}
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
        learnt_at = self._learnt_at.get(version)
        fresh = learnt_at is not None and now - learnt_at < FRESH_S
        return fresh and learnt_at is not None and self._linked_at.get(node, inf) <= learnt_at

    def candidates(self, version: WeightsVersion, now: float) -> list[Candidate]:
        """Live nodes that have all their blocks of this version in memory."""
        nodes = self._catalogue.holders(version)
        return [self._candidate(node, now) for node in nodes if self.ready(node, version, now)]

    def everybody(self, now: float) -> list[Candidate]:
        """All live nodes, as if each held what is asked of it."""
        return [self._candidate(node, now) for node in (self.own, *self._mesh.reachable())]

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

    def _candidate(self, node: NodeId, now: float) -> Candidate:
        reliability = self._memory.forecast_reliability(node, now)
        speed = self._memory.forecast_speed_macs_s(node, now) or 0.0
        ours_s = self._outstanding.macs(node) / (speed or SPEED_UNKNOWN_MACS_S)
        if node == self.own:
            return Candidate(node, 0.0, float("inf"), ours_s, speed, reliability)
        gossip = self._mesh.gossip
        load, age_s = gossip.load(node), gossip.load_age_s(node, now)
        # A queue reported a while ago has been worked off since. What we sent may or may not be in the
        # report already: the larger of the two holds.
        queue_s = max(load.queue_s - age_s, ours_s)
        rtt_s = self._mesh.rtt_s(node, now)
        return Candidate(
            node,
            RTT_UNKNOWN_S if rtt_s is None else rtt_s,
            self._memory.forecast_bandwidth_bytes_s(node, now) or 0.0,
            queue_s,
            speed or load.speed_macs_s,
            reliability,
        )
