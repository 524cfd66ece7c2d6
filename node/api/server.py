"""The HTTP interface as something to start and to close.

One middleware stands around every request: it lets the guard look first, turns what fails into JSON, and knows
what is in flight, so that closing can wait for it a moment and then end it.
"""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

from aiohttp import web

from node.api.errors import INTERNAL, refusal, told, told_of_route
from node.api.guard import Guard
from node.api.log import forwarding_logger
from node.api.routes import OPEN_ON_LOOPBACK, Defaults, Routes
from node.log import Log
from node.service import Service
from protocol.errors import ConfigError, ErrorCode, ErrorInfo, SedmaError
from protocol.limits import DEVICE_CHARS_MAX

GRACE_S = 0.4
"""What is in flight when closing begins may still end by itself."""

CANCEL_S = 0.3
"""What was ended may clean up behind itself; with GRACE_S this keeps closing below a second."""

LINGER_S = 5.0
"""How long the rest of a refused upload is read and thrown away.

Closing at once would reset the connection, and a client that sends all before it reads (http.client) would see a
broken pipe in place of the reason. curl and aiohttp stop sending when the answer comes, so only such clients use
this time; it lasts for some GiB on a local line, and a slow line is not kept busy for long."""

LINE_BYTES_MAX = 8190 + 3 * DEVICE_CHARS_MAX
"""Of a request's first line: aiohttp's own, and a device of one's own with each of its characters escaped."""

KEEPALIVE_S = 75.0
BACKLOG = 128

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RunningApi:
    """The interface while it listens at `url`."""

    def __init__(self, url: str, gate: "_Gate", site: web.SockSite, runner: web.AppRunner) -> None:
        self.url = url
        self._gate = gate
        self._site = site
        self._runner = runner

    async def close(self) -> None:
        """Within a second, whatever clients do: wait, then cancel, then hang up."""
        await self._site.stop()
        await self._gate.close()
        await self._runner.cleanup()


async def start_api(
    service: Service,
    host: str,
    port: int,
    token: str,
    log: Log,
    *,
    names: tuple[str, ...] = (),
    defaults: Defaults | None = None,
) -> RunningApi:
    """Listen; `names` are further host names of this node. ConfigError where the address cannot be had."""
    listening = await _listen(host, port)
    address, port = listening.getsockname()[:2]
    gate = _Gate(Guard(address, token, names), log, service.refused)
    app = web.Application(middlewares=[gate.around])
    Routes(service, defaults or Defaults()).add_to(app.router)
    runner = web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,
        handler_cancellation=True,
        keepalive_timeout=KEEPALIVE_S,
        lingering_time=LINGER_S,
        max_line_size=LINE_BYTES_MAX,
        logger=forwarding_logger(log),
        shutdown_timeout=0.05,
    )
    await runner.setup()
    site = web.SockSite(runner, listening, backlog=BACKLOG)
    await site.start()
    return RunningApi(_url(address, port), gate, site, runner)


class _Gate:
    """What every request passes on its way in and out."""

    def __init__(self, guard: Guard, log: Log, refused: Callable[[ErrorCode], None]) -> None:
        """`refused` is told the code of every answer that is an error."""
        self._guard = guard
        self._log = log
        self._refused = refused
        self._in_flight: set[asyncio.Task[object]] = set()
        self._closing = False

    async def close(self) -> None:
        self._closing = True
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=GRACE_S)
        for task in self._in_flight:
            task.cancel()
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=CANCEL_S)

    @web.middleware
    async def around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._in_flight.add(task)
        try:
            response = await self._answer(request, handler)
        except asyncio.CancelledError:
            if not self._closing or request.writer.output_size > 0:
                raise
            task.uncancel()
            response = self._refuse(request, _STOPPING)
        finally:
            self._in_flight.discard(task)
        if not request.content.is_eof():
            response.force_close()
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if self._closing:
                return self._refuse(request, _STOPPING)
            self._check(request)
            return await handler(request)
        except SedmaError as error:
            return self._refuse(request, told(error))
        except web.HTTPException as error:
            return self._refuse(request, told_of_route(error), error.status)
        except Exception as error:
            if isinstance(error, ConnectionError) and _is_gone(request):
                raise
            self._log.exception("api.failed", method=request.method, path=request.path)
            self._refused(INTERNAL.code)
            return refusal(INTERNAL)

    def _check(self, request: web.Request) -> None:
        self._guard.check(
            open_on_loopback=request.method == "GET"
            or request.match_info.route.name in OPEN_ON_LOOPBACK,
            host=request.headers.get("Host"),
            origin=request.headers.get("Origin"),
            authorization=request.headers.get("Authorization"),
        )

    def _refuse(
        self, request: web.Request, info: ErrorInfo, status: int | None = None
    ) -> web.Response:
        self._refused(info.code)
        say = self._log.warning if info.code is ErrorCode.INTERNAL else self._log.debug
        say(
            "api.refused",
            method=request.method,
            path=request.path,
            code=info.code.value,
            reason=info.reason,
        )
        return refusal(info, status)


_STOPPING = ErrorInfo(code=ErrorCode.UNAVAILABLE, reason="this node is stopping: ask another one")


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


async def _listen(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    try:
        # The first address only: with port 0 each further one (localhost has two) would get a port of its own.
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ConfigError(
            f"--api {host}:{port}: the host {host!r} is unknown: write an address of this machine,"
            " such as 127.0.0.1"
        ) from error
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setblocking(False)
        listening.bind(address)
        # Here, not in the loop: two sockets that share a port by SO_REUSEADDR learn of it only when they listen.
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigError(_why_not(host, port, error)) from error
    return listening


def _why_not(host: str, port: int, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"port {port} on {host} is taken, perhaps by another sedma-node (`sedma-node status`)"
                f" or another program (`ss -ltnp sport = :{port}` names it): write"
                f" `--api {host}:0` for any free port"
            )
        case errno.EADDRNOTAVAIL:
            return f"{host} is no address of this machine: write `--api 127.0.0.1:{port}`"
        case errno.EACCES:
            return (
                f"port {port} is for root alone: write a port above 1023, as in `--api {host}:7878`"
            )
        case _:
            return f"--api {host}:{port} cannot be listened on: {error.strerror}"


def _url(address: str, port: int) -> str:
    """Where programs on this machine reach us: a wildcard address is no place to connect to."""
    if (ip := ip_address(address)).is_unspecified:
        ip = ip_address("127.0.0.1" if ip.version == 4 else "::1")
    return f"http://{ip}:{port}" if ip.version == 4 else f"http://[{ip}]:{port}"
