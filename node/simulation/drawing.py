"""Draws a mesh from a scenario and a seed: the machines, where they lie, the weights and who holds them.

Each thing has dice of its own, so that one more fault in a scenario changes neither the map nor the weights.
"""

import math
import random
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from compute.partition import BlockGrid
from node.runtime.virtual import spec as machine_spec
from node.runtime.virtual.network import Conditions, by_distance, spread
from node.simulation.scenario import NetworkSetup, Range, Scenario, WeightsSetup
from protocol.errors import ConfigError
from protocol.limits import HELD_MAX
from protocol.quantities import size_bytes

DIAGONAL = math.sqrt(2.0)
VALUE_BYTES = 4
FILL_MAX = 0.8
"""Of a machine's memory, by weights that lie there from the start."""
DRAWS_MAX = 64
"""For one block and for each machine that there is: after so many they count as full."""


@dataclass(frozen=True, slots=True)
class Machine:
    name: str
    speed_macs_s: float
    """Of all workers together."""
    memory_bytes: int
    bandwidth_bytes_s: float
    clock_offset_s: float
    clock_rate: float


@dataclass(frozen=True, slots=True)
class Matrix:
    name: str
    rows: int
    columns: int
    holders: tuple[tuple[int, ...], ...]
    """Machines that hold each block from the start, in the grid's order; none where clients put the weights."""


def dice_for(seed: int, purpose: str) -> random.Random:
    """The same for the same seed and purpose, in every process."""
    return machine_spec.dice(seed, purpose)


def machines(scenario: Scenario, nodes: int, seed: int) -> list[Machine]:
    setup, network = scenario.machines, scenario.network
    dice = dice_for(seed, "machines")
    memory = (float(size_bytes(setup.memory[0])), float(size_bytes(setup.memory[1])))
    drawn = [
        Machine(
            name=f"n{number:04d}",
            speed_macs_s=1e9 * between(setup.speed_gmacs, dice),
            memory_bytes=int(between(memory, dice)),
            bandwidth_bytes_s=1e6 * between(network.bandwidth_mb_s, dice),
            clock_offset_s=dice.uniform(0.0, setup.clock_offset_s),
            clock_rate=1.0 + dice.uniform(-setup.clock_drift, setup.clock_drift),
        )
        for number in range(nodes)
    ]
    drawn = _ordered(drawn, setup.memory_by_speed)
    holders = holding(scenario, nodes)
    return [one if n in holders else _strongest(one, scenario) for n, one in enumerate(drawn)]


def holding(scenario: Scenario, nodes: int) -> range:
    """The machines that may hold weights, and that things befall."""
    return range(nodes - scenario.apart)


def conditions(setup: NetworkSetup, nodes: int, seed: int) -> Conditions:
    """What the network is like until something befalls it."""
    low_s, high_s = (rtt_ms / 2000.0 for rtt_ms in setup.rtt_ms)
    if setup.map == "pairs":
        delays = spread(low_s, high_s, seed)
    else:
        dice = dice_for(seed, "map")
        places = [(dice.random(), dice.random()) for _ in range(nodes)]
        delays = by_distance(places, [low_s / 2.0] * nodes, DIAGONAL / max(high_s - low_s, 1e-9))
    return Conditions(
        delay_s=delays,
        jitter=setup.jitter,
        loss=setup.loss,
        doubled=setup.duplication,
        held=setup.reordering,
    )


def matrices(scenario: Scenario, drawn: Sequence[Machine], seed: int) -> list[Matrix]:
    """The most popular first; ConfigError where they do not fit."""
    setup = scenario.weights
    dice = dice_for(seed, "weights")
    shelves = [drawn[number] for number in holding(scenario, len(drawn))]
    shelf = _Shelf(shelves, setup.replicas, dice)
    found: list[Matrix] = []
    for number in range(setup.count):
        rows, columns = (round(between(ends, dice)) for ends in (setup.rows, setup.columns))
        holders = shelf.place(BlockGrid(rows, columns)) if setup.stocked else ()
        found.append(Matrix(f"w{number:04d}", rows, columns, holders))
    return found


def chances(setup: WeightsSetup) -> list[float]:
    """How often each of the weights is asked for, against the first."""
    return [(n + 1) ** -setup.zipf for n in range(setup.count)]


def popularity(setup: WeightsSetup) -> list[float]:
    """Running sums of these."""
    return list(accumulate(chances(setup)))


def draw_by(sums: Sequence[float], dice: random.Random) -> int:
    """A place, by the running sums of chances."""
    return min(bisect(sums, dice.random() * sums[-1]), len(sums) - 1)


def between(ends: Range, dice: random.Random) -> float:
    """Evenly by the logarithm; the low end itself where both are the same."""
    low, high = ends
    return low * math.exp(math.log(high / low) * dice.random())


def _ordered(drawn: list[Machine], by_speed: float) -> list[Machine]:
    """The same speeds and the same memories, dealt out so that both grow together, as far as is asked for."""
    places = _ranks([machine.memory_bytes for machine in drawn])
    speeds = _ranks([machine.speed_macs_s for machine in drawn])
    wishes = [
        by_speed * speed + (1.0 - by_speed) * place
        for speed, place in zip(speeds, places, strict=True)
    ]
    memories = sorted(machine.memory_bytes for machine in drawn)
    dealt = zip(drawn, _ranks(wishes), strict=True)
    return [replace(machine, memory_bytes=memories[rank]) for machine, rank in dealt]


def _ranks(values: Sequence[float]) -> list[int]:
    """The place of each value among all of them; the first of equal ones is the lower."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    ranks = [0] * len(values)
    for rank, index in enumerate(order):
        ranks[index] = rank
    return ranks


def _strongest(machine: Machine, scenario: Scenario) -> Machine:
    """The same with the high end of all that is drawn."""
    setup, network = scenario.machines, scenario.network
    return replace(
        machine,
        speed_macs_s=1e9 * setup.speed_gmacs[1],
        memory_bytes=size_bytes(setup.memory[1]),
        bandwidth_bytes_s=1e6 * network.bandwidth_mb_s[1],
    )


class _Shelf:
    """Gives each block to some of the machines, by the memory that they have, as far as they have it."""

    def __init__(self, drawn: Sequence[Machine], replicas: int, dice: random.Random) -> None:
        self._sums = list(accumulate(float(machine.memory_bytes) for machine in drawn))
        self._room = [FILL_MAX * machine.memory_bytes for machine in drawn]
        self._kinds = [0] * len(drawn)
        """Weights of which a machine holds blocks."""
        self._replicas = replicas
        self._dice = dice

    def place(self, grid: BlockGrid) -> tuple[tuple[int, ...], ...]:
        touched: set[int] = set()
        placed = []
        for block in grid.blocks():
            need = VALUE_BYTES * math.prod(grid.shape(block))
            chosen = self._choose(need, touched)
            touched.update(chosen)
            placed.append(chosen)
        for number in touched:
            self._kinds[number] += 1
        return tuple(placed)

    def _choose(self, need: int, touched: set[int]) -> tuple[int, ...]:
        chosen: list[int] = []
        for _ in range(DRAWS_MAX * len(self._room)):
            number = draw_by(self._sums, self._dice)
            known = number in touched or self._kinds[number] < HELD_MAX
            if number not in chosen and known and self._room[number] >= need:
                self._room[number] -= need
                chosen.append(number)
                if len(chosen) == self._replicas:
                    return tuple(sorted(chosen))
        raise ConfigError(
            "weights: these machines have no room for them: write a smaller count, smaller rows or"
            " columns, fewer replicas, more machines.memory or more nodes"
        )
