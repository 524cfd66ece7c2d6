"""How long a part of a product would take at one holder, by cause; and when to ask a second one.

    total = RTT + bytes / bandwidth + queue + work / speed + cold + risk

What that is worth beside other ways to choose, at which load, is measured by `bench/choice.py`. Most of it comes from
where the weights are: only holders are candidates. `choosing` deals blocks by these estimates, `admission` sheds by
them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, log

from compute.partition import Block

SPEED_UNKNOWN_MACS_S = 2e9
"""One core on a block that comes from memory once for each row of X: the slow end of what nodes
measure."""
BANDWIDTH_UNKNOWN_BYTES_S = 12.5e6
"""100 Mbit/s, until a transfer has been measured."""

RETRY_S = 1.0
"""A holder that fails costs this until it is noticed, and then the part once more."""

RELAY_COST = 3.0
"""Bytes that a relay forwards count so many times: they pass its line twice, and others than we pay for that. Large
parts thus go to peers with a path of their own, while small ones hardly notice."""

HEDGE_SHARE = 0.05
HEDGES_SAVED_MAX = 8.0
"""Second requests that a quiet time may save up for a bad moment."""
HEDGE_RATIO_UNKNOWN = 3.0
"""Hedge after so many times the estimate while too little is known of the peer's tail."""
HEDGE_S_MIN = 0.02
"""Below this the wait of an event loop is as likely the cause as the peer."""


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
    """Of this kind of work; 0: not measured yet."""
    reliability: float
    """Chance that a part sent there is answered."""
    cold_s: float = 0.0
    """Until its blocks are in memory."""
    silent_s: float = 0.0
    """How long it has owed us a sign of life."""
    told_s: float = 0.0
    """Its queue as it was told last."""
    told_in_flight: int = 0
    age_s: float = 0.0
    """Of what was told."""
    ours: int = 0
    """Requests of ours under way there."""
    workers: int = 1
    """Products that can be at work there side by side."""
    guess_macs_s: float = SPEED_UNKNOWN_MACS_S
    """Its speed, as long as that is not measured."""
    guess_bytes_s: float = BANDWIDTH_UNKNOWN_BYTES_S
    relayed: bool = False
    """What it is sent goes by way of a relay."""


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
    """What is left of the queue when the part has arrived."""
    service_s: float
    risk_s: float
    cold_s: float = 0.0
    assumed_s: float = 0.0
    """Of these, what rests on a speed or a bandwidth that nobody has measured."""
    back_s: float = 0.0
    """Of the transfer, the answer's part, where the bandwidth was measured."""
    relay_s: float = 0.0
    """What the transfer counts for beyond the time it takes, since a relay carries it."""

    @property
    def total_s(self) -> float:
        once_s = self.rtt_s + self.transfer_s + self.queue_s + self.service_s
        return once_s + self.cold_s + self.risk_s

    @property
    def cost_s(self) -> float:
        """By which holders are compared."""
        return self.total_s + self.relay_s

    @property
    def known_s(self) -> float:
        """What it takes at the least, as far as that was measured."""
        return self.total_s - self.risk_s - self.assumed_s


def guessed(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The same; who was never measured is taken to be like the others, or it might never be asked for anything."""
    speed = _mean(one.speed_macs_s for one in candidates)
    line = _mean(one.bandwidth_bytes_s for one in candidates)
    if all(one.speed_macs_s and one.bandwidth_bytes_s for one in candidates):
        return list(candidates)
    macs_s, bytes_s = speed or SPEED_UNKNOWN_MACS_S, line or BANDWIDTH_UNKNOWN_BYTES_S
    return [replace(one, guess_macs_s=macs_s, guess_bytes_s=bytes_s) for one in candidates]


def _mean(rates: Iterable[float]) -> float:
    """Of those that are known, by their logarithms; 0 without any."""
    known = [log(rate) for rate in rates if 0.0 < rate < inf]
    return exp(sum(known) / len(known)) if known else 0.0


def completion_s(candidate: Candidate, cost: Cost) -> Estimate:
    """How long a part of this size would take there, seconds by cause."""
    return Pace(candidate).estimate(cost.request_bytes, cost.response_bytes, cost.macs)


class Pace:
    """One candidate's figures, ready for many estimates."""

    __slots__ = (
        "_byte_s",
        "_candidate",
        "_fixed_s",
        "_guessed_bytes",
        "_mac_s",
        "_relay_s",
        "_retry",
    )

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = candidate
        self._guessed_bytes = not candidate.bandwidth_bytes_s
        self._byte_s = 1.0 / (candidate.bandwidth_bytes_s or candidate.guess_bytes_s)
        self._mac_s = 1.0 / (candidate.speed_macs_s or candidate.guess_macs_s)
        self._fixed_s = candidate.rtt_s + candidate.cold_s
        self._retry = 1.0 - candidate.reliability
        self._relay_s = (RELAY_COST - 1.0) * self._byte_s if candidate.relayed else 0.0
        """For each byte."""

    def done_s(self, request_bytes: int, response_bytes: int, macs: int) -> float:
        """The cost of the estimate."""
        there_s = max(self._candidate.queue_s, request_bytes * self._byte_s)
        once_s = self._fixed_s + there_s + response_bytes * self._byte_s + macs * self._mac_s
        relay_s = (request_bytes + response_bytes) * self._relay_s
        return once_s + self._retry * (RETRY_S + once_s) + self._candidate.silent_s + relay_s

    def estimate(self, request_bytes: int, response_bytes: int, macs: int) -> Estimate:
        one = self._candidate
        transfer_s = (request_bytes + response_bytes) * self._byte_s
        # While X travels the queue moves on.
        queue_s = max(one.queue_s - request_bytes * self._byte_s, 0.0)
        service_s = macs * self._mac_s
        once_s = self._fixed_s + transfer_s + queue_s + service_s
        assumed_s = transfer_s if self._guessed_bytes else 0.0
        if not one.speed_macs_s:
            assumed_s += queue_s + service_s
        return Estimate(
            one.rtt_s,
            transfer_s,
            queue_s,
            service_s,
            risk_s=self._retry * (RETRY_S + once_s) + one.silent_s,
            cold_s=one.cold_s,
            assumed_s=assumed_s + one.cold_s,
            back_s=0.0 if self._guessed_bytes else response_bytes * self._byte_s,
            relay_s=(request_bytes + response_bytes) * self._relay_s,
        )


class Load:
    """What one node is given in a decision: columns of X that two blocks share travel once, and so do summed
    outputs."""

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


def shard_cost(blocks: Iterable[Block], costs: Mapping[Block, Cost], transpose: bool) -> Cost:
    """Of several blocks on one node."""
    load = Load(transpose)
    for block in blocks:
        load.add(block, costs[block])
    return Cost(load.request_bytes, load.response_bytes, load.macs)


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
