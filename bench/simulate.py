"""How membership, gossip and the simulator itself hold up on bad networks and at size. One JSON line a figure.

    python bench/simulate.py [--seeds 10] [--only loss,frozen,...]

Everything runs on virtual time, so all but the wall times are the same on every machine; a figure names its seeds, from
1 on. Machines are 20 to 200 ms apart (one way 10 to 100 ms, +-50 %) where nothing else is said, and lost segments of
links come late.

    loss       128 machines, 300 s, 10, 20 and 30 % of packets lost: healthy ones that anybody took for dead
    frozen     8 of 128 machines stand still for 16 s, 4 ms apart, again and again: others taken for dead because of it
    deaths     1,000 machines, 10 % loss, 10 of them lose their power: first noticed, and then known to all
    split      128 machines, halves apart for ten minutes: when all agree again
    idle       1,000 machines with nothing to do: seconds of one core for the first 20 s, in which their 12,000 links
               come up, and for 60 s after that; bytes of a node, and wall time of all that with checks and samples
    large      10,000 machines for 30 s with 10 deaths: wall time, agreement, bytes of a node
    mixed      the random mixes of `make sim`, a thousand further seeds of them: broken invariants
"""

import argparse
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from math import isfinite

from node.runtime.virtual.spec import MachineSpec
from node.runtime.virtual.world import World
from node.simulation import drawing
from node.simulation.outcome import Outcome
from node.simulation.run import COLLECT_AFTER, run
from node.simulation.scenario import (
    FaultsSetup,
    Freeze,
    NetworkSetup,
    Partition,
    Scenario,
    Stop,
)
from node.simulation.terms import Terms

