from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.simulation.faults import (
    Crowding,
    Deafen,
    Fault,
    Halt,
    Heal,
    Mend,
    Pace,
    Return,
    Split,
    StandStill,
    faults,
    happenings,
    unseen,
)
from node.simulation.loading import load
from node.simulation.mixing import mixed
from node.simulation.scenario import (
    Crowd,
    FaultsSetup,
    Freeze,
    MachinesSetup,
    OneWay,
    Partition,
    RequestsSetup,
    Scenario,
    Slowdown,
    Stop,
    WeightsSetup,
)


def drawn(setup: FaultsSetup, nodes: int = 20, run_s: float = 60.0) -> list[Fault]:
    return faults(Scenario(about="A.", faults=setup), nodes, seed=1, run_s=run_s)


@given(st.integers(0, 2**32))
def test_faults_come_in_order_within_the_run_and_from_the_seed_alone(seed: int) -> None:
    scenario = mixed(seed)
    found = faults(scenario, scenario.nodes, seed, scenario.run_s)

    assert found == faults(scenario, scenario.nodes, seed, scenario.run_s)
    assert [fault.at_s for fault in found] == sorted(fault.at_s for fault in found)
    assert all(0.0 <= fault.at_s < scenario.run_s for fault in found)


def test_who_stops_comes_back_unless_it_has_gone_for_good() -> None:
    back, gone = (
        drawn(FaultsSetup(stops=(Stop(at_s=10.0, share=0.25, back_after_s=5.0),))),
        drawn(FaultsSetup(stops=(Stop(at_s=10.0, share=0.25, how="vanished"),))),
    )

    stopped, returned = back
    assert isinstance(stopped, Halt) and isinstance(returned, Return)
    assert (len(stopped.machines), stopped.for_good) == (5, False)
    assert (returned.at_s, returned.machines) == (15.0, stopped.machines)
    assert [(type(one), getattr(one, "for_good", None)) for one in gone] == [(Halt, True)]


def test_a_split_leaves_two_sides_and_heals() -> None:
    split, heal = drawn(FaultsSetup(partitions=(Partition(at_s=5.0, for_s=10.0, share=0.3),)))

    assert isinstance(split, Split) and len(split.machines) == 6
    assert heal == Heal(15.0)


def test_a_split_heals_before_the_next_one_begins_at_that_moment() -> None:
    following, first = Partition(at_s=15.0, for_s=5.0), Partition(at_s=5.0, for_s=10.0)

    found = drawn(FaultsSetup(partitions=(following, first)))

    assert [type(fault) for fault in found] == [Split, Heal, Split, Heal]


def test_a_one_way_cut_leads_from_some_machines_to_some_of_the_others() -> None:
    cut, mend = drawn(FaultsSetup(one_ways=(OneWay(at_s=5.0, for_s=1.0, share=0.1, by=0.5),)))

    assert isinstance(cut, Deafen) and isinstance(mend, Mend)
    assert (cut.mute, cut.deaf) == (mend.mute, mend.deaf)
    assert (len(set(cut.mute)), len(set(cut.deaf))) == (2, 9)
    assert not set(cut.mute) & set(cut.deaf)


def test_the_same_machines_stand_still_again_and_again() -> None:
    found = drawn(
        FaultsSetup(freezes=(Freeze(at_s=1.0, for_s=4.0, share=0.1, times=3, apart_s=1.0),))
    )

    assert [fault.at_s for fault in found] == [1.0, 6.0, 11.0]
    assert len({fault.machines for fault in found if isinstance(fault, StandStill)}) == 1


def test_a_slowdown_ends() -> None:
    found = drawn(FaultsSetup(slowdowns=(Slowdown(at_s=1.0, for_s=4.0, share=0.5, factor=8.0),)))

    assert [(fault.at_s, fault.share) for fault in found if isinstance(fault, Pace)] == [
        (1.0, 1 / 8),
        (5.0, 1.0),
    ]


def test_lives_last_as_long_on_average_as_the_scenario_says() -> None:
    found = drawn(FaultsSetup(mean_life_s=100.0, mean_absence_s=50.0), nodes=200, run_s=600.0)
    stops = sum(isinstance(fault, Halt) for fault in found)

    assert stops == pytest.approx(200 * 600 / 150, rel=0.1)
    assert not any(fault.for_good for fault in found if isinstance(fault, Halt))


def test_other_programs_take_a_share_that_changes_now_and_then() -> None:
    setup = MachinesSetup(others_take=(0.2, 0.6), others_change_s=10.0)
    found = faults(Scenario(about="A.", machines=setup), 50, seed=1, run_s=200.0)
    changes = Counter(fault.machine for fault in found if isinstance(fault, Crowding))

    assert all(0.4 <= fault.share <= 0.8 for fault in found if isinstance(fault, Crowding))
    assert len(changes) == 50 and changes.total() == pytest.approx(50 * 21, rel=0.1)


def test_a_drawing_shows_what_the_scenario_names() -> None:
    shown = happenings(load("partition", seed=1).faults, run_s=120.0)

    assert [(one.what, one.at_s, one.until_s) for one in shown] == [
        ("split", 10.0, 40.0),
        ("one way", 80.0, 90.0),
    ]


def test_a_drawing_shows_machines_as_frozen_until_they_thaw_for_the_last_time() -> None:
    once = Freeze(at_s=10.0, for_s=4.0, share=0.1)
    thrice = Freeze(at_s=20.0, for_s=4.0, share=0.1, times=3, apart_s=0.5)
    shown = happenings(FaultsSetup(freezes=(once, thrice)), run_s=60.0)

    assert [(one.what, one.at_s, one.until_s) for one in shown] == [
        ("frozen", 10.0, 14.0),
        ("frozen", 20.0, 33.0),
    ]


def test_faults_after_the_end_of_the_run_are_counted() -> None:
    late = Scenario(
        about="A.",
        weights=WeightsSetup(count=1),
        requests=RequestsSetup(rate_per_s=1.0, crowds=(Crowd(at_s=50.0, for_s=1.0, times=2.0),)),
        faults=FaultsSetup(stops=(Stop(at_s=10.0, share=0.1), Stop(at_s=70.0, share=0.1))),
    )

    assert [unseen(late, run_s) for run_s in (5.0, 60.0, 90.0)] == [3, 1, 0]
