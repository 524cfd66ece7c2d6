"""Draws from a scenario and a seed what befalls the mesh, and when: all of it is known before the run begins."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from node.simulation.drawing import dice_for, holding
from node.simulation.outcome import Happening
from node.simulation.scenario import FaultsSetup, Freeze, How, OneWay, Partition, Scenario, Stop


@dataclass(frozen=True, slots=True)
class Halt:
    """These machines stop, those of them that run."""

    at_s: float
    machines: tuple[int, ...]
    how: How
    for_good: bool


@dataclass(frozen=True, slots=True)
class Return:
    """These machines start again from their disks, but for those that run or have gone for good."""

    at_s: float
    machines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """These machines on one side, all others on the other."""

    at_s: float
    machines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Heal:
    """The split is over."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Deafen:
    """Nothing comes from the mute machines to the deaf ones."""

    at_s: float
    mute: tuple[int, ...]
    deaf: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Mend:
    """Those ways are there again."""

    at_s: float
    mute: tuple[int, ...]
    deaf: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StandStill:
    at_s: float
    machines: tuple[int, ...]
    for_s: float


@dataclass(frozen=True, slots=True)
class Pace:
    """What the scenario's slowdowns leave of these machines' speed."""

    at_s: float
    machines: tuple[int, ...]
    share: float


@dataclass(frozen=True, slots=True)
class Crowding:
    """What other programs on one machine leave of its speed."""

    at_s: float
    machine: int
    share: float


Fault = Halt | Return | Split | Heal | Deafen | Mend | StandStill | Pace | Crowding


def faults(scenario: Scenario, nodes: int, seed: int, run_s: float) -> list[Fault]:
    """All that happens before the end of the run, in order."""
    nodes = len(holding(scenario, nodes))
    setup, dice = scenario.faults, dice_for(seed, "faults")
    found: list[Fault] = []
    for stop in setup.stops:
        found += _stopped(stop, nodes, dice)
    # In order: where one begins as another ends, that one heals first.
    for partition in sorted(setup.partitions, key=lambda split: split.at_s):
        found += _split(partition, nodes, dice)
    for one_way in setup.one_ways:
        found += _deafened(one_way, nodes, dice)
    for freeze in setup.freezes:
        found += _frozen(freeze, nodes, dice)
    for slow in setup.slowdowns:
        machines = _some(slow.share, nodes, dice)
        found.append(Pace(slow.at_s, machines, 1.0 / slow.factor))
        found.append(Pace(slow.at_s + slow.for_s, machines, 1.0))
    if setup.mean_life_s is not None:
        found += _churn(setup.mean_life_s, setup.mean_absence_s, nodes, run_s, seed)
    found += _crowding(scenario, nodes, run_s, seed)
    found.sort(key=lambda fault: fault.at_s)
    return [fault for fault in found if fault.at_s < run_s]


def happenings(setup: FaultsSetup, run_s: float) -> tuple[Happening, ...]:
    """What a drawing shows of it: what was named in the scenario, not what chance does all the time."""
    found = [
        *(Happening(what=f"{one.share:.0%} {one.how}", at_s=one.at_s) for one in setup.stops),
        *(_lasting("split", one.at_s, one.for_s) for one in setup.partitions),
        *(_lasting("one way", one.at_s, one.for_s) for one in setup.one_ways),
        *(_lasting("slow", one.at_s, one.for_s) for one in setup.slowdowns),
    ]
    for one in setup.freezes:
        lasts_s = one.times * one.for_s + (one.times - 1) * one.apart_s
        found.append(_lasting("frozen", one.at_s, lasts_s))
    return tuple(sorted((one for one in found if one.at_s < run_s), key=lambda one: one.at_s))


def unseen(scenario: Scenario, run_s: float) -> int:
    """Faults and crowds that would come after the end of the run."""
    setup = scenario.faults
    named = (*setup.stops, *setup.partitions, *setup.one_ways, *setup.freezes, *setup.slowdowns)
    return sum(one.at_s >= run_s for one in (*named, *scenario.requests.crowds))


def _stopped(stop: Stop, nodes: int, dice: random.Random) -> Iterator[Fault]:
    machines = _some(stop.share, nodes, dice)
    yield Halt(stop.at_s, machines, stop.how, for_good=stop.back_after_s is None)
    if stop.back_after_s is not None:
        yield Return(stop.at_s + stop.back_after_s, machines)


def _split(partition: Partition, nodes: int, dice: random.Random) -> Iterator[Fault]:
    yield Split(partition.at_s, _some(partition.share, nodes, dice))
    yield Heal(partition.at_s + partition.for_s)


def _deafened(one_way: OneWay, nodes: int, dice: random.Random) -> Iterator[Fault]:
    mute = _some(one_way.share, nodes, dice)
    others = [machine for machine in range(nodes) if machine not in mute]
    deaf = tuple(others[place] for place in _some(one_way.by, len(others), dice))
    yield Deafen(one_way.at_s, mute, deaf)
    yield Mend(one_way.at_s + one_way.for_s, mute, deaf)


def _frozen(freeze: Freeze, nodes: int, dice: random.Random) -> Iterator[Fault]:
    machines = _some(freeze.share, nodes, dice)
    for time in range(freeze.times):
        at_s = freeze.at_s + time * (freeze.for_s + freeze.apart_s)
        yield StandStill(at_s, machines, freeze.for_s)


def _churn(life_s: float, absence_s: float, nodes: int, run_s: float, seed: int) -> Iterator[Fault]:
    """Each machine lives and is away for random times, without memory of how long it has (exponential)."""
    dice = dice_for(seed, "churn")
    for machine in range(nodes):
        at_s = dice.expovariate(1.0 / life_s)
        while at_s < run_s:
            yield Halt(at_s, (machine,), "killed", for_good=False)
            at_s += dice.expovariate(1.0 / absence_s)
            yield Return(at_s, (machine,))
            at_s += dice.expovariate(1.0 / life_s)


def _crowding(scenario: Scenario, nodes: int, run_s: float, seed: int) -> Iterator[Fault]:
    """What other programs leave, drawn anew at random moments."""
    low, high = scenario.machines.others_take
    if high == 0.0:
        return
    dice = dice_for(seed, "other programs")
    for machine in range(nodes):
        at_s = 0.0
        while at_s < run_s:
            yield Crowding(at_s, machine, 1.0 - dice.uniform(low, high))
            at_s += dice.expovariate(1.0 / scenario.machines.others_change_s)


def _some(share: float, nodes: int, dice: random.Random) -> tuple[int, ...]:
    """So many of them, at least one where the share is above 0."""
    count = max(round(share * nodes), 1) if share > 0.0 else 0
    return tuple(sorted(dice.sample(range(nodes), min(count, nodes))))


def _lasting(what: str, at_s: float, for_s: float) -> Happening:
    return Happening(what=what, at_s=at_s, until_s=at_s + for_s)
