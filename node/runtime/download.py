"""Weights on their way back to a client: block rows from this node's disk and from other holders, in order.

Blocks that others hold are fetched into the spool, one block row at a time, and leave it again with their row. So a
matrix that no node could hold passes through any of them.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import numpy as np

from compute.partition import Block, BlockGrid, Matrix
from node.runtime.awaited import Awaited
from node.runtime.live import Live
from node.runtime.store import Store
from protocol.ids import ContentId
from protocol.messages import Manifest

DOWNLOAD_ROWS = 64
"""Rows that are in memory at once."""


async def download(manifest: Manifest, live: Live) -> AsyncIterator[memoryview]:
    """The matrix, row by row, float32; TaskError when a block cannot be had."""
    grid = BlockGrid(manifest.head.rows, manifest.head.columns)
    loop = asyncio.get_running_loop()
    indices = {block: index for index, block in enumerate(grid.blocks())}
    for row in range(grid.row_blocks):
        wanted = [indices[Block(row, column)] for column in range(grid.column_blocks)]
        spooled: list[ContentId] = []
        try:
            sources = [await _source(manifest, index, live, spooled) for index in wanted]
            strips = _strips(grid, sources)
            while (rows := await loop.run_in_executor(live.pool, next, strips, None)) is not None:
                yield rows.data.cast("B")
        finally:
            live.spool.leave(spooled)


async def _source(
    manifest: Manifest, index: int, live: Live, spooled: list[ContentId]
) -> tuple[Store, ContentId]:
    """Where the block can be read: on this node's own disk, else in the spool, once it is there."""
    content = manifest.entries[index].content
    if await asyncio.get_running_loop().run_in_executor(live.pool, live.store.has, content):
        return live.store, content
    live.spool.enter(content)
    spooled.append(content)
    spool = live.spool.store
    if not await asyncio.get_running_loop().run_in_executor(live.pool, spool.has, content):
        fetched = Awaited()
        task, effects = live.node.fetch(manifest, index, live.now)
        await live.run(task, fetched, effects, fetched.ended)
    return spool, content


def _strips(grid: BlockGrid, sources: list[tuple[Store, ContentId]]) -> Iterator[Matrix]:
    """One block row, some rows at a time, put together from its blocks."""
    panels = []
    for column, (store, content) in enumerate(sources):
        start, stop = grid.column_span(column)
        panels.append(store.panels(content, stop - start, DOWNLOAD_ROWS))
    for pieces in zip(*panels, strict=True):
        yield np.concatenate([rows for _, rows in pieces], axis=1)
