"""A small mesh with a random mix of troubles for each seed: what many seeds together try, nobody thought of.

Each kind of trouble is there or not by the toss of a coin, so that a run is not always drowned in all of them at once
(swarm testing, Groce et al. 2012).
"""

import random

from node.simulation.drawing import dice_for
from node.simulation.scenario import (
    Crowd,
    FaultsSetup,
    Freeze,
    How,
    MachinesSetup,
    NetworkSetup,
    OneWay,
    Partition,
    RequestsSetup,
    Scenario,
    Slowdown,
    Stop,
    WeightsSetup,
)

RUN_S = 20.0


def mixed(seed: int) -> Scenario:
    """The scenario of this seed."""
    dice = dice_for(seed, "mix")
    return Scenario(
        about="A random mix of troubles in a small mesh, another one for each seed.",
        nodes=dice.randint(3, 10),
        run_s=RUN_S,
        start=dice.choice(("converged", "strangers")),
        network=_network(dice),
        machines=_machines(dice),
        weights=WeightsSetup(
            count=dice.randint(1, 8),
            rows=(64, 4096),
            columns=(64, 4096),
            replicas=dice.randint(1, 3),
            stocked=_tossed(dice),
        ),
        requests=RequestsSetup(
            rate_per_s=dice.uniform(0.5, 4.0),
            rows=(1, 256),
            deadline_s=dice.choice((1.0, 3.0, 8.0)),
            crowds=(Crowd(at_s=_moment(dice), for_s=3.0, times=6.0),) if _tossed(dice) else (),
        ),
        faults=_faults(dice),
    )


def _network(dice: random.Random) -> NetworkSetup:
    return NetworkSetup(
        rtt_ms=dice.choice(((1.0, 5.0), (1.0, 200.0), (100.0, 300.0))),
        map=dice.choice(("plane", "pairs")),
        jitter=dice.uniform(0.0, 0.9),
        loss=dice.uniform(0.0, 0.3) if _tossed(dice) else 0.0,
        duplication=dice.uniform(0.0, 0.1) if _tossed(dice) else 0.0,
        reordering=dice.uniform(0.0, 0.3) if _tossed(dice) else 0.0,
    )


def _machines(dice: random.Random) -> MachinesSetup:
    return MachinesSetup(
        speed_gmacs=(0.5, 8.0),
        memory=dice.choice((("256MiB", "1GiB"), ("1GiB", "4GiB"))),
        workers=dice.randint(1, 4),
        others_take=(0.0, 0.9) if _tossed(dice) else (0.0, 0.0),
        others_change_s=3.0,
        clock_offset_s=dice.choice((0.0, 100.0)),
        clock_drift=dice.choice((0.0, 0.01)),
    )


def _faults(dice: random.Random) -> FaultsSetup:
    hows: tuple[How, ...] = ("killed", "vanished", "stopped")
    return FaultsSetup(
        mean_life_s=dice.uniform(15.0, 60.0) if _tossed(dice) else None,
        mean_absence_s=5.0,
        stops=tuple(
            Stop(
                at_s=_moment(dice),
                share=dice.uniform(0.1, 0.4),
                how=dice.choice(hows),
                back_after_s=dice.uniform(0.5, 8.0) if _tossed(dice) else None,
            )
            for _ in range(dice.randint(0, 2))
        ),
        partitions=(Partition(at_s=_moment(dice), for_s=dice.uniform(1.0, 8.0)),)
        if _tossed(dice)
        else (),
        one_ways=(OneWay(at_s=_moment(dice), for_s=dice.uniform(1.0, 5.0), share=0.3),)
        if _tossed(dice)
        else (),
        freezes=(Freeze(at_s=_moment(dice), for_s=dice.uniform(0.5, 6.0), share=0.3),)
        if _tossed(dice)
        else (),
        slowdowns=(Slowdown(at_s=_moment(dice), for_s=5.0, share=0.5, factor=20.0),)
        if _tossed(dice)
        else (),
    )


def _moment(dice: random.Random) -> float:
    return dice.uniform(1.0, 0.8 * RUN_S)


def _tossed(dice: random.Random) -> bool:
    return dice.random() < 0.5
