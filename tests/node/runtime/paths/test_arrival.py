"""What somebody may do with a path to us: open a link, add it to his own, or be refused and told why."""

import asyncio
import contextlib

import pytest

from nat.records import HEADER, VERSION, RecordKind, encode_data_head, encode_record
from node.runtime.links import HANDSHAKE_S
from node.runtime.paths import arrival, ways
from node.runtime.paths.multipath import PATHS_MAX
from node.runtime.paths.ways import LINKS_MAX
from protocol import codec
from protocol.limits import HANDSHAKES_MAX
from protocol.messages import Release, Taken
from protocol.paths import Attach, Ending, PathKind
from tests.node.runtime.paths.intruder import LINK, carriers, ends, intruder
from tests.node.runtime.relaying.small_relay import eventually
from tests.node.runtime.small_mesh import Member
from tests.node.runtime.stations import Station, tls_station

RELEASE = Release(put="p")

pytestmark = pytest.mark.usefixtures("little_patience")


async def test_a_member_opens_a_link_with_its_first_path(
    alone: Station, members: list[Member]
) -> None:
    async with intruder(members[2], alone) as one:
        one.attach()
        await one.is_attached()

        (carrier,) = carriers(alone)
        assert carrier.peer == members[2].identity.id
        assert carrier.link_id == LINK
    await eventually(lambda: not carriers(alone))


async def test_nobody_attaches_to_a_link_of_two_others(
    pair: tuple[Station, Station], members: list[Member]
) -> None:
    left, right = pair
    right.answer(lambda request: Taken())
    (carrier,) = carriers(right)
    for fresh in (True, False):
        async with intruder(members[2], right) as one:
            one.attach(Attach(carrier.link_id, True, PathKind.LAN, 0, fresh))
            await one.is_cut()
            assert one.heard_of == []

    assert carriers(right) == [carrier]
    assert len(ends(right)) == 1
    assert isinstance(await left.ask(right, RELEASE).answer(), Taken)
    assert left.ear.down == right.ear.down == []


async def test_a_link_that_is_not_there_is_not_attached_to(
    alone: Station, members: list[Member]
) -> None:
    for opener, fresh in ((True, False), (False, False), (False, True)):
        async with intruder(members[2], alone) as one:
            one.attach(Attach(LINK, opener, PathKind.LAN, 0, fresh))
            await one.is_cut()
            assert "no such link" in one.refusal
    assert carriers(alone) == []


async def test_a_link_that_begins_with_bytes_is_nonsense_and_leaves_nothing(
    alone: Station, members: list[Member]
) -> None:
    async with intruder(members[2], alone) as one:
        one.attach(Attach(LINK, True, PathKind.LAN, 1, True))
        await one.is_cut()

    assert carriers(alone) == []
    assert alone.board.ways._upkeep == {}


async def test_for_a_path_more_than_may_be_the_quietest_makes_room(
    alone: Station, members: list[Member]
) -> None:
    """As where a router forgets a peer again and again: its old connections say nothing for ever."""
    async with contextlib.AsyncExitStack() as stack:
        paths = []
        for _ in range(PATHS_MAX):
            one = await stack.enter_async_context(intruder(members[2], alone))
            one.attach()
            await one.is_attached()
            paths.append(one)
        paths[0].say(RecordKind.PING, 1)
        await paths[0].until(lambda: RecordKind.PONG in [kind for kind, _, _ in paths[0].heard_of])
        late = await stack.enter_async_context(intruder(members[2], alone))
        late.attach()
        await late.is_attached()
        await paths[1].is_cut()

        assert len(ends(alone)) == PATHS_MAX
        assert len(carriers(alone)) == 1


async def test_a_link_more_than_one_node_may_open_is_refused_and_others_are_not(
    alone: Station, members: list[Member]
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for number in range(LINKS_MAX):
            one = await stack.enter_async_context(intruder(members[2], alone))
            one.attach(Attach(bytes([number]) * 16, True, PathKind.LAN, 0, True))
            await one.is_attached()
        late = await stack.enter_async_context(intruder(members[2], alone))
        late.attach()
        await late.is_cut()
        other = await stack.enter_async_context(intruder(members[0], alone))
        other.attach()
        await other.is_attached()

        assert late.refusal == f"there are {LINKS_MAX} links with this node already"
        assert len(carriers(alone)) == LINKS_MAX + 1
    await eventually(lambda: not carriers(alone))


async def test_whoever_attaches_to_nothing_is_shown_out(
    alone: Station, members: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "ATTACH_S", 0.1)
    async with intruder(members[2], alone) as one:
        await one.is_cut()
        assert one.heard_of == []


async def test_for_a_path_more_than_may_wait_the_oldest_goes_and_members_come_in(
    alone: Station, members: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "ARRIVALS_MAX", 4)
    async with contextlib.AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(intruder(members[2], alone)) for _ in range(6)]
        for one in opened[:2]:
            await one.is_cut()
        assert not any(one.lost for one in opened[2:])
        late = await stack.enter_async_context(intruder(members[0], alone))
        late.attach()
        await late.is_attached()
        await opened[2].is_cut()
        assert not any(one.lost for one in opened[3:])
        assert len(alone.board.ways._arrivals) == 3
    await eventually(lambda: not alone.board.ways._arrivals)


@pytest.mark.parametrize(
    "said",
    [
        encode_record(RecordKind.PING, 1, 0),
        encode_record(RecordKind.ACK, 0, 7),
        encode_record(RecordKind.OFFER, 0, 0, b"x"),
        encode_record(RecordKind.ENDING, 0, 0, codec.encode(Ending("bye"))),
        encode_record(RecordKind.ATTACH, 0, 0, b"nonsense"),
        encode_record(RecordKind.ATTACH, 0, 0, bytes(8_000)),
        encode_data_head(0, 0, 5) + b"hello",
        HEADER.pack(77, VERSION, 0, 0, 0, 0),
        HEADER.pack(RecordKind.ATTACH, VERSION + 1, 0, 0, 0, 0),
        HEADER.pack(RecordKind.ATTACH, VERSION, 0, (1 << 32) - 1, 0, 0),
        b"GET / HTTP/1.1\r\nHost: sedma\r\n\r\n",
        bytes(1_000),
    ],
)
async def test_whoever_says_anything_but_what_the_path_is_for_is_cut_off(
    alone: Station, members: list[Member], said: bytes
) -> None:
    async with intruder(members[2], alone) as one:
        one.end.transport.write(said)
        await one.is_cut()
        assert one.heard_of == []
    assert carriers(alone) == []


async def test_a_flood_of_handshakes_that_nobody_finishes_keeps_no_member_out(
    alone: Station, members: list[Member]
) -> None:
    host, _, port = alone.address.rpartition(":")
    flood = [await asyncio.open_connection(host, int(port)) for _ in range(3 * HANDSHAKES_MAX)]
    for number, (_, writer) in enumerate(flood):
        # Some say nothing, some half a word, some nonsense.
        writer.write((b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n")[number % 3])
    left = tls_station(members[0])
    left.board.dial((alone.address,), alone.id)
    async with asyncio.timeout(HANDSHAKE_S / 2):
        await left.up(alone)
    (server,) = alone.board._servers

    assert len(server._greeting) <= HANDSHAKES_MAX
    assert len(carriers(alone)) == 1
    for _, writer in flood:
        writer.close()
    await left.board.close("test over")
