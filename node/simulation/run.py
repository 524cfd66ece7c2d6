"""One run from its terms to its outcome: builds the mesh, lets everything befall it, and tells what came of it."""

import gc
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import BinaryIO

from node.runtime.virtual.disk import stocked
from node.runtime.virtual.machine import Machine
from node.runtime.virtual.spec import MachineSpec
from node.runtime.virtual.world import POLICY, World
from node.simulation import drawing
from node.simulation.clients import Clients
from node.simulation.directing import Director
from node.simulation.faults import faults, happenings
from node.simulation.inspection import names_of
from node.simulation.invariants import GRACE_S, Invariants, Violation
from node.simulation.measures import Measures
from node.simulation.outcome import Broken, Outcome
from node.simulation.requests import Fates
from node.simulation.terms import Terms
from node.simulation.trace import Trace
from node.simulation.truth import Truth
from node.simulation.workload import Workload

PROGRESS_S = 1.0
"""Of virtual time, between two tellings."""
COLLECT_AFTER = 20_000
"""Objects made and kept before Python looks for cycles. At its own 700 that look, at a mesh's worth of objects which
stay, takes a fifth of a run; a mesh leaves few cycles behind."""

Progress = Callable[[float, float], None]
"""(virtual seconds done, of so many)"""


def run(
    terms: Terms, *, trace: BinaryIO | None = None, progress: Progress | None = None
) -> Outcome:
    """ConfigError where the scenario cannot be set up with so many nodes."""
    thresholds = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER, *thresholds[1:])
    try:
        return Run(terms, trace).outcome(progress)
    finally:
        gc.set_threshold(*thresholds)


class Run:
    """A mesh, what befalls it, and who looks on."""

    def __init__(self, terms: Terms, trace: BinaryIO | None = None) -> None:
        self.terms = terms
        scenario, seed = terms.scenario, terms.seed
        drawn = drawing.machines(scenario, terms.nodes, seed)
        self.weights = drawing.matrices(scenario, drawn, seed)
        self.world = World(
            seed,
            drawing.conditions(scenario.network, terms.nodes, seed),
            policy=replace(POLICY, choice=scenario.choice),
        )
        workers = scenario.machines.workers
        self.machines = [self.world.add(_spec(one, workers), started=False) for one in drawn]
        self.truth = Truth(machine.name for machine in self.machines)
        self.measures = Measures(self.world, self.machines, self.truth, terms.run_s)
        self.invariants = Invariants(self.world, self.machines)
        workload = Workload(scenario, drawn, self.weights, seed)
        self.clients = Clients(
            self.world, self.machines, self.weights, workload, self.invariants.expect
        )
        self._watch(trace)

    def outcome(self, progress: Progress | None = None) -> Outcome:
        """Run to the end, or to the first thing that must not be."""
        began = time.perf_counter()
        broken: Broken | None = None
        try:
            self._go(progress)
        except AssertionError as error:
            broken = self._broken(error)
            self.measures.end()
        except Exception as error:
            error.add_note(f"the same again: {self.terms.replay}")
            raise
        return self._told(broken, time.perf_counter() - began)

    # -- within --------------------------------------------------------------------------------------

    def _watch(self, trace: BinaryIO | None) -> None:
        self.world.watch(self.measures.hear)
        self.world.watch(self.invariants.hear)
        if trace is not None:
            self.world.watch(Trace(trace, names_of(self.machines)).hear)
        self.world.after_step(self.invariants.stepped)

    def _go(self, progress: Progress | None) -> None:
        terms = self.terms
        self._start()
        director = Director(self.world, self.machines, self.truth)
        director.plan(faults(terms.scenario, terms.nodes, terms.seed, terms.run_s))
        self.clients.plan(terms.run_s)
        self.measures.plan()
        self._run_until(terms.run_s, progress)
        self.measures.end()
        # What was asked at the very end may still end in time.
        grace_s = terms.scenario.requests.deadline_s + GRACE_S if self.clients.products else 0.0
        self._run_until(terms.run_s + grace_s, progress)
        for machine in self.machines:
            self.invariants.look(machine)

    def _start(self) -> None:
        ids = [machine.id for machine in self.machines]
        self.world.stock(
            stocked(
                matrix.name,
                matrix.rows,
                matrix.columns,
                [[ids[holder] for holder in holders] for holders in matrix.holders],
            )
            for matrix in self.weights
            if matrix.holders
        )
        for machine in self.machines:
            self.truth.started(machine.name, 0.0)
        if self.terms.scenario.start == "converged":
            self.world.start_converged()
            return
        first, *others = self.machines
        first.start()
        for machine in others:
            machine.start((first.address,))

    def _run_until(self, at: float, progress: Progress | None) -> None:
        ends_at = self.terms.run_s
        while self.world.now < at:
            self.world.run(min(PROGRESS_S, at - self.world.now))
            if progress is not None:
                progress(self.world.now, ends_at)

    def _broken(self, error: AssertionError) -> Broken:
        now = self.world.now
        if isinstance(error, Violation):
            name, machine, what = error.invariant, error.machine, error.what
        else:
            # Some rule of the program's own, in a node or in the driver: its line says which.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            name, machine = "the program keeps its own rules", _machine_in(error)
            what = f"{Path(frame.filename).name}:{frame.lineno} {frame.line} {error}".rstrip()
        return Broken(
            invariant=name, at_s=now, machine=machine, what=what, replay=self.terms.replay
        )

    def _told(self, broken: Broken | None, wall_s: float) -> Outcome:
        terms, measures = self.terms, self.measures
        fates = Fates(self.truth.stops)
        warm_up_s = terms.scenario.requests.warm_up_s
        products, unheard = self.clients.products, self.clients.unheard
        counted = [task for task in products if task.began_at >= warm_up_s]
        probes_each = measures.probes / len(products) if products else nan
        return Outcome(
            scenario=terms.name,
            about=terms.scenario.about,
            choice=terms.scenario.choice,
            nodes=terms.nodes,
            seed=terms.seed,
            run_s=terms.run_s,
            membership=measures.membership,
            requests=fates.requests(counted, unheard, probes_each),
            traffic=measures.traffic,
            memory=measures.memory,
            events=dict(sorted(measures.events.items())),
            steps=self.world.steps,
            wall_s=wall_s,
            broken=broken,
            happenings=happenings(terms.scenario.faults, terms.run_s),
            samples=fates.by_moment(products, measures.samples),
        )


def _machine_in(error: AssertionError) -> str:
    """The machine that was at work when it was raised."""
    here = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((one.name for one in reversed(here) if isinstance(one, Machine)), "no machine")


def _spec(drawn: drawing.Machine, workers: int) -> MachineSpec:
    return MachineSpec(
        name=drawn.name,
        memory_bytes=drawn.memory_bytes,
        macs_s=drawn.speed_macs_s / workers,
        workers=workers,
        up_bytes_s=drawn.bandwidth_bytes_s,
        down_bytes_s=drawn.bandwidth_bytes_s,
        clock_offset_s=drawn.clock_offset_s,
        clock_rate=drawn.clock_rate,
    )
