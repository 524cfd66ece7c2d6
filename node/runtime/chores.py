"""What a daemon does beside its tasks: it measures memory and disk, keeps the list of its peers, and sweeps."""

import asyncio
import time
from collections.abc import Callable, Set
from concurrent.futures import ThreadPoolExecutor

import psutil

from node.log import Log
from node.runtime.store import Store
from protocol.ids import ContentId, NodeId

SAMPLE_S = 1.0
"""How often the process's resident memory is measured."""

STRAY_S = 600.0
"""Content that no weights and no put have named for so long is removed. Until then a put may be tried again with it,
and a node that has just started may hear of the manifest that names it."""

SWEEP_S = 60.0

Peers = tuple[tuple[NodeId, tuple[str, ...]], ...]


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
        keep_peers: Callable[[Peers], None],
    ) -> None:
        """`measured` is told the resident memory and what the disk still takes, `named` tells the content that must
        stay, `keep_peers` blocks."""
        self._store = store
        self._pool = pool
        self._log = log
        self._measured = measured
        self._named = named
        self._keep_peers = keep_peers
        self._loop = asyncio.get_running_loop()
        self._process = psutil.Process()
        self._peers_to_keep: Peers | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._sampler = self._loop.call_soon(self._sample)
        self._sweeping = self._loop.create_task(self._sweep())

    @property
    def rss_bytes(self) -> int:
        return int(self._process.memory_info().rss)

    def keep(self, peers: Peers) -> None:
        """Write the list to disk: one write at a time; of several that come meanwhile only the last matters."""
        self._peers_to_keep = peers
        if self._keeping is None:
            self._keeping = self._loop.create_task(self._keep_latest())

    def rest(self) -> None:
        """Measure no more, sweep no more."""
        self._sampler.cancel()
        self._sweeping.cancel()

    async def close(self) -> None:
        """Return when the last list of peers is on disk."""
        self.rest()
        await asyncio.wait([self._sweeping])
        if self._keeping is not None:
            await self._keeping

    async def _keep_latest(self) -> None:
        while (peers := self._peers_to_keep) is not None:
            self._peers_to_keep = None
            try:
                await self._loop.run_in_executor(self._pool, self._keep_peers, peers)
            except OSError as error:
                self._log.info("peers.not_kept", reason=str(error))
        self._keeping = None

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
