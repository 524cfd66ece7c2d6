"""Channels through a real relay on loopback: TLS at the port, WebSockets in it, TLS from end to end within."""

import asyncio
import hashlib
import os
import socket
import ssl
import time

import aiohttp
import pytest

from nat.relay_wire import (
    OPENER,
    PAYLOAD_BYTES_MAX,
    WINDOW_BYTES,
    Close,
    Data,
    Message,
    Open,
    Opened,
    Reserved,
    decode,
    encode,
)
from nat.relaying import Deliver, Effect, Relaying, RelayLimits
from node.runtime import tls
from node.runtime.relaying import visitors
from node.runtime.relaying.channels import PeerAbsent, RelayFailed
from node.runtime.relaying.client import relay_context
from protocol.ids import digest_of_id
from tests.node.runtime.relaying.small_relay import (
    AMPLE,
    Guest,
    Mesh,
    Relay,
    drained,
    eventually,
    guests,
    secured,
    serving,
)
from tests.node.runtime.small_mesh import Member


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    return Mesh.make(tmp_path_factory.mktemp("mesh"))


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


def session(context: ssl.SSLContext) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))


# -- what is carried -------------------------------------------------------------------------------------


async def test_tls_runs_from_end_to_end_and_brings_ten_mebibytes_intact(mesh: Mesh) -> None:
    data = os.urandom(10 << 20)
    async with serving(mesh.anna) as relay, guests(relay, mesh.anna, mesh.bert, mesh.carl) as both:
        bert, carl = both
        end, other = await pair(bert, carl)

        async with asyncio.timeout(20.0):
            (reader, writer), (there, back) = await asyncio.gather(
                secured(end, tls.client_context(mesh.bert.membership), dialled=True),
                secured(other, tls.server_context(mesh.carl.membership), dialled=False),
            )
            writer.write(data)
            got = await there.readexactly(len(data))
            back.write(b"thanks")
            assert await reader.readexactly(6) == b"thanks"

        assert tls.peer_id(writer.get_extra_info("ssl_object")) == carl.id
        assert tls.peer_id(back.get_extra_info("ssl_object")) == bert.id
        assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
        writer.close()
        back.close()
        await eventually(lambda: relay.server.channels == 0)


async def test_two_that_open_channels_to_each_other_at_once_have_two(mesh: Mesh) -> None:
    async with serving(mesh.anna) as relay, guests(relay, mesh.anna, mesh.bert, mesh.carl) as both:
        bert, carl = both
        mine, theirs = await asyncio.gather(bert.client.open(carl.id), carl.client.open(bert.id))
        _, of_carl = await bert.accepted()
        _, of_bert = await carl.accepted()
        loop = asyncio.get_running_loop()

        await loop.sock_sendall(mine, b"by bert")
        await loop.sock_sendall(theirs, b"by carl")

        assert await loop.sock_recv(of_bert, 99) == b"by bert"
        assert await loop.sock_recv(of_carl, 99) == b"by carl"
        for end in (mine, theirs, of_bert, of_carl):
            end.close()
        await eventually(lambda: relay.server.channels == 0)


async def test_the_end_of_one_side_is_the_end_of_the_other_after_all_was_read(mesh: Mesh) -> None:
    async with serving(mesh.anna) as relay, guests(relay, mesh.anna, mesh.bert, mesh.carl) as both:
        end, there = await pair(*both)
        loop = asyncio.get_running_loop()

        await loop.sock_sendall(end, bytes(150_000))
        end.close()

        assert len(await asyncio.wait_for(drained(there), 5.0)) == 150_000
        there.close()


async def test_who_is_not_there_is_absent_at_once(mesh: Mesh) -> None:
    async with serving(mesh.anna) as relay, guests(relay, mesh.anna, mesh.bert) as (bert,):
        with pytest.raises(PeerAbsent, match="absent from this relay"):
            await bert.client.open(mesh.carl.identity.id)


async def test_a_reservation_is_signed_and_tells_where_we_come_from(mesh: Mesh) -> None:
    async with serving(mesh.anna) as relay, guests(relay, mesh.anna, mesh.bert) as (bert,):
        reserved = bert.client.reserved
        assert reserved is not None

        assert reserved.node == digest_of_id(bert.id)
        assert reserved.relay == digest_of_id(mesh.anna.identity.id)
        assert reserved.seen.startswith("127.0.0.1:")
        assert 3500 < reserved.until - time.time() <= 3600
        assert reserved.rate == AMPLE.rate
        assert relay.server.guests == (bert.id,)
        await eventually(lambda: bert.client.rtt_s is not None)


# -- limits ------------------------------------------------------------------------------------------------


async def test_who_finds_no_place_is_told_so(mesh: Mesh) -> None:
    limits = RelayLimits(reservations=1)
    async with serving(mesh.anna, limits) as relay, guests(relay, mesh.anna, mesh.bert):
        with pytest.raises(RelayFailed, match="does not take us: all 1 places are taken"):
            async with guests(relay, mesh.anna, mesh.carl):
                pass
        assert relay.server.counters["refused"] == 1


