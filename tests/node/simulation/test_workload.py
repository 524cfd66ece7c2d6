from collections import Counter

import pytest

from node.simulation.drawing import machines, matrices
from node.simulation.loading import load
from node.simulation.scenario import Crowd, RequestsSetup, Scenario, WeightsSetup
from node.simulation.workload import Workload, mean_macs


def workload(scenario: Scenario, seed: int = 1) -> Workload:
    drawn = machines(scenario, scenario.nodes, seed)
    return Workload(scenario, drawn, matrices(scenario, drawn, seed), seed)


def test_requests_come_in_order_at_the_rate_of_the_scenario() -> None:
    scenario = Scenario(
        about="A.", weights=WeightsSetup(count=8), requests=RequestsSetup(rate_per_s=20.0)
    )
    asked = list(workload(scenario).requests(200.0))

    assert [one.at_s for one in asked] == sorted(one.at_s for one in asked)
    assert len(asked) == pytest.approx(4000, rel=0.06)
    assert asked == list(workload(scenario).requests(200.0))


def test_a_load_is_a_share_of_the_speed_that_other_programs_leave() -> None:
    scenario = load("choice", seed=1)
    drawn = machines(scenario, 64, seed=1)
    weights = matrices(scenario, drawn, seed=1)
    rate = Workload(scenario, drawn, weights, seed=1).rate_per_s

    assert mean_macs(scenario, weights) == 32 * 256 * 256
    offered = rate * mean_macs(scenario, weights)
    assert offered == pytest.approx(0.35 * 0.7 * sum(one.speed_macs_s for one in drawn[:56]))


def test_a_crowd_comes_for_a_while_and_for_a_few_weights() -> None:
    crowd = Crowd(at_s=50.0, for_s=50.0, times=11.0, weights=2)
    scenario = Scenario(
        about="A.",
        weights=WeightsSetup(count=50, zipf=0.0),
        requests=RequestsSetup(rate_per_s=10.0, crowds=(crowd,)),
    )
    asked = list(workload(scenario).requests(150.0))
    during = [one for one in asked if 50.0 <= one.at_s < 100.0]

    assert len(during) == pytest.approx(11 * 10 * 50, rel=0.05)
    assert len(asked) - len(during) == pytest.approx(10 * 100, rel=0.1)
    favourites = Counter(one.weights for one in during).most_common(2)
    assert sum(count for _, count in favourites) > 0.88 * len(during)


def test_a_few_nodes_are_asked_where_the_scenario_says_so() -> None:
    few = workload(load("choice", seed=1))

    assert few.askers == tuple(range(56, 64))
    assert {one.asker for one in few.requests(5.0)} == set(range(8))
    assert len(workload(load("quiet", seed=1)).askers) == 64


def test_without_a_rate_nobody_asks() -> None:
    assert list(workload(Scenario(about="A.")).requests(60.0)) == []
