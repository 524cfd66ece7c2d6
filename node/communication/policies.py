"""Ways to choose among the holders of a block: ours, and the published ones that it is compared with in simulations.

All see the same candidates. The others were made for one request to one of many equal servers; here each picks one
holder for all blocks that the same nodes hold. They do not shed, and a mesh that runs one of them sheds nowhere.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import ClassVar, Protocol

import msgspec

from compute.partition import Block
from node.communication.choosing import Deal, Query, choose, estimates, option_of
from node.communication.scoring import Candidate, Cost, Pace, shard_cost
from protocol.digests import LoadDigest
from protocol.errors import ConfigError

STALE_S = 0.3
"""A candidate whose load was told longer ago than this is asked for a fresher one."""
PROBES_MAX = 2
"""Asked after one decision."""

PEAK_TAU_S = 10.0
"""Finagle's default for how fast a high latency is forgotten."""
POOL_MAX = 16
POOL_AGE_S = 1.0
"""Prequal's pool of probes, and how long one is believed (NSDI '24, section 4)."""
PROBE_USES_MAX = 2
HOT_QUANTILE = 0.8
"""Above this quantile of requests in flight a server counts as hot."""


class Chooser(Protocol):
    """Told what came of its choices; answers who shall do what, and whose load should be asked for."""

    sheds: bool
    """Whether work that cannot be done in time is refused, here and at the holders."""

    def choose(self, asked: Query, now: float) -> Deal: ...

    def probes(self, asked: Query, deal: Deal) -> list[str]:
        """Peers to ask for their load, the decision being made."""

    def served(self, node: str, elapsed_s: float, now: float) -> None: ...

    def probed(self, node: str, load: LoadDigest, now: float) -> None: ...


class Quiet:
    """For choosers that learn nothing and ask nobody."""

    sheds = False

    def probes(self, asked: Query, deal: Deal) -> list[str]:
        return []

    def served(self, node: str, elapsed_s: float, now: float) -> None:
        return None

    def probed(self, node: str, load: LoadDigest, now: float) -> None:
        return None


class Ours(Quiet):
    """By estimated completion time."""

    def __init__(self, dice: random.Random | None, *, sheds: bool = True) -> None:
        self.sheds = sheds
        self._dice = dice

    def choose(self, asked: Query, now: float) -> Deal:
        return choose(asked, self._dice)

    def probes(self, asked: Query, deal: Deal) -> list[str]:
        """The best two, where what is known of them is old."""
        peers = [one for one in asked.candidates if one.node != asked.own]
        peers.sort(key=lambda one: (deal.estimates[one.node].cost_s, one.node))
        return [one.node for one in peers[:PROBES_MAX] if one.age_s > STALE_S]


class PerSet(Quiet, ABC):
    """Picks one holder for all blocks that the same nodes hold."""

    why: ClassVar[str]
    """In a sentence, for whoever asks why a node was chosen."""

    def choose(self, asked: Query, now: float) -> Deal:
        by_node = {one.node: one for one in asked.candidates}
        sets: dict[tuple[str, ...], list[Block]] = {}
        for block, nodes in asked.holders.items():
            sets.setdefault(tuple(nodes), []).append(block)
        hands: dict[str, list[Block]] = {}
        for nodes, blocks in sets.items():
            node = self.pick([by_node[node] for node in nodes], asked, blocks, now)
            hands.setdefault(node, []).extend(blocks)
        order = list(asked.holders)
        hands = {node: sorted(blocks, key=order.index) for node, blocks in hands.items()}
        return Deal(option_of(asked, hands), self.why, estimates=estimates(asked, hands))

    @abstractmethod
    def pick(
        self, nodes: Sequence[Candidate], asked: Query, blocks: list[Block], now: float
    ) -> str:
        """Who of these nodes, which all hold these blocks, shall do them."""


class AtRandom(PerSet):
    why = "the dice took it"

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def pick(
        self, nodes: Sequence[Candidate], asked: Query, blocks: list[Block], now: float
    ) -> str:
        return self._dice.choice(nodes).node


class Nearest(PerSet):
    """Lowest round trip: static routing."""

    why = "it is the nearest"

    def pick(
        self, nodes: Sequence[Candidate], asked: Query, blocks: list[Block], now: float
    ) -> str:
        return min(nodes, key=lambda one: one.rtt_s).node


class LeastLoaded(PerSet):
    """The shortest queue, as it was told last."""

    why = "it told of the shortest queue"

    def pick(
        self, nodes: Sequence[Candidate], asked: Query, blocks: list[Block], now: float
    ) -> str:
        return min(nodes, key=lambda one: (one.told_s, one.ours)).node


class PowerOfTwo(PerSet):
    """Of two at random the one with fewer requests in flight (Mitzenmacher 2001)."""

    why = "of two at random it has fewer requests in flight"

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def pick(
        self, nodes: Sequence[Candidate], asked: Query, blocks: list[Block], now: float
    ) -> str:
        two = self._dice.sample(nodes, min(2, len(nodes)))
        return min(two, key=lambda one: one.told_in_flight + one.ours).node


