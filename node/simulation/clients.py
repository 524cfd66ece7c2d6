"""Clients of a simulated mesh: they put weights that are not there, and ask for products."""

from collections.abc import Callable, Iterator, Sequence

from node.runtime.virtual.clients import ClientTask
from node.runtime.virtual.machine import Machine
from node.runtime.virtual.world import World
from node.simulation.drawing import Matrix
from node.simulation.workload import PUTS_APART_S, Asked, Workload
from protocol.errors import TaskError

PUT_S = 600.0
"""A put at the start may take so long."""


class Clients:
    """Ask the nodes that they know, one request after the other."""

    def __init__(
        self,
        world: World,
        machines: Sequence[Machine],
        weights: Sequence[Matrix],
        workload: Workload,
        expect: Callable[[ClientTask], None],
    ) -> None:
        """`expect` is told of each task that was taken."""
        self.products: list[ClientTask] = []
        """All that were asked for."""
        self.unheard = 0
        """Requests after the warm-up for which no node was left to be asked."""
        self._world = world
        self._machines = machines
        self._weights = weights
        self._workload = workload
        self._deadline_s = workload.scenario.requests.deadline_s
        self._replicas = workload.scenario.weights.replicas
        self._expect = expect

    def plan(self, run_s: float) -> None:
        """Everything up to the end of the run."""
        for number, matrix in enumerate(self._weights):
            if not matrix.holders:
                self._world.schedule(number * PUTS_APART_S, self._put, (number, matrix))
        self._next(self._workload.requests(run_s))

    def _put(self, number: int, matrix: Matrix) -> None:
        machine = self._living(number % len(self._workload.askers))
        if machine is not None:
            machine.put(matrix.name, matrix.rows, matrix.columns, self._replicas, deadline_s=PUT_S)

    def _next(self, requests: Iterator[Asked]) -> None:
        """One entry in the world's queue at a time: there may be a million requests."""
        asked = next(requests, None)
        if asked is not None:
            self._world.schedule(asked.at_s, self._ask, (asked, requests))

    def _ask(self, asked: Asked, requests: Iterator[Asked]) -> None:
        machine, matrix = self._living(asked.asker), self._weights[asked.weights]
        if machine is None:
            self.unheard += asked.at_s >= self._workload.scenario.requests.warm_up_s
        elif matrix.holders or _knows(machine, matrix.name):
            task = machine.matmul(matrix.name, asked.rows, deadline_s=self._deadline_s)
            self.products.append(task)
            self._expect(task)
        self._next(requests)

    def _living(self, first: int) -> Machine | None:
        """The node that a client means to ask, or the next one that it knows and that runs."""
        askers = self._workload.askers
        for place in range(len(askers)):
            machine = self._machines[askers[(first + place) % len(askers)]]
            if machine.alive:
                return machine
        return None


def _knows(machine: Machine, name: str) -> bool:
    """Nobody asks for weights of which the node has not heard."""
    try:
        machine.node.catalogue.find(name)
    except TaskError:
        return False
    return True
