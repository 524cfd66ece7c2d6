"""Blocks of others, for as long as a client downloads them through this node."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from node.runtime.store import Store
from node.runtime.threads import to_its_end
from protocol.errors import ErrorCode, TaskError
from protocol.ids import ContentId


class Spool:
    """Content that several downloads may share; it goes with the last of them."""

    def __init__(self, folder: Path, quota_bytes: int, pool: ThreadPoolExecutor) -> None:
        self.store = Store(folder, quota_bytes)
        self._pool = pool
        self._users: Counter[ContentId] = Counter()

    def enter(self, content: ContentId) -> None:
        """A download needs this here, until it leaves."""
        self._users[content] += 1

    def leave(self, contents: list[ContentId]) -> None:
        for content in contents:
            self._users[content] -= 1
            if not self._users[content]:
                del self._users[content]
                self.store.delete(content)

    async def take(self, data: memoryview, content: ContentId) -> None:
        """Keep what has come; TaskError NOT_FOUND if it is not the content that was asked for."""
        loop = asyncio.get_running_loop()
        try:
            writing = loop.run_in_executor(self._pool, self.store.write, data)
            found = await to_its_end(writing)
        finally:
            if not self._users[content]:
                # The client went while the last bytes were written.
                self.store.delete(content)
        if found != content:
            if not self._users[found]:
                await loop.run_in_executor(self._pool, self.store.delete, found)
            raise TaskError(ErrorCode.NOT_FOUND, f"content {content[:12]} came damaged")
