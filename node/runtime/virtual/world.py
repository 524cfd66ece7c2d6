"""The second driver of a Node: any number of machines on virtual time, in one process, without a socket.

An event heap is the world: the earliest entry is taken, the clock moves there, and it happens. What one node orders
becomes what another one hears, after delays and losses that dice draw. One seed is one run, byte for byte, in every
process: all dice come from the seed, and nothing is read from a real clock.

    world = World(seed=1, conditions=Conditions(delay_s=spread(0.01, 0.1, seed=1), loss=0.1))
    a = world.add(MachineSpec("a"))
    b = world.add(MachineSpec("b"), seeds=(a.address,))
    world.run(5.0)
    task = b.matmul("w", rows=16, deadline_s=2.0)
    world.run_until(lambda: task.over, within_s=3.0)
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from math import inf
from pathlib import Path

from node.policy import Policy
from node.runtime.virtual.calls import Calls
from node.runtime.virtual.charged import ChargedShop
from node.runtime.virtual.costs import Costs
from node.runtime.virtual.dialing import Dialing
from node.runtime.virtual.disk import stock
from node.runtime.virtual.events import Watcher, Watchers
from node.runtime.virtual.links import Links
from node.runtime.virtual.machine import Machine
from node.runtime.virtual.network import Conditions, Network
from node.runtime.virtual.packets import Packets
from node.runtime.virtual.process import MakeNode, acquaint, make_node
from node.runtime.virtual.real import RealShop
from node.runtime.virtual.shop import Shop
from node.runtime.virtual.spec import MachineSpec, dice
from protocol.ids import NodeId
from protocol.messages import Manifest

SAME_MOMENT_MAX = 2_000_000
"""Steps without time passing: more means that two nodes answer each other for ever."""
REAL_DISK_BYTES = 1 << 40

POLICY = Policy(
    backend="digital", device="", workers=2, hedge_share=0.05, interval_s=0.5, redial_s=10.0
)
"""As the settings have it where nothing else is said, but for the backend: only digital products are charged for."""

Step = Callable[[Machine], None]


class World:
    """Machines, the network between them, and what happens next.

    `folder`: with it numbers are real, and lie there; without it time is charged and buffers hold names.
    `codec_each`: every n-th packet goes through the codec (`packets`); headers of calls always do.
    `make_node`: another way to make a machine's node, to see what becomes of a faulty one.
    """

    def __init__(
        self,
        seed: int = 0,
        conditions: Conditions | None = None,
        *,
        policy: Policy = POLICY,
        costs: Costs | None = None,
        folder: Path | None = None,
        codec_each: int = 1,
        make_node: MakeNode = make_node,
    ) -> None:
        self.seed = seed
        self.now = 0.0
        self.steps = 0
        """Entries of the heap that have happened."""
        self.policy = policy
        self.costs = costs or Costs()
        self.make_node = make_node
        self.machines: dict[str, Machine] = {}
        self.by_id: dict[NodeId, Machine] = {}
        self.dice = dice(seed, "the world")
        """For whoever drives this world; nothing in here draws from it."""
        self.network = Network(conditions or Conditions(), dice(seed, "the network"))
        self.watchers = Watchers()
        self.steppers: list[Step] = []
        self.links = Links(self)
        self.dialing = Dialing(self, self.links)
        self.calls = Calls(self, self.links)
        self.packets = Packets(self, codec_each)
        self._folder = folder
        self._by_address: dict[str, Machine] = {}
        self._heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = 0
        self._tasks = 0

    # -- machines ------------------------------------------------------------------------------------

    def add(self, spec: MachineSpec, seeds: Iterable[str] = (), *, started: bool = True) -> Machine:
        """A new machine that knows at most these addresses. Not started yet, it can still be stocked."""
        assert spec.name not in self.machines, f"there are two machines named {spec.name}"
        machine = Machine(self, spec, len(self.machines))
        self.machines[spec.name] = machine
        self.by_id[machine.id] = machine
        self._by_address[machine.address] = machine
        if started:
            machine.start(seeds)
        return machine

    def stock(self, manifests: Iterable[Manifest]) -> None:
        """Weights lie on the disks of their holders and are known to all, without a put.

        For machines that have not started yet; they take them up as after a restart.
        """
        assert self._folder is None, "real weights have to be put"
        for manifest in manifests:
            for machine in self.machines.values():
                if not machine.alive:
                    stock(machine.disk, machine.id, manifest)

    def start(self) -> None:
        """All that were added and have not started."""
        for machine in self.machines.values():
            if not machine.alive and machine.life == 0:
                machine.start()

    def start_converged(self) -> None:
        """All that were added start as a mesh that has stood for long: everybody knows everybody.

        Of thousands that is the only way to begin: a crowd that joins at once tells each other everything.
        """
        self.start()
        acquaint(self.living())

    def living(self) -> list[Machine]:
        """Whose process runs and is not frozen."""
        return [machine for machine in self.machines.values() if machine.up]

    def at(self, address: str) -> Machine | None:
        return self._by_address.get(address)

    # -- time ----------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        self._advance(self.now + seconds, None)

    def run_until(self, happened: Callable[[], bool], within_s: float) -> None:
        """Step by step, until it has happened; AssertionError if it does not."""
        if not self._advance(self.now + within_s, happened):
            raise AssertionError(f"it has not happened within {within_s:g} s")

    def after(self, delay_s: float, act: Callable[..., None], *args: object) -> None:
        """Let `act(*args)` happen then; for scenarios, too."""
        self.schedule(self.now + delay_s, act, args)

    def schedule(self, at: float, act: Callable[..., None], args: tuple[object, ...]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (at, self._order, act, args))

    def _advance(self, ends_at: float, happened: Callable[[], bool] | None) -> bool:
        """Whether it has happened by then."""
        heap, pop = self._heap, heapq.heappop
        same = 0
        while heap and heap[0][0] <= ends_at:
            if happened is not None and happened():
                return True
            at, _, act, args = pop(heap)
            if at > self.now:
                self.now = at
                same = 0
            same += 1
            assert same < SAME_MOMENT_MAX, f"{same} steps and it is still {at}"
            self.steps += 1
            act(*args)
        if happened is not None and happened():
            return True
        self.now = ends_at
        return False

    # -- faults --------------------------------------------------------------------------------------

    def kill(self, name: str) -> None:
        """Its process ends (SIGKILL): links are reset at once, dials refused."""
        self.machines[name].kill()

    def vanish(self, name: str) -> None:
        """Its power is gone: silence."""
        self.machines[name].vanish()

    def restart(self, name: str, seeds: Iterable[str] = ()) -> Machine:
        """It starts again from what lies on its disk."""
        machine = self.machines[name]
        machine.start(seeds)
        return machine

    def freeze(self, name: str, seconds: float = inf) -> None:
        """Its process stands still (SIGSTOP), for this long or until `thaw`."""
        machine = self.machines[name]
        machine.freeze()
        if seconds < inf:
            self.after(seconds, self._thaw, machine, machine.life)

    def thaw(self, name: str) -> None:
        self.machines[name].thaw()

    def slow(self, name: str, pace: float) -> None:
        """Others leave it this share of its workers' speed, from now on."""
        self.machines[name].set_pace(pace)

    def cut(self, some: Iterable[str], others: Iterable[str], *, one_way: bool = False) -> None:
        """No way from any of these to any of those, and unless `one_way` none back, from now on."""
        self.network.cut(self._ways(list(some), list(others), one_way=one_way))
        self.tell(None, "network.cut", one_way=one_way)

    def mend(self, some: Iterable[str], others: Iterable[str]) -> None:
        """All ways between these two groups are there again."""
        self.network.mend(self._ways(list(some), list(others), one_way=False))
        self.links.mended()
        self.tell(None, "network.healed")

    def part(self, *groups: Sequence[str]) -> None:
        """A partition: no way between any two groups; who is named in none belongs to one more."""
        for machine in self.machines.values():
            machine.port.side = 0
        for side, names in enumerate(groups, 1):
            for name in names:
                self.machines[name].port.side = side
        self.network.part()
        self.tell(None, "network.cut", one_way=False)

    def heal(self) -> None:
        """Every way is there again."""
        for machine in self.machines.values():
            machine.port.side = 0
        self.network.mend_all()
        self.links.mended()
        self.tell(None, "network.healed")

    def change(self, conditions: Conditions) -> None:
        """The network is like this from now on."""
        self.network.conditions = conditions
        self.tell(None, "network.changed", loss=conditions.loss)

    # -- who looks on --------------------------------------------------------------------------------

    def watch(self, watcher: Watcher, *, packets: bool = False) -> None:
        """Be told of every `Event`; of single packets only if asked for."""
        self.watchers.add(watcher, packets=packets)

    def after_step(self, step: Step) -> None:
        """Be called after each input of a node, with its machine: for what must hold at every step."""
        self.steppers.append(step)

    def tell(self, machine: Machine | None, kind: str, /, **fields: object) -> None:
        self.watchers.tell(self.now, "" if machine is None else machine.name, kind, **fields)

    # -- what machines ask ---------------------------------------------------------------------------

    def open_shop(self, machine: Machine) -> Shop:
        if self._folder is None:
            return ChargedShop(machine.disk)
        return RealShop(self._folder / machine.name, REAL_DISK_BYTES, lambda: machine.wall_ms / 1e3)

    def next_task(self) -> int:
        self._tasks += 1
        return self._tasks

    # -- within --------------------------------------------------------------------------------------

    def _thaw(self, machine: Machine, life: int) -> None:
        if machine.frozen and machine.life == life:
            machine.thaw()

    def _ways(
        self, some: list[str], others: list[str], *, one_way: bool
    ) -> Iterable[tuple[int, int]]:
        for one in some:
            for other in others:
                a, b = self.machines[one].index, self.machines[other].index
                if a != b:
                    yield (a, b)
                    if not one_way:
                        yield (b, a)