PROCESSES = 2
WAN = NetworkSetup(rtt_ms=(20.0, 200.0), map="pairs", jitter=0.5, bandwidth_mb_s=(2.5, 125.0))
IDLERS, SETTLE_S, IDLE_S = 1000, 20.0, 60.0
MIXED_SEEDS = range(10_000, 11_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", default=",".join(FIGURES), help="figures, with commas between")
    given = parser.parse_args()
    tell("machine", cores=len(os.sched_getaffinity(0)), load=os.getloadavg())
    for name in given.only.split(","):
        if name not in FIGURES:
            parser.error(f"no such figure: {name}; write {', '.join(FIGURES)}")
        FIGURES[name](range(1, given.seeds + 1))


# -- figures -----------------------------------------------------------------------------------------


def loss(seeds: range) -> None:
    for share in (0.1, 0.2, 0.3):
        network = NetworkSetup(rtt_ms=WAN.rtt_ms, map=WAN.map, jitter=WAN.jitter, loss=share)
        outcomes = series(Scenario(about="Loss.", nodes=128, run_s=300.0, network=network), seeds)
        told = false_deaths(outcomes)
        tell("falsely dead", loss=share, floor=3 if share == 0.3 else 0, **told, **cost(outcomes))


def frozen(seeds: range) -> None:
    freeze = Freeze(at_s=10.0, for_s=16.0, share=8 / 128, times=17, apart_s=0.004)
    faults = FaultsSetup(freezes=(freeze,))
    scenario = Scenario(about="Frozen.", nodes=128, run_s=300.0, network=WAN, faults=faults)
    outcomes = series(scenario, seeds)
    tell("falsely dead, 8 observers frozen", floor=0, **false_deaths(outcomes), **cost(outcomes))


def deaths(seeds: range) -> None:
    network = NetworkSetup(rtt_ms=WAN.rtt_ms, map=WAN.map, jitter=WAN.jitter, loss=0.1)
    faults = FaultsSetup(stops=(Stop(at_s=5.0, share=0.01, how="vanished"),))
    scenario = Scenario(about="Deaths.", nodes=1000, run_s=40.0, network=network, faults=faults)
    outcomes = series(scenario, seeds)
    first = [s for one in outcomes for s in one.membership.detected_s]
    spread = [s for one in outcomes for s in one.membership.spread_s]
    stops = sum(one.membership.stops for one in outcomes)
    tell("a death is noticed", floor_s=8.0, **spans(first), stops=stops, **false_deaths(outcomes))
    tell("then known to all of 1,000", floor_s=2.2, **spans(spread), **cost(outcomes))


def split(seeds: range) -> None:
    faults = FaultsSetup(partitions=(Partition(at_s=10.0, for_s=600.0),))
    scenario = Scenario(about="Split.", nodes=128, run_s=700.0, network=WAN, faults=faults)
    outcomes = series(scenario, seeds)
    merged = [s for one in outcomes for s in one.membership.agreed_again_s]
    tell("halves merge after 10 minutes", floor_s=30.0, **spans(merged), **cost(outcomes))


def idle(seeds: range) -> None:
    # Seconds of one core are told of one process at a time.
    spent = [_idle_s(seed) for seed in seeds[:3]]
    tell("1,000 begin, 20 s", core_s=round(min(first for first, _ in spent), 1))
    tell("1,000 idle, 60 s", core_s=round(min(then for _, then in spent), 1), floor_s=3.0)
    scenario = Scenario(about="Idle.", nodes=IDLERS, run_s=SETTLE_S + IDLE_S, network=WAN)
    outcome = run(of(scenario, seeds[0]))
    bytes_s = {kind: round(b, 1) for kind, b in outcome.traffic.bytes_s.items()}
    told = {"floor": 3000, "kinds": bytes_s, "wall_s": round(outcome.wall_s, 1)}
    tell("bytes of an idle node of 1,000", bytes_s=round(sum(bytes_s.values())), **told)


def _idle_s(seed: int) -> tuple[float, float]:
    """Seconds of a core until the links stand, and then for a minute; nothing looks on or checks."""
    world = World(seed, drawing.conditions(WAN, IDLERS, seed))
    for number in range(IDLERS):
        world.add(MachineSpec(f"n{number}"), started=False)
    gc.set_threshold(COLLECT_AFTER)
    world.start_converged()
    began = time.process_time()
    world.run(SETTLE_S)
    settled = time.process_time()
    world.run(IDLE_S)
    return settled - began, time.process_time() - settled


def large(seeds: range) -> None:
    network = NetworkSetup(rtt_ms=WAN.rtt_ms, map=WAN.map, jitter=WAN.jitter, loss=0.01)
    faults = FaultsSetup(stops=(Stop(at_s=5.0, share=0.001, how="vanished"),))
    scenario = Scenario(about="Large.", nodes=10_000, run_s=30.0, network=network, faults=faults)
    outcome = run(of(scenario, seeds[0]))
    bytes_s = {kind: round(b, 1) for kind, b in outcome.traffic.bytes_s.items()}
    told = {"agreement": outcome.membership.agreement, "bytes_s": bytes_s}
    first, spread = outcome.membership.detected_s, outcome.membership.spread_s
    tell("10,000 machines, 30 s", wall_s=round(outcome.wall_s, 1), steps=outcome.steps, **told)
    tell("a death among 10,000 is noticed", **spans(first))
    tell("then known to all of 10,000", **spans(spread))


def mixed(_: range) -> None:
    with ProcessPoolExecutor(PROCESSES) as pool:
        outcomes = list(pool.map(_mixed, MIXED_SEEDS, chunksize=10))
    broken = [one.broken.replay for one in outcomes if one.broken is not None]
    wall_s = sum(one.wall_s for one in outcomes)
    tell("random mixes", seeds=len(outcomes), broken=broken, cpu_s=round(wall_s, 1))


# -- runs --------------------------------------------------------------------------------------------


def of(scenario: Scenario, seed: int) -> Terms:
    return Terms("bench/simulate.py", scenario, seed, scenario.nodes, scenario.run_s)


def series(scenario: Scenario, seeds: range) -> list[Outcome]:
    with ProcessPoolExecutor(PROCESSES) as pool:
        return list(pool.map(run, [of(scenario, seed) for seed in seeds]))


def _mixed(seed: int) -> Outcome:
    return run(Terms.of("mixed", seed))


# -- telling -----------------------------------------------------------------------------------------


def false_deaths(outcomes: Iterable[Outcome]) -> dict[str, object]:
    return {"false_deaths": [one.membership.false_deaths for one in outcomes]}


def cost(outcomes: list[Outcome]) -> dict[str, object]:
    """Of a run, and whether one was broken off."""
    return {
        "seeds": len(outcomes),
        "bytes_s": round(statistics.mean(sum(o.traffic.bytes_s.values()) for o in outcomes)),
        "packets_s": round(statistics.mean(one.traffic.packets_s for one in outcomes), 2),
        "broken": [one.broken.what for one in outcomes if one.broken is not None],
    }


def spans(seconds: Sequence[float]) -> dict[str, object]:
    """Median and worst; what never came is counted apart."""
    known = sorted(one for one in seconds if isfinite(one))
    never = sum(not isfinite(one) for one in seconds)
    if not known:
        return {"never": never}
    middle = round(statistics.median(known), 2)
    return {"median_s": middle, "worst_s": round(known[-1], 2), "count": len(known), "never": never}


def tell(figure: str, **values: object) -> None:
    print(json.dumps({"figure": figure, **values}))
    sys.stdout.flush()


FIGURES: dict[str, Callable[[range], None]] = {
    "loss": loss,
    "frozen": frozen,
    "deaths": deaths,
    "split": split,
    "idle": idle,
    "large": large,
    "mixed": mixed,
}


if __name__ == "__main__":
    main()
