"""Which relays a node stays connected to, and channels by way of any."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator

import pytest

from nat.home import Public
from node.runtime.relaying import homes
from node.runtime.relaying.channels import PeerAbsent, RelayFailed
from node.runtime.relaying.client import RelayClient, relay_context
from node.runtime.relaying.homes import Homes
from node.runtime.relaying.server import RelayServer
from protocol.ids import NodeId
from tests.node.runtime.relaying.small_relay import (
    Mesh,
    Relay,
    Told,
    eventually,
    serving,
    signatures,
)
from tests.node.runtime.small_mesh import Member


class House:
    """Homes of one member, and what they have told."""

    def __init__(self, member: Member, server: RelayServer | None = None) -> None:
        self.id = member.identity.id
        self.came: asyncio.Queue[tuple[NodeId, socket.socket, NodeId]] = asyncio.Queue()
        self.log = Told()
        self.told: list[tuple[NodeId, ...]] = []
        self.homes = Homes(
            relay_context(member.membership),
            signatures(member),
            lambda *came: self.came.put_nowait(came),
            self.told.append,
            random.Random(7),
            server,
            self.log,
        )

    @property
    def kept(self) -> tuple[NodeId, ...]:
        """The relays that have said yes."""
        return self.homes._core.homes

    def client(self, relay: NodeId) -> RelayClient | None:
        """The connection to this relay, if there is one."""
        line = self.homes._lines.get(relay)
        return None if line is None else line.client

    def know(self, *relays: tuple[Member, Relay, float]) -> None:
        self.homes.known(
            [Public(member.identity.id, True, rtt_s) for member, _, rtt_s in relays],
            {member.identity.id: (relay.address,) for member, relay, _ in relays},
        )


@contextlib.asynccontextmanager
async def houses(*members: Member, server: RelayServer | None = None) -> AsyncIterator[list[House]]:
    made = [House(member, server) for member in members]
    try:
        yield made
    finally:
        for house in made:
            await house.homes.close()
            while not house.came.empty():
                house.came.get_nowait()[1].close()


async def says(end: socket.socket, other: socket.socket) -> None:
    """The two are the ends of one channel; both are closed."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(end, b"hello")
    assert await asyncio.wait_for(loop.sock_recv(other, 99), 5.0) == b"hello"
    end.close()
    other.close()


async def test_a_node_is_reached_by_way_of_its_home_whoever_s_it_is(mesh: Mesh) -> None:
    anna = mesh.anna.identity.id
    async with serving(mesh.anna) as relay, houses(mesh.bert, mesh.carl) as (bert, carl):
        carl.know((mesh.anna, relay, 0.01))
        carl.homes.wanted(True)
        await eventually(lambda: carl.told == [(anna,)])

        end = await bert.homes.open(anna, (relay.address,), carl.id)

        peer, other, by = await carl.came.get()
        assert (peer, by) == (bert.id, anna)
        await says(end, other)
        with pytest.raises(PeerAbsent):
            await bert.homes.open(anna, (relay.address,), mesh.dora.identity.id)
        # A second channel goes over the same connection.
        assert relay.server.counters["reserved"] == 2
        assert bert.told == []


async def test_another_relay_takes_the_place_of_one_that_dies(mesh: Mesh) -> None:
    names = [member.identity.id for member in (mesh.anna, mesh.bert, mesh.carl)]
    async with (
        serving(mesh.anna) as first,
        serving(mesh.bert) as second,
        serving(mesh.carl) as third,
        houses(mesh.dora) as (dora,),
    ):
        dora.know((mesh.anna, first, 0.01), (mesh.bert, second, 0.02), (mesh.carl, third, 0.03))
        dora.homes.wanted(True)
        await eventually(lambda: set(dora.kept) == set(names[:2]))

        first.listener.close()
        await first.server.close()

        await eventually(lambda: set(dora.kept) == set(names[1:]))
        assert third.server.guests == (dora.id,)
        dora.homes.wanted(False)
        await eventually(lambda: dora.told[-1] == ())


