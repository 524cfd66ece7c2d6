"""Dialing another node until it has said who it is, address after address, with a plain word for each that fails."""

import asyncio
from collections.abc import Callable

from node.config import host_port
from node.runtime.connection import Connection
from node.runtime.greeting import Unfit
from node.runtime.links import Link
from node.runtime.tcp_link import Security, dial
from node.runtime.tls import explain
from protocol.errors import ConfigError, ErrorCode, PeerError, TaskError
from protocol.ids import NodeId, short

DIAL_S = 3.0
"""For one address: TCP and TLS."""

Connect = Callable[[Link, str], Connection]
"""(link, address) -> the connection that hears it."""


async def reach(
    addresses: tuple[str, ...],
    security: Security | None,
    connect: Connect,
    sought: NodeId | None = None,
) -> Connection:
    """The first that answers and fits, greeted. TaskError says for each address why it is not that one.

    Where somebody else than `sought` is found we go on: one private address may be many nodes' own.
    """
    failures: list[str] = []
    code = ErrorCode.UNAVAILABLE
    for address in addresses:
        try:
            connection = await _reach_one(address, security, connect)
        except Unfit as unfit:
            code = unfit.code
            failures.append(f"{address}: {unfit}")
        except (ConfigError, PeerError) as wrong:
            failures.append(f"{address}: {wrong}")
        except OSError as wrong:
            failures.append(explain(wrong, address))
        else:
            if sought is None or connection.peer == sought:
                return connection
            if connection.bulk:
                connection.close("another node was sought here")
            other = short(connection.peer)
            failures.append(f"{address} is now node {other}, not {short(sought)}")
    raise TaskError(code, "; ".join(failures) or "no address is known")


async def _reach_one(address: str, security: Security | None, connect: Connect) -> Connection:
    host, port = host_port(address)
    made: list[Connection] = []

    def on_link(link: Link) -> Connection:
        made.append(connect(link, address))
        return made[0]

    link = await dial(host, port, security, on_link, timeout_s=DIAL_S)
    try:
        await made[0].ready
    except asyncio.CancelledError:
        link.close("the dialer gave up")
        raise
    return made[0]
