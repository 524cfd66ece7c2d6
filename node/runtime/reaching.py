"""Dialing another node until it has said who it is, address after address, with a plain word for each that fails."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from node.config import host_port
from node.runtime.connection import Connection
from node.runtime.frame_link import OnLink
from node.runtime.greeting import Unfit
from node.runtime.links import Link
from node.runtime.tcp_link import Security, dial
from node.runtime.tls import explain
from protocol.errors import ConfigError, ErrorCode, PeerError, TaskError
from protocol.ids import NodeId, short

DIAL_S = 3.0
"""For one address: TCP and TLS."""

STAGGER_S = 0.15
"""Between one address and the next."""


class _Failure(NamedTuple):
    reason: str
    code: ErrorCode = ErrorCode.UNAVAILABLE


Dial = Callable[[str, OnLink], Awaitable[Link]]
"""Opens a link to whoever is at this address. OSError, PeerError or ConfigError says why not."""

Connect = Callable[[Link, str], Connection]
"""(link, address) -> the connection that hears it."""


async def reach(
    addresses: tuple[str, ...],
    dial: Dial,
    connect: Connect,
    sought: NodeId | None = None,
) -> Connection:
    """The first that answers and fits, greeted. TaskError says for each address why it is not that one.

    They are dialled in order, each a moment after the one before or as soon as that one has failed (RFC 8305,
    section 5): one that is dead holds up nobody. Where somebody else than `sought` is found we go on: one private
    address may be many nodes' own.
    """
    ahead = list(addresses)
    failures: dict[str, _Failure] = {}
    trying: dict[asyncio.Task[Connection | _Failure], str] = {}
    loop = asyncio.get_running_loop()
    try:
        while ahead or trying:
            if ahead:
                address = ahead.pop(0)
                trying[loop.create_task(_try(address, dial, connect, sought))] = address
            timeout = STAGGER_S if ahead else None
            done, _ = await asyncio.wait(
                trying, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            for one in done:
                address, outcome = trying.pop(one), one.result()
                if isinstance(outcome, Connection):
                    return outcome
                failures[address] = outcome
    finally:
        for one in trying:
            one.cancel()
        if trying:
            await asyncio.wait(trying)
    told = [failures[address] for address in addresses]
    codes = [one.code for one in told if one.code is not ErrorCode.UNAVAILABLE]
    reason = "; ".join(one.reason for one in told) or "no address is known"
    raise TaskError(codes[-1] if codes else ErrorCode.UNAVAILABLE, reason)


async def _try(
    address: str, dial: Dial, connect: Connect, sought: NodeId | None
) -> Connection | _Failure:
    try:
        connection = await _reach_one(address, dial, connect)
    except Unfit as unfit:
        return _Failure(f"{address}: {unfit}", unfit.code)
    except (ConfigError, PeerError) as wrong:
        return _Failure(f"{address}: {wrong}")
    except OSError as wrong:
        return _Failure(explain(wrong, address))
    if sought is None or connection.peer == sought:
        return connection
    if connection.bulk:
        connection.close("another node was sought here")
    return _Failure(f"{address} is now node {short(connection.peer)}, not {short(sought)}")


async def greeted(link: Awaitable[Link], made: list[Connection]) -> Connection:
    """Of a link that is being opened to one peer, whichever way, and heard by the connection in `made`.

    TaskError says why it came to nothing.
    """
    opened = await link
    try:
        await made[0].ready
    except asyncio.CancelledError:
        opened.close("the dialer gave up")
        raise
    except Unfit as unfit:
        raise TaskError(unfit.code, str(unfit)) from unfit
    except (OSError, PeerError) as wrong:
        raise TaskError(ErrorCode.UNAVAILABLE, str(wrong)) from wrong
    return made[0]


def bare(security: Security | None) -> Dial:
    """Dials links that are one connection each: as a stranger does, who comes to join."""

    async def dial_bare(address: str, on_link: OnLink) -> Link:
        host, port = host_port(address)
        return await dial(host, port, security, on_link, timeout_s=DIAL_S)

    return dial_bare


async def _reach_one(address: str, dial: Dial, connect: Connect) -> Connection:
    made: list[Connection] = []

    def on_link(link: Link) -> Connection:
        made.append(connect(link, address))
        return made[0]

    link = await dial(address, on_link)
    try:
        await made[0].ready
    except asyncio.CancelledError:
        link.close("the dialer gave up")
        raise
    return made[0]
