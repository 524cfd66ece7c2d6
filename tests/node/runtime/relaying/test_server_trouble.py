"""Strangers, liars and losses: what they do to a relay and to those who use it."""

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Callable

import aiohttp
import pytest

from nat.relay_channels import Deliver
from nat.relay_wire import (
    OPENER,
    Data,
    Message,
    Open,
    Opened,
    Reserved,
    encode,
)
from nat.relaying import Effect, Relaying
from node.runtime import tls
from node.runtime.relaying import visitors
from node.runtime.relaying.channels import RelayFailed
from node.runtime.relaying.client import relay_context
from protocol.ids import digest_of_id
from tests.node.runtime.relaying.small_relay import (
    AMPLE,
    Mesh,
    Raw,
    Relay,
    eventually,
    guest,
    guests,
    pair,
    secured,
    serving,
    session,
)
from tests.node.runtime.small_mesh import Member


async def test_nobody_speaks_in_another_s_name(mesh: Mesh) -> None:
    async with (
        serving(mesh.anna) as relay,
        guests(relay, mesh.anna, mesh.bert, mesh.carl) as (bert, carl),
        session(relay_context(mesh.dora.membership)) as http,
        http.ws_connect(f"https://{relay.address}/relay") as websocket,
    ):
        end, there = await pair(bert, carl)
        dora = Raw(websocket)
        await dora.hear()
        ((_, _, number),) = relay.server._core._channels._channels

        # The only id in a message is the receiver's: as bert it can say nothing, in bert's channel neither.
        await dora.say(Data(digest_of_id(carl.id), OPENER | number, b"I am bert"))
        await dora.say(Data(digest_of_id(bert.id), number, b"I am carl"))
        await dora.say(Open(digest_of_id(carl.id), OPENER | number))

        assert await dora.hear() == Opened(digest_of_id(carl.id), number)
        peer, hers = await carl.accepted()
        assert peer == mesh.dora.identity.id
        assert relay.server.counters["without_channel"] == 2
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(end, b"bert himself")
        assert await loop.sock_recv(there, 99) == b"bert himself"
        for one in (end, there, hers):
            one.close()


UPGRADE = (
    b"GET /relay HTTP/1.1\r\nHost: anna\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)


def ask_and_hang_up(context: ssl.SSLContext, port: int) -> None:
    """The question and the end of TLS in one segment."""
    come, go = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(come, go, server_hostname="anna")
    with socket.create_connection(("127.0.0.1", port), 5.0) as raw:
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(go.read())
                come.write(raw.recv(65536))
        client.write(UPGRADE)
        with contextlib.suppress(ssl.SSLWantReadError):
            client.unwrap()
        raw.sendall(go.read())
        while raw.recv(65536):
            pass


async def test_whoever_asks_and_hangs_up_at_once_is_no_news(
    mesh: Mesh, caplog: pytest.LogCaptureFixture
) -> None:
    context = relay_context(mesh.bert.membership)
    async with serving(mesh.anna) as relay:
        for _ in range(20):
            await asyncio.to_thread(ask_and_hang_up, context, relay.port)

    assert caplog.records == []


class Lying(Relaying):
    """Once it `lies`, the next message of the opener of a channel arrives as `lie` makes it, with the one after it."""

    def __init__(self, lie: Callable[[bytes, bytes], list[bytes]]) -> None:
        super().__init__(AMPLE)
        self.lies = False
        self._lie = lie
        self.first: bytes | None = None

    def heard(self, number: int, message: Message, now: float) -> list[Effect]:
        effects = super().heard(number, message, now)
        match effects:
            case [Deliver(guest, Data(peer, channel, payload))] if self.lies and channel & OPENER:
                if self.first is None:
                    self.first = payload
                    return []
                changed = self._lie(self.first, payload)
                return [Deliver(guest, Data(peer, channel, piece)) for piece in changed]
        return effects


@pytest.mark.parametrize(
    "lie",
    [
        lambda one, two: [one[:-1] + bytes([one[-1] ^ 1]), two],
        lambda one, two: [two],
        lambda one, two: [two, one],
        lambda one, two: [one, one, two],
        lambda one, two: [one[:-1], two],
        lambda one, two: [bytes(len(one)), two],
    ],
    ids=["flips a bit", "drops", "reorders", "doubles", "cuts short", "makes up"],
)
async def test_what_a_relay_changes_makes_the_inner_tls_fail_and_nothing_else(
    mesh: Mesh, lie: Callable[[bytes, bytes], list[bytes]]
) -> None:
    lying = Lying(lie)
    async with (
        serving(mesh.anna, core=lying) as relay,
        guests(relay, mesh.anna, mesh.bert, mesh.carl) as (bert, carl),
    ):
        end, there = await pair(bert, carl)
        (_, writer), (reader, back) = await asyncio.gather(
            secured(end, tls.client_context(mesh.bert.membership), dialled=True),
            secured(there, tls.server_context(mesh.carl.membership), dialled=False),
        )
        await eventually(lambda: relay.server.counters["forwarded"] >= 3)
        lying.lies = True

        writer.write(b"one")
        await eventually(lambda: lying.first is not None)
        writer.write(b"two")
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)) as failed:
            await asyncio.wait_for(reader.readexactly(7), 5.0)

        if isinstance(failed.value, asyncio.IncompleteReadError):
            assert b"onetwo".startswith(failed.value.partial)
        lying.lies = False
        assert not bert.client.lost.is_set()
        assert not carl.client.lost.is_set()
        end, there = await pair(bert, carl)
        writer.close()
        back.close()
        end.close()
        there.close()


