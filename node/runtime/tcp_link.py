"""Dialing and serving links over TCP: with TLS 1.3 in a mesh, plain in benchmarks and tests only."""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from node.runtime.frame_link import FrameLink, Identify, OnLink
from node.runtime.links import HANDSHAKE_S, Link
from protocol.errors import ConfigError
from protocol.limits import HANDSHAKES_MAX

ACCEPT_RETRY_S = 0.1
BACKLOG = 128
READ_BYTES = 64 * 1024

EVERYWHERE = ("", "::")
"""All interfaces, by IPv6 and by IPv4; where the machine has no IPv6, by IPv4."""

LISTEN = "mesh.listen"
"""The setting that names where a node listens, if nothing else is said."""

OnRefused = Callable[[str, OSError], None]
"""(remote address, what went wrong) of a connection that never became a link."""


@dataclass(frozen=True, slots=True)
class Security:
    """How links are encrypted, and how a peer's certificate becomes its node id."""

    context: ssl.SSLContext
    identify: Identify


P = TypeVar("P", bound=asyncio.BaseProtocol)


async def dial(
    host: str,
    port: int,
    security: Security | None,
    on_link: OnLink,
    *,
    timeout_s: float,
    congestion: str | None = None,
) -> Link:
    """Open a bare link. Raises OSError as `open_connection`.

    `congestion` names the kernel's algorithm for this connection; None leaves it to the machine.
    """
    identify = security.identify if security is not None else None
    transport, link = await open_connection(
        host,
        port,
        security,
        lambda: FrameLink(on_link, dialed=True, identify=identify),
        timeout_s=timeout_s,
    )
    if congestion is not None:
        _set_congestion(transport.get_extra_info("socket").fileno(), congestion)
    return link


async def open_connection(
    host: str,
    port: int,
    security: Security | None,
    make: Callable[[], P],
    *,
    timeout_s: float,
) -> tuple[asyncio.Transport, P]:
    """TCP, and TLS. Raises OSError: refused, unreachable, TimeoutError, ssl.SSLError.

    In TLS 1.3 a server's refusal of our certificate comes later, as the loss of the connection.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout_s):
        try:
            return await loop.create_connection(
                make,
                host,
                port,
                ssl=security.context if security is not None else None,
                ssl_handshake_timeout=timeout_s if security is not None else None,
            )
        except ssl.SSLCertVerificationError:
            assert security is not None
            with contextlib.suppress(OSError):
                await _say_why(host, port, security.context)
            raise


async def _say_why(host: str, port: int, context: ssl.SSLContext) -> None:
    """Fail the same handshake once more, so that the other side hears what we have against it.

    The loop's own TLS hangs up with the alert still unsent, and the operator over there would read of
    a connection that ended and of no reason. A courtesy: what goes wrong here matters to nobody.
    """
    loop = asyncio.get_running_loop()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing)
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, address)
        failed = False
        while not failed:
            try:
                tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                failed = True
            await loop.sock_sendall(connection, outgoing.read())
            if not failed:
                incoming.write(await loop.sock_recv(connection, READ_BYTES))
        # Bytes that nobody has read would turn our hanging up into a reset, which overtakes the alert.
        connection.shutdown(socket.SHUT_WR)
        while await loop.sock_recv(connection, READ_BYTES):
            pass


class LinkServer:
    """Accepts connections until it is closed. Links that it handed out live on without it."""

    def __init__(
        self,
        listener: socket.socket,
        security: Security | None,
        make: Callable[[], asyncio.BaseProtocol],
        on_refused: OnRefused,
    ) -> None:
        self.address: tuple[str, int] = listener.getsockname()[:2]
        """Where it really listens: the port is known even if 0 was asked for."""
        self._listener = listener
        self._security = security
        self._make = make
        self._on_refused = on_refused
        self._greeting: dict[socket.socket, str] = {}
        """Connections in their handshake, the oldest first, with their remote address."""
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
                if len(self._greeting) >= HANDSHAKES_MAX:
                    self._drop_oldest()
                self._greeting[connection] = remote
                greetings.create_task(self._greet(connection, remote))

    def _drop_oldest(self) -> None:
        """An honest handshake takes milliseconds: who has been at it for longest keeps the others out."""
        connection = next(iter(self._greeting))
        remote = self._greeting.pop(connection)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        self._on_refused(remote, OSError(f"{HANDSHAKES_MAX} handshakes are under way"))

    async def _greet(self, connection: socket.socket, remote: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make,
                connection,
                ssl=self._security.context if self._security is not None else None,
                ssl_handshake_timeout=HANDSHAKE_S if self._security is not None else None,
            )
        except OSError as wrong:
            if connection in self._greeting:
                self._on_refused(remote, wrong)
        finally:
            self._greeting.pop(connection, None)


async def serve(
    host: str,
    port: int,
    security: Security | None,
    on_link: OnLink,
    on_refused: OnRefused,
    *,
    congestion: str | None = None,
) -> LinkServer:
    """Listen for bare links on host (an address or a name; "" for all interfaces) and port (0: any free one)."""
    identify = security.identify if security is not None else None
    return await serve_connections(
        host,
        port,
        security,
        lambda: FrameLink(on_link, dialed=False, identify=identify),
        on_refused,
        congestion=congestion,
    )


async def serve_connections(
    host: str,
    port: int,
    security: Security | None,
    make: Callable[[], asyncio.BaseProtocol],
    on_refused: OnRefused,
    *,
    congestion: str | None = None,
    setting: str = LISTEN,
) -> LinkServer:
    """The same for whatever speaks on a connection once its handshake is over. `setting` names the address."""
    listener = await _listen(host, port, setting)
    if congestion is not None:
        _set_congestion(listener.fileno(), congestion)
    return LinkServer(listener, security, make, on_refused)


async def check_free(host: str, port: int, setting: str = LISTEN) -> None:
    """ConfigError if nobody could listen there at this moment. `setting` names the address."""
    (await _listen(host, port, setting)).close()


async def _listen(host: str, port: int, setting: str) -> socket.socket:
    try:
        return await _bound(host, port)
    except OSError as wrong:
        raise ConfigError(_why_not(host, port, wrong, setting)) from wrong


def _why_not(host: str, port: int, wrong: OSError, setting: str) -> str:
    def write(address: str) -> str:
        flag = f"`--listen {address}` ({LISTEN})"
        return f"write {flag if setting == LISTEN else f'{address} in {setting}'}"

    # getaddrinfo has (negative) numbers and words of its own.
    code = wrong.errno or 0
    reason = os.strerror(code) if code > 0 else wrong.strerror
    named = f"[{host}]" if ":" in host else host or "HOST"
    match code:
        case errno.EADDRINUSE:
            why = (
                f"perhaps by another sedma-node (`ss -ltnp sport = :{port}` names it):"
                f" {write(f'{named}:PORT')} with another port, 0 for any free one"
            )
        case errno.EACCES:
            why = (
                f"allow it by `sysctl -w net.ipv4.ip_unprivileged_port_start={port}`,"
                f" or {write(f'{named}:7879')}: only root may have the ports below 1024 otherwise"
            )
        case _:
            why = f"{write(f'0.0.0.0:{port}')}, or an address of this machine"
    return f"cannot listen on {host or 'all interfaces'}, port {port}: {reason}; {why}"


async def _bound(host: str, port: int) -> socket.socket:
    if host not in EVERYWHERE:
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
