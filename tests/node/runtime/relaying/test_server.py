"""Channels through a real relay on loopback: TLS at the port, WebSockets in it, TLS from end to end within."""

import asyncio
import hashlib
import os
import time

import pytest

from nat.relay_wire import (
    OPENER,
    PAYLOAD_BYTES_MAX,
    WINDOW_BYTES,
    Close,
    Data,
    Open,
    Opened,
    Reserved,
)
from nat.relaying import RelayLimits
from node.runtime import tls
from node.runtime.relaying.channels import PeerAbsent, RelayFailed
from node.runtime.relaying.client import relay_context
from protocol.ids import digest_of_id, short
from tests.node.runtime.relaying.small_relay import (
    AMPLE,
    Mesh,
    Raw,
    drained,
    eventually,
    guests,
    pair,
    secured,
    serving,
    session,
)

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
        told = {"node": short(mesh.carl.identity.id), "reason": "all 1 places are taken"}
        assert relay.log.events == [("relay.refused", told)]


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
        assert 0.6 < took_s < 8.0
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
