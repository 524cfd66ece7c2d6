"""Tasks that somebody owns: none outlives him, and none fails in silence."""

import asyncio
from collections.abc import Coroutine


class OwnedTasks:
    """Of one owner, who closes them with himself."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, doing: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(doing)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    async def close(self) -> None:
        """Cancel all, and return when they have ended, those too that were started by one that ended."""
        while self._running:
            for task in self._running:
                task.cancel()
            await asyncio.wait(self._running)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            # What goes wrong on the way is told as it goes; anything else is our own fault, and the loop logs it.
            task.result()
