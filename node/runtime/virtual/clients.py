"""Clients of simulated machines: what each asked, from the question to the answer or the reason why there is none."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from compute.partition import Matrix
from node.effects import Effect
from node.runtime.virtual.shop import Body
from protocol.client import MatmulRequest, PutRequest
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import TaskId
from protocol.tasks import CertificateView

if TYPE_CHECKING:
    from node.runtime.virtual.machine import Machine
    from node.runtime.virtual.world import World

Question = PutRequest | MatmulRequest | str
"""Of a removal: the name of the weights."""


@dataclass(slots=True, eq=False)
class ClientTask:
    """What was asked, and what came of it. Times are the world's."""

    number: int
    """Counts all tasks of the world, from 1 on."""
    node: str
    """Name of the machine that was asked."""
    kind: str
    """put, matmul or remove."""
    name: str
    """Of the weights."""
    began_at: float
    deadline_s: float
    rows: int = 0
    """Of W for a put, of X for a product."""
    width: int = 0
    """Columns of W for a put, of the answer for a product."""
    given: Matrix | None = None
    """What the client brings, in a world with real numbers: W of a put, X of a product."""
    id: TaskId | None = None
    """The node's own; None while the node has not taken the task."""
    ended_at: float | None = None
    error: ErrorInfo | None = None
    certificate: CertificateView | None = None
    versions: list[str] = field(default_factory=list)
    """Of the weights that the rows came from, where machines hold names instead of numbers."""
    _taken: int = 0
    _answer: list[Matrix] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return self.ended_at is not None

    @property
    def code(self) -> ErrorCode | None:
        """None: it ended well, or has not ended yet."""
        return None if self.error is None else self.error.code

    @property
    def took_s(self) -> float | None:
        return None if self.ended_at is None else self.ended_at - self.began_at

    @property
    def value(self) -> Matrix:
        """The answer, in a world with real numbers."""
        assert self._answer, f"task {self.number} has no answer"
        answer: Matrix = np.concatenate(self._answer)
        return answer

    def take_rows(self, count: int) -> Matrix:
        """The next rows that the client brings."""
        assert self.given is not None, "in a world with real numbers a task brings its matrix"
        rows = self.given[self._taken : self._taken + count]
        self._taken += count
        return rows

    def give_rows(self, rows: Body | Matrix, certificate: CertificateView | None) -> None:
        if isinstance(rows, np.ndarray):
            self._answer.append(rows)
        elif rows is not None and str(rows) not in self.versions:
            self.versions.append(str(rows))
        self.certificate = certificate or self.certificate


class Clients:
    """Of one process: their connections end with it."""

    def __init__(self, world: "World", machine: "Machine") -> None:
        self._world = world
        self._machine = machine
        self._running: dict[str, ClientTask] = {}

    def of(self, task: str) -> ClientTask:
        """Whose task this is."""
        return self._running[task]

    def ask(self, task: ClientTask, question: Question) -> None:
        """The node takes it up, or refuses it at once."""
        try:
            name, effects = self._put_to_node(task, question)
        except TaskError as refused:
            self._close(task, refused.info)
            return
        task.id = name
        self._running[name] = task
        self._machine.feed(effects)

    def ended(self, task: str, error: ErrorInfo | None) -> None:
        self._close(self._running.pop(task), error)

    def lose_all(self) -> None:
        """The process is gone, and with it what it stood still before."""
        self._running.clear()
        for task in self._machine.tasks:
            if not task.over:
                self.turn_away(task)

    def turn_away(self, task: ClientTask) -> None:
        """There is no process."""
        reason = f"the node that was asked, {self._machine.name}, is gone"
        self._close(task, ErrorInfo(code=ErrorCode.UNAVAILABLE, reason=reason))

    # -- within --------------------------------------------------------------------------------------

    def _put_to_node(self, task: ClientTask, question: Question) -> tuple[TaskId, list[Effect]]:
        machine = self._machine
        node, now = machine.node, machine.now
        match question:
            case PutRequest():
                return node.put(question, (task.rows, task.width), machine.wall_ms, now)
            case MatmulRequest():
                width = self._width_of_x(task, question)
                name, task.width, effects = node.matmul(question, task.rows, width, now)
                return name, effects
            case _:
                return node.remove(question, None, machine.wall_ms, now)

    def _width_of_x(self, task: ClientTask, question: MatmulRequest) -> int:
        if task.given is not None:
            return int(task.given.shape[1])
        head = self._machine.node.catalogue.find(question.name).head
        return head.columns if question.transpose else head.rows

    def _close(self, task: ClientTask, error: ErrorInfo | None) -> None:
        assert not task.over, "a client is answered once"
        task.ended_at, task.error, task.given = self._world.now, error, None
        self._world.tell(
            self._machine,
            "task.ended",
            task=task.number,
            what=task.kind,
            name=task.name,
            code=None if error is None else error.code.value,
            reason=None if error is None else error.reason,
            took_s=task.took_s,
        )
