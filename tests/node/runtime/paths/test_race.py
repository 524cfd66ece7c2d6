"""All ways to one peer at once: whichever is first carries the link, and nobody waits for the others."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from node.runtime.paths.race import STAGGER_S
from protocol.ids import NodeId
from protocol.messages import Release, Taken
from protocol.paths import PathKind, by_way_of
from tests.node.runtime.paths.byway import VIA, Byway
from tests.node.runtime.paths.intruder import carriers, ends
from tests.node.runtime.relaying.small_relay import eventually
from tests.node.runtime.small_mesh import Member
from tests.node.runtime.stations import Station, listen, three_members, tls_station

OTHER = NodeId("o" * 52)
SOON_S = 1.0
RELEASE = Release(put="p")


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    return three_members(tmp_path_factory.mktemp("members"))


class Field:
    """Who dials, who is sought, somebody else, and a relay to the second."""

    def __init__(self, members: list[Member]) -> None:
        self.left, self.right, self.third = (tls_station(member) for member in members)
        self.byway = Byway(self.left, self.right, members[1])

    async def dial(self, *addresses: str) -> None:
        self.left.board.dial(addresses, self.right.id)
        async with asyncio.timeout(SOON_S):
            await self.left.up(self.right)

    async def fails(self, *addresses: str) -> str:
        self.left.board.dial(addresses, self.right.id)
        await self.left.ear.until(lambda: self.left.ear.failed)
        return self.left.ear.failed[0][1]

    @property
    def kinds(self) -> list[PathKind]:
        return carriers(self.left)[0].kinds


@pytest.fixture
async def field(members: list[Member]) -> AsyncIterator[Field]:
    one = Field(members)
    await listen(one.right, members[1])
    await listen(one.third, members[2])
    yield one
    for station in (one.left, one.right, one.third):
        await station.board.close("test over")
    await one.byway.close()


@pytest.fixture
def silent_address() -> Iterator[str]:
    """Takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def closed_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


async def test_ways_that_come_up_later_are_attached_to_the_same_link(field: Field) -> None:
    await field.dial(field.right.address, VIA)
    await eventually(lambda: field.kinds == [PathKind.LAN, PathKind.RELAY])

    assert len(carriers(field.left)) == len(carriers(field.right)) == 1
    assert field.left.ear.up == [field.right.id]
    assert field.right.ear.up == [field.left.id]


async def test_an_address_that_says_nothing_holds_up_nobody(
    field: Field, silent_address: str
) -> None:
    await field.dial(silent_address, VIA)

    assert field.kinds == [PathKind.RELAY]


async def test_addresses_are_dialled_one_a_moment_after_the_other(
    field: Field, silent_address: str
) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await field.dial(silent_address, closed_address(), field.right.address)

    assert 2 * STAGGER_S <= loop.time() - began < SOON_S
    assert field.kinds == [PathKind.LAN]


async def test_once_an_address_has_answered_no_other_is_dialled(
    field: Field, members: list[Member]
) -> None:
    first = field.right.address
    await listen(field.right, members[1])
    await field.dial(first, field.right.address)
    await asyncio.sleep(2 * STAGGER_S)

    assert len(ends(field.right)) == 1


async def test_a_relay_that_cannot_be_reached_gives_way_to_the_next(field: Field) -> None:
    field.byway.dead = {OTHER}
    await field.dial(closed_address(), by_way_of(OTHER), VIA)

    assert field.kinds == [PathKind.RELAY]
    assert field.byway.opened == 1


async def test_whoever_else_is_found_is_not_taken_for_the_peer_and_not_harmed(
    field: Field,
) -> None:
    await field.dial(field.third.address, field.right.address)
    await asyncio.sleep(2 * STAGGER_S)

    assert carriers(field.third) == []
    assert [carrier.peer for carrier in carriers(field.left)] == [field.right.id]
    assert field.third.ear.up == []


async def test_a_relay_that_leads_to_somebody_else_is_not_believed(
    field: Field, members: list[Member]
) -> None:
    wrong = Byway(field.left, field.third, members[2])
    field.left.board.ways.dialer.relays = Misled(wrong, field.third)
    reason = await field.fails(VIA, closed_address())
    await wrong.close()

    assert "is there" in reason
    assert carriers(field.left) == carriers(field.third) == []


class Misled:
    """Opens every channel to the same node."""

    def __init__(self, byway: Byway, there: Station) -> None:
        self._byway, self._there = byway, there

    async def open(self, relay: NodeId, addresses: tuple[str, ...], peer: NodeId) -> socket.socket:
        return await self._byway.open(relay, addresses, self._there.id)


async def test_when_all_has_failed_each_way_is_told_with_its_reason(field: Field) -> None:
    field.byway.failure = "it has no place for us"
    closed = closed_address()
    reason = await field.fails(closed, field.third.address, VIA)

    assert closed in reason
    assert "is now node" in reason
    assert "it has no place for us" in reason
    assert carriers(field.left) == []


async def test_without_any_address_that_is_said(field: Field) -> None:
    assert "no address is known" in await field.fails()


@pytest.mark.parametrize(
    "nonsense", ["a..b:1", "x" * 70 + ".example:1", "host", "[::1:1", "via:", "1.2.3.4:99999", ""]
)
async def test_an_address_that_no_network_knows_holds_up_nobody(
    field: Field, nonsense: str
) -> None:
    field.byway.dead = {NodeId("")}
    await field.dial(nonsense, field.right.address)

    assert field.kinds == [PathKind.LAN]


async def test_a_link_that_is_closed_at_once_takes_no_further_path(field: Field) -> None:
    """One way is up, the link is over, and then another way comes up."""
    gate = asyncio.Event()
    through = field.byway

    class Late:
        async def open(
            self, relay: NodeId, addresses: tuple[str, ...], peer: NodeId
        ) -> socket.socket:
            await gate.wait()
            return await through.open(relay, addresses, peer)

    field.left.board.ways.dialer.relays = Late()
    await field.dial(field.right.address, VIA)
    field.left.board.hang(field.right.id, "changed my mind")
    await field.right.is_down()
    await eventually(lambda: not carriers(field.left))
    gate.set()
    await eventually(lambda: not field.left.board.ways._tasks)

    assert field.byway.opened == 1
    assert carriers(field.left) == carriers(field.right) == []


async def test_a_node_that_stops_gives_up_what_it_tries(field: Field, silent_address: str) -> None:
    field.left.board.dial((silent_address, closed_address()), field.right.id)
    await asyncio.sleep(0.05)
    await field.left.board.close("stopping")

    assert field.left.board.ways._tasks == set()
    assert field.left.ear.up == []


async def test_what_is_asked_goes_over_the_first_way_at_once(field: Field) -> None:
    field.right.answer(lambda request: Taken())
    field.left.ear.addresses[field.right.id] = (VIA, field.right.address)
    await field.dial(VIA, field.right.address)
    for _ in range(10):
        assert isinstance(await field.left.ask(field.right, RELEASE).answer(), Taken)

    assert len(field.right.ear.requests) == 10
