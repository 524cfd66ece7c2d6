"""A client's task while it runs: its rows on the way in, its rows on the way out, and who awaits the end."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from node.runtime.intake import Intake, append
from protocol.errors import TaskError
from protocol.tasks import CertificateView

CHUNK_BYTES = 256 * 1024


class Session:
    """One client's task. `answer` holds the certificate once rows may leave; `ended` the task's end."""

    def __init__(self, intake: Intake, pool: ThreadPoolExecutor, spool: Path) -> None:
        loop = asyncio.get_running_loop()
        self.intake = intake
        self.answer: asyncio.Future[CertificateView | None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._pool = pool
        self._folder = spool
        self._spooled: Path | None = None
        self._rows: memoryview | None = None
        self._sent: Callable[[], None] | None = None

    def fail(self, error: TaskError) -> None:
        for future in (self.answer, self.ended):
            if not future.done():
                future.set_exception(error)
                # Retrieved here, for a client that has gone awaits neither.
                future.exception()
        self.close()

    def finish(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def give(
        self, rows: memoryview, certificate: CertificateView | None, sent: Callable[[], None]
    ) -> None:
        """The only rows of the answer: they leave straight from their buffer."""
        self._rows, self._sent = rows, sent
        if not self.answer.done():
            self.answer.set_result(certificate)

    async def spool(
        self, rows: memoryview, last: bool, certificate: CertificateView | None
    ) -> None:
        """One panel of several: kept on disk until the last one brings the certificate."""
        if self._spooled is None:
            self._spooled = Path(tempfile.mkstemp(".tmp", ".", self._folder)[1])
        await asyncio.get_running_loop().run_in_executor(self._pool, append, self._spooled, rows)
        if last and not self.answer.done():
            self.answer.set_result(certificate)

    @property
    def spooling(self) -> bool:
        return self._spooled is not None

    async def chunks(self) -> AsyncIterator[memoryview]:
        """The answer's bytes; closing this early is fine."""
        try:
            if self._rows is not None:
                for at in range(0, self._rows.nbytes, CHUNK_BYTES):
                    yield self._rows[at : at + CHUNK_BYTES]
                return
            assert self._spooled is not None
            loop = asyncio.get_running_loop()
            at = 0
            while piece := await loop.run_in_executor(self._pool, _piece, self._spooled, at):
                yield memoryview(piece)
                at += len(piece)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of what is on disk and tell that the buffer is free."""
        self.intake.close()
        if self._spooled is not None:
            self._spooled.unlink(missing_ok=True)
        sent, self._sent, self._rows = self._sent, None, None
        if sent is not None:
            sent()


def _piece(path: Path, at: int) -> bytes:
    with path.open("rb") as file:
        file.seek(at)
        return file.read(CHUNK_BYTES)
