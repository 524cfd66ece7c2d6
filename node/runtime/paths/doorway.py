"""What becomes of a connection is known only after its TLS handshake: by ALPN (RFC 7301) the two sides agree on it.

Without a word it is a bare link: a stranger who comes to join, or a node of a version before paths.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from nat.endpoint import Scope, plain, scope
from protocol.paths import PathKind

ALPN_PATH = "sedma-path/1"
ALPN_HTTP = "http/1.1"

Choose = Callable[[asyncio.BaseTransport, str], asyncio.BaseProtocol]
"""(transport, what ALPN came to, "" for nothing) -> who speaks on it from now on."""


class Doorway(asyncio.Protocol):
    """First on every connection, for a moment: hands it on to who is chosen."""

    def __init__(self, choose: Choose) -> None:
        self._choose = choose
        self.transport: asyncio.Transport
        self.chosen: asyncio.BaseProtocol | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have all the methods, but not the class.
        self.transport = cast(asyncio.Transport, transport)
        self.chosen = self._choose(transport, agreed(transport))
        transport.set_protocol(self.chosen)
        self.chosen.connection_made(transport)


def agreed(transport: asyncio.BaseTransport) -> str:
    """The protocol that ALPN came to; empty without TLS, or where one side named none."""
    ssl_object: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    return "" if ssl_object is None else ssl_object.selected_alpn_protocol() or ""


def kind_at(address: str) -> PathKind:
    """Of a path that is to be dialled, as far as its address tells; of a name, that it is IPv4."""
    host = plain(address.rpartition(":")[0].strip("[]"))
    match scope(host):
        case Scope.PRIVATE | Scope.LOOPBACK | Scope.LINK:
            return PathKind.LAN
        case _:
            return PathKind.IPV6 if ":" in host else PathKind.IPV4


def kind_of(transport: asyncio.BaseTransport) -> PathKind:
    """Of a path over TCP, by its two addresses."""
    ends = [transport.get_extra_info(name)[0] for name in ("sockname", "peername")]
    here, there = (plain(host.partition("%")[0]) for host in ends)
    if all(scope(host) is not Scope.GLOBAL for host in (here, there)):
        return PathKind.LAN
    return PathKind.IPV6 if ":" in there else PathKind.IPV4
