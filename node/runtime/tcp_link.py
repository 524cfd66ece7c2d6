"""Dialing and serving links over TCP: with TLS 1.3 in a mesh, plain in benchmarks and tests only."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from node.runtime.frame_link import FrameLink, Identify, OnLink
from node.runtime.links import HANDSHAKE_S, Link
from protocol.errors import ConfigError
from protocol.limits import HANDSHAKES_MAX

ACCEPT_RETRY_S = 0.1
BACKLOG = 128

OnRefused = Callable[[str, OSError], None]
"""(remote address, what went wrong) of a connection that never became a link."""


@dataclass(frozen=True, slots=True)
class Security:
    """How links are encrypted, and how a peer's certificate becomes its node id."""

    context: ssl.SSLContext
    identify: Identify


async def dial(
    host: str,
    port: int,
    security: Security | None,
    on_link: OnLink,
    *,
    timeout_s: float,
    congestion: str | None = None,
) -> Link:
    """Open a link. Raises OSError: refused, unreachable, TimeoutError, ssl.SSLError.

    `congestion` names the kernel's algorithm for this connection; None leaves it to the machine.
    In TLS 1.3 a server's refusal of our certificate comes later, as the loss of the link.
    """
    loop = asyncio.get_running_loop()
    identify = security.identify if security is not None else None
    async with asyncio.timeout(timeout_s):
        transport, link = await loop.create_connection(
            lambda: FrameLink(on_link, dialed=True, identify=identify),
            host,
            port,
            ssl=security.context if security is not None else None,
            ssl_handshake_timeout=timeout_s if security is not None else None,
        )
    if congestion is not None:
        _set_congestion(transport.get_extra_info("socket").fileno(), congestion)
    return link


class LinkServer:
    """Accepts connections until it is closed. Links that it handed out live on without it."""

    def __init__(
        self,
        listener: socket.socket,
        security: Security | None,
        on_link: OnLink,
        on_refused: OnRefused,
    ) -> None:
        self.address: tuple[str, int] = listener.getsockname()[:2]
        """Where it really listens: the port is known even if 0 was asked for."""
        self._listener = listener
        self._security = security
        self._on_link = on_link
        self._on_refused = on_refused
        self._handshakes = 0
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    async def close(self) -> None:
        """Listen no more, and drop handshakes that are half done."""
        self._accepting.cancel()
        await asyncio.wait([self._accepting])
        self._listener.close()
        if not self._accepting.cancelled():
            self._accepting.result()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as greetings:
            while True:
                try:
                    connection, address = await loop.sock_accept(self._listener)
                except OSError as wrong:
                    # Out of file descriptors, most often: the caller waits in the backlog.
                    self._on_refused("unknown", wrong)
                    await asyncio.sleep(ACCEPT_RETRY_S)
                    continue
                remote = f"{address[0]}:{address[1]}"
                if self._handshakes >= HANDSHAKES_MAX:
                    connection.close()
                    busy = ConnectionAbortedError(f"{HANDSHAKES_MAX} handshakes are under way")
                    self._on_refused(remote, busy)
                    continue
                self._handshakes += 1
                greetings.create_task(self._greet(connection, remote))

    async def _greet(self, connection: socket.socket, remote: str) -> None:
        identify = self._security.identify if self._security is not None else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: FrameLink(self._on_link, dialed=False, identify=identify),
                connection,
                ssl=self._security.context if self._security is not None else None,
                ssl_handshake_timeout=HANDSHAKE_S if self._security is not None else None,
            )
        except OSError as wrong:
            self._on_refused(remote, wrong)
        finally:
            self._handshakes -= 1


async def serve(
    host: str,
    port: int,
    security: Security | None,
    on_link: OnLink,
    on_refused: OnRefused,
    *,
    congestion: str | None = None,
) -> LinkServer:
    """Listen on host (an address or a name; "" for all interfaces) and port (0: any free one)."""
    try:
        listener = await _listen(host, port)
    except OSError as wrong:
        # getaddrinfo has (negative) numbers and words of its own.
        code = wrong.errno or 0
        reason = os.strerror(code) if code > 0 else wrong.strerror
        where = f"{host or 'all interfaces'}, port {port}"
        raise ConfigError(f"cannot listen on {where}: {reason}; choose another") from wrong
    if congestion is not None:
        _set_congestion(listener.fileno(), congestion)
    return LinkServer(listener, security, on_link, on_refused)


async def _listen(host: str, port: int) -> socket.socket:
    if host:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, *_, address = found[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    elif socket.has_dualstack_ipv6():
        listener = socket.create_server(
            ("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True
        )
    else:
        listener = socket.create_server(("", port), backlog=BACKLOG)
    listener.setblocking(False)
    return listener


def _set_congestion(fileno: int, algorithm: str) -> None:
    """Accepted connections inherit it from the listener."""
    duplicate = socket.socket(fileno=socket.dup(fileno))
    with duplicate:
        duplicate.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, algorithm.encode())
