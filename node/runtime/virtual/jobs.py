"""Work that one simulated process was ordered to do: on its workers, from and to clients, or out to holders."""

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from node.runtime.virtual.clients import ClientTask
from node.runtime.virtual.costs import carried_s, pieces, seconds
from node.runtime.virtual.relay import Relaying
from node.runtime.virtual.workers import Piece, Workers
from node.work import GiveRows, Job, KeepManifest, Outcome, Relay, TakeRows
from protocol.errors import ErrorInfo, TaskError

if TYPE_CHECKING:
    from node.runtime.virtual.machine import Machine
    from node.runtime.virtual.world import World


@dataclass(slots=True, eq=False)
class _Doing:
    """A piece of work that workers have."""

    job: int
    what: Job
    left: int
    """Pieces that have not ended."""
    pieces: list[Piece] = field(default_factory=list)
    busy_s: float = 0.0
    """Of the piece that took longest, by the machine's clock."""


class Jobs:
    """Numbered by the node, which is told how they end, unless they were cancelled before."""

    def __init__(self, world: "World", machine: "Machine") -> None:
        self.workers = Workers(world, machine.spec.workers)
        self._world = world
        self._machine = machine
        self._under_way: dict[int, _Doing | Relaying | ClientTask] = {}

    @property
    def count(self) -> int:
        return len(self._under_way)

    def begin(self, job: int, what: Job) -> None:
        match what:
            case Relay():
                client = self._machine.clients.of(what.task)
                relaying = Relaying(self._world, self._machine, job, what, client)
                self._under_way[job] = relaying
                relaying.start()
            case TakeRows():
                self._carry(job, what, what.into.nbytes)
            case GiveRows():
                self._carry(job, what, what.rows.nbytes)
            case _:
                self._hand_over(job, what)

    def cancel(self, job: int) -> None:
        """Nothing more is told of it; what a worker has begun goes on to its end all the same."""
        doing = self._under_way.pop(job, None)
        if isinstance(doing, Relaying):
            doing.cancel()
        elif isinstance(doing, _Doing):
            for piece in doing.pieces:
                self.workers.drop(piece)

    def done(self, job: int, outcome: Outcome) -> None:
        if self._under_way.pop(job, None) is not None:
            self._machine.hear(self._machine.node.job_done, job, outcome)

    def failed(self, job: int, error: ErrorInfo) -> None:
        if self._under_way.pop(job, None) is not None:
            self._machine.hear(self._machine.node.job_failed, job, error)

    # -- within --------------------------------------------------------------------------------------

    def _carry(self, job: int, what: TakeRows | GiveRows, nbytes: int) -> None:
        machine = self._machine
        self._under_way[job] = machine.clients.of(what.task)
        late_s = self._world.costs.job_s + carried_s(nbytes, machine.spec.client_bytes_s)
        args = (job, what, machine.life)
        self._world.after(late_s, machine.inbox, self._carried, args)

    def _carried(self, job: int, what: TakeRows | GiveRows, life: int) -> None:
        client = self._under_way.get(job)
        if life != self._machine.life or not isinstance(client, ClientTask):
            return
        if isinstance(what, TakeRows):
            self.done(job, self._machine.shop.take(what, client))
        else:
            self._machine.shop.give(what, client)
            self.done(job, None)

    def _hand_over(self, job: int, what: Job) -> None:
        spec = self._machine.spec
        need_s = seconds(what, self._world.costs, spec.macs_s)
        if isinstance(what, KeepManifest):
            need_s += self._machine.disk.keep_s
        count = pieces(what, spec.workers)
        doing = self._under_way[job] = _Doing(job, what, count)
        done = partial(self._piece_done, doing)
        doing.pieces = [self.workers.begin(need_s / count, done) for _ in range(count)]

    def _piece_done(self, doing: _Doing, piece: Piece) -> None:
        machine = self._machine
        took_s = (self._world.now - piece.began_at) * machine.spec.clock_rate
        doing.busy_s = max(doing.busy_s, took_s)
        doing.left -= 1
        if doing.left or doing.job not in self._under_way:
            return
        try:
            outcome = machine.shop.do(doing.what, doing.busy_s)
        except TaskError as wrong:
            self.failed(doing.job, wrong.info)
        else:
            self.done(doing.job, outcome)
