"""The relay of a public node: WebSockets at `/relay` on the port where links are accepted too.

Only members of the mesh are forwarded for; who they are is what their certificates prove. What is forwarded is
encrypted between the two ends, so there is nothing in it for us to read. Who may what is decided in `nat/relaying.py`.
"""

import asyncio
import itertools
import ssl
import time
from collections import Counter
from functools import partial
from typing import assert_never

import msgspec
from aiohttp import web

from nat.endpoint import plain
from nat.relay_channels import OWED_BYTES_MAX, Deliver
from nat.relay_wire import (
    MESSAGE_BYTES_MAX,
    PATH,
    Message,
    Refused,
    Reserved,
    decode,
    signed_reservation_bytes,
)
from nat.relaying import (
    OWN,
    Cut,
    Effect,
    Pause,
    Refuse,
    Relaying,
    RelayLimits,
    Reserve,
    Resume,
)
from node.log import Log
from node.runtime import tls
from node.runtime.alarm import Alarm
from node.runtime.relaying.channels import Channels, OnChannel
from node.runtime.relaying.guests import CLOSE_S, ConnectedGuest, Guest, OwnGuest
from node.runtime.relaying.outbox import HIGH_BYTES
from node.runtime.relaying.visitors import HTTP_LOGGER, Visitors
from node.runtime.signatures import Ed25519
from protocol.errors import PeerError
from protocol.ids import NodeId, digest_of_id, id_of_digest, key_digest, short

OUTBOX_BYTES_MAX = 2 * OWED_BYTES_MAX
"""What may wait for one guest. More waits only for one that grants credit and does not read: it is cut off."""

WAITING_BYTES_MAX = 64 << 20
"""What may wait for all guests together. Beyond it the guest for whom most waits is cut off."""


