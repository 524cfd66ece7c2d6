"""Telling every linked node of a manifest or a tombstone, and removing weights by that.

Who does not answer is not waited for: it hears of the weights when it next compares catalogues with a neighbour.
"""

from collections.abc import Callable
from typing import Protocol

from node.communication.desk import Desk
from node.deployment.catalogue import Catalogue, parts
from node.effects import Call, CancelCall, Done, Effect, Failed, note
from node.work import Outcome
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import NodeId, TaskId, short
from protocol.messages import Manifest, Response

ANNOUNCE_S = 5.0

Told = Callable[[float], list[Effect]]


class Announcement:
    """One manifest on its way to all linked peers; `told` is called once nobody is waited for any more."""

    def __init__(self, manifest: Manifest, trace: str, desk: Desk, told: Told) -> None:
        self._manifest = manifest
        self._trace = trace
        self._desk = desk
        self._told = told
        self._asked: dict[int, NodeId] = {}

    def start(self, peers: list[NodeId], now: float) -> list[Effect]:
        effects: list[Effect] = []
        for peer in peers:
            for part in parts(self._manifest):
                call = self._desk.number(self)
                self._asked[call] = peer
                effects.append(Call(call, peer, part, ANNOUNCE_S, trace=self._trace))
        return effects or self._told(now)

    def cancel(self) -> list[Effect]:
        effects: list[Effect] = []
        for call in self._asked:
            self._desk.forget(call)
            effects.append(CancelCall(call))
        self._asked.clear()
        return effects

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        del self._asked[call]
        return [] if self._asked else self._told(now)

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        peer = self._asked.pop(call)
        name = self._manifest.head.name
        missed = note("weights.not_announced", name=name, peer=short(peer), reason=error.reason)
        return [missed] if self._asked else [missed, *self._told(now)]

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        raise AssertionError("an announcement orders no work")

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        raise AssertionError("an announcement orders no work")


class Surroundings(Protocol):
    """What a removal may ask of its node."""

    desk: Desk
    catalogue: Catalogue

    def linked(self) -> list[NodeId]: ...


class Removal:
    """A deletion on its way: the tombstone takes the manifest's place here, then everywhere."""

    def __init__(self, task: TaskId, tombstone: Manifest, around: Surroundings) -> None:
        self.task = task
        self.over = False
        self.deadline: float | None = None
        self._tombstone = tombstone
        self._around = around
        self._announcement = Announcement(tombstone, task, around.desk, self._told)

    def start(self, now: float) -> list[Effect]:
        kept = self._around.catalogue.adopt(self._tombstone)
        return kept + self._announcement.start(self._around.linked(), now)

    def tick(self, now: float) -> list[Effect]:
        raise AssertionError("a removal waits for its calls only")

    def cancel(self, reason: str, now: float) -> list[Effect]:
        """The client has gone; what is told is told."""
        if self.over:
            return []
        self.over = True
        error = ErrorInfo(code=ErrorCode.CANCELLED, reason=reason, trace=self.task)
        return [*self._announcement.cancel(), Failed(self.task, error)]

    def _told(self, now: float) -> list[Effect]:
        self.over = True
        return [Done(self.task)]
