"""The timer of a simulated machine: one entry that counts, wherever the deadline moves."""

from node.runtime.virtual.spec import MachineSpec
from node.runtime.virtual.timer import Timer
from node.runtime.virtual.world import World


def timer(**spec: float) -> tuple[World, Timer, list[float]]:
    world, ticks = World(1), list[float]()
    return world, Timer(world, MachineSpec("a", **spec), ticks.append), ticks  # type: ignore[arg-type]


def test_a_deadline_is_kept() -> None:
    world, one, ticks = timer()

    one.aim(2.0)
    world.run(3.0)

    assert ticks == [2.0]


def test_a_deadline_that_moves_later_takes_no_new_entry_until_the_first_is_due() -> None:
    world, one, ticks = timer()

    one.aim(1.0)
    for later in (1.5, 2.0, 2.5):
        one.aim(later)
    world.run(3.0)

    assert ticks == [2.5]
    assert world.steps == 2


def test_a_deadline_that_moves_earlier_overtakes_the_entry_under_way() -> None:
    world, one, ticks = timer()

    one.aim(2.0)
    one.aim(1.0)
    world.run(3.0)

    assert ticks == [1.0]


def test_a_deadline_that_is_withdrawn_brings_no_tick() -> None:
    world, one, ticks = timer()

    one.aim(1.0)
    one.aim(None)
    world.run(3.0)

    assert ticks == []


def test_a_deadline_in_the_past_is_kept_at_once_and_one_time() -> None:
    world, one, ticks = timer()
    world.run(1.0)

    one.aim(0.5)
    one.aim(0.5)
    world.run(1.0)

    assert ticks == [1.0]


def test_a_held_timer_ticks_when_it_has_been_stopped_and_aimed_again() -> None:
    world, one, ticks = timer()

    one.aim(1.0)
    one.hold()
    one.aim(1.5)
    world.run(3.0)
    assert ticks == []

    one.stop()
    one.aim(1.5)
    world.run(1.0)
    assert ticks == [3.0]


def test_a_machine_whose_clock_is_off_is_ticked_by_its_own_clock() -> None:
    world, one, ticks = timer(clock_offset_s=100.0, clock_rate=2.0)

    one.aim(104.0)
    world.run(1.9)
    assert ticks == []

    world.run(0.2)
    assert ticks == [104.0]
