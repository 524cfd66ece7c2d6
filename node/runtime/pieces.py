"""Cuts a shard for several threads, and adds up what they report.

Blocks that add to the same output stay together, in their order, so that no two threads write to one place and the
sums come out the same, bit for bit, however many threads there are.
"""

from dataclasses import dataclass

from node.execution.shards import threads_worth
from node.work import RunShard, ShardBlock, ShardDone

Share = float | None


@dataclass(frozen=True, slots=True)
class Piece:
    """What one thread does of a shard; each block has its own share of the error."""

    work: RunShard
    blocks: tuple[tuple[ShardBlock, Share], ...]


def cut(work: RunShard, shares: list[Share], workers: int) -> list[Piece]:
    """At most `workers` pieces of about the same work; one if there is little to do."""
    groups: dict[int, list[tuple[ShardBlock, Share]]] = {}
    for placed, share in zip(work.blocks, shares, strict=True):
        groups.setdefault(placed.output_offset, []).append((placed, share))
    count = pieces_max(work, workers)
    piles: list[list[tuple[ShardBlock, Share]]] = [[] for _ in range(count)]
    loads = [0] * count
    for group in sorted(groups.values(), key=lambda group: -_macs(work.m, group)):
        least = loads.index(min(loads))
        piles[least] += group
        loads[least] += _macs(work.m, group)
    return [Piece(work, tuple(pile)) for pile in piles if pile]


def pieces_max(work: RunShard, workers: int) -> int:
    """Into how many pieces it can be worth cutting this shard."""
    outputs = len({placed.output_offset for placed in work.blocks})
    macs = sum(work.m * placed.input_width * placed.output_width for placed in work.blocks)
    return threads_worth(outputs, macs, workers)


def whole(done: list[ShardDone]) -> ShardDone:
    """The pieces ran side by side: their work adds up, the longest tells the time."""
    regimes = {regime for one in done for regime in one.regime.split("+")}
    return ShardDone(
        analog_macs=sum(one.analog_macs for one in done),
        digital_macs=sum(one.digital_macs for one in done),
        busy_s=max(one.busy_s for one in done),
        energy_j=sum(one.energy_j for one in done),
        latency_s=max(one.latency_s for one in done),
        reads=sum(one.reads for one in done),
        regime="+".join(sorted(regimes)),
        wanted=tuple(wish for one in done for wish in one.wanted),
    )


def _macs(m: int, group: list[tuple[ShardBlock, Share]]) -> int:
    return sum(m * placed.input_width * placed.output_width for placed, _ in group)
