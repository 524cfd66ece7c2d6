"""Opens a WebSocket to a relay, at whichever of its addresses answers first and proves to be that relay."""

import asyncio
import re

from aiohttp import (
    ClientError,
    ClientSession,
    ClientWebSocketResponse,
    ClientWSTimeout,
    TraceConfig,
    TraceRequestRedirectParams,
    WSServerHandshakeError,
)

from nat.endpoint import plain
from nat.relay_wire import MESSAGE_BYTES_MAX, PATH
from node.config import host_port
from node.runtime import der, tls
from node.runtime.relaying.channels import RelayFailed
from protocol.errors import ConfigError, PeerError
from protocol.ids import NodeId, short

STAGGER_S = 0.1
"""Between one address and the next: one that is merely far is not overtaken, one that is dead holds up nobody."""

DIAL_S = 5.0
"""For one address: TCP, TLS and the upgrade to a WebSocket."""

CLOSE_S = 1.0
"""How long the other side may take to answer that we close."""

HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")


async def dial(
    session: ClientSession, relay: NodeId, addresses: tuple[str, ...]
) -> ClientWebSocketResponse:
    """The first of them to answer as this relay."""
    loop, failures = asyncio.get_running_loop(), list[str]()
    tries: set[asyncio.Task[ClientWebSocketResponse]] = set()
    left = [address for address in addresses if _is_dialled(address)]
    try:
        while left or tries:
            if left:
                tries.add(loop.create_task(_dial_one(session, relay, left.pop(0))))
            pause_s = STAGGER_S if left else None
            await asyncio.wait(tries, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
            for attempt in [attempt for attempt in tries if attempt.done()]:
                tries.remove(attempt)
                try:
                    return attempt.result()
                except RelayFailed as failed:
                    failures.append(str(failed))
    finally:
        await _give_up(tries)
    reasons = "; ".join(failures) or "no address of it is known"
    raise RelayFailed(f"relay {short(relay)}: {reasons}")


async def _dial_one(session: ClientSession, relay: NodeId, address: str) -> ClientWebSocketResponse:
    try:
        async with asyncio.timeout(DIAL_S):
            websocket = await session.ws_connect(
                f"https://{address}{PATH}",
                max_msg_size=MESSAGE_BYTES_MAX + 1,
                timeout=ClientWSTimeout(ws_close=CLOSE_S),
            )
    except WSServerHandshakeError as wrong:
        raise RelayFailed(f"{address} forwards for nobody (HTTP {wrong.status})") from wrong
    except (ClientError, OSError, UnicodeError) as wrong:
        cause = getattr(wrong, "certificate_error", None) or getattr(wrong, "os_error", wrong)
        told = tls.explain(cause, address) if isinstance(cause, OSError) else str(wrong)
        raise RelayFailed(told) from wrong
    if not _is_open(websocket):
        await websocket.close()
        raise RelayFailed(f"{address} has hung up at once")
    there = _peer_of(websocket)
    if there != relay:
        await websocket.close()
        raise RelayFailed(f"{address} is another node: {short(there or 'nobody')}")
    return websocket


def _is_dialled(address: str) -> bool:
    """Others say where they are in words that we may not know, or that mean something else in a URL."""
    try:
        host, _ = host_port(address)
    except ConfigError:
        return False
    return HOST.fullmatch(host) is not None


def here_alone() -> TraceConfig:
    """We go where we meant to go, and not where a relay sends us instead; aiohttp has no switch for it."""
    trace = TraceConfig()
    trace.on_request_redirect.append(_redirected)
    return trace


async def _redirected(_: ClientSession, __: object, redirect: TraceRequestRedirectParams) -> None:
    raise RelayFailed(f"{redirect.url.host}:{redirect.url.port} points elsewhere")


def _is_open(websocket: ClientWebSocketResponse) -> bool:
    """Of a connection that is lost aiohttp tells nothing any more."""
    return all(websocket.get_extra_info(name) is not None for name in ("ssl_object", "sockname"))


def _peer_of(websocket: ClientWebSocketResponse) -> NodeId | None:
    try:
        return tls.peer_id(websocket.get_extra_info("ssl_object"))
    except PeerError:
        return None


def ends_of(websocket: ClientWebSocketResponse) -> tuple[bytes, str]:
    """The relay's public key, and our IP address. RelayFailed if the connection is lost already."""
    if not _is_open(websocket):
        raise RelayFailed("it has hung up at once")
    certificate = websocket.get_extra_info("ssl_object").getpeercert(binary_form=True)
    host = websocket.get_extra_info("sockname")[0]
    return der.read_certificate(certificate).public_key, plain(host)


async def _give_up(tries: set[asyncio.Task[ClientWebSocketResponse]]) -> None:
    for attempt in tries:
        attempt.cancel()
    for ended in await asyncio.gather(*tries, return_exceptions=True):
        # Reached at the same moment as another address.
        if isinstance(ended, ClientWebSocketResponse):
            await ended.close()
