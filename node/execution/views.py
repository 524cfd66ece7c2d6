"""What people are told of the mesh: its weights, its nodes, and where a matrix would lie."""

import math
from collections.abc import Mapping

from compute.backend import backend
from compute.device import DeviceError
from compute.partition import Block, BlockGrid
from node.communication.exchange import Exchange
from node.communication.scoring import Candidate
from node.deployment.placement import Capacity, place
from node.deployment.units import fit, units
from node.execution.dealing import estimate_s
from node.execution.fleet import Fleet
from node.execution.shards import Sides
from protocol.client import PeerView, PlanRequest, PlanShare, PlanView, WeightsView
from protocol.digests import NodeRecord
from protocol.errors import ErrorCode, TaskError
from protocol.ids import NodeId, short
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


def plan_view(
    request: PlanRequest, standing: Manifest | None, exchange: Exchange, fleet: Fleet, device: str
) -> PlanView:
    """Where a matrix would lie, or why it would not fit. TaskError for a request that says nothing.

    `standing` are the weights under the request's name; the request's backend is resolved already.
    """
    if standing is not None:
        rows, columns = standing.head.rows, standing.head.columns
    elif request.rows is not None and request.columns is not None:
        rows, columns = request.rows, request.columns
    else:
        raise TaskError(ErrorCode.BAD_REQUEST, "say which: name, or rows and columns")
    assert request.backend is not None
    device = "" if request.backend == "digital" else device
    try:
        backend(request.backend, device or None, 0)
    except (DeviceError, ValueError) as wrong:
        raise TaskError(ErrorCode.BAD_REQUEST, str(wrong)) from wrong
    grid = BlockGrid(rows, columns)
    blocks = units(grid, request.backend, device, 0)
    capacities = fleet.capacities(request.only, request.avoid)
    fits, reason = True, ""
    shares: tuple[PlanShare, ...] = ()
    holders: Mapping[Block, tuple[str, ...]] = {} if standing is None else _holders(standing)
    try:
        placement = place(blocks, capacities, request.replicas)
        holders = holders or placement.holders
        costs = {unit.block: unit.resident_bytes for unit in blocks}
        shares = tuple(
            _share(capacity, [costs[b] for b in placement.of(capacity.node)], exchange)
            for capacity in capacities
        )
    except TaskError as refused:
        fits, reason = False, refused.info.reason
    return PlanView(
        fits=fits,
        reason=reason,
        shape=(rows, columns),
        replicas=request.replicas,
        need=sum(unit.resident_bytes for unit in blocks) * request.replicas,
        free=sum(capacity.free_bytes for capacity in capacities),
        nearest_fit=fit(grid, blocks, capacities, request.replicas),
        shares=shares,
        seconds=_seconds(holders, Sides(grid, False), request.m, exchange),
    )


def _holders(manifest: Manifest) -> dict[Block, tuple[str, ...]]:
    head = manifest.head
    blocks = BlockGrid(head.rows, head.columns).blocks()
    return {
        block: tuple(head.holders[index] for index in entry.holders)
        for block, entry in zip(blocks, manifest.entries, strict=True)
    }


def _seconds(
    holders: Mapping[Block, tuple[str, ...]], sides: Sides, m: int, exchange: Exchange
) -> float | None:
    """Of a product with nothing else under way; None where nobody can do it, or nobody's speed is known."""
    speeds = {node: exchange.load(node).speed_macs_s for node in exchange.linked}
    speeds[exchange.own.id] = exchange.own.load.speed_macs_s
    reachable = [[node for node in nodes if node in speeds] for nodes in holders.values()]
    if not all(reachable) or not any(speeds[NodeId(n)] for nodes in reachable for n in nodes):
        return None
    candidates = [_idle(node, speed_macs_s, exchange) for node, speed_macs_s in speeds.items()]
    return estimate_s(holders, candidates, sides, m)


def _idle(node: NodeId, speed_macs_s: float, exchange: Exchange) -> Candidate:
    own = node == exchange.own.id
    return Candidate(
        node,
        rtt_s=0.0 if own else exchange.rtt_s.get(node, 0.0),
        bandwidth_bytes_s=math.inf if own else 0.0,
        queue_s=0.0,
        reported_age_s=0.0,
        speed_macs_s=speed_macs_s,
        reliability=1.0,
    )


def _share(capacity: Capacity, costs: list[int], exchange: Exchange) -> PlanShare:
    records = {exchange.own.id: exchange.own, **exchange.records}
    record = next((r for node, r in records.items() if node == capacity.node), None)
    return PlanShare(
        node=capacity.node,
        name=record.name if record is not None and record.name else short(capacity.node),
        blocks=len(costs),
        nbytes=sum(costs),
        free_bytes=capacity.free_bytes,
    )
