from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.simulation.drawing import (
    FILL_MAX,
    between,
    conditions,
    dice_for,
    draw_by,
    holding,
    machines,
    matrices,
    popularity,
)
from node.simulation.loading import load
from node.simulation.scenario import MachinesSetup, NetworkSetup, Scenario, WeightsSetup
from protocol.errors import ConfigError
from protocol.limits import HELD_MAX

CHOICE = load("choice", seed=1)


def test_the_same_seed_draws_the_same_mesh_and_another_seed_another_one() -> None:
    def drawn(seed: int) -> object:
        mesh = machines(CHOICE, 64, seed)
        return mesh, matrices(CHOICE, mesh, seed)

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)


@given(st.integers(0, 2**32))
def test_what_is_drawn_lies_in_its_range(seed: int) -> None:
    for machine in machines(CHOICE, 16, seed):
        assert 5.25e6 <= machine.speed_macs_s <= 84e6
        assert 1 << 30 <= machine.memory_bytes <= 64 << 30
        assert 2.5e6 <= machine.bandwidth_bytes_s <= 125e6


def test_memory_goes_with_speed_as_far_as_is_asked_for() -> None:
    def drawn(by_speed: float) -> list[tuple[float, int]]:
        setup = MachinesSetup(memory_by_speed=by_speed)
        scenario = Scenario(about="A.", nodes=40, machines=setup)
        return [(one.speed_macs_s, one.memory_bytes) for one in machines(scenario, 40, seed=2)]

    def inversions(pairs: list[tuple[float, int]]) -> int:
        memories = [memory for _, memory in sorted(pairs)]
        return sum(a > b for n, a in enumerate(memories) for b in memories[n:])

    apart, half, same = drawn(0.0), drawn(0.5), drawn(1.0)
    assert inversions(same) == 0 < inversions(half) < inversions(apart)
    for other in (half, same):
        assert sorted(memory for _, memory in other) == sorted(memory for _, memory in apart)
        assert [speed for speed, _ in other] == [speed for speed, _ in apart]


def test_machines_that_only_ask_are_the_strongest_and_hold_nothing() -> None:
    drawn = machines(CHOICE, 64, seed=1)
    held = {
        n for matrix in matrices(CHOICE, drawn, seed=1) for block in matrix.holders for n in block
    }

    assert list(holding(CHOICE, 64)) == list(range(56))
    assert max(held) <= 55
    assert {(one.speed_macs_s, one.memory_bytes) for one in drawn[56:]} == {(84e6, 64 << 30)}


@pytest.mark.parametrize("kind", ["plane", "pairs"])
def test_round_trips_lie_in_their_range_and_are_the_same_both_ways(kind: str) -> None:
    setup = NetworkSetup(rtt_ms=(1.0, 200.0), map="plane" if kind == "plane" else "pairs")
    between_s = conditions(setup, 20, seed=3).delay_s
    assert callable(between_s)
    ways = [(one, other) for one in range(20) for other in range(one)]

    assert all(0.0005 <= between_s(*way) <= 0.1 for way in ways)
    assert all(between_s(one, other) == between_s(other, one) for one, other in ways)
    assert len({between_s(*way) for way in ways}) == len(ways)


def test_replicas_lie_on_different_machines_and_no_machine_is_overfull() -> None:
    drawn = machines(CHOICE, 64, seed=1)
    held = Counter[int]()
    for matrix in matrices(CHOICE, drawn, seed=1):
        for holders in matrix.holders:
            assert len(set(holders)) == 2
            held.update(holders)

    assert all(count << 18 <= FILL_MAX * drawn[n].memory_bytes for n, count in held.items())
    assert max(held.values()) <= HELD_MAX
    # Placed by memory: the largest eight machines hold far more than eight of 56.
    largest = sorted(range(56), key=lambda n: -drawn[n].memory_bytes)[:8]
    assert sum(held[n] for n in largest) > 0.25 * held.total()


def test_weights_that_fit_nowhere_are_refused_with_what_to_change() -> None:
    crowded = Scenario(about="A.", nodes=2, weights=WeightsSetup(count=4000, rows=(8192, 8192)))

    with pytest.raises(ConfigError, match=r"write a smaller count"):
        matrices(crowded, machines(crowded, 2, seed=1), seed=1)


def test_the_first_weights_are_the_most_popular_by_the_law_of_zipf() -> None:
    sums = popularity(WeightsSetup(count=100, zipf=1.0))
    dice = dice_for(1, "test")

    drawn = Counter(draw_by(sums, dice) for _ in range(20_000))

    assert drawn[0] / drawn[9] == pytest.approx(10.0, rel=0.3)
    assert set(drawn) <= set(range(100))


def test_a_range_without_width_gives_its_end() -> None:
    assert between((3.0, 3.0), dice_for(1, "test")) == 3.0