class PeakEwma(PerSet):
    """Latency, which jumps up and decays slowly, times our requests under way (Finagle)."""

    why = "its peak latency times our requests there is the least"

    def __init__(self) -> None:
        self._cost: dict[str, tuple[float, float]] = {}

    def served(self, node: str, elapsed_s: float, now: float) -> None:
        cost_s, at = self._cost.get(node, (0.0, now))
        if elapsed_s < cost_s:
            weight = exp(-(now - at) / PEAK_TAU_S)
            elapsed_s = cost_s * weight + elapsed_s * (1.0 - weight)
        self._cost[node] = (elapsed_s, now)

    def pick(
        self, nodes: Sequence[Candidate], asked: Query, blocks: list[Block], now: float
    ) -> str:
        return min(
            nodes, key=lambda one: (self._latency_s(one, now) * (one.ours + 1), one.ours)
        ).node

    def _latency_s(self, one: Candidate, now: float) -> float:
        if one.node not in self._cost:
            # Never asked yet: worth a try, at what the way there takes.
            return one.rtt_s
        cost_s, at = self._cost[one.node]
        return max(cost_s * exp(-(now - at) / PEAK_TAU_S), one.rtt_s)


@dataclass(slots=True)
class _Pooled:
    """An answered probe."""

    load: LoadDigest
    at: float
    uses: int = 0
    """Requests that we sent there since."""


class Prequal(PerSet):
    """A pool of probes: of cold servers the one with the lowest latency, of hot ones that with the fewest requests.

    Adapted to holders, which are few for each block: they are compared by their probes, and by what they told last
    where the pool has none. A server's latency is its queue and the work by its own speed, for speeds differ.
    """

    why = "its probe was the best of the pool"

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._pool: dict[str, _Pooled] = {}

    def probed(self, node: str, load: LoadDigest, now: float) -> None:
        self._pool.pop(node, None)
        self._pool[node] = _Pooled(load, now)
        if len(self._pool) > POOL_MAX:
            del self._pool[next(iter(self._pool))]

    def probes(self, asked: Query, deal: Deal) -> list[str]:
        peers = [one.node for one in asked.candidates if one.node != asked.own]
        return self._dice.sample(peers, min(PROBES_MAX, len(peers)))

    def pick(
        self, nodes: Sequence[Candidate], asked: Query, blocks: list[Block], now: float
    ) -> str:
        cost = shard_cost(blocks, asked.costs, asked.transpose)
        seen = {one.node: self._seen(one, now) for one in nodes}
        limit = self._hot_from(seen)
        cold = [one for one in nodes if seen[one.node].in_flight <= limit]
        if cold:
            chosen = min(cold, key=lambda one: _latency_s(one, seen[one.node], cost)).node
        else:
            chosen = min(nodes, key=lambda one: seen[one.node].in_flight).node
        if (entry := self._pool.get(chosen)) is not None:
            entry.uses += 1
            if entry.uses >= PROBE_USES_MAX:
                del self._pool[chosen]
        return chosen

    def _seen(self, one: Candidate, now: float) -> LoadDigest:
        """By its probe, with what we sent since; where there is none by what it told last."""
        entry = self._pool.get(one.node)
        if entry is not None and now - entry.at > POOL_AGE_S:
            del self._pool[one.node]
            entry = None
        if entry is None:
            return LoadDigest(one.told_s, one.told_in_flight + one.ours, one.speed_macs_s)
        return msgspec.structs.replace(entry.load, in_flight=entry.load.in_flight + entry.uses)

    def _hot_from(self, seen: Mapping[str, LoadDigest]) -> int:
        """Among all that was probed, and those at hand."""
        rest = [entry for node, entry in self._pool.items() if node not in seen]
        counts = [entry.load.in_flight + entry.uses for entry in rest]
        counts = sorted(counts + [load.in_flight for load in seen.values()])
        return counts[int(HOT_QUANTILE * (len(counts) - 1))]


def _latency_s(one: Candidate, told: LoadDigest, cost: Cost) -> float:
    seen = Candidate(
        one.node,
        one.rtt_s,
        one.bandwidth_bytes_s,
        told.queue_s,
        told.speed_macs_s or one.speed_macs_s,
        reliability=1.0,
    )
    return Pace(seen).done_s(cost.request_bytes, cost.response_bytes, cost.macs)


CHOOSERS: dict[str, Callable[[random.Random], Chooser]] = {
    "ours": Ours,
    "ours_unshed": lambda dice: Ours(dice, sheds=False),
    "random": AtRandom,
    "nearest": lambda dice: Nearest(),
    "least_loaded": lambda dice: LeastLoaded(),
    "power_of_two": PowerOfTwo,
    "peak_ewma": lambda dice: PeakEwma(),
    "prequal": Prequal,
}


def chooser(name: str, dice: random.Random) -> Chooser:
    """The chooser of this name; ConfigError if there is none."""
    if name not in CHOOSERS:
        raise ConfigError(
            f"{name} is no way to choose a holder: write one of {', '.join(CHOOSERS)}"
        )
    return CHOOSERS[name](dice)
