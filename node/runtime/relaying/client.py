"""A node's connection to one relay: a WebSocket over TLS, which proves both ids, and the channels that run over it.

All addresses of the relay are tried, each a moment after the one before, and the first to answer is it. Once it is
lost a connection is lost for good: who wants another one makes another client.
"""

import asyncio
import random
import socket
import ssl
from collections.abc import Callable
from typing import assert_never

from aiohttp import (
    AddrInfoType,
    ClientSession,
    ClientTimeout,
    ClientWebSocketResponse,
    TCPConnector,
    WSMsgType,
)

from nat.pulse import Effect, Lost, Pulse, SendPing
from nat.relay_wire import (
    OPENER,
    Absent,
    Close,
    Data,
    Message,
    Open,
    Opened,
    Ping,
    Pong,
    Refused,
    Reserved,
    Unknown,
    Window,
    decode,
    signed_reservation_bytes,
)
from node.runtime import tls
from node.runtime.alarm import Alarm
from node.runtime.credentials import Membership
from node.runtime.handed_over import keep_no_number
from node.runtime.relaying.channels import Channels, RelayFailed
from node.runtime.relaying.dialling import CLOSE_S, dial, ends_of, here_alone
from node.runtime.relaying.outbox import HIGH_BYTES, Outbox
from node.runtime.signatures import Ed25519
from protocol.errors import PeerError
from protocol.ids import NodeId, digest_of_id, key_digest, short

RESERVED_S = 5.0
"""How long the relay may take to say that it forwards for us."""

OUTBOX_BYTES_MAX = 4 * HIGH_BYTES
"""What waits for a relay that takes nothing and goes on asking. It is left then."""

OnChannel = Callable[[NodeId, socket.socket, NodeId], None]
"""(who has opened it, our end, the relay)"""


def relay_context(membership: Membership) -> ssl.SSLContext:
    """For dialling relays: what we speak is HTTP."""
    context = tls.client_context(membership)
    context.set_alpn_protocols(["http/1.1"])
    return context