async def test_when_a_home_is_lost_the_other_is_asked_whether_it_still_hears_us(mesh: Mesh) -> None:
    async with (
        serving(mesh.anna) as first,
        serving(mesh.bert) as second,
        houses(mesh.dora) as (dora,),
    ):
        dora.know((mesh.anna, first, 0.01), (mesh.bert, second, 0.02))
        dora.homes.wanted(True)
        await eventually(lambda: len(dora.kept) == 2)
        other = dora.client(mesh.bert.identity.id)
        assert other is not None
        await eventually(lambda: not other._pulse._awaiting)
        asked_at = other._pulse._sent_at

        first.listener.close()
        await first.server.close()

        await eventually(lambda: other._pulse._sent_at > asked_at)
        await eventually(lambda: not other._pulse._awaiting)
        assert dora.kept == (mesh.bert.identity.id,)


async def test_a_relay_is_left_at_once_when_the_address_that_we_reached_it_from_is_gone(
    mesh: Mesh,
) -> None:
    async with serving(mesh.anna) as relay, houses(mesh.bert) as (bert,):
        bert.know((mesh.anna, relay, 0.01))
        bert.homes.wanted(True)
        await eventually(lambda: len(bert.kept) == 1)
        before = bert.client(mesh.anna.identity.id)
        assert before is not None

        bert.homes.network_changed(frozenset({"127.0.0.1", "192.0.2.1"}))
        assert not before.lost.is_set()
        bert.homes.network_changed(frozenset({"192.0.2.1"}))

        assert before.lost.is_set()
        assert before.reason == "this machine has lost the address that it ran from"
        await eventually(lambda: bert.client(mesh.anna.identity.id) not in (None, before))
        await eventually(lambda: len(bert.kept) == 1)


async def test_a_home_that_comes_back_is_taken_again(mesh: Mesh) -> None:
    async with houses(mesh.bert) as (bert,):
        async with serving(mesh.anna) as relay:
            bert.know((mesh.anna, relay, 0.01))
            bert.homes.wanted(True)
            await eventually(lambda: len(bert.kept) == 1)
            assert bert.homes.up == (mesh.anna.identity.id,)
        await eventually(lambda: not bert.kept)
        assert not bert.homes.up
        assert bert.log.events[1][1]["reason"] == "the relay has hung up"

        async with serving(mesh.anna) as relay:
            bert.know((mesh.anna, relay, 0.01))
            await eventually(lambda: relay.server.guests == (bert.id,))
            await eventually(lambda: len(bert.kept) == 1)
            # Who knew by way of whom we are reached was not told of the moment without.
            assert bert.told == [(mesh.anna.identity.id,)]
            assert [event for event, _ in bert.log.events][:3] == [
                "relay.homes",
                "relay.failed",
                "relay.homes",
            ]


async def test_many_that_open_at_once_share_one_connection(mesh: Mesh) -> None:
    anna = mesh.anna.identity.id
    async with serving(mesh.anna) as relay, houses(mesh.bert, mesh.carl) as (bert, carl):
        carl.know((mesh.anna, relay, 0.01))
        carl.homes.wanted(True)
        await eventually(lambda: carl.kept == (anna,))

        ends = await asyncio.gather(
            *(bert.homes.open(anna, (relay.address,), carl.id) for _ in range(10))
        )

        assert relay.server.counters["reserved"] == 2
        for end in ends:
            _, other, _ = await carl.came.get()
            await says(end, other)


