"""One shard on as many worker threads as it is worth.

A thread that has begun cannot be stopped, so an error is told only when all threads are done: until then they write
to buffers that must not be given away.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from node.runtime.pieces import pieces_max, whole
from node.runtime.workshop import Workshop
from node.work import RunShard, ShardDone


async def run_shard(
    work: RunShard, workshop: Workshop, pool: ThreadPoolExecutor, workers: int
) -> ShardDone:
    """Multiply, on at most `workers` threads of the pool; TaskError if a block is not in memory here."""
    loop = asyncio.get_running_loop()
    if pieces_max(work, workers) == 1:
        return await loop.run_in_executor(pool, workshop.run_whole, work)
    pieces = await loop.run_in_executor(pool, workshop.split, work, workers)
    running = [loop.run_in_executor(pool, workshop.run_piece, piece) for piece in pieces]
    outcomes = await asyncio.gather(*running, return_exceptions=True)
    done = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        done.append(outcome)
    return whole(done)
