"""Keeping a manifest or a tombstone here, telling every linked node of it, and removing weights by that.

It is over when this node has it on disk, and so has everybody who was told. Who does not answer is not waited for: it
hears of the weights when it next compares catalogues with a neighbour.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from node.communication.desk import Desk, OnlyCalls
from node.deployment.catalogue import Catalogue, parts
from node.effects import Call, CancelCall, Done, Effect, Failed, note
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import NodeId, TaskId, short
from protocol.messages import Manifest, Response

ANNOUNCE_S = 5.0

Told = Callable[[ErrorInfo | None, float], list[Effect]]


class Surroundings(Protocol):
    """What an announcement or a removal may ask of its node."""

    desk: Desk
    catalogue: Catalogue

    def linked(self) -> list[NodeId]: ...


class Announcement(OnlyCalls):
    """One manifest on its way to this node's disk and to all linked peers.

    `told` is called once nothing is waited for any more, with what is wrong if it is not on this node's disk.
    """

    def __init__(self, manifest: Manifest, trace: str, around: Surroundings, told: Told) -> None:
        self._manifest = manifest
        self._trace = trace
        self._around = around
        self._told = told
        self._asked: dict[int, NodeId] = {}
        self._keeping = True
        self._wrong: ErrorInfo | None = None

    def start(self, now: float) -> list[Effect]:
        """From now on the manifest stands."""
        catalogue = self._around.catalogue
        effects = catalogue.adopt(self._manifest, self._kept)
        assert catalogue.manifests[self._manifest.head.name] is self._manifest
        for peer in self._around.linked():
            for part in parts(self._manifest):
                call = self._around.desk.number(self)
                self._asked[call] = peer
                effects.append(Call(call, peer, part, ANNOUNCE_S, trace=self._trace))
        return effects

    def hurry(self, now: float) -> list[Effect]:
        """Wait for no peer any more; whoever has not been told yet will hear of it from a neighbour."""
        effects: list[Effect] = []
        for call in self._asked:
            self._around.desk.forget(call)
            effects.append(CancelCall(call))
        self._asked.clear()
        return effects + self._go_on(now)

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        del self._asked[call]
        return self._go_on(now)

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        peer = self._asked.pop(call)
        name = self._manifest.head.name
        missed = note("weights.not_announced", name=name, peer=short(peer), reason=error.reason)
        return [missed, *self._go_on(now)]

    def _kept(self, wrong: ErrorInfo | None, now: float) -> list[Effect]:
        self._keeping = False
        self._wrong = wrong
        return self._go_on(now)

    def _go_on(self, now: float) -> list[Effect]:
        return [] if self._asked or self._keeping else self._told(self._wrong, now)


def not_kept(manifest: Manifest, wrong: ErrorInfo) -> TaskError:
    """It stands, but this node may not know of it after its next start, should all others have forgotten it."""
    head = manifest.head
    stands = "is removed" if head.deleted else f"stands at version {head.version}"
    reason = (
        f"{head.name} {stands}, but that is not on the disk of this node: {wrong.reason};"
        " see to its disk before it starts anew"
    )
    return TaskError(wrong.code, reason)


class Removal:
    """A deletion on its way: the tombstone takes the manifest's place here, then everywhere."""

    def __init__(self, task: TaskId, tombstone: Manifest, around: Surroundings) -> None:
        self.task = task
        self.over = False
        self.deadline: float | None = None
        self._tombstone = tombstone
        self._announcement = Announcement(tombstone, task, around, self._told)

    def start(self, now: float) -> list[Effect]:
        return self._announcement.start(now)

    def tick(self, now: float) -> list[Effect]:
        raise AssertionError("a removal waits for its calls and the disk only")

    def cancel(self, reason: str, now: float) -> list[Effect]:
        """The client has gone; what is told is told."""
        if self.over:
            return []
        gone = ErrorInfo(code=ErrorCode.CANCELLED, reason=reason)
        return [*self._end(gone), *self._announcement.hurry(now)]

    def _told(self, wrong: ErrorInfo | None, now: float) -> list[Effect]:
        if self.over:
            return []
        return self._end(None if wrong is None else not_kept(self._tombstone, wrong).info)

    def _end(self, error: ErrorInfo | None) -> list[Effect]:
        self.over = True
        if error is None:
            return [Done(self.task)]
        return [Failed(self.task, msgspec.structs.replace(error, trace=self.task))]
