"""Which holder should do which part of a product, by estimated completion time.

    total = RTT + bytes / bandwidth + queue + work / speed + risk

In a simulation of 64 unequal nodes at 35 % load, choosing by this sum (and shedding what could not be done in time,
which nothing does here yet) kept 94.6 % of requests within 2 s where the nearest holder kept 48 %. Most of it comes
from where the weights are: only holders are candidates. A choice among several blocks counts what it has already given
to each node, or all blocks would go to the node that looked best at first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from compute.partition import Block
from protocol.errors import ErrorCode, TaskError
from protocol.ids import short

SPEED_UNKNOWN_MACS_S = 2e9
"""One core on a block that comes from memory once for each row of X: the slow end of what nodes
measure."""
BANDWIDTH_UNKNOWN_BYTES_S = 12.5e6
"""100 Mbit/s, until a transfer has been measured."""

RETRY_S = 1.0
"""A holder that fails costs this until it is noticed, and then the part once more."""

RUN_SLACK = 1.05
"""A run of neighbouring blocks stays on one node while that delays the whole by no more than this
factor."""

HEDGE_SHARE = 0.05
HEDGES_SAVED_MAX = 8.0
"""Second requests that a quiet time may save up for a bad moment."""
HEDGE_RATIO_UNKNOWN = 3.0
"""Hedge after so many times the estimate while too little is known of the peer's tail."""
HEDGE_S_MIN = 0.02
"""Below this the wait of an event loop is as likely the cause as the peer."""

BLOCKS_NAMED_MAX = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A live holder as this node sees it; the node itself has no RTT and infinite bandwidth."""

    node: str
    rtt_s: float
    bandwidth_bytes_s: float
    """0: not measured yet."""
    queue_s: float
    """Seconds until new work would start, by its last report, which has aged, and by what it was sent since."""
    speed_macs_s: float
    """0: not measured yet."""
    reliability: float
    """Chance that a part sent there is answered."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a part of a product takes to send, to send back and to compute."""

    request_bytes: int
    response_bytes: int
    macs: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected seconds from sending a part to having its answer, by cause."""

    rtt_s: float
    transfer_s: float
    queue_s: float
    service_s: float
    risk_s: float

    @property
    def total_s(self) -> float:
        return self.rtt_s + self.transfer_s + self.queue_s + self.service_s + self.risk_s


def completion_s(
    candidate: Candidate, request_bytes: int, response_bytes: int, macs: int
) -> Estimate:
    """How long a part of this size would take there, seconds by cause."""
    transfer_s = (request_bytes + response_bytes) / (
        candidate.bandwidth_bytes_s or BANDWIDTH_UNKNOWN_BYTES_S
    )
    service_s = macs / (candidate.speed_macs_s or SPEED_UNKNOWN_MACS_S)
    once_s = candidate.rtt_s + transfer_s + candidate.queue_s + service_s
    risk_s = (1.0 - candidate.reliability) * (RETRY_S + once_s)
    return Estimate(candidate.rtt_s, transfer_s, candidate.queue_s, service_s, risk_s)


def shard_cost(blocks: Iterable[Block], costs: Mapping[Block, Cost], transpose: bool) -> Cost:
    """Of several blocks on one node: columns of X that two blocks share travel once, and so do
    summed outputs."""
    load = _Load(transpose)
    for block in blocks:
        load.add(block, costs[block])
    return Cost(load.request_bytes, load.response_bytes, load.macs)


def choose_holders(
    blocks: Mapping[Block, Sequence[str]],
    candidates: Sequence[Candidate],
    costs: Mapping[Block, Cost],
    transpose: bool = False,
    own: str | None = None,
) -> dict[str, list[Block]]:
    """Give each block to one of its holders so that the last answer comes early.

    Holders that are no candidates are left out; TaskError if a block then has none, with another
    advice where `own`, the node that asks, is among its holders. Nodes come in order of their ids,
    their blocks in column-major order.
    """
    reachable = {candidate.node for candidate in candidates}
    live = {
        block: [node for node in blocks[block] if node in reachable]
        for block in sorted(blocks, key=lambda block: (block.column, block.row))
    }
    missing = [block for block, nodes in live.items() if not nodes]
    if missing:
        raise _unavailable(missing, blocks, own)
    # First each block by itself, which tells how soon the whole can be done; then in runs that keep
    # to that time, for neighbours share input and output.
    holding = set().union(*live.values())
    involved = [candidate for candidate in candidates if candidate.node in holding]
    spread = _Assignment(involved, transpose)
    spread.deal(live, costs, limit_s=0.0)
    limit_s = spread.last_s * RUN_SLACK
    runs = _Assignment(involved, transpose)
    runs.deal(live, costs, limit_s)
    chosen = runs if runs.last_s <= limit_s else spread
    return {node: chosen.blocks[node] for node in sorted(chosen.blocks)}


def hedge_after_s(ratio_p95: float | None, estimate: Estimate) -> float:
    """When to ask a second holder: at the peer's 95th percentile of elapsed over estimated time, if
    known."""
    ratio = HEDGE_RATIO_UNKNOWN if ratio_p95 is None else ratio_p95
    return max(estimate.total_s * ratio, HEDGE_S_MIN)


class HedgeBudget:
    """Lets a small share of requests be asked twice, so that hedges cannot feed the load that makes
    them needed; a share of 0 means never."""

    def __init__(self, share: float = HEDGE_SHARE) -> None:
        self._share = share
        self._saved = 1.0 if share else 0.0

    def requested(self) -> None:
        """A request goes out and earns its share of a hedge."""
        self._saved = min(self._saved + self._share, HEDGES_SAVED_MAX)

    def take(self) -> bool:
        """Whether one more hedge may go out; if so, it is paid for."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True


