"""What a daemon does beside its tasks: it measures memory and disk, and sweeps."""

import asyncio
import time
from collections.abc import Callable, Set
from concurrent.futures import ThreadPoolExecutor

import psutil

from node.log import Log
from node.runtime.store import Store
from protocol.ids import ContentId

SAMPLE_S = 1.0
"""How often the process's resident memory is measured."""

STRAY_S = 600.0
"""Content that no weights and no put have named for so long is removed. Until then a put may be tried again with it,
and a node that has just started may hear of the manifest that names it."""

SWEEP_S = 60.0


class Chores:
    """Of one daemon, from its start until `close`."""

    def __init__(
        self,
        store: Store,
        pool: ThreadPoolExecutor,
        log: Log,
        *,
        measured: Callable[[int, int], None],
        named: Callable[[], Set[ContentId]],
    ) -> None:
        """`measured` is told the resident memory and what the disk still takes, `named` tells the content that must
        stay."""
        self._store = store
        self._pool = pool
        self._log = log
        self._measured = measured
        self._named = named
        self._loop = asyncio.get_running_loop()
        self._process = psutil.Process()
        self._sampler = self._loop.call_soon(self._sample)
        self._sweeping = self._loop.create_task(self._sweep())

    @property
    def rss_bytes(self) -> int:
        return int(self._process.memory_info().rss)

    def rest(self) -> None:
        """Measure no more, sweep no more."""
        self._sampler.cancel()
        self._sweeping.cancel()

    async def close(self) -> None:
        self.rest()
        await asyncio.wait([self._sweeping])

    async def _sweep(self) -> None:
        await asyncio.sleep(STRAY_S)
        while True:
            named, older_than = self._named(), time.time() - STRAY_S
            swept = await self._loop.run_in_executor(
                self._pool, self._store.sweep, named, older_than
            )
            if swept:
                self._log.info("contents.swept", count=len(swept))
            await asyncio.sleep(SWEEP_S)

    def _sample(self) -> None:
        self._measured(self.rss_bytes, self._store.free_bytes)
        self._sampler = self._loop.call_later(SAMPLE_S, self._sample)