async def test_strangers_and_other_questions_get_a_short_no(mesh: Mesh) -> None:
    stranger = tls.joining_context(mesh.anna.ticket(now=time.time()))
    stranger.set_alpn_protocols(["http/1.1"])
    async with serving(mesh.anna) as relay:
        async with session(stranger) as http:
            for path in ("/relay", "/relay?x=1"):
                async with http.get(f"https://{relay.address}{path}") as answer:
                    assert answer.status == 403
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect(f"https://{relay.address}/relay")
            assert refused.value.status == 403
        async with session(relay_context(mesh.bert.membership)) as http:
            for method, path in (("GET", "/"), ("GET", "/relay"), ("POST", "/v1/weights")):
                async with http.request(method, f"https://{relay.address}{path}") as answer:
                    assert answer.status in (404, 405)
                    assert len(await answer.read()) < 100
        assert relay.server.guests == ()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /relay HTTP/1.1\r\nX: " + bytes([65]) * 20_000,
        b"GET /relay HTTP/1.1\r\nno header\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
    ],
    ids=["a long header", "no header", "no HTTP"],
)
async def test_what_is_no_http_is_answered_and_fills_no_log(
    mesh: Mesh, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(mesh.anna) as relay:
        reader, writer = await _idle(relay, mesh.bert)
        writer.write(request_bytes)

        assert (await asyncio.wait_for(_rest(reader), 5.0)).startswith(b"HTTP/1.0 400")
        writer.close()

    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []


async def test_who_asks_for_nothing_is_shown_out(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visitors, "REQUEST_S", 0.05)
    monkeypatch.setattr(visitors, "VISITORS_MAX", 2)
    async with serving(mesh.anna) as relay, guests(relay, mesh.anna, mesh.bert) as (bert,):
        opened = [await _idle(relay, mesh.bert) for _ in range(3)]

        for reader, writer in opened:
            assert await asyncio.wait_for(_rest(reader), 5.0) == b""
            writer.close()
        assert not bert.client.lost.is_set()


async def _idle(relay: Relay, member: Member) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = relay_context(member.membership)
    return await asyncio.open_connection("127.0.0.1", relay.port, ssl=context)


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def test_who_speaks_nonsense_is_cut_off(mesh: Mesh) -> None:
    async with serving(mesh.anna) as relay, session(relay_context(mesh.bert.membership)) as http:
        for nonsense in (b"", b"\x02" + bytes(36), encode(Opened(bytes(32), 1))):
            async with http.ws_connect(f"https://{relay.address}/relay") as websocket:
                await Raw(websocket).hear()
                await websocket.send_bytes(nonsense)
                assert (await websocket.receive(timeout=5.0)).type is not aiohttp.WSMsgType.BINARY
        async with http.ws_connect(f"https://{relay.address}/relay") as websocket:
            await Raw(websocket).hear()
            await websocket.send_str("text")
            assert (await websocket.receive(timeout=5.0)).type is not aiohttp.WSMsgType.BINARY
        await eventually(lambda: relay.server.guests == ())
        assert [fields["reason"] for _, fields in relay.log.events] == [
            "a relay message of 0 bytes",
            "relay message DATA is empty",
            "a node says no Opened",
        ]


async def test_a_copy_of_the_relay_s_own_node_is_refused_and_the_relay_still_reaches_others(
    mesh: Mesh,
) -> None:
    async with serving(mesh.anna) as relay, guests(relay, mesh.anna, mesh.bert) as (bert,):
        own = relay.server.own_channels(lambda peer, end: end.close())

        with pytest.raises(RelayFailed, match="two machines have one id"):
            await guest(mesh.anna, mesh.anna).client.connect((relay.address,))

        end = await own.open(digest_of_id(bert.id))
        _, there = await bert.accepted()
        end.close()
        there.close()


async def test_when_the_relay_ends_so_do_all_channels(mesh: Mesh) -> None:
    async with serving(mesh.anna) as relay, guests(relay, mesh.anna, mesh.bert, mesh.carl) as both:
        bert, carl = both
        end, there = await pair(bert, carl)

        await relay.server.close()

        for one in both:
            await asyncio.wait_for(one.client.lost.wait(), 5.0)
            assert one.client.reason == "the relay has hung up"
        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(end, 99) == await loop.sock_recv(there, 99) == b""
        with pytest.raises(RelayFailed, match="hung up"):
            await bert.client.open(carl.id)
        end.close()
        there.close()


async def test_a_guest_that_comes_back_takes_its_place_again(mesh: Mesh) -> None:
    async with serving(mesh.anna) as relay, guests(relay, mesh.anna, mesh.bert, mesh.carl) as both:
        bert, carl = both
        end, there = await pair(bert, carl)

        async with guests(relay, mesh.anna, mesh.bert) as (again,):
            await asyncio.wait_for(bert.client.lost.wait(), 5.0)
            loop = asyncio.get_running_loop()
            assert await asyncio.wait_for(loop.sock_recv(there, 99), 5.0) == b""
            new, other = await pair(again, carl)
            for one in (end, there, new, other):
                one.close()


async def test_what_is_still_said_in_an_old_channel_comes_out_of_no_new_one(mesh: Mesh) -> None:
    async with (
        serving(mesh.anna) as relay,
        guests(relay, mesh.anna, mesh.bert) as (bert,),
        session(relay_context(mesh.carl.membership)) as http,
        http.ws_connect(f"https://{relay.address}/relay") as websocket,
    ):
        carl, peer = Raw(websocket), digest_of_id(bert.id)
        assert isinstance(await carl.hear(), Reserved)
        old = await bert.client.open(mesh.carl.identity.id)
        opened = await carl.hear()
        assert isinstance(opened, Open)

        # bert's router has forgotten his connection, and carl does not know yet.
        async with guests(relay, mesh.anna, mesh.bert) as (again,):
            new = await again.client.open(mesh.carl.identity.id)
            anew = await carl.opening()
            await carl.say(Data(peer, opened.channel & ~OPENER, b"old"))
            await carl.say(Data(peer, anew.channel & ~OPENER, b"new"))

            loop = asyncio.get_running_loop()
            assert await asyncio.wait_for(loop.sock_recv(new, 99), 5.0) == b"new"
            old.close()
            new.close()
