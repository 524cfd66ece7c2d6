"""A relay behind a real TLS port on loopback, and members that use it."""

import asyncio
import contextlib
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import aiohttp

from nat.relay_wire import Message, Open, decode, encode
from nat.relaying import Relaying, RelayLimits
from node.runtime import tls
from node.runtime.relaying.client import RelayClient, relay_context
from node.runtime.relaying.server import RelayServer
from node.runtime.signatures import Ed25519
from protocol.ids import NodeId
from tests.node.runtime.small_mesh import Member, founder, joiner

DICE = random.Random(7)
AMPLE = RelayLimits(rate=1e9, burst=1e9, total=1e9)


class Told:
    """A log that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def info(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))

    debug = warning = exception = info


class Door(asyncio.Protocol):
    """As the listener of the TLS port does: hands a connection over once it knows what it is."""

    def __init__(self, relay: RelayServer) -> None:
        self._relay = relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        protocol = self._relay.protocol_factory()
        cast(asyncio.Transport, transport).set_protocol(protocol)
        protocol.connection_made(transport)


@dataclass(slots=True)
class Mesh:
    """The relay is anna; bert, carl and dora are its guests."""

    anna: Member
    bert: Member
    carl: Member
    dora: Member

    @staticmethod
    def make(path: Path) -> "Mesh":
        now = time.time()
        anna = founder(path / "anna", now)
        rest = (joiner(path / name, anna, now) for name in ("bert", "carl", "dora"))
        return Mesh(anna, *rest)


@dataclass(slots=True)
class Relay:
    server: RelayServer
    port: int
    listener: asyncio.Server
    log: Told

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def serving(
    host: Member, limits: RelayLimits = AMPLE, *, core: Relaying | None = None
) -> AsyncIterator[Relay]:
    """A `core` of its own makes a relay that does as it likes."""
    log = Told()
    server = RelayServer(signatures(host), limits, log)
    if core is not None:
        server._core = core
    await server.start()
    context = tls.server_context(host.membership)
    context.set_alpn_protocols(["http/1.1"])
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Door(server), "127.0.0.1", 0, ssl=context)
    try:
        yield Relay(server, listener.sockets[0].getsockname()[1], listener, log)
    finally:
        listener.close()
        await server.close()


def signatures(member: Member) -> Ed25519:
    return Ed25519(member.identity.seed())


@dataclass(slots=True)
class Guest:
    """A client, and the channels that others have opened to it."""

    member: Member
    client: RelayClient
    came: asyncio.Queue[tuple[NodeId, socket.socket, NodeId]] = field(default_factory=asyncio.Queue)

    @property
    def id(self) -> NodeId:
        return self.member.identity.id

    async def accepted(self) -> tuple[NodeId, socket.socket]:
        peer, end, relay = await asyncio.wait_for(self.came.get(), 5.0)
        assert relay == self.client.relay
        return peer, end


def guest(member: Member, relay: Member) -> Guest:
    """Not connected yet."""
    made: asyncio.Queue[tuple[NodeId, socket.socket, NodeId]] = asyncio.Queue()
    client = RelayClient(
        relay.identity.id,
        relay_context(member.membership),
        signatures(member),
        lambda *came: made.put_nowait(came),
        DICE,
    )
    return Guest(member, client, made)


@contextlib.asynccontextmanager
async def guests(relay: Relay, host: Member, *members: Member) -> AsyncIterator[list[Guest]]:
    made = [guest(member, host) for member in members]
    try:
        for one in made:
            await one.client.connect((relay.address,))
        yield made
    finally:
        for one in made:
            while not one.came.empty():
                one.came.get_nowait()[1].close()
            await one.client.close()


async def secured(
    end: socket.socket, context: ssl.SSLContext, *, dialled: bool
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """TLS over one end of a channel, as a node runs it."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)

    def factory() -> asyncio.StreamReaderProtocol:
        return protocol

    if dialled:
        transport, _ = await loop.create_unix_connection(
            factory, sock=end, ssl=context, server_hostname="peer"
        )
    else:
        transport, _ = await loop.connect_accepted_socket(factory, end, ssl=context)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def drained(end: socket.socket, nbytes: int | None = None) -> bytes:
    """So much, or all that comes until the end."""
    loop, got = asyncio.get_running_loop(), bytearray()
    while nbytes is None or len(got) < nbytes:
        piece = await loop.sock_recv(end, 1 << 16)
        if not piece:
            break
        got += piece
    return bytes(got)


async def eventually(true: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(0.01)


async def pair(one: Guest, other: Guest) -> tuple[socket.socket, socket.socket]:
    """Both ends of a channel that the first has opened."""
    end = await one.client.open(other.id)
    peer, there = await other.accepted()
    assert peer == one.id
    return end, there


class Raw:
    """A guest that says whatever it likes."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self._websocket = websocket

    async def say(self, message: Message) -> None:
        await self._websocket.send_bytes(encode(message))

    async def hear(self) -> Message:
        return decode(await self._websocket.receive_bytes(timeout=5.0))

    async def opening(self) -> Open:
        """The next channel that is opened to it; whatever else comes before is passed over."""
        while not isinstance(message := await self.hear(), Open):
            pass
        return message


def session(context: ssl.SSLContext) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))
