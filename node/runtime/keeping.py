"""What the Node wants kept on disk about its mesh, written beside the loop."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Generic, TypeVar

from node.effects import KeepIncarnation, KeepMembers
from node.log import Log
from node.runtime.datadir import DataDir

T = TypeVar("T")


class WriteBehind(Generic[T]):
    """One write at a time, and of several values that come meanwhile only the last: it says all.

    `write` blocks and may raise OSError, which `failed` is told of; the next value is written all the same.
    """

    def __init__(
        self, pool: Executor | None, write: Callable[[T], None], failed: Callable[[OSError], None]
    ) -> None:
        self._pool = pool
        self._write = write
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._waiting: list[T] = []
        self._writing: asyncio.Task[None] | None = None

    def put(self, value: T) -> None:
        self._waiting = [value]
        if self._writing is None:
            self._writing = self._loop.create_task(self._write_all())

    async def close(self) -> None:
        """Return when the last value is on disk."""
        if self._writing is not None:
            await self._writing

    async def _write_all(self) -> None:
        while self._waiting:
            value = self._waiting.pop()
            try:
                await self._loop.run_in_executor(self._pool, self._write, value)
            except OSError as error:
                self._failed(error)
        self._writing = None


class Keeping:
    """Of one daemon, from its start until `close`."""

    def __init__(self, data: DataDir, pool: Executor | None, log: Log) -> None:
        """`pool`: nothing for the loop's own threads."""

        def failed(error: OSError) -> None:
            log.warning("mesh.not_kept", reason=str(error))

        self._data = data
        self._members = WriteBehind(pool, self._keep_members, failed)
        self._incarnation = WriteBehind(pool, data.keep_incarnation, failed)

    def carry_out(self, effect: KeepMembers | KeepIncarnation) -> None:
        match effect:
            case KeepMembers():
                # The age of a grave is told as of now.
                self._members.put((effect, time.time()))
            case KeepIncarnation():
                self._incarnation.put(effect.incarnation)

    async def close(self) -> None:
        """Return when all is on disk."""
        for one in (self._members, self._incarnation):
            await one.close()

    def _keep_members(self, told: tuple[KeepMembers, float]) -> None:
        effect, now_wall = told
        self._data.members.keep(effect.members, effect.graves, now_wall)
