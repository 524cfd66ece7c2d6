"""Which node holds which block of a matrix: whole blocks, in proportion to free memory, replicas on
distinct nodes.

Lay the copies of all blocks on one line, first every block once, then every block again, and cut
the line into one segment per node. A segment no longer than the number of blocks holds no block
twice, so replicas lie on distinct nodes (McNaughton's wrap-around rule), and each node gets a run
of neighbouring blocks. Segment lengths are in proportion to free bytes, rounded by the largest
remainder.

The line counts every block as large as the largest. Where that is too coarse, because blocks at the
edge are smaller and the room is tight, blocks are packed one by one, the largest first; and a small
matrix is searched exhaustively before it is refused.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from compute.partition import Block
from protocol.errors import ErrorCode, TaskError
from protocol.limits import REPLICAS_MAX
from protocol.quantities import size_text

GROWTH_BYTES = 2 * 1024 * 1024
"""By so much a node's own memory may grow between a refusal and the next try."""
SEARCH_UNITS_MAX = 24
SEARCH_STEPS_MAX = 4_000
"""Bounds of the exhaustive search, some 50 ms; beyond them a packing that only it would find is
refused."""


@dataclass(frozen=True, slots=True)
class BlockUnit:
    """One block to be placed and what it takes in its holder's memory."""

    block: Block
    resident_bytes: int
    payload_bytes: int | None = None
    """As float32; None: the same as it takes in memory, as on the digital backend."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one node can take."""

    node: str
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Placement:
    holders: dict[Block, tuple[str, ...]]
    """In column-major order of blocks; the first holder is the primary."""

    def of(self, node: str) -> list[Block]:
        """The blocks of one node, in column-major order."""
        return [block for block, holders in self.holders.items() if node in holders]


def place(units: Sequence[BlockUnit], capacities: Sequence[Capacity], replicas: int) -> Placement:
    """Place `replicas` copies of each block; TaskError with the nearest fit if they cannot be held.

    The result depends on what is given, not on its order; of equal nodes the lower id comes first.
    """
    assert units and all(unit.resident_bytes >= 1 for unit in units)
    assert len({unit.block for unit in units}) == len(units)
    assert len({capacity.node for capacity in capacities}) == len(capacities)
    if not 1 <= replicas <= REPLICAS_MAX:
        reason = f"replicas={replicas} is not possible; write a number from 1 to {REPLICAS_MAX}"
        raise TaskError(ErrorCode.BAD_REQUEST, reason)
    ordered = sorted(units, key=lambda unit: (unit.block.column, unit.block.row))
    fleet = sorted(capacities, key=lambda capacity: capacity.node)
    need = replicas * sum(unit.resident_bytes for unit in ordered)
    free = sum(max(capacity.free_bytes, 0) for capacity in fleet)
    held = _find(ordered, fleet, replicas) if need <= free else None
    if held is None:
        raise _refusal(ordered, fleet, replicas, need, free)
    return Placement({unit.block: held[unit.block] for unit in ordered})