async def test_who_is_above_its_quota_is_slowed_and_nobody_else(mesh: Mesh) -> None:
    limits = RelayLimits(rate=1e6, burst=250e3, total=1e9, per_address=9)
    everybody = (mesh.bert, mesh.carl, mesh.dora)
    async with serving(mesh.anna, limits) as relay, guests(relay, mesh.anna, *everybody) as three:
        bert, carl, dora = three
        end, there = await pair(bert, carl)
        light, heard = await pair(dora, carl)
        loop = asyncio.get_running_loop()
        began = loop.time()

        sending = loop.create_task(loop.sock_sendall(end, bytes(1_000_000)))
        taking = loop.create_task(drained(there, 1_000_000))
        await eventually(lambda: relay.server.counters["paused"] > 0)
        await loop.sock_sendall(light, b"quick")
        assert await loop.sock_recv(heard, 99) == b"quick"
        quick_s = loop.time() - began
        assert len(await asyncio.wait_for(taking, 10.0)) == 1_000_000
        took_s = loop.time() - began

        await sending
        assert 0.6 < took_s < 3.0
        assert quick_s < took_s / 2
        for one in (end, there, light, heard):
            one.close()


async def test_a_receiver_that_does_not_read_holds_up_only_what_is_sent_to_it(mesh: Mesh) -> None:
    everybody = (mesh.bert, mesh.carl, mesh.dora)
    async with serving(mesh.anna) as relay, guests(relay, mesh.anna, *everybody) as three:
        bert, carl, dora = three
        stuck, unread = await pair(bert, carl)
        fine, read = await pair(bert, dora)
        loop = asyncio.get_running_loop()

        sending = loop.create_task(loop.sock_sendall(stuck, bytes(4 << 20)))
        await loop.sock_sendall(fine, b"still moving")
        assert await asyncio.wait_for(loop.sock_recv(read, 99), 5.0) == b"still moving"
        forwarded = -1
        while forwarded != relay.server.counters["forwarded_bytes"]:
            forwarded = relay.server.counters["forwarded_bytes"]
            await asyncio.sleep(0.1)

        # What a pair of sockets holds beside the window is the kernel's.
        assert WINDOW_BYTES <= forwarded <= 4 * WINDOW_BYTES
        assert not sending.done()
        assert len(await asyncio.wait_for(drained(unread, 4 << 20), 10.0)) == 4 << 20
        await sending
        for one in (stuck, unread, fine, read):
            one.close()


async def test_who_floods_a_channel_beyond_its_credit_loses_it_and_nothing_else(mesh: Mesh) -> None:
    async with (
        serving(mesh.anna) as relay,
        guests(relay, mesh.anna, mesh.carl) as (carl,),
        session(relay_context(mesh.bert.membership)) as http,
        http.ws_connect(f"https://{relay.address}/relay") as websocket,
    ):
        raw, peer = Raw(websocket), digest_of_id(carl.id)
        assert isinstance(await raw.hear(), Reserved)
        await raw.say(Open(peer, OPENER | 1))
        assert await raw.hear() == Opened(peer, 1)
        carl_id, unread = await carl.accepted()
        assert carl_id == mesh.bert.identity.id

        for _ in range(4 * WINDOW_BYTES // PAYLOAD_BYTES_MAX):
            await raw.say(Data(peer, OPENER | 1, bytes(PAYLOAD_BYTES_MAX)))

        while not isinstance(said := await raw.hear(), Close):
            pass
        assert said.reason == "more was sent than there was room for"
        await raw.say(Open(peer, OPENER | 2))
        assert await raw.hear() == Opened(peer, 2)
        unread.close()


# -- security ----------------------------------------------------------------------------------------------


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

        # The only id in a message is the receiver's: as bert it can say nothing, in bert's channel neither.
        await dora.say(Data(digest_of_id(carl.id), OPENER | 1, b"I am bert"))
        await dora.say(Data(digest_of_id(bert.id), 1, b"I am carl"))
        await dora.say(Open(digest_of_id(carl.id), OPENER | 1))

        assert await dora.hear() == Opened(digest_of_id(carl.id), 1)
        peer, hers = await carl.accepted()
        assert peer == mesh.dora.identity.id
        assert relay.server.counters["without_channel"] == 2
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(end, b"bert himself")
        assert await loop.sock_recv(there, 99) == b"bert himself"
        for one in (end, there, hers):
            one.close()


async def test_what_a_relay_changes_makes_the_inner_tls_fail_and_nothing_else(mesh: Mesh) -> None:
    class Lying(Relaying):
        """Flips a bit in all that carl is sent after its handshake."""

        lies = False

        def heard(self, number: int, message: Message, now: float) -> list[Effect]:
            effects = super().heard(number, message, now)
            return [self._changed(effect) for effect in effects] if self.lies else effects

        def _changed(self, effect: Effect) -> Effect:
            match effect:
                case Deliver(guest, Data(peer, channel, payload)) if channel & OPENER:
                    bad = payload[:-1] + bytes([payload[-1] ^ 1])
                    return Deliver(guest, Data(peer, channel, bad))
            return effect

    lying = Lying(AMPLE)
    async with (
        serving(mesh.anna, core=lying) as relay,
        guests(relay, mesh.anna, mesh.bert, mesh.carl) as (bert, carl),
    ):
        end, there = await pair(bert, carl)
        (_, writer), (reader, back) = await asyncio.gather(
            secured(end, tls.client_context(mesh.bert.membership), dialled=True),
            secured(there, tls.server_context(mesh.carl.membership), dialled=False),
        )
        lying.lies = True

        writer.write(b"one two three")
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(13), 5.0)

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
