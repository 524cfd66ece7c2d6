"""Keeps a node that stops until its neighbours have heard its goodbye, but no longer than a moment."""

import asyncio
import contextlib
from collections.abc import Iterable

FAREWELL_S = 0.8
"""The longest; the HTTP side closes meanwhile."""


class Farewell:
    """`said`: the others have been told, and nobody is asked for anything more."""

    def __init__(self) -> None:
        self.said = False
        self._calls: set[int] = set()
        """By which others are told that we go."""
        self._over = asyncio.Event()

    async def heard(self, calls: Iterable[int]) -> None:
        """Return when these calls have ended."""
        self._calls.update(calls)
        if not self._calls:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await self._over.wait()

    def call_over(self, call: int) -> None:
        """Any call: answered, failed or cancelled."""
        if call in self._calls:
            self._calls.discard(call)
            if not self._calls:
                self._over.set()
