"""Dials the addresses of a peer that wants to know whether others can reach it there: TCP, TLS, and whose certificate.

These connections have nothing to do with the links that there are: as soon as the handshake has proven who answers, we
hang up.
"""

import asyncio
import contextlib
import errno
import ssl

from nat.endpoint import endpoint_of
from node.runtime import tls
from protocol.errors import PeerError
from protocol.ids import NodeId

DIAL_S = 3.0
CLOSE_S = 0.5
NO_WAY = frozenset(
    {
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.EADDRNOTAVAIL,
        errno.EAFNOSUPPORT,
        errno.EACCES,
        errno.EPERM,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
    }
)
"""Our network does not lead there, our firewall forbids it, or we have nothing left to try it with: that says nothing
of theirs."""


async def dial_back(
    peer: NodeId, addresses: tuple[str, ...], context: ssl.SSLContext
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(where the peer itself has answered, where nobody did or somebody else), all tried at once."""
    async with asyncio.TaskGroup() as group:
        tries = {
            address: group.create_task(_answers(peer, address, context))
            for address in dict.fromkeys(addresses)
        }
    reached = tuple(address for address, tried in tries.items() if tried.result())
    return reached, tuple(address for address, tried in tries.items() if tried.result() is False)


async def _answers(peer: NodeId, address: str, context: ssl.SSLContext) -> bool | None:
    """None: it could not be tried from here."""
    endpoint = endpoint_of(address)
    if endpoint is None:
        return None
    try:
        async with asyncio.timeout(DIAL_S):
            _, writer = await asyncio.open_connection(*endpoint, ssl=context)
    except OSError as wrong:
        return None if wrong.errno in NO_WAY else False
    try:
        return tls.peer_id(writer.get_extra_info("ssl_object")) == peer
    except PeerError:
        return False
    finally:
        await _hang_up(writer)


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    """Politely, but whoever does not let go is not waited for."""
    writer.close()
    with contextlib.suppress(OSError):
        async with asyncio.timeout(CLOSE_S):
            await writer.wait_closed()
    writer.transport.abort()
