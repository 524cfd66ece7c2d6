"""Ways to choose among holders, side by side: the share of requests answered within 2 s, and the 99th percentile.

    python bench/choice.py [--seeds 10] [--nodes 64] [--loads 35,70] [--policies ours,prequal] [--results FILE]

The workload is the scenario `choice`, which see: each request is a whole task of a real node, from the client's rows to
the certificate. Each run is one process; two work side by side. What a run measured is appended to a file of JSON lines
at once, and runs that stand there already are not done again, so a long series may be cut short and taken up later:
after a change to the program name another file. At the end the file's table is printed, means over seeds.
"""

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, get_args

import msgspec

from node.simulation.run import run
from node.simulation.scenario import Choice
from node.simulation.terms import Terms

LOADS = (20, 35, 50, 70)
"""Offered work in per cent of all speed that other programs leave."""
FLOORS = {35: 0.95, 70: 0.80}
"""What ours has to reach."""
RUN_S, WARM_UP_S = 14.0, 4.0
"""Shorter than the scenario's 70 and 30 s, for there are 320 runs.
What a longer warm-up would change is not measured."""
PROCESSES = 2
POLICIES = get_args(Choice)

Cell = tuple[str, int, int, int]
"""(policy, load in per cent, nodes, seed)"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1, help="so many runs a cell, from seed 1 on")
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--loads", default=",".join(map(str, LOADS)), help="in per cent")
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--results", type=Path, default=Path("bench/results/choice.jsonl"))
    given = parser.parse_args()
    loads = [int(load) for load in given.loads.split(",")]
    policies = given.policies.split(",")
    if strangers := set(policies) - set(POLICIES):
        parser.error(f"no such policy: {', '.join(sorted(strangers))}; write {', '.join(POLICIES)}")
    # By seeds first, so that a series that is cut short has measured all cells equally often.
    wanted = [
        (policy, load, given.nodes, seed)
        for seed in range(1, given.seeds + 1)
        for load in loads
        for policy in policies
    ]
    measure([cell for cell in wanted if cell not in known(given.results)], given.results)
    for line in table(known(given.results), policies, loads, given.nodes):
        print(json.dumps(line))


def known(file: Path) -> dict[Cell, dict[str, Any]]:
    """What earlier runs have measured."""
    if not file.exists():
        return {}
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return {(one["policy"], one["load"], one["nodes"], one["seed"]): one for one in lines}


def measure(cells: list[Cell], file: Path) -> None:
    """Each cell, in no order; what is measured is written down as it comes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as kept, ProcessPoolExecutor(PROCESSES) as pool:
        for done, future in enumerate(as_completed([pool.submit(one, *cell) for cell in cells]), 1):
            kept.write(json.dumps(future.result()) + "\n")
            kept.flush()
            print(f"{done} of {len(cells)}: {future.result()}", file=sys.stderr, flush=True)


def one(policy: str, load: int, nodes: int, seed: int) -> dict[str, Any]:
    """One run."""
    terms = Terms.of("choice", seed, nodes=nodes, run_s=RUN_S)
    scenario = terms.scenario
    requests = msgspec.structs.replace(scenario.requests, load=load / 100, warm_up_s=WARM_UP_S)
    changed = msgspec.structs.replace(scenario, choice=policy, requests=requests)
    outcome = run(dataclasses.replace(terms, scenario=changed))
    asked = outcome.requests
    return {
        "policy": policy,
        "load": load,
        "nodes": nodes,
        "seed": seed,
        "asked": asked.asked,
        "in_slo": asked.in_time / asked.asked,
        "p99_s": asked.latency_s["p99"],
        "late": asked.late,
        "shed": asked.shed,
        "failed": asked.failed,
        "lost": asked.lost,
        "errors": asked.errors,
        "probes_a_request": asked.probes_each,
        "broken": None if outcome.broken is None else outcome.broken.invariant,
        "wall_s": round(outcome.wall_s, 1),
    }


def table(
    measured: dict[Cell, dict[str, Any]], policies: list[str], loads: list[int], nodes: int
) -> Iterator[dict[str, Any]]:
    """One line for each policy and load."""
    for policy in policies:
        for load in loads:
            runs = [line for cell, line in measured.items() if cell[:3] == (policy, load, nodes)]
            if not runs:
                continue
            line = {
                "figure": "inside 2 s",
                "policy": policy,
                "load": load,
                "nodes": nodes,
                "seeds": len(runs),
                "in_slo": round(statistics.mean(run["in_slo"] for run in runs), 4),
                "worst_seed": round(min(run["in_slo"] for run in runs), 4),
                "p99_s": round(statistics.mean(run["p99_s"] for run in runs), 3),
                "probes_a_request": round(max(run["probes_a_request"] for run in runs), 2),
                "broken": [run["seed"] for run in runs if run["broken"]],
            }
            floor = FLOORS.get(load) if policy == "ours" and nodes == 64 else None
            yield (
                line if floor is None else {**line, "floor": floor, "met": line["in_slo"] >= floor}
            )


if __name__ == "__main__":
    main()