def nearest_fit(
    capacities: Sequence[Capacity], unit_payload: int, unit_resident: int, replicas: int
) -> int:
    """The largest payload in bytes that would fit now and in a moment: whole blocks of this size,
    or one smaller block."""
    assert unit_payload >= 1 and unit_resident >= 1 and replicas >= 1
    free = sorted((_lasting(capacity.free_bytes) for capacity in capacities), reverse=True)
    if len(free) < replicas:
        return 0
    room = [nbytes // unit_resident for nbytes in free]
    # sum(min(room, blocks)) / blocks never grows with the number of blocks, so bisection finds the
    # last that fits.
    fits, fits_not = 0, sum(room) // replicas + 1
    while fits_not - fits > 1:
        blocks = (fits + fits_not) // 2
        if sum(min(one, blocks) for one in room) >= replicas * blocks:
            fits = blocks
        else:
            fits_not = blocks
    return fits * unit_payload or free[replicas - 1] * unit_payload // unit_resident


def _lasting(free_bytes: int) -> int:
    """Of what is free, what will still be when somebody has read how much that is."""
    grows = GROWTH_BYTES if free_bytes > 16 * GROWTH_BYTES else 0
    return max(free_bytes - grows, 0)


Holders = dict[Block, tuple[str, ...]]


def _find(units: Sequence[BlockUnit], fleet: Sequence[Capacity], replicas: int) -> Holders | None:
    held = _lay_on_line(units, fleet, replicas) or _pack(units, fleet, replicas)
    if held is None and len(units) <= SEARCH_UNITS_MAX:
        held = _Search(units, fleet, replicas).run()
    return held


def _lay_on_line(
    units: Sequence[BlockUnit], fleet: Sequence[Capacity], replicas: int
) -> Holders | None:
    largest = max(unit.resident_bytes for unit in units)
    counts = _quotas(fleet, largest, len(units), replicas)
    if counts is None:
        return None
    line = [
        capacity.node for capacity, count in zip(fleet, counts, strict=True) for _ in range(count)
    ]
    return {unit.block: tuple(line[at :: len(units)]) for at, unit in enumerate(units)}


def _quotas(
    fleet: Sequence[Capacity], unit_bytes: int, blocks: int, replicas: int
) -> list[int] | None:
    """How many blocks each node takes: in proportion to free bytes, but no more than fit and none
    twice."""
    free = [max(capacity.free_bytes, 0) for capacity in fleet]
    room = [min(nbytes // unit_bytes, blocks) for nbytes in free]
    left = replicas * blocks
    if sum(room) < left:
        return None
    counts = [0] * len(fleet)
    sharing = [index for index, most in enumerate(room) if most > 0]
    # Whose share would reach its limit is filled, which leaves more to the others, until none
    # reaches it any more.
    while full := _at_limit(sharing, free, room, left):
        for index in full:
            counts[index] = room[index]
        left -= sum(room[index] for index in full)
        sharing = [index for index in sharing if index not in full]
    for index, count in _shares(sharing, free, left):
        counts[index] = count
    return counts


def _at_limit(sharing: list[int], free: list[int], room: list[int], left: int) -> set[int]:
    total = sum(free[index] for index in sharing)
    return {index for index in sharing if left * free[index] >= room[index] * total}


def _shares(sharing: list[int], free: list[int], left: int) -> Iterator[tuple[int, int]]:
    """Largest remainder: everybody's share rounded down, and what is left over to the largest
    fractions."""
    total = sum(free[index] for index in sharing)
    by_fraction = sorted(sharing, key=lambda index: (-(left * free[index] % total), index))
    over = left - sum(left * free[index] // total for index in sharing)
    for rank, index in enumerate(by_fraction):
        yield index, left * free[index] // total + (1 if rank < over else 0)


def _pack(units: Sequence[BlockUnit], fleet: Sequence[Capacity], replicas: int) -> Holders | None:
    """The largest block first, each copy where most is left, which for equal blocks never fails
    needlessly."""
    roomiest = [(-capacity.free_bytes, capacity.node) for capacity in fleet]
    heapq.heapify(roomiest)
    held: Holders = {}
    for unit in sorted(units, key=_largest_first):
        chosen = [heapq.heappop(roomiest) for _ in range(min(replicas, len(roomiest)))]
        if len(chosen) < replicas or -chosen[-1][0] < unit.resident_bytes:
            return None
        for taken, node in chosen:
            heapq.heappush(roomiest, (taken + unit.resident_bytes, node))
        held[unit.block] = tuple(node for _, node in chosen)
    return held


class _Search:
    """Tries every way to pack, the largest block first, and gives up after a bounded number of
    steps."""

    def __init__(
        self, units: Sequence[BlockUnit], fleet: Sequence[Capacity], replicas: int
    ) -> None:
        self._units = sorted(units, key=_largest_first)
        self._left = {capacity.node: capacity.free_bytes for capacity in fleet}
        self._replicas = replicas
        self._held: Holders = {}
        self._dead_ends: set[tuple[int, tuple[int, ...]]] = set()
        self._steps = 0

    def run(self) -> Holders | None:
        return self._held if self._fill(0) else None

    def _fill(self, at: int) -> bool:
        """Place the units from `at` on."""
        if at == len(self._units):
            return True
        # Nodes with equal room are alike, so a state is known by its amounts alone.
        state = (at, tuple(sorted(self._left.values())))
        if state in self._dead_ends:
            return False
        unit = self._units[at]
        for chosen in self._choices(unit.resident_bytes):
            if self._try(unit, chosen, at):
                return True
        self._dead_ends.add(state)
        return False

    def _try(self, unit: BlockUnit, chosen: tuple[str, ...], at: int) -> bool:
        for node in chosen:
            self._left[node] -= unit.resident_bytes
        self._held[unit.block] = chosen
        if self._fill(at + 1):
            return True
        del self._held[unit.block]
        for node in chosen:
            self._left[node] += unit.resident_bytes
        return False

    def _choices(self, nbytes: int) -> Iterator[tuple[str, ...]]:
        """Sets of nodes that can take a block, the tightest first; of sets alike in room only
        one."""
        able = sorted((free, node) for node, free in self._left.items() if free >= nbytes)
        tried: set[tuple[int, ...]] = set()
        for chosen in combinations(able, self._replicas):
            self._steps += 1
            if self._steps > SEARCH_STEPS_MAX:
                return
            rooms = tuple(free for free, _ in chosen)
            if rooms not in tried:
                tried.add(rooms)
                yield tuple(node for _, node in chosen)


def _largest_first(unit: BlockUnit) -> tuple[int, int, int]:
    return -unit.resident_bytes, unit.block.column, unit.block.row


def _refusal(
    units: Sequence[BlockUnit], fleet: Sequence[Capacity], replicas: int, need: int, free: int
) -> TaskError:
    largest = min(units, key=_largest_first)
    payload = largest.payload_bytes or largest.resident_bytes
    fit = nearest_fit(fleet, payload, largest.resident_bytes, replicas)
    copies = "1 copy" if replicas == 1 else f"{replicas} copies"
    if len(fleet) < replicas:
        needs = "needs a node" if replicas == 1 else "need as many nodes"
        there = {0: "there is none", 1: "there is 1"}.get(len(fleet), f"there are {len(fleet)}")
        fewer = f", or ask for replicas={len(fleet)}" if fleet else ""
        reason = (
            f"{copies} of each block {needs} that may take it, and {there}; let more nodes join,"
            f" or relax the labels asked for with only and avoid{fewer}"
        )
    else:
        nodes = "1 node has" if len(fleet) == 1 else f"{len(fleet)} nodes have"
        apart = " in all, but none of them enough for another block" if need <= free else ""
        takes = "takes" if replicas == 1 else "take"
        blocks = "1 block" if len(units) == 1 else f"{len(units)} blocks"
        reason = (
            f"{copies} of {blocks} {takes} {size_text(need)}, and {nodes} {size_text(free)} free{apart};"
            f" at most {size_text(fit)} of weights fit now"
        )
    return TaskError(ErrorCode.NO_ROOM, reason, need=need, free=free, nearest_fit=fit)
