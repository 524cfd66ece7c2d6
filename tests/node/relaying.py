"""One block row of a put on its way from a client to its holders, without a byte.

A block's content is named by what it is of, so that every machine finds the same name.
"""

import hashlib
from typing import TYPE_CHECKING

from node.work import Relay, Relayed
from protocol.digests import LoadDigest
from protocol.errors import ErrorInfo
from protocol.ids import ContentId, NodeId
from protocol.messages import BlockIndex, Response, StoreBlock, Stored, StoreSketch

if TYPE_CHECKING:
    from tests.node.member import Member
    from tests.node.world import Calling, World

SKETCH_BYTES = 4096


def content_of(store: StoreBlock, kind: str) -> ContentId:
    text = f"{kind} {store.name} {store.version} {store.block}"
    return ContentId(hashlib.sha256(text.encode()).hexdigest())


class Relaying:
    """Calls all holders of all blocks of the row, and tells the member when all have them, or one has failed."""

    def __init__(
        self, member: "Member", world: "World", job: int, work: Relay, calls: "list[Calling]"
    ) -> None:
        self._member = member
        self._world = world
        self._job = job
        self._calls = calls
        self._left = 0
        self._entries: list[tuple[BlockIndex, ContentId, ContentId]] = []
        for route in work.routes:
            store = route.store
            block, sketch = content_of(store, "block"), content_of(store, "sketch")
            self._entries.append((store.block, block, sketch))
            if route.here:
                member.keep(store)
                member.disk.contents.add(sketch)
            note = StoreSketch(put=work.put, nbytes=SKETCH_BYTES)
            for peer in route.peers:
                self._bring(peer, store, 4 * store.rows * store.columns, block, work)
                self._bring(peer, note, SKETCH_BYTES, sketch, work)
        world.after(member.client_s, lambda: self._stored(0))

    def _bring(
        self,
        peer: NodeId,
        request: StoreBlock | StoreSketch,
        nbytes: int,
        body: ContentId,
        work: Relay,
    ) -> None:
        self._left += 1

        def answered(response: Response, load: LoadDigest, _: ContentId | None) -> None:
            assert response == Stored(body)
            self._stored(1)

        self._calls.append(
            self._world.call(
                self._member,
                peer,
                request,
                work.deadline_s,
                answered,
                self._failed,
                body_bytes=nbytes,
                body=body,
                body_s=self._member.client_s,
                trace=work.task,
            )
        )

    def _stored(self, more: int) -> None:
        self._left -= more
        if self._left == 0:
            self._member.finish(self._job, Relayed(tuple(self._entries)))

    def _failed(self, error: ErrorInfo) -> None:
        for calling in self._calls:
            self._world.cancel(calling)
        self._member.finish(self._job, error)
