"""A relay and two members behind it, with all of a daemon that reaches others: real links by way of a real relay."""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nat.relaying import RelayLimits
from node.communication.reach import HomesAre
from node.effects import KeepRelays, RelayAt
from node.runtime import tls
from node.runtime.paths import upkeep
from node.runtime.paths.doorway import ALPN_HTTP, ALPN_PATH
from node.runtime.relaying.forwarding import Forwarding
from node.runtime.tcp_link import Security
from protocol.ids import ContentId
from protocol.messages import FetchBlock, Fetched, Release, Taken
from protocol.paths import PathKind, by_way_of
from tests.node.runtime.paths.intruder import carriers
from tests.node.runtime.relaying.small_relay import AMPLE, Told, eventually, signatures
from tests.node.runtime.small_mesh import Member
from tests.node.runtime.stations import Station, three_members, tls_station

RELEASE = Release(put="p")
SIZE = 3 * 1024 * 1024
FETCH = FetchBlock(content=ContentId("c" * 64), nbytes=SIZE)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    return three_members(tmp_path_factory.mktemp("members"))


class Household:
    """A station with both sides of relaying."""

    def __init__(self, member: Member, limits: RelayLimits | None) -> None:
        self.member = member
        self.station = tls_station(member)
        self.told: list[HomesAre] = []
        self.security = Security(
            tls.server_context(member.membership, (ALPN_PATH, ALPN_HTTP)), tls.peer_id
        )
        self.forwarding = Forwarding(
            member.membership,
            signatures(member),
            self.security,
            limits,
            self.station.board.ways,
            self.told.append,
            random.Random(3),
            Told(),
        )

    @property
    def id(self) -> str:
        return self.station.id

    async def listen(self) -> None:
        host, port = await self.station.board.listen("127.0.0.1", 0, self.security)
        self.station.address = f"{host}:{port}"

    def keep(self, *relays: "Household", needed: bool = True) -> None:
        at = [RelayAt(one.station.id, (one.station.address,), 0.01) for one in relays]
        self.forwarding.carry_out(KeepRelays(needed, tuple(at)))

    @property
    def homes(self) -> list[str]:
        return list(self.told[-1].homes) if self.told else []

    async def close(self) -> None:
        await self.station.board.close("test over")
        await self.forwarding.close()


@contextlib.asynccontextmanager
async def village(
    members: list[Member], limits: RelayLimits = AMPLE
) -> AsyncIterator[tuple[Household, Household, Household]]:
    """The first is public and forwards; the third is reached by it, and the second knows that."""
    anna = Household(members[0], limits)
    bert, carl = (Household(member, None) for member in members[1:])
    await anna.listen()
    for one in (anna, bert, carl):
        await one.forwarding.start()
    carl.keep(anna)
    try:
        await eventually(lambda: carl.homes == [anna.id])
        bert.station.ear.addresses = {
            carl.station.id: (by_way_of(anna.station.id),),
            anna.station.id: (anna.station.address,),
        }
        yield anna, bert, carl
    finally:
        for one in (bert, carl, anna):
            await one.close()


async def link(bert: Household, carl: Household) -> tuple[Station, Station]:
    bert.station.board.dial(bert.station.ear.addresses[carl.station.id], carl.station.id)
    await bert.station.up(carl.station)
    await carl.station.up(bert.station)
    return bert.station, carl.station


async def test_who_cannot_be_dialled_is_linked_by_way_of_its_home(members: list[Member]) -> None:
    async with village(members) as (anna, bert, carl):
        left, right = await link(bert, carl)
        right.answer(lambda request: Taken())

        assert isinstance(await left.ask(right, RELEASE).answer(), Taken)
        (carrier,) = carriers(left)
        assert carrier.kind is PathKind.RELAY
        figures = anna.forwarding.figures
        assert figures is not None
        assert figures.channels == 1
        assert carl.forwarding.figures is None


async def test_bodies_come_whole_over_a_relay_both_ways(members: list[Member]) -> None:
    content = os.urandom(SIZE)
    async with village(members) as (_, bert, carl):
        left, right = await link(bert, carl)
        asks = []
        for here, there in ((left, right), (right, left)):
            there.ear.on_asked = lambda asked, board=there.board: board.reply(  # type: ignore[misc]
                asked.number, Fetched(nbytes=SIZE), memoryview(content)
            )
            into = bytearray(SIZE)
            asks.append((here.ask(there, FETCH, deadline_s=30.0, into=into), into))
        for asked, into in asks:
            await asked.answer()
            assert into == content


async def test_a_relay_slows_whom_it_forwards_for_above_the_quota_and_cuts_nobody(
    members: list[Member],
) -> None:
    quota = RelayLimits(rate=2e6, burst=1e6, total=1e9)
    async with village(members, quota) as (_, bert, carl):
        left, right = await link(bert, carl)
        right.ear.on_asked = lambda asked: right.board.reply(
            asked.number, Fetched(nbytes=SIZE), memoryview(bytes(SIZE))
        )
        loop = asyncio.get_running_loop()
        began = loop.time()
        await left.ask(right, FETCH, deadline_s=30.0, into=bytearray(SIZE)).answer()
        took_s = loop.time() - began

        assert 0.5 * (SIZE - 1e6) / 2e6 <= took_s < 3 * SIZE / 2e6
        assert left.ear.down == right.ear.down == []
        assert left.ear.noted("path.lost") == right.ear.noted("path.lost") == []


async def test_when_the_only_relay_is_gone_so_is_the_link_and_it_is_kept_in_mind(
    members: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "RESUME_S", 0.3)
    async with village(members) as (anna, bert, carl):
        left, right = await link(bert, carl)
        await anna.close()
        await left.is_down()
        await right.is_down()

        assert carl.forwarding.homes._core.homes == ()
        # Whoever looks for us finds us soonest where we were.
        assert carl.homes == [anna.id]


async def test_whoever_listens_only_forwards_for_nobody(
    members: list[Member], tmp_path: Path
) -> None:
    anna, bert = Household(members[0], None), Household(members[1], None)
    await anna.listen()
    for one in (anna, bert):
        await one.forwarding.start()
    bert.keep(anna)
    await asyncio.sleep(0.2)

    assert bert.homes == []
    assert anna.forwarding.figures is None
    for one in (bert, anna):
        await one.close()


async def test_a_node_that_others_dial_leaves_its_homes(members: list[Member]) -> None:
    async with village(members) as (anna, _, carl):
        figures = anna.forwarding.figures
        assert figures is not None
        assert figures.guests == 1
        carl.keep(anna, needed=False)

        await eventually(lambda: carl.homes == [])
