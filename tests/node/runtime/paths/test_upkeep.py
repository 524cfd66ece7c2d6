"""A link looks for a path when it has none, and for better ones while it has."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from nat.pathfinder import PAUSES_S
from node.runtime.paths import upkeep
from node.runtime.paths.dialing import DIAL_S
from node.runtime.paths.upkeep import Upkeep
from protocol.messages import Release, Taken
from protocol.paths import PathKind
from tests.node.runtime.paths.byway import VIA, Byway
from tests.node.runtime.paths.intruder import carriers, ends
from tests.node.runtime.relaying.small_relay import eventually
from tests.node.runtime.small_mesh import Member
from tests.node.runtime.stations import listen, tls_station

RELEASE = Release(put="p")
LAN, RELAY = PathKind.LAN, PathKind.RELAY


class Relayed:
    """Two that are linked by a relay, and somebody else."""

    def __init__(self, members: list[Member]) -> None:
        self.left, self.right, self.third = (tls_station(member) for member in members)
        self.byway = Byway(self.left, self.right, members[1])
        self.tell(VIA)

    def tell(self, *addresses: str) -> None:
        """Where the right one is to be found."""
        self.left.ear.addresses[self.right.id] = addresses

    @property
    def kinds(self) -> list[PathKind]:
        return carriers(self.left)[0].kinds

    @property
    def upkeep(self) -> Upkeep:
        (one,) = self.left.board.ways._upkeep.values()
        return one

    async def works(self) -> None:
        self.right.answer(lambda request: Taken())
        assert isinstance(await self.left.ask(self.right, RELEASE).answer(), Taken)
        assert self.left.ear.down == self.right.ear.down == []


@pytest.fixture
async def pair(members: list[Member]) -> AsyncIterator[Relayed]:
    one = Relayed(members)
    one.left.board.dial((VIA,), one.right.id)
    await one.left.up(one.right)
    await one.right.up(one.left)
    yield one
    for station in (one.left, one.right, one.third):
        await station.board.close("test over")
    await one.byway.close()


async def test_a_relay_that_is_away_for_a_moment_costs_no_link(pair: Relayed) -> None:
    pair.byway.failure = "away"
    pair.byway.cut()
    await eventually(lambda: pair.byway.opened >= 3)
    assert carriers(pair.left)[0].is_stranded
    pair.byway.failure = None

    await pair.works()
    assert pair.kinds == [RELAY]


async def test_a_link_that_is_stranded_again_and_again_is_repaired_by_one_task(
    pair: Relayed,
) -> None:
    for _ in range(10):
        pair.byway.cut()
        await pair.works()
        assert len(pair.left.board.ways._tasks) <= 1

    assert pair.byway.opened == 11


@pytest.fixture
def silent_address() -> Iterator[str]:
    """Takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


async def test_an_address_that_hangs_holds_up_no_relay_that_comes_back(
    pair: Relayed, silent_address: str
) -> None:
    pair.tell(VIA, silent_address)
    pair.byway.failure = "away"
    pair.byway.cut()
    await asyncio.sleep(0.3)
    pair.byway.failure = None
    async with asyncio.timeout(DIAL_S / 2):
        await pair.works()


async def test_while_an_address_hangs_the_link_is_brought_back_as_often_as_it_is_cut(
    pair: Relayed, silent_address: str
) -> None:
    pair.tell(VIA, silent_address)
    for _ in range(10):
        pair.byway.cut()
        async with asyncio.timeout(DIAL_S / 2):
            await pair.works()
        # One dials, one asks relays, one has just found out what else is to be looked for.
        assert len(pair.left.board.ways._tasks) <= 3


async def test_a_relayed_link_goes_over_to_an_address_that_the_peer_tells_later(
    pair: Relayed, members: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "LOOK_S", 0.05)
    pair.upkeep.paths_changed()
    await listen(pair.right, members[1])
    pair.tell(VIA, pair.right.address)
    await eventually(lambda: pair.kinds == [LAN, RELAY])

    await pair.works()
    assert carriers(pair.left)[0].is_straight


async def test_a_direct_link_falls_back_to_its_relay_and_is_direct_again(
    pair: Relayed, members: list[Member]
) -> None:
    await listen(pair.right, members[1])
    pair.tell(VIA, pair.right.address)
    pair.upkeep.network_changed()
    await eventually(lambda: pair.kinds == [LAN, RELAY])
    for end in ends(pair.left):
        if end.kind is LAN:
            end.abort()
    await pair.works()
    await eventually(lambda: pair.kinds == [LAN, RELAY])

    assert pair.byway.opened == 1
    # Each side says of each change of path that it was, and why.
    used = [fields["path"] for fields in pair.left.ear.noted("path.used")]
    assert used == ["lan", "relay", "lan"]
    assert {type(word) for word in used} == {str}, (
        "a log shows the names, not the members of an enumeration"
    )


