"""Which holder does which blocks, by estimated completion time: here, whole on one peer, or split.

Splitting makes others work for what one could do alone, and small layers lose by it; one node alone is slow for what
is large. So both are reckoned and the quicker is taken. A choice among several blocks counts what it has already given
to each node, or all blocks would go to the node that looked best at first. Between two that are nearly as good, dice
take the second now and then: many nodes that see the same reports would otherwise all run to the same peer.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from compute.partition import Block
from node.communication.scoring import (
    Candidate,
    Cost,
    Estimate,
    Load,
    Pace,
    completion_s,
    shard_cost,
)
from protocol.errors import ErrorCode, TaskError
from protocol.ids import short

RUN_SLACK = 1.05
"""A run of neighbouring blocks stays on one node while that delays the whole by no more than this
factor."""
NEAR = 1.10
"""The second best may be taken when it is expected to take no more than so many times the best."""
SECOND_CHANCE = 0.4
"""How often it is."""
BLOCKS_NAMED_MAX = 3


@dataclass(frozen=True, slots=True)
class Query:
    """A product, or a part of one, that has to be dealt: who can do it, and what it costs."""

    holders: Mapping[Block, Sequence[str]]
    """Of each block, in column-major order; each is a candidate."""
    candidates: Sequence[Candidate]
    """That hold any of them."""
    costs: Mapping[Block, Cost]
    transpose: bool = False
    own: str | None = None
    """The node that asks."""

    def whole(self) -> list[str]:
        """Who holds all of it."""
        common = set.intersection(*(set(nodes) for nodes in self.holders.values()))
        return [one.node for one in self.candidates if one.node in common]


@dataclass(frozen=True, slots=True)
class Option:
    """One way to do it."""

    hands: dict[str, list[Block]]
    """By node, in the order of their ids; the blocks in column-major order."""
    last_s: float
    """When the last part is expected, by what counts: bytes that a relay forwards count for more."""


@dataclass(frozen=True, slots=True)
class Deal:
    """The way that was chosen, and the others."""

    option: Option
    why: str
    others: tuple[Option, ...] = ()
    estimates: dict[str, Estimate] = field(default_factory=dict)
    """Of each candidate: for what it was given, else for all that it holds of it."""

    @property
    def hands(self) -> dict[str, list[Block]]:
        return self.option.hands


def query(
    holders: Mapping[Block, Sequence[str]],
    candidates: Sequence[Candidate],
    costs: Mapping[Block, Cost],
    transpose: bool = False,
    own: str | None = None,
) -> Query:
    """Holders that are no candidates are left out; TaskError if a block then has none, with another advice where
    `own`, the node that asks, is among its holders."""
    reachable = {candidate.node for candidate in candidates}
    live = {
        block: [node for node in holders[block] if node in reachable]
        for block in sorted(holders, key=lambda block: (block.column, block.row))
    }
    missing = [block for block, nodes in live.items() if not nodes]
    if missing:
        raise _unavailable(missing, holders, own)
    holding = set().union(*live.values())
    involved = [candidate for candidate in candidates if candidate.node in holding]
    return Query(live, involved, costs, transpose, own)


def choose(asked: Query, dice: random.Random | None = None) -> Deal:
    """The way that is expected to be done first; without dice no other is ever taken."""
    options = [_whole(asked, node) for node in asked.whole()]
    if len(asked.candidates) > 1 and len(asked.holders) > 1:
        options.append(_split(asked, dice))
    elif not options:
        options.append(_split(asked, None))
    # Of two that take the same time, the one with fewer nodes.
    options.sort(key=lambda option: (option.last_s, len(option.hands)))
    best = options[0]
    why = "it is expected to be done first"
    if dice is not None and len(options) > 1:
        second = options[1]
        near = second.last_s <= best.last_s * NEAR and second.hands != best.hands
        if near and dice.random() < SECOND_CHANCE:
            best, why = second, "the dice took it, for it is nearly as good as the best"
    others = tuple(option for option in options if option is not best)
    return Deal(best, why, others, estimates(asked, best.hands))


def estimates(asked: Query, hands: Mapping[str, Sequence[Block]]) -> dict[str, Estimate]:
    """Of each candidate: for what it was given, else for all that it holds."""
    found = {}
    for one in asked.candidates:
        held = [block for block, nodes in asked.holders.items() if one.node in nodes]
        part = hands.get(one.node, held)
        found[one.node] = completion_s(one, shard_cost(part, asked.costs, asked.transpose))
    return found


def option_of(asked: Query, hands: Mapping[str, Sequence[Block]]) -> Option:
    """A way that somebody else chose, reckoned."""
    paces = {one.node: Pace(one) for one in asked.candidates}
    last_s = 0.0
    for node, blocks in hands.items():
        cost = shard_cost(blocks, asked.costs, asked.transpose)
        done_s = paces[node].done_s(cost.request_bytes, cost.response_bytes, cost.macs)
        last_s = max(last_s, done_s)
    return Option({node: list(hands[node]) for node in sorted(hands)}, last_s)


def _whole(asked: Query, node: str) -> Option:
    return option_of(asked, {node: list(asked.holders)})


def _split(asked: Query, dice: random.Random | None) -> Option:
    # First each block by itself, which tells how soon the whole can be done; then in runs that keep
    # to that time, for neighbours share input and output.
    spread = _Assignment(asked, dice)
    spread.deal(limit_s=0.0)
    limit_s = spread.last_s * RUN_SLACK
    runs = _Assignment(asked, dice)
    runs.deal(limit_s)
    chosen = runs if runs.last_s <= limit_s else spread
    return Option({node: chosen.blocks[node] for node in sorted(chosen.blocks)}, chosen.last_s)


class _Assignment:
    """Blocks dealt out one after the other."""

    def __init__(self, asked: Query, dice: random.Random | None) -> None:
        self.blocks: dict[str, list[Block]] = {}
        self.last_s = 0.0
        """When the last node is expected to be done."""
        self._asked = asked
        self._dice = dice
        self._loads = {one.node: Load(asked.transpose) for one in asked.candidates}
        self._paces = {one.node: Pace(one) for one in asked.candidates}

    def deal(self, limit_s: float) -> None:
        """Each block to the holder that would be done first; a run goes on while its node keeps to
        the limit."""
        running, done_s = "", 0.0
        for block, nodes in self._asked.holders.items():
            cost = self._asked.costs[block]
            if running in nodes:
                done_s = self._done_s(running, block, cost)
            if running not in nodes or done_s > limit_s:
                done_s, running = self._first(block, cost, nodes)
            self.last_s = max(self.last_s, done_s)
            self._loads[running].add(block, cost)
            self.blocks.setdefault(running, []).append(block)

    def _first(self, block: Block, cost: Cost, nodes: Sequence[str]) -> tuple[float, str]:
        ranked = sorted(
            (self._done_s(node, block, cost), rank, node) for rank, node in enumerate(nodes)
        )
        chosen = ranked[0]
        if self._dice is not None and len(ranked) > 1 and ranked[1][0] <= chosen[0] * NEAR:
            chosen = ranked[1] if self._dice.random() < SECOND_CHANCE else chosen
        return chosen[0], chosen[2]

    def _done_s(self, node: str, block: Block, cost: Cost) -> float:
        return self._paces[node].done_s(*self._loads[node].with_block(block, cost))


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
