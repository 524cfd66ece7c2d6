import pytest

from node.runtime.virtual.spec import MachineSpec
from node.runtime.virtual.world import World
from node.simulation.directing import GOODBYE_S, Director
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
)
from node.simulation.truth import Truth


class Mesh:
    """Four machines, and what befalls them."""

    def __init__(self, *faults: Fault) -> None:
        self.world = World(seed=1)
        self.machines = [self.world.add(MachineSpec(name)) for name in "abcd"]
        self.truth = Truth("abcd")
        for name in "abcd":
            self.truth.started(name, 0.0)
        self.paces: list[tuple[float, str, object]] = []
        self.world.watch(
            lambda event: (
                self.paces.append((event.at, event.node, event.fields["pace"]))
                if event.kind == "machine.paced"
                else None
            )
        )
        Director(self.world, self.machines, self.truth).plan(faults)

    def is_cut(self, sender: str, receiver: str) -> bool:
        one, other = self.world.machines[sender], self.world.machines[receiver]
        return self.world.network.is_cut(one.port, other.port)

    def alive(self) -> str:
        return "".join(machine.name for machine in self.machines if machine.alive)


def test_a_machine_that_is_halted_twice_returns_once() -> None:
    mesh = Mesh(
        Halt(1.0, (0, 1), "killed", for_good=False),
        Halt(2.0, (0,), "vanished", for_good=False),
        Return(3.0, (0, 1)),
        Return(4.0, (0,)),
    )

    mesh.world.run(2.5)
    assert mesh.alive() == "cd" == "".join(mesh.truth.living)
    mesh.world.run(2.5)
    assert mesh.alive() == "abcd" == "".join(mesh.truth.living)


def test_who_has_gone_for_good_does_not_return() -> None:
    mesh = Mesh(
        Halt(1.0, (0,), "killed", for_good=False),
        Halt(2.0, (0,), "killed", for_good=True),
        Return(3.0, (0,)),
    )

    mesh.world.run(5.0)

    assert mesh.alive() == "bcd"


@pytest.mark.parametrize("back_after_s", [0.5, GOODBYE_S, 2.0])
def test_who_is_wanted_back_while_it_says_goodbye_returns_when_it_has_gone(
    back_after_s: float,
) -> None:
    mesh = Mesh(Halt(1.0, (0,), "stopped", for_good=False), Return(1.0 + back_after_s, (0,)))

    mesh.world.run(1.9)
    assert (mesh.alive(), mesh.machines[0].life) == ("abcd", 0)
    mesh.world.run(2.0)
    assert (mesh.alive(), mesh.machines[0].life) == ("abcd", 1)
    assert mesh.truth.living == list("abcd")


def test_who_stands_still_while_it_is_not_heard_is_excused_until_both_are_over() -> None:
    mesh = Mesh(Deafen(1.0, (0,), (1,)), StandStill(2.0, (0,), 1.0), Mend(30.0, (0,), (1,)))

    mesh.world.run(20.0)
    assert not mesh.truth.wronged("b", "a", now=20.0)
    mesh.world.run(30.0)
    assert mesh.truth.wronged("b", "a", now=50.0)


def test_who_freezes_while_it_says_goodbye_is_judged_as_others_once_it_is_back() -> None:
    mesh = Mesh(
        Halt(1.0, (0,), "stopped", for_good=False), StandStill(1.5, (0,), 1000.0), Return(3.0, (0,))
    )

    mesh.world.run(5.0)

    assert mesh.alive() == "abcd"
    assert mesh.truth.wronged("b", "a", now=20.0)


def test_who_is_killed_while_it_stands_still_is_judged_as_others_once_it_is_back() -> None:
    mesh = Mesh(
        StandStill(1.0, (0,), 1000.0), Halt(2.0, (0,), "killed", for_good=False), Return(3.0, (0,))
    )

    mesh.world.run(5.0)

    assert not mesh.truth.wronged("b", "a", now=5.0)
    assert mesh.truth.wronged("b", "a", now=20.0)


def test_a_one_way_cut_outlives_a_split_that_heals_meanwhile() -> None:
    mesh = Mesh(
        Deafen(1.0, (0,), (1,)),
        Split(2.0, (0, 1)),
        Heal(3.0),
        Mend(4.0, (0,), (1,)),
    )

    mesh.world.run(2.5)
    assert mesh.is_cut("a", "c") and mesh.is_cut("a", "b") and not mesh.is_cut("b", "a")
    mesh.world.run(1.0)
    assert not mesh.is_cut("a", "c") and mesh.is_cut("a", "b")
    mesh.world.run(1.0)
    assert not mesh.is_cut("a", "b")


def test_of_two_one_way_cuts_that_overlap_the_second_stays() -> None:
    mesh = Mesh(
        Deafen(1.0, (0,), (1, 2)),
        Deafen(1.0, (0,), (2, 3)),
        Mend(2.0, (0,), (1, 2)),
    )

    mesh.world.run(3.0)

    assert [mesh.is_cut("a", other) for other in "bcd"] == [False, True, True]


def test_a_machine_stands_still_for_its_time_and_not_beyond_its_life() -> None:
    mesh = Mesh(
        StandStill(1.0, (0, 1), 2.0),
        Halt(1.5, (1,), "killed", for_good=False),
        Return(2.0, (1,)),
        StandStill(2.5, (1,), 5.0),
    )

    mesh.world.run(1.2)
    assert (mesh.machines[0].frozen, mesh.machines[1].frozen) == (True, True)
    mesh.world.run(2.0)
    assert (mesh.machines[0].frozen, mesh.machines[1].frozen) == (False, True)
    assert mesh.truth.wronged("c", "a", now=20.0) and not mesh.truth.wronged("c", "b", now=20.0)


def test_slowdowns_and_other_programs_both_take_their_share() -> None:
    mesh = Mesh(
        Crowding(1.0, 0, 0.5), Pace(2.0, (0,), 0.1), Crowding(3.0, 0, 0.8), Pace(4.0, (0,), 1.0)
    )

    mesh.world.run(5.0)

    assert [(at, round(float(str(pace)), 6)) for at, _, pace in mesh.paces] == [
        (1.0, 0.5),
        (2.0, 0.05),
        (3.0, 0.08),
        (4.0, 0.8),
    ]
