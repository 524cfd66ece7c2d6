"""What clients ask for, and when: drawn from a scenario and a seed, in order of time."""

import heapq
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from node.simulation.drawing import (
    Machine,
    Matrix,
    between,
    chances,
    dice_for,
    draw_by,
    holding,
    popularity,
)
from node.simulation.scenario import Crowd, Scenario

PUTS_APART_S = 0.1
"""Between two puts, where weights do not lie there from the start."""


@dataclass(frozen=True, slots=True, order=True)
class Asked:
    """One product."""

    at_s: float
    asker: int
    """The machine that the client asks first, as a place among those that are asked."""
    weights: int
    rows: int


class Workload:
    """Draws requests; the same ones again for the same seed."""

    def __init__(
        self, scenario: Scenario, drawn: Sequence[Machine], weights: Sequence[Matrix], seed: int
    ) -> None:
        holders = holding(scenario, len(drawn))
        self.askers = _askers(scenario, len(drawn), seed)
        """Machines that clients know."""
        self.rate_per_s = _rate_per_s(scenario, [drawn[n] for n in holders], weights)
        self.scenario = scenario
        self._seed = seed

    def requests(self, run_s: float) -> Iterator[Asked]:
        """Up to the end of the run."""
        if not self.rate_per_s:
            return iter(())
        crowds = enumerate(self.scenario.requests.crowds)
        return heapq.merge(
            self._usual(run_s), *(self._crowd(number, crowd, run_s) for number, crowd in crowds)
        )

    def _usual(self, run_s: float) -> Iterator[Asked]:
        dice = dice_for(self._seed, "requests")
        sums = popularity(self.scenario.weights)
        for at_s in _instants(self.rate_per_s, 0.0, run_s, dice):
            yield self._asked(at_s, draw_by(sums, dice), dice)

    def _crowd(self, number: int, crowd: Crowd, run_s: float) -> Iterator[Asked]:
        """What comes on top of the usual rate."""
        dice = dice_for(self._seed, f"crowd {number}")
        wanted = dice.sample(range(self.scenario.weights.count), crowd.weights)
        end_s = min(crowd.at_s + crowd.for_s, run_s)
        for at_s in _instants(self.rate_per_s * (crowd.times - 1.0), crowd.at_s, end_s, dice):
            yield self._asked(at_s, dice.choice(wanted), dice)

    def _asked(self, at_s: float, weights: int, dice: random.Random) -> Asked:
        rows = round(between(self.scenario.requests.rows, dice))
        return Asked(at_s, dice.randrange(len(self.askers)), weights, rows)


def mean_macs(scenario: Scenario, weights: Sequence[Matrix]) -> float:
    """Multiply-accumulates of one request, on average over what is asked for."""
    asked = chances(scenario.weights)
    sizes = (often * one.rows * one.columns for often, one in zip(asked, weights, strict=True))
    low, high = scenario.requests.rows
    rows = low if low == high else (high - low) / math.log(high / low)
    return float(rows * sum(sizes) / sum(asked))


def _askers(scenario: Scenario, nodes: int, seed: int) -> tuple[int, ...]:
    if scenario.apart:
        return tuple(range(nodes - scenario.apart, nodes))
    count = min(scenario.requests.askers or nodes, nodes)
    return tuple(sorted(dice_for(seed, "askers").sample(range(nodes), count)))


def _rate_per_s(scenario: Scenario, holders: Sequence[Machine], weights: Sequence[Matrix]) -> float:
    load = scenario.requests.load
    if load is None:
        return scenario.requests.rate_per_s
    left = 1.0 - sum(scenario.machines.others_take) / 2.0
    return load * left * sum(one.speed_macs_s for one in holders) / mean_macs(scenario, weights)


def _instants(
    rate_per_s: float, start_s: float, end_s: float, dice: random.Random
) -> Iterator[float]:
    """Of a Poisson process."""
    at_s = start_s + dice.expovariate(rate_per_s)
    while at_s < end_s:
        yield at_s
        at_s += dice.expovariate(rate_per_s)
