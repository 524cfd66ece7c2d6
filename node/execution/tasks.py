"""What clients have asked of this node: each request becomes a task, which lives here until it is over.

The last products stay known for a while after their end.
"""

import random
from collections import Counter
from typing import Protocol

import msgspec

from compute.partition import BlockGrid
from node.deployment.devices import device_text
from node.effects import Effect
from node.execution import announce, dealing, fetch, put
from node.execution.announce import Removal
from node.execution.fetch import Fetch
from node.execution.matmul import Matmul
from node.execution.put import Put
from node.execution.recent import Recent
from protocol.client import MatmulRequest, PutRequest
from protocol.errors import ErrorCode, TaskError
from protocol.ids import TaskId
from protocol.messages import Manifest, ManifestHead
from protocol.tasks import TaskView

Task = Put | Matmul | Removal | Fetch


class Surroundings(
    announce.Surroundings, dealing.Surroundings, fetch.Surroundings, put.Surroundings, Protocol
):
    """What tasks may ask of their node."""


class Tasks:
    """Begins tasks, and forgets them when they are over."""

    def __init__(
        self, around: Surroundings, backend: str, device: str, dice: random.Random
    ) -> None:
        """`backend` and `device` are of weights whose put does not say."""
        self.done = 0
        self.failed = 0
        self.redone: Counter[str] = Counter()
        """Parts of products that are over, by how they were done again: stronger, digital."""
        self._around = around
        self._backend = backend
        self._device = device
        self._dice = dice
        self._running: dict[str, Task] = {}
        self._recent = Recent()

    def __len__(self) -> int:
        return len(self._running)

    def put(
        self, request: PutRequest, shape: tuple[int, int], wall_ms: int, now: float
    ) -> tuple[TaskId, list[Effect]]:
        """Begin a put of a (K, N) matrix; TaskError when it cannot even begin."""
        catalogue = self._around.catalogue
        catalogue.match(request.name, request.if_match)
        backend = request.backend or self._backend
        device = device_text(backend, request.device, self._device)
        full = msgspec.structs.replace(request, backend=backend, device=device)
        task = self._number()
        version = catalogue.next_version(wall_ms, self._around.own)
        seed = self._dice.getrandbits(62)
        begun = Put(task, full, shape, version, seed, self._around, now, self._counted)
        return task, self._begin(begun, now)

    def matmul(
        self, request: MatmulRequest, rows: int, width: int, now: float
    ) -> tuple[TaskId, int, list[Effect]]:
        """Begin a product with X (rows, width); the answer's width, or TaskError."""
        manifest = self._around.catalogue.find(request.name)
        head = manifest.head
        need, gives = (head.rows, head.columns)
        if request.transpose:
            need, gives = gives, need
        if width != need:
            formula = "Y W^T" if request.transpose else "X W"
            raise TaskError(
                ErrorCode.BAD_REQUEST,
                f"{formula}: the matrix sent has {width} columns, but {request.name} is"
                f" {head.rows} x {head.columns} and needs {need}",
            )
        task = self._number()
        begun = Matmul(task, request, rows, manifest, self._around, now, self._counted)
        return task, gives, self._begin(begun, now)

    def remove(
        self, name: str, if_match: str | None, wall_ms: int, now: float
    ) -> tuple[TaskId, list[Effect]]:
        """Delete weights everywhere."""
        catalogue = self._around.catalogue
        catalogue.find(name)
        catalogue.match(name, if_match)
        version = catalogue.next_version(wall_ms, self._around.own)
        tombstone = Manifest(ManifestHead(name=name, version=version, deleted=True))
        task = self._number()
        return task, self._begin(Removal(task, tombstone, self._around), now)

    def fetch(self, manifest: Manifest, index: int, now: float) -> tuple[TaskId, list[Effect]]:
        """Begin to bring one block of these weights into the spool."""
        head, entry = manifest.head, manifest.entries[index]
        grid = BlockGrid(head.rows, head.columns)
        nbytes = grid.payload_bytes(list(grid.blocks())[index])
        task = self._number()
        begun = Fetch(task, entry.content, nbytes, manifest.holders(entry), self._around)
        return task, self._begin(begun, now)

    def cancel(self, task: str, now: float) -> list[Effect]:
        """The client has gone."""
        running = self._running.get(task)
        return [] if running is None else running.cancel("the client closed the connection", now)

    def view(self, task: str, now: float) -> TaskView:
        """What a product takes or took; TaskError if it is not known here."""
        running = self._running.get(task)
        return running.view(now) if isinstance(running, Matmul) else self._recent.find(task)

    def tick(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for task in list(self._running.values()):
            if task.deadline is not None and task.deadline <= now:
                effects += task.tick(now)
        return effects

    @property
    def deadline(self) -> float | None:
        moments = [task.deadline for task in self._running.values() if task.deadline is not None]
        return min(moments, default=None)

    def forget_ended(self, now: float) -> None:
        for name in [name for name, task in self._running.items() if task.over]:
            if isinstance(ended := self._running.pop(name), Matmul):
                view = ended.view(now)
                self.redone.update(stronger=view.explain.stronger, digital=view.explain.digital)
                self._recent.keep(view)

    # -- within --------------------------------------------------------------------------------------

    def _number(self) -> TaskId:
        return TaskId(f"{self._dice.getrandbits(128):032x}")

    def _begin(self, task: Task, now: float) -> list[Effect]:
        self._running[task.task] = task
        return task.start(now)

    def _counted(self, ok: bool) -> None:
        if ok:
            self.done += 1
        else:
            self.failed += 1
