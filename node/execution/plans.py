"""What would happen, before it does: where a matrix would lie, and how long a product would take."""

from collections.abc import Mapping, Sequence

from compute.partition import Block, BlockGrid
from node.deployment.devices import device_text
from node.deployment.placement import place
from node.deployment.units import fit, units
from node.execution.dealing import estimate_s
from node.execution.fleet import Fleet
from node.execution.shards import Sides
from protocol.client import PlanRequest, PlanShare, PlanView
from protocol.errors import ErrorCode, TaskError
from protocol.ids import NodeId, short
from protocol.messages import Manifest

Holders = Mapping[Block, tuple[str, ...]]


def plan_of_put(request: PlanRequest, fleet: Fleet, device: str, now: float) -> PlanView:
    """Where a matrix would lie, or why it would not fit. The request names its backend; `device` is where it has none.

    TaskError for a request that says nothing, or names a backend or device that does not exist.
    """
    if request.rows is None or request.columns is None:
        raise TaskError(ErrorCode.BAD_REQUEST, "say which: name, or rows and columns")
    assert request.backend is not None
    device = device_text(request.backend, request.device, device)
    grid = BlockGrid(request.rows, request.columns)
    blocks = units(grid, request.backend, device, 0)
    capacities = fleet.capacities(request.only, request.avoid)
    fits, reason, seconds = True, "", None
    shares: tuple[PlanShare, ...] = ()
    try:
        placement = place(blocks, capacities, request.replicas)
    except TaskError as refused:
        fits, reason = False, refused.info.reason
    else:
        costs = {unit.block: unit.resident_bytes for unit in blocks}
        shares = tuple(
            _share(fleet, capacity.node, [costs[b] for b in placement.of(capacity.node)])
            for capacity in capacities
        )
        seconds = _seconds(placement.holders, grid, request.m, fleet, now)
    return PlanView(
        fits=fits,
        reason=reason,
        shape=(request.rows, request.columns),
        replicas=request.replicas,
        need=sum(unit.resident_bytes for unit in blocks) * request.replicas,
        free=sum(capacity.free_bytes for capacity in capacities),
        nearest_fit=fit(grid, blocks, capacities, request.replicas),
        shares=shares,
        seconds=seconds,
    )


def plan_of_weights(manifest: Manifest, request: PlanRequest, fleet: Fleet, now: float) -> PlanView:
    """Who would multiply by weights that stand, and how long it would take."""
    head = manifest.head
    grid = BlockGrid(head.rows, head.columns)
    blocks = units(grid, head.backend, head.device, head.seed)
    costs = {unit.block: unit.resident_bytes for unit in blocks}
    holders: Holders = {
        block: manifest.holders(entry)
        for block, entry in zip(grid.blocks(), manifest.entries, strict=True)
    }
    ready = {node for node in head.holders if fleet.ready(node, head.version, now)}
    orphans = sum(not ready & set(nodes) for nodes in holders.values())
    held = {
        node: [costs[block] for block, nodes in holders.items() if node in nodes]
        for node in head.holders
    }
    capacities = fleet.capacities(request.only, request.avoid)
    return PlanView(
        name=head.name,
        fits=not orphans,
        reason=f"{orphans} of {len(holders)} blocks have no holder in reach" if orphans else "",
        shape=(head.rows, head.columns),
        replicas=head.replicas,
        need=sum(map(sum, held.values())),
        free=sum(capacity.free_bytes for capacity in capacities),
        nearest_fit=fit(grid, blocks, capacities, head.replicas),
        shares=tuple(_share(fleet, node, sizes) for node, sizes in held.items()),
        seconds=_seconds(holders, grid, request.m, fleet, now),
    )


def _seconds(holders: Holders, grid: BlockGrid, m: int, fleet: Fleet, now: float) -> float | None:
    """Of a product that begins now; None where nobody can do it, or nobody's speed is known."""
    candidates = fleet.everybody(now)
    known = {candidate.node for candidate in candidates if candidate.speed_macs_s}
    live = {candidate.node for candidate in candidates}
    if not all(live & set(nodes) for nodes in holders.values()):
        return None
    if not any(known & set(nodes) for nodes in holders.values()):
        return None
    return estimate_s(holders, candidates, Sides(grid, False), m)


def _share(fleet: Fleet, node: str, sizes: Sequence[int]) -> PlanShare:
    record = fleet.record(NodeId(node))
    return PlanShare(
        node=node,
        name=record.name if record is not None and record.name else short(node),
        blocks=len(sizes),
        nbytes=sum(sizes),
        free_bytes=0 if record is None else fleet.free_bytes(record),
    )