async def test_somebody_else_at_the_address_is_dialled_once_and_then_with_pauses(
    pair: Relayed, members: list[Member]
) -> None:
    await listen(pair.third, members[2])
    came = 0
    (server,) = pair.third.board._servers
    make = server._make

    def counted() -> asyncio.BaseProtocol:
        nonlocal came
        came += 1
        return make()

    server._make = counted
    pair.tell(VIA, pair.third.address)
    pair.upkeep.network_changed()
    await eventually(lambda: not pair.left.board.ways._tasks)
    await asyncio.sleep(0.2)

    assert came == 1
    assert "is now node" in pair.upkeep._finder.why_not(PathKind.IPV4)
    assert carriers(pair.third) == []
    assert PAUSES_S[PathKind.IPV4][0] > 10.0
    await pair.works()


async def test_one_address_of_several_that_answers_is_enough(
    pair: Relayed, members: list[Member]
) -> None:
    await listen(pair.right, members[1])
    pair.tell(VIA, "127.0.0.1:1", pair.right.address, "a..b:1")
    pair.upkeep.network_changed()
    await eventually(lambda: pair.kinds == [LAN, RELAY])
    await eventually(lambda: not pair.left.board.ways._tasks)

    assert pair.upkeep._finder.why_not(PathKind.IPV4) == ""


async def test_whoever_is_reached_first_brings_the_link_back_for_both(
    pair: Relayed, members: list[Member]
) -> None:
    """The side that was called does not wait for the one that has opened the link."""
    await listen(pair.left, members[0])
    pair.right.ear.addresses[pair.left.id] = (pair.left.address,)
    pair.byway.failure = "away"
    pair.byway.cut()
    await eventually(lambda: carriers(pair.left)[0].kind is LAN)

    await pair.works()


async def test_what_is_looked_for_ends_with_the_link(pair: Relayed) -> None:
    pair.byway.failure = "away"
    one = pair.upkeep
    pair.left.board.hang(pair.right.id, "enough")
    await pair.right.is_down()
    await eventually(lambda: not carriers(pair.left))

    assert one._timer is None
    await eventually(lambda: not pair.left.board.ways._tasks)
    one.paths_changed()
    one.network_changed()
    assert one._timer is None
    assert not pair.left.board.ways._tasks


async def test_a_stopping_node_looks_for_nothing(pair: Relayed) -> None:
    pair.byway.failure = "away"
    pair.byway.cut()
    await pair.left.board.close("stopping")

    assert carriers(pair.left) == []
    assert not pair.left.board.ways._tasks


async def test_a_relayed_link_goes_over_to_the_network_that_both_turn_out_to_be_in(
    pair: Relayed, members: list[Member]
) -> None:
    await listen(pair.right, members[1])
    pair.left.board.ways.nearby(pair.right.id, pair.right.address)
    await eventually(lambda: pair.kinds == [LAN, RELAY])

    await pair.works()
    # It is heard again and again.
    for _ in range(5):
        pair.left.board.ways.nearby(pair.right.id, pair.right.address)
    await pair.works()
    assert pair.kinds == [LAN, RELAY]


async def test_of_two_that_hear_each_other_the_one_that_was_dialled_lets_the_other_go_first(
    pair: Relayed, members: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "POLITE_S", 0.3)
    await listen(pair.left, members[0])
    await listen(pair.right, members[1])
    pair.right.board.ways.nearby(pair.left.id, pair.left.address)
    pair.left.board.ways.nearby(pair.right.id, pair.right.address)
    await eventually(lambda: pair.kinds == [LAN, RELAY])
    await asyncio.sleep(0.4)

    assert pair.kinds == [LAN, RELAY]
    # Where the other one cannot, it goes itself.
    for end in ends(pair.left):
        if end.kind is LAN:
            end.abort()
    pair.right.board.ways.nearby(pair.left.id, pair.left.address)
    await eventually(lambda: pair.kinds == [LAN, RELAY])


async def test_somebody_else_at_the_address_of_a_near_one_is_not_taken_for_it(
    pair: Relayed, members: list[Member]
) -> None:
    await listen(pair.third, members[2])
    pair.left.board.ways.nearby(pair.right.id, pair.third.address)
    await eventually(lambda: not pair.left.board.ways._tasks)

    await pair.works()
    assert pair.kinds == [RELAY]


async def test_where_a_peer_was_heard_it_is_dialled_first(
    pair: Relayed, members: list[Member]
) -> None:
    ways = pair.left.board.ways
    ways.near = lambda peer: ("10.0.0.7:1",) if peer == pair.right.id else ()

    assert ways.addresses_of(pair.right.id) == ("10.0.0.7:1", VIA)
    assert ways.addresses_of(pair.third.id) == ()
    assert ways.with_near(("1.2.3.4:1", "10.0.0.7:1"), pair.right.id) == ("10.0.0.7:1", "1.2.3.4:1")
