"""What people are told of the mesh: its weights and its nodes."""

from node.communication.exchange import Exchange
from node.execution.fleet import Fleet
from protocol.client import PeerView, WeightsView
from protocol.digests import NodeRecord
from protocol.messages import Manifest


def weights_view(manifest: Manifest, fleet: Fleet, now: float) -> WeightsView:
    head = manifest.head
    ready = {node for node in head.holders if fleet.ready(node, head.version, now)}
    holders: dict[str, int] = {}
    missing = 0
    for entry in manifest.entries:
        nodes = [head.holders[index] for index in entry.holders]
        missing += not ready & set(nodes)
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
        nbytes=4 * head.rows * head.columns,
        holders=holders,
        missing=missing,
    )


def held_here_alone(manifests: list[Manifest], fleet: Fleet) -> list[str]:
    """Names of the weights of which some block has no other holder in reach."""

    def is_alone(manifest: Manifest) -> bool:
        holders = manifest.head.holders
        for entry in manifest.entries:
            nodes = {holders[index] for index in entry.holders}
            if fleet.own in nodes and not any(map(fleet.reachable, nodes - {fleet.own})):
                return True
        return False

    return sorted(manifest.head.name for manifest in manifests if is_alone(manifest))


def peer_views(exchange: Exchange, fleet: Fleet, now: float) -> list[PeerView]:
    """All other nodes that this one has heard of."""
    return [_peer(record, exchange, fleet, now) for _, record in sorted(exchange.records.items())]


def _peer(record: NodeRecord, exchange: Exchange, fleet: Fleet, now: float) -> PeerView:
    linked = exchange.is_linked(record.id)
    why = exchange.why_apart(record.id)
    state = "connected" if linked else "left" if record.left else "lost" if why else "known"
    load = exchange.load(record.id)
    rtt_s = exchange.rtt_s.get(record.id)
    return PeerView(
        id=record.id,
        name=record.name,
        state=state,
        software=record.software,
        addresses=record.addresses,
        labels=record.labels,
        budget_bytes=record.memory.budget,
        free_bytes=fleet.free_bytes(record),
        rss_bytes=record.memory.rss,
        speed_macs_s=load.speed_macs_s,
        queue_s=max(load.queue_s - exchange.load_age_s(record.id, now), 0.0),
        in_flight=load.in_flight,
        rtt_ms=None if rtt_s is None or not linked else rtt_s * 1e3,
        age_s=now - exchange.changed_at.get(record.id, now),
        why=why,
    )
