"""What people are told of the mesh: its weights and its nodes."""

import msgspec
from msgspec.structs import replace

from nat.findings import Finding, findings
from node.communication.mesh import Mesh
from node.communication.reach import Reach
from node.deployment.catalogue import Catalogue
from node.execution.fleet import Fleet
from node.execution.plans import plan_of_put, plan_of_weights
from node.execution.shards import VALUE_BYTES
from protocol.client import ArraysView, FindingView, PeerView, PlanRequest, PlanView, WeightsView
from protocol.digests import DeviceProfile, NodeRecord
from protocol.ids import NodeId
from protocol.members import Cause
from protocol.messages import Manifest


class Views:
    """Of one node. `backend` and `device` are those of weights whose put does not say."""

    def __init__(
        self, mesh: Mesh, fleet: Fleet, catalogue: Catalogue, backend: str, device: str
    ) -> None:
        self._mesh = mesh
        self._fleet = fleet
        self._catalogue = catalogue
        self.backend = backend
        self.device = device

    def weights(self, now: float) -> list[WeightsView]:
        return [self.of(manifest, now) for manifest in self._catalogue.living()]

    def of(self, manifest: Manifest, now: float) -> WeightsView:
        return weights_view(manifest, self._fleet, now)

    def peers(self, now: float) -> list[PeerView]:
        return peer_views(self._mesh, self._fleet, now)

    def plan(self, request: PlanRequest, now: float) -> PlanView:
        """Where a matrix would lie, or who would multiply by weights that stand."""
        if request.name is not None:
            manifest = self._catalogue.find(request.name)
            return plan_of_weights(manifest, request, self._fleet, now)
        full = replace(request, backend=request.backend or self.backend)
        return plan_of_put(full, self._fleet, self.device, now)


def weights_view(manifest: Manifest, fleet: Fleet, now: float) -> WeightsView:
    head = manifest.head
    ready = {node for node in head.holders if fleet.ready(node, head.version, now)}
    holders: dict[str, int] = {}
    missing = 0
    for entry in manifest.entries:
        nodes = manifest.holders(entry)
        missing += ready.isdisjoint(nodes)
        for node in nodes:
            holders[node] = holders.get(node, 0) + 1
    return WeightsView(
        name=head.name,
        version=str(head.version),
        shape=(head.rows, head.columns),
        dtype="float32",
        backend=head.backend,
        device=head.device,
        seed=head.seed,
        replicas=head.replicas,
        blocks=head.blocks,
        nbytes=head.rows * head.columns * VALUE_BYTES,
        holders=holders,
        missing=missing,
    )


def held_here_alone(manifests: list[Manifest], fleet: Fleet) -> list[str]:
    """Names of the weights of which some block has no other holder in reach."""

    def is_alone(manifest: Manifest) -> bool:
        for entry in manifest.entries:
            nodes = set(manifest.holders(entry))
            if fleet.own in nodes and not any(map(fleet.reachable, nodes - {fleet.own})):
                return True
        return False

    return sorted(manifest.head.name for manifest in manifests if is_alone(manifest))


def peer_views(mesh: Mesh, fleet: Fleet, now: float) -> list[PeerView]:
    """All other nodes that this one has heard of, those that are gone included."""
    known = {*mesh.membership.members, *mesh.membership.graves, *mesh.linked}
    return [_peer(peer, mesh, fleet, now) for peer in sorted(known)]


def reach_findings(reach: Reach) -> tuple[FindingView, ...]:
    """What a node knows of how others reach it."""
    found = findings(reach.knowledge, reach.proven, udp=reach.udp)
    return tuple(map(finding_view, found))


def arrays_view(device: DeviceProfile) -> ArraysView:
    costs = msgspec.structs.asdict(device.costs)
    return ArraysView(
        device=device.device,
        arrays=device.arrays,
        healthy=device.healthy,
        sigma=device.sigma,
        stuck=device.stuck,
        writes=device.writes,
        seconds_per_mac={regime: cost for regime, cost in costs.items() if cost},
    )


def finding_view(found: Finding) -> FindingView:
    return FindingView(what=found.what, means=found.means, fix=found.fix)


def _peer(peer: NodeId, mesh: Mesh, fleet: Fleet, now: float) -> PeerView:
    record = mesh.record(peer) or NodeRecord(id=peer, incarnation=0, version=0)
    load = mesh.gossip.load(peer)
    rtt_s = mesh.rtt_s(peer, now)
    cause = mesh.cause(peer)
    return PeerView(
        id=peer,
        name=record.name,
        state=_state(peer, mesh),
        software=record.software,
        addresses=mesh.addresses_of(peer),
        labels=record.labels,
        budget_bytes=record.memory.budget,
        free_bytes=fleet.free_bytes(record),
        rss_bytes=record.memory.rss,
        pressure=record.memory.pressure,
        speed_macs_s=load.speed_macs_s,
        queue_s=max(load.queue_s - mesh.gossip.load_age_s(peer, now), 0.0),
        in_flight=load.in_flight,
        rtt_ms=None if rtt_s is None or cause is not None else rtt_s * 1e3,
        incarnation=mesh.incarnation_of(peer),
        reach="public" if record.public else record.reach,
        nat=record.nat,
        age_s=now - mesh.changed_at.get(peer, now),
        cause="" if cause is None else cause.value,
        why=mesh.linking.why_apart(peer),
        arrays=arrays_view(record.device),
    )


def _state(peer: NodeId, mesh: Mesh) -> str:
    cause = mesh.cause(peer)
    if cause is not None:
        return {Cause.LEFT: "left", Cause.STOPPED: "stopped"}.get(cause, "lost")
    if mesh.is_suspect(peer):
        return "suspect"
    return "connected" if mesh.is_linked(peer) else "known"