class RelayServer:
    """`start` it before the first connection comes."""

    def __init__(self, signatures: Ed25519, limits: RelayLimits, log: Log) -> None:
        self._signatures = signatures
        self._own = key_digest(signatures.key)
        self._limits = limits
        self._core = Relaying(limits)
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._guests: dict[int, Guest] = {}
        self._numbers = itertools.count(1)
        self._alarm = Alarm(lambda now: self._feed(self._core.tick(now)))
        application = web.Application(client_max_size=0)
        application.router.add_get(PATH, self._asked)
        application.router.add_route("*", "/{path:.*}", _nothing_here)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            logger=HTTP_LOGGER,
            handle_signals=False,
            shutdown_timeout=CLOSE_S,
        )

    async def start(self) -> None:
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        self._visitors = Visitors(server)

    def protocol_factory(self) -> asyncio.Protocol:
        """What takes over a TLS connection after its handshake, if it has agreed on http/1.1."""
        return self._visitors.protocol_factory()

    @property
    def counters(self) -> Counter[str]:
        return self._core.counters

    @property
    def guests(self) -> tuple[NodeId, ...]:
        """For whom this node forwards at the moment."""
        return tuple(id_of_digest(node) for node in self._core.guests if node != self._own)

    @property
    def channels(self) -> int:
        return self._core.channels

    def own_channels(self, on_channel: OnChannel) -> Channels:
        """Channels of this node itself, which is a guest of its own relay: so it reaches the others, and they it."""
        number = next(self._numbers)
        guest = OwnGuest(self._own, partial(self._heard, number), on_channel)
        self._guests[number] = guest
        self._feed(self._core.arrived(number, self._own, OWN, self._loop.time()))
        return guest.channels

    async def close(self) -> None:
        """Hang up on everybody."""
        for guest in tuple(self._guests.values()):
            guest.end()
        self._visitors.close()
        await self._runner.cleanup()
        self._alarm.set(None)

    # -- guests ------------------------------------------------------------------------------------------

    async def _asked(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        peername = None if transport is None else transport.get_extra_info("peername")
        if transport is None or peername is None:
            # It has hung up already: nobody reads this.
            return await _nothing_here(request)
        node = _member(transport)
        if node is None:
            return _short(web.HTTPForbidden.status_code, "only members of the mesh are served here")
        websocket = web.WebSocketResponse(
            compress=False, autoping=False, max_msg_size=MESSAGE_BYTES_MAX + 1, timeout=CLOSE_S
        )
        if not websocket.can_prepare(request):
            return await _nothing_here(request)
        try:
            await websocket.prepare(request)
        except ConnectionError:
            # It hangs up at this very moment.
            return await _nothing_here(request)
        self._visitors.stays(transport)
        host, port = plain(peername[0]), peername[1]
        seen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        await self._serve(host, ConnectedGuest(node, seen, websocket, transport.abort))
        return websocket

    async def _serve(self, host: str, guest: ConnectedGuest) -> None:
        number = next(self._numbers)
        self._guests[number] = guest
        self._feed(self._core.arrived(number, guest.node, host, self._loop.time()))
        try:
            await guest.serve(partial(self._came, number))
        finally:
            self._guests.pop(number, None)
            self._feed(self._core.gone(number))

    def _came(self, number: int, data: bytes) -> None:
        try:
            message = decode(data)
        except PeerError as wrong:
            self._feed(self._core.broke(number, str(wrong)))
        else:
            self._heard(number, message)

    def _heard(self, number: int, message: Message) -> None:
        self._feed(self._core.heard(number, message, self._loop.time()))

    def _deliver(self, number: int, guest: Guest, message: Message) -> None:
        guest.tell(message)
        if guest.waiting_bytes <= HIGH_BYTES:
            return
        if guest.waiting_bytes <= OUTBOX_BYTES_MAX:
            waiting = {number: other.waiting_bytes for number, other in self._guests.items()}
            if sum(waiting.values()) <= WAITING_BYTES_MAX:
                return
            number = max(waiting, key=lambda number: waiting[number])
        self._feed(self._core.broke(number, "it does not take what is sent to it"))

    # -- what is decided ---------------------------------------------------------------------------------

    def _feed(self, effects: list[Effect]) -> None:
        for effect in effects:
            guest = self._guests.get(effect.guest)
            if guest is not None:
                self._carry_out(guest, effect)
        self._alarm.set(self._core.deadline)

    def _carry_out(self, guest: Guest, effect: Effect) -> None:
        match effect:
            case Deliver(number, message):
                self._deliver(number, guest, message)
            case Pause():
                guest.pause()
            case Resume():
                guest.resume()
            case Reserve(_, until):
                guest.tell(self._signed(guest, until))
            case Refuse(number, reason):
                self._tell("relay.refused", guest, reason)
                del self._guests[number]
                guest.tell(Refused(reason))
                guest.end()
            case Cut(number, reason):
                self._tell("relay.cut", guest, reason)
                del self._guests[number]
                guest.cut()
            case _:
                assert_never(effect)

    def _tell(self, event: str, guest: Guest, reason: str) -> None:
        self._log.info(event, node=short(id_of_digest(guest.node)), reason=reason)

    def _signed(self, guest: Guest, until: float) -> Reserved:
        until_wall = time.time() + until - self._loop.time()
        rate = int(self._limits.rate)
        unsigned = Reserved(guest.node, self._own, int(until_wall), rate, guest.seen)
        signature = self._signatures.sign(signed_reservation_bytes(unsigned))
        return msgspec.structs.replace(unsigned, signature=signature)


def _member(transport: asyncio.Transport) -> bytes | None:
    secured = transport.get_extra_info("ssl_object")
    assert isinstance(secured, ssl.SSLObject | ssl.SSLSocket), "a relay is behind TLS alone"
    try:
        node = tls.peer_id(secured)
    except PeerError:
        return None
    return None if node is None else digest_of_id(node)


async def _nothing_here(_: web.Request) -> web.StreamResponse:
    return _short(web.HTTPNotFound.status_code, "a sedma node; its HTTP interface is elsewhere")


def _short(status: int, text: str) -> web.Response:
    answer = web.Response(status=status, text=text + "\n")
    answer.force_close()
    return answer
