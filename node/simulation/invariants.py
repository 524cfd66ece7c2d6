"""What must hold of every node at every step of a simulation, whatever befalls the mesh.

    within budget        the ledger never accounts for more than its budget
    one owner per lease  what holds memory does so under a lease of its own that stands; none stands for nobody
    incarnations grow    a node that starts again is a newer one, and nobody goes back to an older record of another
    requests end         what a peer asks is answered, refused or gone; no part of the node has forgotten it
    queues are bounded   what waits is not more than its limit
    tasks end            a client has its answer or its error by the deadline, with a second's grace

That a packet keeps to its budget is asserted where packets are sent. Each check looks at the one machine that has just
taken a step; the dear ones look every so many steps, counted for each machine, so that the same seed checks the same.
"""

from collections.abc import Sequence

from node.communication.rumours import WAITING_MAX as RUMOURS_MAX
from node.execution.room import WAITING_MAX
from node.runtime.virtual.clients import ClientTask
from node.runtime.virtual.events import Event
from node.runtime.virtual.machine import Machine
from node.runtime.virtual.world import World
from node.simulation.inspection import claims, leases, observers, owned_by_task, rumours, unanswered
from protocol.limits import PEERS_MAX, STREAMS_MAX

DEAR_EACH = 64
"""Steps of one machine between two looks at all its leases and requests."""
GRACE_S = 1.0
"""So long after its deadline a client's task may still end."""


class Violation(AssertionError):
    """Something that must always hold does not."""

    def __init__(self, invariant: str, machine: str, what: str) -> None:
        super().__init__(f"{invariant}: {machine}: {what}")
        self.invariant = invariant
        self.machine = machine
        self.what = what


class Invariants:
    """Looks on, and raises Violation."""

    def __init__(self, world: World, machines: Sequence[Machine]) -> None:
        self._world = world
        self._machines = machines
        self._steps = {machine.name: 0 for machine in machines}
        self._started: dict[str, int] = {}
        self._known: dict[str, dict[str, int]] = {
            machine.name: {} for machine in observers(machines, world.seed)
        }
        """Observer to the highest incarnation of each other that it was seen to know."""
        self._thawed_at: dict[str, float] = {}

    # -- what happens --------------------------------------------------------------------------------

    def hear(self, event: Event) -> None:
        match event.kind:
            case "machine.started":
                self._incarnation(event)
            case "machine.thawed":
                self._thawed_at[event.node] = event.at
            case _:
                pass

    def stepped(self, machine: Machine) -> None:
        """The node has taken a step, and what it ordered is under way."""
        ledger = machine.node.ledger
        if ledger.accounted_bytes > ledger.budget_bytes:
            what = f"{ledger.accounted_bytes} bytes are accounted for, of {ledger.budget_bytes}"
            raise Violation("within budget", machine.name, what)
        count = self._steps[machine.name] = self._steps[machine.name] + 1
        if machine.name in self._known:
            self._remembers(machine, count)
        if count % DEAR_EACH == 0:
            self.look(machine)

    def expect(self, task: ClientTask) -> None:
        """From now on this task has to end in time."""
        self._world.schedule(task.began_at + task.deadline_s + GRACE_S, self._over, (task,))

    # -- what must hold ------------------------------------------------------------------------------

    def look(self, machine: Machine) -> None:
        """All that is too dear for every step."""
        if machine.up:
            self._leases(machine)
            self._requests(machine)
            self._queues(machine)

    def _leases(self, machine: Machine) -> None:
        node, name = machine.node, "one owner per lease"
        standing, claimed = leases(node), claims(node)
        for lease_id, count in claimed.items():
            if lease_id not in standing:
                raise Violation(name, machine.name, f"lease {lease_id} is held, but does not stand")
            if count > 1:
                raise Violation(name, machine.name, f"lease {lease_id} has {count} owners")
        for lease in standing.values():
            if lease.id not in claimed and not owned_by_task(node, lease):
                what = f"lease {lease.id} of {lease.nbytes} bytes for {lease.purpose}, of {lease.owner}"
                raise Violation(name, machine.name, f"{what}, stands for nobody")

    def _requests(self, machine: Machine) -> None:
        if forgotten := unanswered(machine):
            raise Violation("requests end", machine.name, f"request {forgotten[0]} is forgotten")

    def _queues(self, machine: Machine) -> None:
        node, name = machine.node, "queues are bounded"
        # One queue for tasks of its own, and one for shards that it serves.
        if node.room.waiting > 2 * WAITING_MAX:
            raise Violation(name, machine.name, f"{node.room.waiting} requests wait for memory")
        if (waiting := rumours(node)) > RUMOURS_MAX:
            raise Violation(name, machine.name, f"{waiting} pieces of news wait to be told")
        most = STREAMS_MAX * min(len(self._steps), PEERS_MAX)
        if machine.talk.requests > most:
            raise Violation(name, machine.name, f"{machine.talk.requests} requests are open")

    def _remembers(self, machine: Machine, count: int) -> None:
        """One other, the next at the next step: nobody falls back to an older record of it."""
        other = self._machines[count % len(self._machines)]
        incarnation = machine.node.mesh.incarnation_of(other.id)
        known = self._known[machine.name]
        if incarnation < known.get(other.name, 0):
            what = f"it knew {other.name} as {known[other.name]}, and now as {incarnation}"
            raise Violation("incarnations grow", machine.name, what)
        known[other.name] = incarnation

    def _incarnation(self, event: Event) -> None:
        incarnation = event.fields["incarnation"]
        assert isinstance(incarnation, int)
        if incarnation <= self._started.get(event.node, -1):
            what = f"it starts as {incarnation}, after {self._started[event.node]}"
            raise Violation("incarnations grow", event.node, what)
        self._started[event.node] = incarnation
        # What it knew of others may not all have come to its disk.
        if event.node in self._known:
            self._known[event.node] = {}

    def _over(self, task: ClientTask) -> None:
        if task.over:
            return
        machine = self._world.machines[task.node]
        # A node that stands still hears of the time when it goes on, and its own clock may be slow.
        slow_s = max(task.deadline_s / machine.spec.clock_rate - task.deadline_s, 0.0)
        began_at = max(self._thawed_at.get(task.node, task.began_at), task.began_at)
        ends_at = began_at + task.deadline_s + slow_s + GRACE_S
        if machine.frozen:
            self._world.after(GRACE_S, self._over, task)
        elif ends_at > self._world.now:
            self._world.schedule(ends_at, self._over, (task,))
        else:
            what = f"{task.kind} {task.number} of {task.name} began at {task.began_at:.3f} s, has"
            what += f" {task.deadline_s:g} s, and neither an answer nor an error"
            raise Violation("tasks end", task.node, what)
