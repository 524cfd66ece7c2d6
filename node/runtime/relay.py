"""One block row of a put: rows from the client, cut into blocks, sketched, kept.

The row is read in strips, so that what stands beside the blocks themselves stays small however wide the matrix is.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from compute.partition import Block, Matrix
from compute.verify import SketchAccumulator
from node.effects import Relay, Relayed, Route
from node.runtime.intake import Intake
from node.runtime.store import Store
from node.runtime.workshop import Workshop
from protocol.ids import ContentId
from protocol.messages import BlockIndex

STRIP_BYTES = 2 * 1024 * 1024


class _Growing:
    """A block that fills from above."""

    def __init__(self, route: Route, sketch_seed: int) -> None:
        store = route.store
        self.route = route
        self.values: Matrix = np.empty((store.rows, store.columns), np.float32)
        self.sketch = SketchAccumulator(
            (store.rows, store.columns), sketch_seed, Block(*store.block)
        )


async def relay(
    work: Relay, intake: Intake, workshop: Workshop, store: Store, pool: ThreadPoolExecutor
) -> Relayed:
    """Carry out the order; TaskError for the client's fault or a full disk."""
    loop = asyncio.get_running_loop()
    growing = [_Growing(route, work.sketch_seed) for route in work.routes]
    height = max(1, min(work.rows, STRIP_BYTES // (work.columns * 4)))
    strip: Matrix = np.empty((height, work.columns), np.float32)
    for first in range(0, work.rows, height):
        rows = strip[: min(height, work.rows - first)]
        await intake.take(rows)
        await loop.run_in_executor(pool, _cut, growing, rows, first)
    entries = [await loop.run_in_executor(pool, _keep, one, workshop, store) for one in growing]
    return Relayed(tuple(entries))


def _cut(growing: list[_Growing], rows: Matrix, first: int) -> None:
    for one in growing:
        start = one.route.column_start
        target = one.values[first : first + rows.shape[0]]
        target[:] = rows[:, start : start + target.shape[1]]
        one.sketch.add_rows(first, target)


def _keep(
    one: _Growing, workshop: Workshop, store: Store
) -> tuple[BlockIndex, ContentId, ContentId]:
    sketch = np.concatenate(one.sketch.finish())
    sketch_content = store.write(sketch.data.cast("B"))
    adopted = workshop.adopt(one.route.store, one.values)
    return one.route.store.block, adopted.content, sketch_content
