"""One block row of a put on its way from a simulated client to its holders."""

from typing import TYPE_CHECKING

from node.runtime.virtual.calls import Calling
from node.runtime.virtual.costs import carried_s
from node.runtime.virtual.shop import Body, Client, Cut
from node.work import BlockArrays, Relay, Relayed
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import ContentId, NodeId, short
from protocol.messages import BlockIndex, Response, StoreBlock, Stored, StoreSketch

if TYPE_CHECKING:
    from node.runtime.virtual.machine import Machine
    from node.runtime.virtual.world import World


class Relaying:
    """Calls all holders of all blocks of the row; the machine is told when all have them, or one has failed."""

    def __init__(
        self, world: "World", machine: "Machine", job: int, work: Relay, client: Client
    ) -> None:
        self._world = world
        self._machine = machine
        self._job = job
        self._work = work
        self._client = client
        self._calls: list[Calling] = []
        self._expected: dict[Calling, ContentId] = {}
        self._left = 1
        self._cuts: list[Cut] = []
        self._arrays: list[tuple[BlockIndex, BlockArrays]] = []
        nbytes = 4 * work.rows * work.columns
        self._ready_at = world.now + machine.row_s + carried_s(nbytes, machine.spec.client_bytes_s)

    def start(self) -> None:
        self._cuts = self._machine.shop.cut(self._work, self._client)
        for cut in self._cuts:
            store = cut.route.store
            if cut.route.here and (arrays := self._machine.shop.keep(store, cut)) is not None:
                self._arrays.append((store.block, arrays))
            note = StoreSketch(put=self._work.put, nbytes=cut.sketch_bytes)
            for peer in cut.route.peers:
                self._bring(peer, store, 4 * store.rows * store.columns, cut.body, cut.content)
                self._bring(peer, note, cut.sketch_bytes, cut.sketch_body, cut.sketch)
        self._world.schedule(
            self._ready_at, self._machine.inbox, (self._rows_came, (self._machine.life,))
        )

    def cancel(self) -> None:
        for calling in self._calls:
            self._world.calls.cancel(calling)
        self._left = 0

    # -- what the calls tell -------------------------------------------------------------------------

    def call_answered(
        self, calling: Calling, response: Response, load: LoadDigest, body: Body
    ) -> None:
        if response == Stored(self._expected[calling]):
            self._came()
            return
        reason = f"node {short(calling.peer)} received other bytes than were sent; put again"
        self.call_failed(calling, ErrorInfo(code=ErrorCode.INTERNAL, reason=reason))

    def call_failed(self, calling: Calling, error: ErrorInfo) -> None:
        if self._left:
            self.cancel()
            self._machine.jobs.failed(self._job, error)

    # -- within --------------------------------------------------------------------------------------

    def _bring(
        self,
        peer: NodeId,
        request: StoreBlock | StoreSketch,
        nbytes: int,
        body: Body,
        content: ContentId,
    ) -> None:
        calling = Calling(
            machine=self._machine,
            caller=self,
            number=self._job,
            peer=peer,
            end=self._machine.links.get(peer),
            body=body,
            body_bytes=nbytes,
            into=None,
            ready_at=self._ready_at,
        )
        self._left += 1
        self._calls.append(calling)
        self._expected[calling] = content
        self._world.calls.call(calling, request, self._work.deadline_s, self._work.task)

    def _rows_came(self, life: int) -> None:
        if life == self._machine.life:
            self._came()

    def _came(self) -> None:
        """A block is at its holder, or the whole row has come from the client."""
        if not self._left:
            return
        self._left -= 1
        if not self._left:
            entries = tuple((cut.route.store.block, cut.content, cut.sketch) for cut in self._cuts)
            self._machine.jobs.done(self._job, Relayed(entries, tuple(self._arrays)))
