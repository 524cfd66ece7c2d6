"""Lets befall a simulated mesh what a scenario has drawn, and tells the truth of it."""

from collections.abc import Sequence
from math import inf
from typing import assert_never

from node.runtime.virtual.machine import Machine
from node.runtime.virtual.world import World
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
from protocol.members import Cause

GOODBYE_S = 1.0
"""So long a process that was asked to end lets others hear of it."""


class Director:
    """Turns faults into entries of the world's queue."""

    def __init__(self, world: World, machines: Sequence[Machine], truth: Truth) -> None:
        self._world = world
        self._machines = machines
        self._truth = truth
        self._gone: set[int] = set()
        """Machines that have stopped for good."""
        self._slowed = [1.0] * len(machines)
        """What slowdowns leave of each machine's speed."""
        self._left = [1.0] * len(machines)
        """What other programs leave of it."""
        self._end_at: dict[int, float] = {}
        """When machines that say goodbye have ended."""
        self._deaf: list[Deafen] = []
        """One-way cuts that stand."""

    def plan(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            self._world.schedule(fault.at_s, self._befall, (fault,))

    def _befall(self, fault: Fault) -> None:
        match fault:
            case Halt():
                for machine in fault.machines:
                    self._halt(machine, fault)
            case Return():
                for machine in fault.machines:
                    self._return(machine)
            case Split():
                names = [self._machines[machine].name for machine in fault.machines]
                self._world.part(names)
                self._truth.split(names)
            case Heal():
                self._heal()
            case Deafen():
                self._deafen(fault)
            case Mend():
                self._mend(fault)
            case StandStill():
                for machine in fault.machines:
                    self._stand_still(machine, fault.for_s)
            case Pace():
                for machine in fault.machines:
                    self._slowed[machine] = fault.share
                    self._pace(machine)
            case Crowding():
                self._left[fault.machine] = fault.share
                self._pace(fault.machine)
            case _:
                assert_never(fault)

    def _halt(self, index: int, fault: Halt) -> None:
        machine = self._machines[index]
        if fault.for_good:
            self._gone.add(index)
        if not machine.alive:
            return
        # First, for what the world tells of it is judged by what is so.
        self._stopped(machine)
        match fault.how:
            case "killed":
                self._world.kill(machine.name)
            case "vanished":
                self._world.vanish(machine.name)
            case "stopped":
                self._stop(index, machine)
            case _:
                assert_never(fault.how)

    def _stop(self, index: int, machine: Machine) -> None:
        """It says goodbye, and ends a moment later; one that stands still cannot."""
        if machine.frozen:
            self._world.kill(machine.name)
            return
        self._world.tell(machine, "machine.stopping")
        machine.hear(machine.node.leave, Cause.STOPPED)
        self._end_at[index] = self._world.now + GOODBYE_S
        self._world.after(GOODBYE_S, self._end, machine, machine.life)

    def _end(self, machine: Machine, life: int) -> None:
        if machine.life == life:
            self._stopped(machine)
            self._world.kill(machine.name)

    def _stopped(self, machine: Machine) -> None:
        self._truth.stopped(machine.name, self._world.now)
        if machine.frozen:
            # What starts again does not stand still.
            self._truth.relieved(machine.name, self._world.now)

    def _return(self, index: int) -> None:
        machine = self._machines[index]
        if machine.alive and (end_at := self._end_at.get(index, -inf)) >= self._world.now:
            self._world.schedule(end_at, self._return, (index,))
        elif not machine.alive and index not in self._gone:
            self._truth.started(machine.name, self._world.now)
            self._world.restart(machine.name)

    def _heal(self) -> None:
        self._world.heal()
        self._truth.healed(self._world.now)
        # Healing brings every way back, and these are cut for reasons of their own.
        for deafen in self._deaf:
            self._cut(deafen)

    def _deafen(self, deafen: Deafen) -> None:
        self._deaf.append(deafen)
        self._cut(deafen)
        for machine in deafen.mute:
            self._truth.troubled(self._machines[machine].name)

    def _mend(self, mend: Mend) -> None:
        deafen = next(one for one in self._deaf if (one.mute, one.deaf) == (mend.mute, mend.deaf))
        self._deaf.remove(deafen)
        self._world.mend(*self._names(deafen))
        for machine in mend.mute:
            self._truth.relieved(self._machines[machine].name, self._world.now)
        for other in self._deaf:
            self._cut(other)

    def _cut(self, deafen: Deafen) -> None:
        self._world.cut(*self._names(deafen), one_way=True)

    def _names(self, deafen: Deafen) -> tuple[list[str], list[str]]:
        return (
            [self._machines[machine].name for machine in deafen.mute],
            [self._machines[machine].name for machine in deafen.deaf],
        )

    def _stand_still(self, index: int, for_s: float) -> None:
        machine = self._machines[index]
        if machine.up:
            self._truth.troubled(machine.name)
            self._world.freeze(machine.name, for_s)
            self._world.after(for_s, self._go_on, machine, machine.life)

    def _go_on(self, machine: Machine, life: int) -> None:
        if machine.life == life:
            self._truth.relieved(machine.name, self._world.now)

    def _pace(self, index: int) -> None:
        self._world.slow(self._machines[index].name, self._slowed[index] * self._left[index])
