"""HTTP connections to a relay that have not become guests yet: who does not ask for that in time is hung up on."""

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from aiohttp.http_exceptions import HttpProcessingError

VISITORS_MAX = 64
"""For one more, the oldest is hung up on."""

REQUEST_S = 10.0
"""From the handshake to the request that makes a guest of a visitor."""


class OwnFaults(logging.Filter):
    """Of what aiohttp logs only what is our own fault: that others send no HTTP it tells them, and that is enough."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


HTTP_LOGGER = logging.getLogger("sedma.relay")
HTTP_LOGGER.addFilter(OwnFaults())


class Visitors:
    """`serve` makes the protocol that speaks HTTP on one connection."""

    def __init__(self, serve: Callable[[], asyncio.Protocol]) -> None:
        self._serve = serve
        self._waiting: dict[asyncio.BaseTransport, asyncio.TimerHandle] = {}

    def protocol_factory(self) -> asyncio.Protocol:
        return _Visit(self, self._serve())

    def stays(self, transport: asyncio.BaseTransport) -> None:
        """It has become a guest, or is gone."""
        if (timer := self._waiting.pop(transport, None)) is not None:
            timer.cancel()

    def close(self) -> None:
        for transport in tuple(self._waiting):
            self._show_out(transport)

    def came(self, transport: asyncio.BaseTransport) -> None:
        if len(self._waiting) >= VISITORS_MAX:
            self._show_out(next(iter(self._waiting)))
        loop = asyncio.get_running_loop()
        self._waiting[transport] = loop.call_later(REQUEST_S, self._show_out, transport)

    def _show_out(self, transport: asyncio.BaseTransport) -> None:
        self.stays(transport)
        # uvloop's transports have all the methods, but not the class.
        cast(asyncio.Transport, transport).abort()


class _Visit(asyncio.Protocol):
    """One connection: hands everything on, and tells when it begins and ends."""

    def __init__(self, visitors: Visitors, inner: asyncio.Protocol) -> None:
        self._visitors = visitors
        self._inner = inner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._visitors.came(transport)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._visitors.stays(self._transport)
        self._inner.connection_lost(exc)