async def test_a_relay_that_was_needed_once_is_left_when_it_is_idle(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homes, "IDLE_S", 0.1)
    monkeypatch.setattr(homes, "LOOK_S", 0.02)
    anna = mesh.anna.identity.id
    async with serving(mesh.anna) as relay, houses(mesh.bert, mesh.carl) as (bert, carl):
        carl.know((mesh.anna, relay, 0.01))
        carl.homes.wanted(True)
        await eventually(lambda: carl.kept == (anna,))
        end = await bert.homes.open(anna, (relay.address,), carl.id)
        _, other, _ = await carl.came.get()
        await asyncio.sleep(0.3)
        assert len(relay.server.guests) == 2

        await says(end, other)

        await eventually(lambda: relay.server.guests == (carl.id,))
        assert bert.client(anna) is None
        assert carl.client(anna) is not None


async def test_a_relay_reaches_its_own_guests_and_they_reach_it(mesh: Mesh) -> None:
    anna = mesh.anna.identity.id
    async with (
        serving(mesh.anna) as relay,
        houses(mesh.anna, server=relay.server) as (host,),
        houses(mesh.bert) as (bert,),
    ):
        bert.know((mesh.anna, relay, 0.01))
        bert.homes.wanted(True)
        await eventually(lambda: bert.kept == (anna,))

        end = await host.homes.open(anna, (), bert.id)
        peer, other, by = await bert.came.get()
        assert (peer, by) == (anna, anna)
        await says(end, other)
        end = await bert.homes.open(anna, (relay.address,), anna)
        peer, other, by = await host.came.get()
        assert (peer, by) == (bert.id, anna)
        await says(end, other)
        with pytest.raises(PeerAbsent):
            await host.homes.open(anna, (), mesh.carl.identity.id)
        assert relay.server.guests == (bert.id,)


async def test_what_is_no_node_is_no_relay_and_no_peer(mesh: Mesh) -> None:
    anna = mesh.anna.identity.id
    async with houses(mesh.bert) as (bert,):
        for wrong in ("", "somebody", anna.upper(), anna[:-1], anna + "a", "ä" * 52):
            with pytest.raises(RelayFailed, match="is no node id"):
                await bert.homes.open(NodeId(wrong), ("127.0.0.1:1",), anna)
            with pytest.raises(RelayFailed, match="is no node id"):
                await bert.homes.open(anna, ("127.0.0.1:1",), NodeId(wrong))


async def test_a_relay_whose_node_is_closing_opens_nothing(mesh: Mesh) -> None:
    anna = mesh.anna.identity.id
    async with (
        serving(mesh.anna) as relay,
        houses(mesh.anna, server=relay.server) as (host,),
        houses(mesh.bert) as (bert,),
    ):
        await host.homes.close()

        end = await bert.homes.open(anna, (relay.address,), anna)
        loop = asyncio.get_running_loop()
        assert await asyncio.wait_for(loop.sock_recv(end, 99), 5.0) == b""
        end.close()
        assert host.came.empty()


async def test_without_a_relay_of_its_own_a_node_does_not_look_there(mesh: Mesh) -> None:
    async with houses(mesh.bert) as (bert,):
        with pytest.raises(RelayFailed, match="is no relay"):
            await bert.homes.open(bert.id, (), mesh.carl.identity.id)


async def test_a_relay_that_cannot_be_reached_is_told_to_all_who_wait(mesh: Mesh) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{nobody.getsockname()[1]}"
        async with houses(mesh.bert) as (bert,):
            wrong = await asyncio.gather(
                *(bert.homes.open(mesh.anna.identity.id, (closed,), bert.id) for _ in range(2)),
                return_exceptions=True,
            )

    assert ["nothing listens" in str(one) for one in wrong] == [True, True]


async def test_closing_gives_up_what_is_under_way(mesh: Mesh) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = f"127.0.0.1:{mute.getsockname()[1]}"
        bert = House(mesh.bert)
        opening = asyncio.create_task(bert.homes.open(mesh.anna.identity.id, (silent,), bert.id))
        await asyncio.sleep(0.05)

        await asyncio.wait_for(bert.homes.close(), 2.0)

        with pytest.raises(RelayFailed, match="closing"):
            await opening
        with pytest.raises(RelayFailed, match="closing"):
            await bert.homes.open(mesh.anna.identity.id, (silent,), bert.id)
