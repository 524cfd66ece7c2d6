"""One simulated machine: a real Node, and hands that carry out what it orders on virtual time.

The machine outlives its process: it may be killed or lose its power, and start again from its disk. While it is frozen
nothing is handled; what comes waits and is handled when it thaws, before its timer, which is late. Its clock may be off
and may run fast or slow: all that the node is told of time is its own clock's.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, assert_never

from compute.partition import Matrix
from node.core import Node
from node.effects import (
    Allocate,
    Call,
    CancelCall,
    CancelWork,
    Dial,
    DialOut,
    Done,
    Effect,
    Failed,
    Free,
    Grant,
    Hang,
    KeepIncarnation,
    KeepMembers,
    KeepRelays,
    Note,
    ProbeNat,
    Refuse,
    Reply,
    SendPacket,
    Work,
)
from node.runtime.virtual.clients import Clients, ClientTask, Question
from node.runtime.virtual.disk import Disk
from node.runtime.virtual.jobs import Jobs
from node.runtime.virtual.links import RESET, Act, End
from node.runtime.virtual.network import Port
from node.runtime.virtual.process import begin
from node.runtime.virtual.shop import Shop
from node.runtime.virtual.spec import WALL_MS, MachineSpec, address_of, dice, id_of
from node.runtime.virtual.talk import Talk
from node.runtime.virtual.timer import Timer
from node.runtime.virtual.traffic import Traffic
from protocol.client import MatmulRequest, PutRequest
from protocol.ids import NodeId

if TYPE_CHECKING:
    from node.runtime.virtual.world import World

NOTES_KEPT = 1000
"""Of what a node said last: enough to see how it came to where it is."""
DEADLINE_S = 30.0


class Machine:
    """Hands and ears of one node; breaks at once where an order makes no sense."""

    node: Node
    shop: Shop

    def __init__(self, world: "World", spec: MachineSpec, index: int) -> None:
        self.spec = spec
        self.name = spec.name
        self.index = index
        self.id = id_of(spec.name)
        self.address = address_of(spec.name)
        self.port = Port(index, spec.up_bytes_s, spec.down_bytes_s)
        self.disk = Disk()
        self.row_s = spec.row_s
        """May be changed while the world runs."""
        self.alive = False
        """Its process runs, or is frozen."""
        self.powered = True
        """Its kernel answers for a process that is not there."""
        self.frozen = False
        self.life = 0
        """Grows with each end of its process."""
        self.links: dict[NodeId, End] = {}
        self.spare: list[End] = []
        """Of links whose double is used: what is under way on them ends there."""
        self.tasks: list[ClientTask] = []
        """All that were ever asked here."""
        self.notes: deque[Note] = deque(maxlen=NOTES_KEPT)
        self.traffic = Traffic()
        self.packets_waiting = 0
        """In the kernel, for a process that does not read."""
        self._world = world
        self._dice = dice(world.seed, spec.name)
        self._pace = 1.0
        self._right = spec.is_right
        self._begin_process()

    def _begin_process(self) -> None:
        """All that a process knows and its kernel does for it."""
        self.clients = Clients(self._world, self)
        self.talk = Talk(self._world, self)
        self.jobs = Jobs(self._world, self)
        self._backlog: deque[tuple[Act, tuple[object, ...]]] = deque()
        self._timer = Timer(self._world, self.spec, self._tick)

    # -- what it shows -------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """By its own clock."""
        world = self._world.now
        return world if self._right else self.spec.own_time(world)

    @property
    def world_s(self) -> float:
        """By the world's."""
        return self._world.now

    @property
    def wall_ms(self) -> int:
        return WALL_MS + int(self.now * 1000)

    @property
    def up(self) -> bool:
        return self.alive and not self.frozen

    @property
    def idle(self) -> bool:
        """Nothing is under way here but the talk among nodes."""
        busy = self.shop.buffers or self.talk.requests or self.jobs.count or self.node.tasks
        return not busy

    @property
    def leased_bytes(self) -> int:
        """Under any lease of its ledger."""
        return self.node.ledger.accounted_bytes - self.node.ledger.overhead_bytes

    # -- clients -------------------------------------------------------------------------------------

    def put(
        self,
        name: str,
        rows: int = 0,
        columns: int = 0,
        replicas: int = 2,
        *,
        deadline_s: float = 600.0,
        values: Matrix | None = None,
        request: PutRequest | None = None,
    ) -> ClientTask:
        """A client puts a matrix of this shape, or in a world with real numbers these values.

        A `request` of one's own takes the place of `replicas` and `deadline_s`.
        """
        asked = request or PutRequest(name=name, replicas=replicas, deadline_s=deadline_s)
        shape = (rows, columns) if values is None else values.shape
        return self._ask("put", asked, asked.deadline_s, (shape[0], shape[1]), values)

    def matmul(
        self,
        name: str,
        rows: int = 1,
        *,
        deadline_s: float = DEADLINE_S,
        rtol: float | None = 1e-2,
        x: Matrix | None = None,
        request: MatmulRequest | None = None,
    ) -> ClientTask:
        """A client multiplies so many rows, or these, by weights; a `request` of one's own counts instead."""
        asked = request or MatmulRequest(name=name, rtol=rtol, deadline_s=deadline_s)
        return self._ask("matmul", asked, asked.deadline_s, (rows if x is None else len(x), 0), x)

    def remove(self, name: str) -> ClientTask:
        """A client removes weights everywhere."""
        return self._ask("remove", name, DEADLINE_S, (0, 0), None)

    def _ask(
        self,
        kind: str,
        question: Question,
        deadline_s: float,
        shape: tuple[int, int],
        given: Matrix | None,
    ) -> ClientTask:
        world = self._world
        name = question if isinstance(question, str) else question.name
        number = world.next_task()
        task = ClientTask(number, self.name, kind, name, world.now, deadline_s, *shape, given=given)
        self.tasks.append(task)
        world.tell(self, "task.began", task=number, what=kind, name=name, rows=task.rows)
        if self.alive:
            self.inbox(self.clients.ask, (task, question))
        else:
            self.clients.turn_away(task)
        return task

    # -- what befalls it -----------------------------------------------------------------------------

    def start(self, seeds: Iterable[str] = ()) -> None:
        """A process begins with what lies on the disk; `seeds` are addresses that its owner names."""
        assert not self.alive, f"{self.name} runs already"
        world = self._world
        self.alive = self.powered = True
        self.disk.incarnation += 1
        self._begin_process()
        self.jobs.workers.set_pace(self._pace)
        self.shop = world.open_shop(self)
        self.node = world.make_node(self, world.policy, self._dice.getrandbits(64))
        world.tell(self, "machine.started", incarnation=self.disk.incarnation)
        begin(self, seeds)

    def kill(self) -> None:
        """The process ends at once; its kernel tells everybody."""
        for end in [*self.links.values(), *self.spare]:
            if end.open:
                self._world.links.tell_closed(end, RESET)
        self._die("machine.killed")

    def vanish(self) -> None:
        """Its power is gone: it says nothing any more."""
        self.powered = False
        self._die("machine.vanished")

    def freeze(self) -> None:
        """Its process stands still; its kernel goes on taking what comes."""
        assert self.up, f"{self.name} does not run"
        self.frozen = True
        self._timer.hold()
        self.jobs.workers.set_pace(0.0)
        self._world.tell(self, "machine.frozen")

    def thaw(self) -> None:
        """What came meanwhile is handled now, and then the timer, late."""
        assert self.frozen, f"{self.name} is not frozen"
        self.frozen = False
        self.packets_waiting = 0
        self.jobs.workers.set_pace(self._pace)
        self._world.tell(self, "machine.thawed")
        waiting, self._backlog = self._backlog, deque()
        for act, args in waiting:
            self.inbox(act, args)
        self._timer.stop()
        self._timer.aim(self.node.deadline)

    def set_pace(self, pace: float) -> None:
        """What others leave of its workers' speed: 1 all of it, 0.25 a quarter."""
        self._pace = pace
        if not self.frozen:
            self.jobs.workers.set_pace(pace)
        self._world.tell(self, "machine.paced", pace=pace)

    def _die(self, event: str) -> None:
        assert self.alive, f"{self.name} does not run"
        self.alive = self.frozen = False
        self.life += 1
        self.packets_waiting = 0
        for end in [*self.links.values(), *self.spare]:
            end.open = False
            end.stalled.clear()
        self.links.clear()
        self.spare.clear()
        self.jobs.workers.stop()
        self._backlog.clear()
        self._timer.stop()
        self._world.tell(self, event)
        self.clients.lose_all()

    # -- inputs --------------------------------------------------------------------------------------

    def inbox(self, act: Act, args: tuple[object, ...]) -> None:
        """Let it happen as soon as this machine handles anything."""
        if self.frozen:
            self._backlog.append((act, args))
        elif self.alive:
            act(*args)

    def hear(self, tell: Callable[..., list[Effect]], *args: object) -> None:
        """An input of the node; it ends in `now`."""
        if self.frozen:
            self._backlog.append((self.hear, (tell, *args)))
        elif self.alive:
            self.feed(tell(*args, self.now))

    def link_up(self, peer: NodeId, dialled: bool) -> None:
        self._world.tell(self, "link.up", peer=peer)
        self.hear(self.node.link_up, peer, dialled)

    def reached(self, addresses: tuple[str, ...]) -> None:
        self.feed(self.node.reached(addresses))

    def lose(self, end: End, reason: str) -> None:
        """A link is lost for this side: its calls fail, its requests are gone."""
        if end.life != self.life:
            return
        self.talk.lose(end, reason)
        peer = end.other.machine.id
        if self.links.get(peer) is end:
            del self.links[peer]
            self._world.tell(self, "link.down", peer=peer, reason=reason)
            self.hear(self.node.link_down, peer, reason)
        elif end in self.spare:
            self.spare.remove(end)

    def replied(self, number: int, life: int) -> None:
        """The body of an answer has left."""
        if life == self.life:
            self.hear(self.node.replied, number)

    def _tick(self, now: float) -> None:
        self.feed(self.node.tick(now))

    # -- effects -------------------------------------------------------------------------------------

    def feed(self, effects: list[Effect]) -> None:
        """Carry out what the node asks for."""
        for effect in effects:
            match effect:
                case SendPacket():
                    self._world.packets.send(self, effect.peer, effect.packet)
                case Call() | CancelCall() | Grant() | Reply() | Refuse():
                    self._speak(effect)
                case Work():
                    self.jobs.begin(effect.job, effect.what)
                case CancelWork():
                    self.jobs.cancel(effect.job)
                case Allocate():
                    self.shop.allocate(effect.buffer)
                case Free():
                    self.shop.free(effect.buffer)
                case Dial():
                    self._world.dialing.dial(self, effect.addresses, effect.peer)
                case Hang():
                    self._hang(effect)
                case Done():
                    self.clients.ended(effect.task, None)
                case Failed():
                    self.clients.ended(effect.task, effect.error)
                case ProbeNat() | DialOut() | KeepRelays():
                    raise AssertionError("its addresses are names: there is no NAT to ask about")
                case KeepMembers() | KeepIncarnation():
                    self.disk.keep(effect, self._world.now)
                case Note():
                    self.notes.append(effect)
                    self._world.tell(self, effect.event, **effect.fields)
                case _:
                    assert_never(effect)
        self._timer.aim(self.node.deadline)
        for step in self._world.steppers:
            step(self)

    def _speak(self, effect: Call | CancelCall | Grant | Reply | Refuse) -> None:
        match effect:
            case Call():
                self.talk.call(effect)
            case CancelCall():
                self.talk.cancel(effect)
            case Grant():
                self.talk.grant(effect)
            case Reply():
                self.talk.reply(effect)
            case Refuse():
                self.talk.refuse(effect)

    def _hang(self, effect: Hang) -> None:
        ends = [*self.links.values(), *self.spare]
        ends = [end for end in ends if end.other.machine.id == effect.peer]
        if all(self._world.now - end.heard_at >= effect.quiet_s for end in ends):
            for end in ends:
                self._world.links.close(end, effect.reason)
