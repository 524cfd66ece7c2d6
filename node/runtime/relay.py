"""One block row of a put: rows from the client, cut into blocks, sketched, streamed to their holders.

The row is read in strips and each strip leaves before the next one is read, so that what stands beside the blocks
that are held here stays small however wide the matrix is, and a slow holder slows the client down.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from blake3 import blake3

from compute.partition import Block, Matrix
from compute.verify import SketchAccumulator
from node.execution.put import STRIP_BYTES
from node.runtime.calls import OutgoingCall
from node.runtime.intake import Intake
from node.runtime.store import Store, content_id
from node.runtime.switchboard import Switchboard
from node.runtime.threads import to_its_end
from node.runtime.workshop import Workshop
from node.work import BlockArrays, Relay, Relayed, Route
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo, SedmaError, TaskError
from protocol.ids import ContentId, NodeId, short
from protocol.messages import BlockIndex, Request, Response, Stored, StoreSketch


class _Sending:
    """A block or sketch on its way to one holder."""

    def __init__(
        self,
        switchboard: Switchboard,
        peer: NodeId,
        request: Request,
        nbytes: int,
        deadline_s: float,
        trace: str,
        body: memoryview | None = None,
    ) -> None:
        self.peer = peer
        self._stored: asyncio.Future[ContentId] = asyncio.get_running_loop().create_future()
        self.call: OutgoingCall = switchboard.call(
            peer,
            request,
            deadline_s,
            answered=self._answered,
            failed=self._failed,
            body=body,
            body_bytes=nbytes,
            trace=trace,
        )

    async def send(self, piece: memoryview) -> None:
        """The next rows; returns when their memory may be used again."""
        try:
            await self.call.send(piece)
        except SedmaError:
            # The holder's refusal says more than the stream that ended with it.
            await self._stored
            raise

    async def stored(self, content: ContentId) -> None:
        """Return once the holder has it, with the same hash that we found."""
        found = await self._stored
        if found != content:
            raise TaskError(
                ErrorCode.INTERNAL,
                f"node {short(self.peer)} received other bytes than were sent; put again",
            )

    def cancel(self) -> None:
        if not self._stored.done():
            self.call.cancel()
            self._stored.cancel()

    def _answered(self, response: Response, load: LoadDigest) -> None:
        assert isinstance(response, Stored)
        if not self._stored.done():
            self._stored.set_result(response.content)

    def _failed(self, error: ErrorInfo) -> None:
        if not self._stored.done():
            self._stored.set_exception(TaskError.of(error))
            # Whoever sends or waits will ask; nobody does if another holder failed first.
            self._stored.exception()


class _Growing:
    """A block that fills from above: into its own memory where it is held here, and out to its holders."""

    def __init__(self, route: Route, work: Relay, switchboard: Switchboard) -> None:
        store = route.store
        shape = (store.rows, store.columns)
        self.route = route
        self.values: Matrix | None = np.empty(shape, np.float32) if route.here else None
        self.sketch = SketchAccumulator(shape, work.sketch_seed, Block(*store.block))
        self.hash = blake3()
        self.arrays: BlockArrays | None = None
        """That it stands in here, once it is written."""
        nbytes = store.rows * store.columns * 4
        self.sendings = [
            _Sending(switchboard, peer, store, nbytes, work.deadline_s, work.task)
            for peer in route.peers
        ]

    def take(self, rows: Matrix, first: int) -> memoryview:
        """Cut our columns out of a strip; the piece's bytes, to be sent."""
        start = self.route.column_start
        columns = rows[:, start : start + self.route.store.columns]
        if self.values is None:
            piece: Matrix = np.ascontiguousarray(columns)
        else:
            piece = self.values[first : first + len(rows)]
            piece[:] = columns
        data = piece.data.cast("B")
        self.sketch.add_rows(first, piece)
        self.hash.update(data)
        return data


async def relay(
    work: Relay,
    intake: Intake,
    workshop: Workshop,
    store: Store,
    pool: ThreadPoolExecutor,
    switchboard: Switchboard,
) -> Relayed:
    """Carry out the order; TaskError for the client's fault, a holder's refusal or a full disk."""
    growing = [_Growing(route, work, switchboard) for route in work.routes]
    try:
        await _stream(work, growing, intake, pool)
        entries, arrays = [], []
        for one in growing:
            entries.append(await _finish(one, work, workshop, store, pool, switchboard))
            if one.arrays is not None:
                arrays.append((one.route.store.block, one.arrays))
        return Relayed(tuple(entries), tuple(arrays))
    finally:
        for one in growing:
            for sending in one.sendings:
                sending.cancel()


async def _stream(
    work: Relay, growing: list[_Growing], intake: Intake, pool: ThreadPoolExecutor
) -> None:
    loop = asyncio.get_running_loop()
    height = max(1, min(work.rows, STRIP_BYTES // (work.columns * 4)))
    strip: Matrix = np.empty((height, work.columns), np.float32)
    for first in range(0, work.rows, height):
        rows = strip[: min(height, work.rows - first)]
        await intake.take(rows)
        pieces = await loop.run_in_executor(pool, _cut, growing, rows, first)
        await _all(
            sending.send(piece)
            for one, piece in zip(growing, pieces, strict=True)
            for sending in one.sendings
        )


def _cut(growing: list[_Growing], rows: Matrix, first: int) -> list[memoryview]:
    return [one.take(rows, first) for one in growing]


async def _finish(
    one: _Growing,
    work: Relay,
    workshop: Workshop,
    store: Store,
    pool: ThreadPoolExecutor,
    switchboard: Switchboard,
) -> tuple[BlockIndex, ContentId, ContentId]:
    """Keep the block and its sketch here and see them kept by every other holder."""
    loop = asyncio.get_running_loop()
    content = ContentId(one.hash.hexdigest())
    sketch = np.concatenate(one.sketch.finish()).data.cast("B")
    sketch_content = await loop.run_in_executor(pool, content_id, sketch)
    if one.values is not None:
        await loop.run_in_executor(pool, store.write, sketch)
        adopting = loop.run_in_executor(pool, workshop.adopt, one.route.store, one.values)
        one.arrays = (await to_its_end(adopting)).arrays
    request = StoreSketch(put=work.put, nbytes=sketch.nbytes)
    sketches = [
        _Sending(switchboard, peer, request, sketch.nbytes, work.deadline_s, work.task, sketch)
        for peer in one.route.peers
    ]
    try:
        await _all(sending.stored(content) for sending in one.sendings)
        await _all(sending.stored(sketch_content) for sending in sketches)
    finally:
        for sending in sketches:
            sending.cancel()
    return one.route.store.block, content, sketch_content


async def _all(doings: Iterable[Coroutine[object, object, None]]) -> None:
    """Await all; the first that fails stops the others and is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for doing in doings:
                group.create_task(doing)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