class RelayClient:
    """`connect`, then `open`; `lost` says when and `reason` why it is over."""

    def __init__(
        self,
        relay: NodeId,
        context: ssl.SSLContext,
        signatures: Ed25519,
        on_channel: OnChannel,
        dice: random.Random,
    ) -> None:
        self.relay = relay
        self.reserved: Reserved | None = None
        self.lost = asyncio.Event()
        self.reason = ""
        self._context = context
        self._signatures = signatures
        self._own = key_digest(signatures.key)
        self._digest = digest_of_id(relay)
        self._local = ""
        """Our IP address, once there is a connection."""
        self._loop = asyncio.get_running_loop()
        self._pulse = Pulse(dice, self._loop.time())
        self._alarm = Alarm(self._tick)
        self._outbox = Outbox(self._is_full)
        self._channels = Channels(
            self._outbox.put,
            lambda peer, end: on_channel(peer, end, relay),
            first=dice.randrange(OPENER),
        )
        self._answered: asyncio.Future[None] = self._loop.create_future()
        self._running: asyncio.Task[None] | None = None

    # -- for the layer above -----------------------------------------------------------------------------

    async def connect(self, addresses: tuple[str, ...]) -> None:
        """Have a reservation; RelayFailed with the reason if there is none to be had."""
        made: list[socket.socket] = []
        connector = TCPConnector(ssl=self._context, limit=0, socket_factory=_remembering(made))
        session = ClientSession(
            connector=connector, timeout=ClientTimeout(total=None), trace_configs=[here_alone()]
        )
        try:
            websocket = await dial(session, self.relay, addresses)
            self._key, self._local = ends_of(websocket)
        except BaseException:
            await session.close()
            raise
        finally:
            for one in made:
                keep_no_number(one)
        self._running = self._loop.create_task(self._run(session, websocket))
        try:
            async with asyncio.timeout(RESERVED_S):
                await self._answered
        except TimeoutError as late:
            raise RelayFailed(f"relay {short(self.relay)} does not answer") from late
        finally:
            if self.reserved is None:
                await self.close()

    async def open(self, peer: NodeId) -> socket.socket:
        """A socket whose bytes come out at that node. `PeerAbsent` if it is no guest of this relay."""
        return await self._channels.open(digest_of_id(peer))

    def network_changed(self, hosts: frozenset[str]) -> None:
        """This machine has these IP addresses now."""
        if self._local and self._local not in hosts:
            # Nobody will say so: what is sent from there leaves no more.
            self._give_up("this machine has lost the address that it ran from")
        else:
            self.look()

    def look(self) -> None:
        """Something may have happened: find out soon whether the relay still hears us."""
        if self._answered.done() and not self.lost.is_set():
            self._feed(self._pulse.look(self._loop.time()))

    @property
    def rtt_s(self) -> float | None:
        return self._pulse.rtt_s

    @property
    def channels(self) -> int:
        return len(self._channels)

    async def close(self) -> None:
        self._outbox.end()
        if self._running is None:
            return
        await asyncio.wait([self._running], timeout=CLOSE_S)
        self._running.cancel()
        await asyncio.wait([self._running])
        if not self._running.cancelled():
            self._running.result()

    # -- while it lasts ----------------------------------------------------------------------------------

    async def _run(self, session: ClientSession, websocket: ClientWebSocketResponse) -> None:
        try:
            async with session, websocket, asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(self._write(websocket))
                self._end(await self._read(websocket))
                writing.cancel()
        finally:
            self._end("closed here")

    def _end(self, reason: str) -> None:
        if self.lost.is_set():
            return
        self.reason = self.reason or reason
        self.lost.set()
        if not self._answered.done():
            self._answered.set_exception(RelayFailed(f"relay {short(self.relay)}: {reason}"))
        self._channels.close(self.reason)
        self._outbox.end()
        self._alarm.set(None)

    async def _read(self, websocket: ClientWebSocketResponse) -> str:
        """Until there is nothing more; why that is."""
        while True:
            received = await websocket.receive()
            if received.type is not WSMsgType.BINARY:
                return "the relay has hung up"
            now = self._loop.time()
            try:
                message = decode(received.data)
                self._feed(self._pulse.heard(now))
                self._heard(message, now)
            except PeerError as wrong:
                return f"the relay says what makes no sense: {wrong}"
            if self._outbox.nbytes > OUTBOX_BYTES_MAX:
                return "the relay does not take what is sent to it"

    async def _write(self, websocket: ClientWebSocketResponse) -> None:
        try:
            await self._outbox.send_all(websocket.send_bytes)
        except ConnectionError:
            # Reading finds out, too, and ends it all.
            return
        await websocket.close()

    def _heard(self, message: Message, now: float) -> None:
        match message:
            case Open() | Data() | Window() | Close() | Opened() | Absent():
                self._channels.heard(message)
            case Pong(token):
                self._feed(self._pulse.pong(token, now))
            case Ping(token):
                self._outbox.put(Pong(token))
            case Reserved():
                self._take(message)
            case Refused(reason):
                self._refuse(f"relay {short(self.relay)} does not take us: {reason}")
            case Unknown():
                self._channels.counters["unknown_kind"] += 1
            case _:
                assert_never(message)

    def _take(self, reserved: Reserved) -> None:
        signed = signed_reservation_bytes(reserved)
        if (reserved.node, reserved.relay) != (self._own, self._digest):
            raise PeerError("a reservation for somebody else")
        if not self._signatures.verifies(self._key, signed, reserved.signature):
            raise PeerError("a reservation that it has not signed")
        self.reserved = reserved
        if not self._answered.done():
            self._answered.set_result(None)
            self._tick(self._loop.time())

    def _refuse(self, reason: str) -> None:
        self.reason = reason
        if not self._answered.done():
            self._answered.set_exception(RelayFailed(reason))

    def _is_full(self, full: bool) -> None:
        self._channels.set_full(full)

    # -- the pulse ---------------------------------------------------------------------------------------

    def _feed(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendPing(token):
                    self._outbox.put(Ping(token))
                case Lost(silent_s):
                    self._give_up(f"the relay has been silent for {silent_s:.0f} s")
                    return
                case _:
                    assert_never(effect)
        self._alarm.set(None if self.lost.is_set() else self._pulse.deadline)

    def _give_up(self, reason: str) -> None:
        assert self._running is not None
        self._end(reason)
        self._running.cancel()

    def _tick(self, now: float) -> None:
        self._feed(self._pulse.tick(now))


def _remembering(made: list[socket.socket]) -> Callable[[AddrInfoType], socket.socket]:
    def make(address: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made.append(socket.socket(family, kind, protocol))
        return made[-1]

    return make
