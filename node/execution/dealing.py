"""Who does which part of a product: blocks are dealt to their holders, and each part has its price.

Pure reckoning on one version of weights: nothing here knows what is under way. Three questions are answered: which
holder is expected to be done first, how much memory a part takes at the coordinator, how large its error may be.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from compute.partition import Block, BlockGrid
from compute.verify import absolute_shares, split_share
from node.communication.admission import shed
from node.communication.asking import Asking
from node.communication.choosing import Deal, Query, choose, query
from node.communication.desk import Desk
from node.communication.outstanding import Outstanding
from node.communication.policies import Chooser
from node.communication.scoring import (
    Candidate,
    Cost,
    Estimate,
    HedgeBudget,
    completion_s,
    guessed,
    shard_cost,
)
from node.effects import Effect
from node.execution.room import Room
from node.execution.shards import VALUE_BYTES, Layout, Sides, is_analog, lay_out, threads_worth
from node.execution.sketches import SketchCache
from node.memory.short_term import ShortTerm
from protocol.client import MatmulRequest
from protocol.digests import WeightsVersion
from protocol.ids import NodeId
from protocol.messages import Manifest

PROBE_BYTES = 16 * 8
"""Of one row of X against the sketch, float64."""
ESTIMATE_MARGIN = 0.9
"""The norm is estimated from 16 probes; the shares are cut from a little less than the estimate."""

COSTS_KEPT = 2
"""Numbers of rows for which prices are kept: those of a panel, and those that are left. A product may have thousands of
panels."""
HANDS_KEPT = 64
"""Beside each block by itself, so many groups of blocks for which it is kept how wide their input and output are."""


class Surroundings(Protocol):
    """What a product may ask of its node."""

    own: NodeId
    desk: Desk
    room: Room
    sketches: SketchCache
    memory: ShortTerm
    outstanding: Outstanding
    hedges: HedgeBudget
    chooser: Chooser
    asking: Asking

    def candidates(self, version: WeightsVersion, now: float, *, analog: bool) -> list[Candidate]:
        """Holders that can multiply now, and, with what that costs, those that are still loading their blocks."""


@dataclass(frozen=True, slots=True)
class Hand:
    """One part as it is dealt: blocks for one holder."""

    node: NodeId
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """Who shall do some blocks for m rows, and who else could have."""

    m: int
    asked: Query
    deal: Deal
    hands: list[Hand]


class Dealer:
    """Deals the blocks of one product."""

    def __init__(self, manifest: Manifest, request: MatmulRequest, around: Surroundings) -> None:
        head = manifest.head
        self.sides = Sides(BlockGrid(head.rows, head.columns), request.transpose)
        self.blocks = tuple(self.sides.grid.blocks())
        self.analog = is_analog(head)
        self._version = head.version
        self._request = request
        self._around = around
        self._holders = {
            block: manifest.holders(entry)
            for block, entry in zip(self.blocks, manifest.entries, strict=True)
        }
        # How often an array is read follows from the share of its part, so the same bytes from any
        # holders need a share that is the block's own.
        tolerant = request.rtol is not None and self.analog
        self._apart = request.deterministic and tolerant
        self._costs: dict[int, dict[Block, Cost]] = {}
        """By m, the one used last at the end."""
        self._widths: dict[tuple[Block, ...], tuple[int, int]] = {}

    # -- who -----------------------------------------------------------------------------------------

    def decide(
        self, blocks: Iterable[Block], m: int, now: float, avoid: Collection[NodeId] = ()
    ) -> Decision:
        """Each block to one live holder, none of those to avoid if there is another; or UNAVAILABLE.

        One that is still loading is asked only where no other has the block.
        """
        candidates = self._candidates(now)
        ready = {one.node for one in candidates if not one.cold_s}
        holders: dict[Block, Sequence[str]] = {}
        for block in blocks:
            warm = [node for node in self._holders[block] if node in ready]
            holders[block] = (
                [node for node in warm if node not in avoid] or warm or self._holders[block]
            )
        costs, own = self._costs_of(m), self._around.own
        asked = query(holders, candidates, costs, self.sides.transpose, own=own)
        deal = self._around.chooser.choose(asked, now)
        hands = [
            Hand(NodeId(node), part)
            for node, its in deal.hands.items()
            for part in ([(block,) for block in its] if self._apart else [tuple(its)])
        ]
        return Decision(m, asked, deal, hands)

    def require_hope(self, decision: Decision, left_s: float) -> None:
        """OVERLOADED if this cannot be done in what is left."""
        if not self._around.chooser.sheds:
            return
        refused = shed(decision.asked, decision.deal, left_s)
        if refused is not None:
            raise refused

    def probe(self, decision: Decision, now: float) -> list[Effect]:
        """Ask for fresher loads than those that this was decided upon; the next decision has them."""
        wanted = self._around.chooser.probes(decision.asked, decision.deal)
        return self._around.asking.ask(wanted, now)

    def live(self, now: float) -> set[str]:
        return {candidate.node for candidate in self._candidates(now)}

    def other(
        self, blocks: tuple[Block, ...], avoid: Collection[str], m: int, now: float
    ) -> tuple[NodeId, Estimate] | None:
        """The quickest other live node that holds all of these blocks."""
        common = set.intersection(*(set(self._holders[block]) for block in blocks))
        cost = shard_cost(blocks, self._costs_of(m), self.sides.transpose)
        found = [
            (NodeId(one.node), completion_s(one, cost))
            for one in self._candidates(now)
            if one.node in common and one.node not in avoid and not one.cold_s
        ]
        return min(found, key=lambda one: (one[1].cost_s, one[0]), default=None)

    # -- what it takes -------------------------------------------------------------------------------

    def estimate(self, hand: Hand, m: int, now: float) -> tuple[Estimate, float]:
        """When this part would be here, and for how long what is sent after it has to wait there; its node is live."""
        candidate = next(one for one in self._candidates(now) if one.node == hand.node)
        cost = shard_cost(hand.blocks, self._costs_of(m), self.sides.transpose)
        estimate = completion_s(candidate, cost)
        outputs = len(self.layout(hand.blocks, 1).outputs)
        threads = threads_worth(outputs, cost.macs, candidate.workers)
        return estimate, estimate.service_s * threads / candidate.workers

    def macs(self, blocks: Iterable[Block], m: int) -> int:
        return sum(self.sides.macs(block, m) for block in blocks)

    def layout(self, blocks: tuple[Block, ...], m: int) -> Layout:
        return lay_out(self.sides, blocks, m, separate=self._request.deterministic)

    def packs(self, node: NodeId, blocks: tuple[Block, ...]) -> bool:
        """Whether columns of X have to be packed: our own blocks read them where they lie."""
        return node != self._around.own and self._widths_of(blocks)[0] != self.sides.width_in

    def part_bytes(self, hand: Hand, m: int) -> int:
        """What a part takes at its coordinator."""
        packed, given = self._widths_of(hand.blocks)
        values = given + packed if self.packs(hand.node, hand.blocks) else given
        return m * values * VALUE_BYTES

    def fixed_bytes(self, m: int) -> int:
        """What X, the answer and their check take, whoever does the parts."""
        return m * ((self.sides.width_in + self.sides.width_out) * VALUE_BYTES + PROBE_BYTES)

    def row_bytes(self, hands: list[Hand]) -> int:
        """Of one row of X with all that comes of it at this node."""
        if not self._request.deterministic:
            return self.fixed_bytes(1) + sum(self.part_bytes(hand, 1) for hand in hands)
        # The most that any hands could take, so that the panels are the same for all.
        alone = [sum(self._widths_of((block,))) for block in self.blocks]
        return self.fixed_bytes(1) + sum(alone) * VALUE_BYTES

    def shares(self, hands: list[Hand], m: int, norm: float) -> list[float | None]:
        """Each part's absolute share of the tolerance, by the square root of its work."""
        rtol = self._request.rtol
        if rtol is None:
            return [None] * len(hands)
        tolerance = rtol * ESTIMATE_MARGIN * norm
        weights = [math.sqrt(self.macs(hand.blocks, 1)) for hand in hands]
        if not self._apart:
            return list(absolute_shares(tolerance, weights, m))
        # By block alone, in the order of the grid: rounding, too, is the same for all hands.
        (whole,) = absolute_shares(tolerance, [1.0], m)
        by_block = [math.sqrt(self.sides.macs(block, 1)) for block in self.blocks]
        own = dict(zip(self.blocks, split_share(whole, by_block), strict=True))
        return [own[hand.blocks[0]] for hand in hands]

    # -- within --------------------------------------------------------------------------------------

    def _candidates(self, now: float) -> list[Candidate]:
        return guessed(self._around.candidates(self._version, now, analog=self.analog))

    def _costs_of(self, m: int) -> dict[Block, Cost]:
        costs = self._costs.pop(m, None)
        if costs is None:
            costs = {block: cost_of(self.sides, block, m) for block in self.blocks}
        self._costs[m] = costs
        if len(self._costs) > COSTS_KEPT:
            del self._costs[next(iter(self._costs))]
        return costs

    def _widths_of(self, blocks: tuple[Block, ...]) -> tuple[int, int]:
        """Columns of X that go into a part, and columns that come out of it."""
        widths = self._widths.get(blocks)
        if widths is None:
            layout = self.layout(blocks, 1)
            widths = self._widths[blocks] = layout.packed_width, layout.output_values
            if len(self._widths) > len(self.blocks) + HANDS_KEPT:
                del self._widths[next(iter(self._widths))]
        return widths


def cost_of(sides: Sides, block: Block, m: int) -> Cost:
    """Of one block for m rows of X."""
    taken, given = sides.inputs(block), sides.outputs(block)
    return Cost(
        m * (taken[1] - taken[0]) * VALUE_BYTES,
        m * (given[1] - given[0]) * VALUE_BYTES,
        sides.macs(block, m),
    )


def estimate_s(
    holders: Mapping[Block, Sequence[str]], candidates: Sequence[Candidate], sides: Sides, m: int
) -> float:
    """Expected seconds until the last part of a product with m rows is here; UNAVAILABLE without holders."""
    costs = {block: cost_of(sides, block, m) for block in holders}
    return choose(query(holders, guessed(candidates), costs, sides.transpose)).option.last_s
