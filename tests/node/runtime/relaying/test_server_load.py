"""Guests of a relay that want too much of it: more than may wait, more turns, more than quotas count."""

import asyncio

import aiohttp
import pytest

from nat.relay_wire import (
    OPENER,
    PAYLOAD_BYTES_MAX,
    WINDOW_BYTES,
    Data,
    Message,
    Window,
)
from nat.relaying import Effect, Relaying, RelayLimits
from node.runtime.relaying import server
from node.runtime.relaying.client import relay_context
from node.runtime.relaying.guests import TURN_MESSAGES
from protocol.ids import digest_of_id
from tests.node.runtime.relaying.small_relay import (
    AMPLE,
    Mesh,
    Raw,
    eventually,
    guests,
    serving,
    session,
)


@pytest.mark.parametrize("limit", ["OUTBOX_BYTES_MAX", "WAITING_BYTES_MAX"])
async def test_who_says_that_it_takes_all_and_takes_nothing_is_cut_off(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(server, limit, 1 << 20)
    async with (
        serving(mesh.anna) as relay,
        guests(relay, mesh.anna, mesh.bert) as (bert,),
        session(relay_context(mesh.carl.membership)) as http,
        http.ws_connect(f"https://{relay.address}/relay") as websocket,
    ):
        carl, loop = Raw(websocket), asyncio.get_running_loop()
        await carl.hear()
        end = await bert.client.open(mesh.carl.identity.id)
        channel = (await carl.opening()).channel & ~OPENER
        sending = loop.create_task(loop.sock_sendall(end, bytes(64 << 20)))
        granted = 0
        while mesh.carl.identity.id in relay.server.guests:
            more = min(relay.server.counters["forwarded_bytes"] - granted, WINDOW_BYTES)
            if more:
                granted += more
                await carl.say(Window(digest_of_id(bert.id), channel, more))
            await asyncio.sleep(0.001)

        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await asyncio.wait_for(sending, 5.0)
        assert relay.log.events[-1][1]["reason"] == "it does not take what is sent to it"
        assert not bert.client.lost.is_set()
        end.close()


async def test_a_relay_that_ends_hears_nothing_more_of_a_guest_that_waits_for_its_quota(
    mesh: Mesh, caplog: pytest.LogCaptureFixture
) -> None:
    limits = RelayLimits(rate=100.0, burst=0.0)
    async with (
        serving(mesh.anna, limits) as relay,
        session(relay_context(mesh.bert.membership)) as http,
        http.ws_connect(f"https://{relay.address}/relay") as websocket,
    ):
        bert = Raw(websocket)
        await bert.hear()
        (waiting,) = relay.server._guests.values()
        for _ in range(256):
            # More than the sockets hold: it is still being sent when the relay ends.
            waiting.tell(Data(bytes(32), 1, bytes(PAYLOAD_BYTES_MAX)))
        for _ in range(100):
            await bert.say(Window(bytes(32), OPENER | 1, 1))
        await eventually(lambda: relay.server.counters["paused"] > 0)

        await relay.server.close()

    assert caplog.records == []


async def test_whoever_sends_pings_of_websockets_that_no_quota_counts_is_hung_up_on(
    mesh: Mesh,
) -> None:
    async with (
        serving(mesh.anna) as relay,
        session(relay_context(mesh.bert.membership)) as http,
        http.ws_connect(f"https://{relay.address}/relay", autoping=False) as websocket,
    ):
        await Raw(websocket).hear()

        await websocket.ping(bytes(100))

        assert (await websocket.receive(timeout=5.0)).type is aiohttp.WSMsgType.CLOSE
        await eventually(lambda: relay.server.guests == ())


class Counting(Relaying):
    """How many messages it hears in one turn of the loop at the most."""

    def __init__(self) -> None:
        super().__init__(AMPLE)
        self.messages = self.messages_max = 0

    def heard(self, number: int, message: Message, now: float) -> list[Effect]:
        if not self.messages:
            asyncio.get_running_loop().call_soon(self._turn_is_over)
        self.messages += 1
        return super().heard(number, message, now)

    def _turn_is_over(self) -> None:
        self.messages_max = max(self.messages_max, self.messages)
        self.messages = 0


async def test_who_sends_many_short_messages_leaves_others_a_turn(mesh: Mesh) -> None:
    counting = Counting()
    async with (
        serving(mesh.anna, core=counting) as relay,
        session(relay_context(mesh.bert.membership)) as http,
        http.ws_connect(f"https://{relay.address}/relay") as websocket,
    ):
        bert = Raw(websocket)
        await bert.hear()
        for _ in range(3000):
            await bert.say(Window(bytes(32), OPENER | 1, 1))
        await eventually(lambda: relay.server.counters["without_channel"] == 3000)

    assert TURN_MESSAGES // 2 <= counting.messages_max <= TURN_MESSAGES
