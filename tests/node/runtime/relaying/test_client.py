"""A node's side of a relay: how it is reached, and how its loss is noticed."""

import asyncio
import base64
import errno
import gc
import hashlib
import os
import socket
import struct
import time
from pathlib import Path

import pytest
from aiohttp import web

from nat import pulse
from nat.relay_channels import Deliver
from nat.relay_wire import OPENER, Close, Data, Message, Open, Opened, Ping, Reserved
from nat.relaying import Effect, Relaying
from node.runtime import tls
from node.runtime.relaying import channels, client, dialling
from node.runtime.relaying.channels import RelayFailed
from tests.node.runtime.relaying.small_relay import (
    AMPLE,
    Mesh,
    eventually,
    guest,
    guests,
    serving,
)
from tests.node.runtime.small_mesh import founder

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3."""
SWITCHING = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: {accept}\r\n\r\n"
)


async def test_an_address_that_does_not_answer_holds_up_nothing(mesh: Mesh) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = f"127.0.0.1:{mute.getsockname()[1]}"
        async with serving(mesh.anna) as relay:
            bert = guest(mesh.bert, mesh.anna)
            began = asyncio.get_running_loop().time()

            await bert.client.connect((silent, "via:somebody", relay.address))

            assert asyncio.get_running_loop().time() - began < dialling.DIAL_S / 2
            await bert.client.close()


async def test_another_node_at_the_address_is_not_the_relay(mesh: Mesh) -> None:
    async with serving(mesh.carl) as other:
        bert = guest(mesh.bert, mesh.anna)

        with pytest.raises(RelayFailed, match=f"is another node: {mesh.carl.identity.id[:8]}"):
            await bert.client.connect((other.address,))

        assert other.server.guests == ()


async def test_a_relay_of_another_mesh_is_none_of_ours(mesh: Mesh, tmp_path: Path) -> None:
    async with serving(founder(tmp_path, time.time())) as other:
        with pytest.raises(RelayFailed, match="belongs to another mesh"):
            await guest(mesh.bert, mesh.anna).client.connect((other.address,))


async def test_what_went_wrong_is_told_for_each_address(mesh: Mesh) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{nobody.getsockname()[1]}"

        with pytest.raises(RelayFailed, match=f"nothing listens at {closed}"):
            await guest(mesh.bert, mesh.anna).client.connect((closed,))
        unknown = ("via:somebody", "a@127.0.0.1:1", f"{'a' * 64}.invalid:1")
        with pytest.raises(RelayFailed, match="no address of it is known"):
            await guest(mesh.bert, mesh.anna).client.connect(unknown)


async def test_a_relay_that_hangs_up_as_soon_as_it_has_answered_has_failed(mesh: Mesh) -> None:
    async def answer_and_go(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line for line in head.splitlines() if line.startswith("Sec-WebSocket-Key: "))
        proof = hashlib.sha1((key.partition(": ")[2] + GUID).encode()).digest()
        writer.write(SWITCHING.format(accept=base64.b64encode(proof).decode()).encode())
        writer.close()

    context = tls.server_context(mesh.anna.membership)
    context.set_alpn_protocols(["http/1.1"])
    server = await asyncio.start_server(answer_and_go, "127.0.0.1", 0, ssl=context)
    async with server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for _ in range(20):
            with pytest.raises(RelayFailed, match="hung up"):
                await guest(mesh.bert, mesh.anna).client.connect((address,))


async def test_who_is_reset_at_once_closes_no_socket_of_others(mesh: Mesh) -> None:
    """uvloop leaves the number of such a socket behind, and it would be closed again with the object."""
    with socket.create_server(("127.0.0.1", 0)) as rude:
        rude.setblocking(False)
        address = f"127.0.0.1:{rude.getsockname()[1]}"
        others: list[socket.socket] = []

        async def reset() -> None:
            while True:
                one, _ = await asyncio.get_running_loop().sock_accept(rude)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.close()

        resetting = asyncio.create_task(reset())
        for _ in range(20):
            with pytest.raises(RelayFailed):
                await guest(mesh.bert, mesh.anna).client.connect((address,))
            others += socket.socketpair()
        gc.collect()
        resetting.cancel()
        await asyncio.wait([resetting])

        for one in others:
            os.fstat(one.fileno())
            one.close()


async def test_a_relay_that_sends_us_elsewhere_is_not_followed(mesh: Mesh) -> None:
    async def elsewhere(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(f"https://{other.address}/relay")

    application = web.Application()
    application.router.add_get("/relay", elsewhere)
    runner = web.AppRunner(application)
    await runner.setup()
    async with serving(mesh.anna) as other:
        context = tls.server_context(mesh.anna.membership)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        port = runner.addresses[0][1]

        with pytest.raises(RelayFailed, match=f"127.0.0.1:{port} points elsewhere"):
            await guest(mesh.bert, mesh.anna).client.connect((f"127.0.0.1:{port}",))

        assert other.server.counters["reserved"] == 0
    await runner.cleanup()


async def test_a_relay_that_says_nothing_is_given_up(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mute(Relaying):
        def arrived(self, number: int, node: bytes, address: str, now: float) -> list[Effect]:
            super().arrived(number, node, address, now)
            return []

    monkeypatch.setattr(client, "RESERVED_S", 0.1)
    async with serving(mesh.anna, core=Mute(AMPLE)) as relay:
        with pytest.raises(RelayFailed, match="does not answer"):
            await guest(mesh.bert, mesh.anna).client.connect((relay.address,))


async def test_a_relay_that_falls_silent_is_noticed(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mute(Relaying):
        def heard(self, number: int, message: Message, now: float) -> list[Effect]:
            return []

    monkeypatch.setattr(pulse, "ANSWER_S", 0.1)
    monkeypatch.setattr(channels, "OPEN_S", 0.05)
    async with (
        serving(mesh.anna, core=Mute(AMPLE)) as relay,
        guests(relay, mesh.anna, mesh.bert) as (bert,),
    ):
        with pytest.raises(RelayFailed, match="has said nothing"):
            await bert.client.open(mesh.carl.identity.id)
        await asyncio.wait_for(bert.client.lost.wait(), 2.0)

        assert bert.client.reason.startswith("the relay has been silent")
        with pytest.raises(RelayFailed, match="has been silent"):
            await bert.client.open(mesh.carl.identity.id)


async def test_a_reservation_that_the_relay_has_not_signed_is_none(mesh: Mesh) -> None:
    async with serving(mesh.anna) as relay:
        relay.server._signatures.sign = lambda data: bytes(64)  # type: ignore[method-assign]

        with pytest.raises(RelayFailed, match="that it has not signed"):
            await guest(mesh.bert, mesh.anna).client.connect((relay.address,))


async def test_a_relay_that_sends_beyond_the_window_loses_the_channel_alone(mesh: Mesh) -> None:
    class Flooding(Relaying):
        def heard(self, number: int, message: Message, now: float) -> list[Effect]:
            effects = super().heard(number, message, now)
            match effects:
                case [*_, Deliver(guest, Opened(peer, channel))]:
                    flood = Deliver(guest, Data(peer, channel, bytes(60_000)))
                    return [*effects, *[flood] * 50]
            return effects

    async with (
        serving(mesh.anna, core=Flooding(AMPLE)) as relay,
        guests(relay, mesh.anna, mesh.bert, mesh.carl) as (bert, carl),
    ):
        end = await bert.client.open(carl.id)
        _, there = await carl.accepted()

        await eventually(lambda: relay.server.channels == 0)

        assert not bert.client.lost.is_set()
        end.close()
        there.close()


async def test_without_a_free_file_descriptor_a_channel_is_not_opened_and_nothing_else_ends(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left() -> tuple[socket.socket, socket.socket]:
        raise OSError(errno.EMFILE, "Too many open files")

    async with serving(mesh.anna) as relay, guests(relay, mesh.anna, mesh.bert, mesh.carl) as both:
        bert, carl = both
        with monkeypatch.context() as patched:
            patched.setattr(socket, "socketpair", none_left)

            with pytest.raises(RelayFailed, match="Too many open files"):
                await bert.client.open(carl.id)
            await eventually(lambda: relay.server.channels == 0)

        end = await bert.client.open(carl.id)
        _, there = await carl.accepted()
        assert carl.came.empty()
        end.close()
        there.close()


async def test_closing_ends_the_channels_and_tells_the_relay(mesh: Mesh) -> None:
    async with serving(mesh.anna) as relay, guests(relay, mesh.anna, mesh.bert, mesh.carl) as both:
        bert, carl = both
        end = await bert.client.open(carl.id)
        _, there = await carl.accepted()

        await bert.client.close()

        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(end, 99) == b""
        assert await asyncio.wait_for(loop.sock_recv(there, 99), 5.0) == b""
        assert relay.server.guests == (carl.id,)
        end.close()
        there.close()


async def test_an_opening_that_is_given_up_leaves_nothing(mesh: Mesh) -> None:
    async with serving(mesh.anna) as relay, guests(relay, mesh.anna, mesh.bert, mesh.carl) as both:
        bert, carl = both
        for turns in range(8):
            opening = asyncio.create_task(bert.client.open(carl.id))
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            await asyncio.wait([opening])
            if not opening.cancelled():
                opening.result().close()

        await eventually(lambda: relay.server.channels == 0 and bert.client.channels == 0)
        assert isinstance(bert.client.reserved, Reserved)


async def test_a_relay_that_asks_and_takes_no_answer_is_left(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pinging(Relaying):
        def heard(self, number: int, message: Message, now: float) -> list[Effect]:
            return [Deliver(number, Ping(b"12345678")) for _ in range(2000)]

    monkeypatch.setattr(client, "OUTBOX_BYTES_MAX", 20_000)
    async with (
        serving(mesh.anna, core=Pinging(AMPLE)) as relay,
        guests(relay, mesh.anna, mesh.bert) as (bert,),
    ):
        await asyncio.wait_for(bert.client.lost.wait(), 5.0)

        assert bert.client.reason == "the relay does not take what is sent to it"


async def test_a_channel_that_ends_as_its_opening_is_given_up_leaves_no_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both, said = socket.socketpair(), list[Message]()
    monkeypatch.setattr(socket, "socketpair", lambda: both)
    made = channels.Channels(said.append, lambda peer, end: None, first=1)
    peer = bytes(32)
    opening = asyncio.create_task(made.open(peer))
    await asyncio.sleep(0)
    assert said == [Open(peer, OPENER | 1)]

    made.heard(Opened(peer, 1))
    made.heard(Close(peer, 1, "over"))
    opening.cancel()
    await asyncio.wait([opening])

    assert opening.cancelled()
    assert [one.fileno() for one in both] == [-1, -1]


async def test_a_channel_that_cannot_be_taken_is_closed_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels, "CHANNELS_MAX", 1)
    said, ends, peer = list[Message](), list[socket.socket](), bytes(32)
    made = channels.Channels(said.append, lambda peer, end: ends.append(end), first=1)
    made.heard(Open(peer, OPENER | 1))

    made.heard(Open(peer, OPENER | 1))
    made.heard(Open(peer, OPENER | 2))
    made.close("the relay has hung up")
    made.heard(Open(peer, OPENER | 3))

    assert said == [
        Close(peer, 1, "there is such a channel already"),
        Close(peer, 2, "there are 1 channels here: no more may be"),
        Close(peer, 3, "the relay has hung up"),
    ]
    (end,) = ends
    end.close()