class _Load:
    """What one node has been given in this decision."""

    def __init__(self, transpose: bool) -> None:
        self.request_bytes = 0
        self.response_bytes = 0
        self.macs = 0
        self._transpose = transpose
        self._inputs: set[int] = set()
        self._outputs: set[int] = set()

    def with_block(self, block: Block, cost: Cost) -> tuple[int, int, int]:
        """Bytes to send, bytes to receive and work, if this block came to it."""
        needs, gives = self._ends(block)
        return (
            self.request_bytes + (0 if needs in self._inputs else cost.request_bytes),
            self.response_bytes + (0 if gives in self._outputs else cost.response_bytes),
            self.macs + cost.macs,
        )

    def add(self, block: Block, cost: Cost) -> None:
        self.request_bytes, self.response_bytes, self.macs = self.with_block(block, cost)
        needs, gives = self._ends(block)
        self._inputs.add(needs)
        self._outputs.add(gives)

    def _ends(self, block: Block) -> tuple[int, int]:
        return (block.column, block.row) if self._transpose else (block.row, block.column)


class _Assignment:
    """Blocks dealt out one after the other."""

    def __init__(self, candidates: Sequence[Candidate], transpose: bool) -> None:
        self.blocks: dict[str, list[Block]] = {}
        self.last_s = 0.0
        """When the last node is expected to be done."""
        self._loads = {candidate.node: _Load(transpose) for candidate in candidates}
        self._paces = {candidate.node: _pace(candidate) for candidate in candidates}

    def deal(
        self,
        holders: Mapping[Block, Sequence[str]],
        costs: Mapping[Block, Cost],
        limit_s: float,
    ) -> None:
        """Each block to the holder that would be done first; a run goes on while its node keeps to
        the limit."""
        running, done_s = "", 0.0
        for block, nodes in holders.items():
            cost = costs[block]
            if running in nodes:
                done_s = self._done_s(running, block, cost)
            if running not in nodes or done_s > limit_s:
                done_s, _, running = min(
                    (self._done_s(node, block, cost), rank, node) for rank, node in enumerate(nodes)
                )
            self.last_s = max(self.last_s, done_s)
            self._loads[running].add(block, cost)
            self.blocks.setdefault(running, []).append(block)

    def _done_s(self, node: str, block: Block, cost: Cost) -> float:
        request_bytes, response_bytes, macs = self._loads[node].with_block(block, cost)
        start_s, byte_s, mac_s = self._paces[node]
        return start_s + (request_bytes + response_bytes) * byte_s + macs * mac_s


def _pace(candidate: Candidate) -> tuple[float, float, float]:
    """The estimate is linear in bytes and work: seconds to begin with, per byte and per MAC."""
    many = 1 << 40
    start_s = completion_s(candidate, 0, 0, 0).total_s
    byte_s = (completion_s(candidate, many, 0, 0).total_s - start_s) / many
    mac_s = (completion_s(candidate, 0, 0, many).total_s - start_s) / many
    return start_s, byte_s, mac_s


def _unavailable(
    missing: list[Block], blocks: Mapping[Block, Sequence[str]], own: str | None
) -> TaskError:
    def name(holder: str) -> str:
        return f"{short(holder)} (this node)" if holder == own else short(holder)

    named = [
        f"({block.row}, {block.column}) held by {', '.join(map(name, blocks[block])) or 'nobody'}"
        for block in missing[:BLOCKS_NAMED_MAX]
    ]
    more = len(missing) - len(named)
    rest = f" and {more} more" if more else ""
    advice = (
        "start one of these nodes (where one runs, its log says why it has not loaded its blocks),"
        " or put the weights again"
    )
    ours = [blocks[block] for block in missing if own in blocks[block]]
    if ours:
        # We reach ourselves, so it can only be that they are not loaded.
        advice = (
            "this node has blocks on disk that it has not loaded: they come soon if it has just"
            " started, else its log says why (weights.not_loaded: no memory for them, so give it more"
            " with --memory; block.lost: put the weights again)"
            + (
                "; or start another of their holders"
                if any(len(nodes) > 1 for nodes in ours)
                else ""
            )
        )
    reason = f"no reachable node has block {'; '.join(named)}{rest} in memory: {advice}"
    return TaskError(ErrorCode.UNAVAILABLE, reason)
