"""A worker thread cannot be stopped: who cancels its work must not undo it before the thread is through."""

import asyncio
from typing import TypeVar

T = TypeVar("T")


async def to_its_end(doing: "asyncio.Future[T]") -> T:
    """Await a thread's work; when cancelled, end no sooner than the thread."""
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait([doing])
        raise
