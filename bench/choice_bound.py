"""How much of the work of the scenario `choice` could be served by a choice that knows all in advance. JSON lines.

    python bench/choice_bound.py [--seeds 10] [--nodes 64]

Weights lie where the scenario puts them, machines have the speed that other programs leave them on average, and work
can be split at will: then the most that can be served is a maximum flow from weights over their holders. Queues, ways
and deadlines come on top, so no policy reaches it.
"""

import argparse
import json
import statistics
from collections import deque

from node.simulation.drawing import holding, machines, matrices
from node.simulation.loading import load
from node.simulation.scenario import Scenario

LOADS = (20, 35, 50, 70)
TINY = 1e-12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--nodes", type=int, default=64)
    given = parser.parse_args()
    scenario = load("choice", seed=1)
    for percent in LOADS:
        shares = [
            served(scenario, given.nodes, seed, percent / 100) for seed in range(1, given.seeds + 1)
        ]
        told = {"mean": round(statistics.mean(shares), 4), "worst": round(min(shares), 4)}
        print(json.dumps({"figure": "servable", "load": percent, "seeds": len(shares), **told}))


def served(scenario: Scenario, nodes: int, seed: int, load_share: float) -> float:
    """Share of the offered work."""
    drawn = machines(scenario, nodes, seed)
    weights = matrices(scenario, drawn, seed)
    holders = holding(scenario, nodes)
    total = sum(drawn[holder].speed_macs_s for holder in holders)
    chances = [(n + 1) ** -scenario.weights.zipf for n in range(len(weights))]
    source, sink = len(weights) + nodes, len(weights) + nodes + 1
    flow = Flow(sink + 1)
    for number, (matrix, chance) in enumerate(zip(weights, chances, strict=True)):
        flow.add(source, number, load_share * chance / sum(chances))
        for holder in matrix.holders[0]:
            flow.add(number, len(weights) + holder, 1.0)
    for holder in holders:
        flow.add(len(weights) + holder, sink, drawn[holder].speed_macs_s / total)
    return flow.most(source, sink) / load_share


class Flow:
    """Maximum flow by the shortest augmenting paths (Edmonds and Karp 1972)."""

    def __init__(self, places: int) -> None:
        self._ways: list[list[int]] = [[] for _ in range(places)]
        self._ends: list[int] = []
        self._left: list[float] = []
        """Of each way; the way back is its neighbour."""

    def add(self, start: int, end: int, most: float) -> None:
        for place, other, left in ((start, end, most), (end, start, 0.0)):
            self._ways[place].append(len(self._ends))
            self._ends.append(other)
            self._left.append(left)

    def most(self, source: int, sink: int) -> float:
        total = 0.0
        while path := self._shortest(source, sink):
            pushed = min(self._left[way] for way in path)
            for way in path:
                self._left[way] -= pushed
                self._left[way ^ 1] += pushed
            total += pushed
        return total

    def _shortest(self, source: int, sink: int) -> list[int]:
        """Ways from the source to the sink with something left; none when there is no such path."""
        reached: dict[int, int] = {source: -1}
        queue = deque([source])
        while queue and sink not in reached:
            place = queue.popleft()
            for way in self._ways[place]:
                end = self._ends[way]
                if self._left[way] > TINY and end not in reached:
                    reached[end] = way
                    queue.append(end)
        path: list[int] = []
        place = sink
        while place in reached and (way := reached[place]) >= 0:
            path.append(way)
            place = self._ends[way ^ 1]
        return path


if __name__ == "__main__":
    main()
