"""Links and paths of one node, by real TLS on loopback: what others may do with them, and what is left of them."""

import asyncio
import contextlib
import operator
import random
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from nat.records import HEADER, VERSION, RecordKind, encode_data_head, encode_record
from node.runtime.frame_link import FrameLink
from node.runtime.paths import arrival, upkeep, ways
from node.runtime.paths.multipath import PATHS_MAX
from node.runtime.paths.ways import LINKS_MAX
from protocol import codec
from protocol.limits import HANDSHAKES_MAX
from protocol.messages import Release, Taken
from protocol.paths import Attach, Ending, PathKind
from tests.node.runtime.paths.intruder import FRESH, LINK, Intruder, carriers, ends, intruder
from tests.node.runtime.small_mesh import Member, founder, joiner
from tests.node.runtime.stations import Station, linked_pair, listen, three_members, tls_station

RELEASE = Release(put="p")
SETTLED_S = 5.0


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    return three_members(tmp_path_factory.mktemp("members"))


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a link without any path."""
    monkeypatch.setattr(upkeep, "RESUME_S", 0.3)


@pytest.fixture
async def pair(members: list[Member]) -> AsyncIterator[tuple[Station, Station]]:
    async with linked_pair(members) as (left, right):
        left.ear.addresses[right.id] = (right.address,)
        yield left, right


@pytest.fixture
async def alone(members: list[Member]) -> AsyncIterator[Station]:
    station = tls_station(members[1])
    await listen(station, members[1])
    yield station
    await station.board.close("test over")


async def soon(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(SETTLED_S):
        while not true():  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(0.01)


# -- attaching -----------------------------------------------------------------------------------------


async def test_a_member_opens_a_link_with_its_first_path(
    alone: Station, members: list[Member]
) -> None:
    async with intruder(members[2], alone) as one:
        one.attach()
        await one.is_attached()

        (carrier,) = carriers(alone)
        assert carrier.peer == members[2].identity.id
        assert carrier.link_id == LINK
    await soon(lambda: not carriers(alone))


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


async def test_a_path_more_than_may_be_is_refused_also_where_the_others_are_silent(
    alone: Station, members: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(PATHS_MAX):
            one = await stack.enter_async_context(intruder(members[2], alone))
            one.attach()
            await one.is_attached()
        (carrier,) = carriers(alone)
        for path in carrier._choice._paths.values():
            path.silent = True
        late = await stack.enter_async_context(intruder(members[2], alone))
        late.attach()
        await late.is_cut()

        assert late.refusal == f"the link has {PATHS_MAX} paths already"
        assert len(ends(alone)) == PATHS_MAX


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
    await soon(lambda: not carriers(alone))


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
    await soon(lambda: not alone.board.ways._arrivals)


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
    async with asyncio.timeout(2.0):
        await left.up(alone)
    (server,) = alone.board._servers

    assert len(server._greeting) <= HANDSHAKES_MAX
    assert len(carriers(alone)) == 1
    for _, writer in flood:
        writer.close()
    await left.board.close("test over")


async def test_ten_minutes_between_the_clocks_of_two_nodes_do_no_harm(tmp_path: Path) -> None:
    now = time.time()
    behind = founder(tmp_path / "behind", now - 600.0)
    ahead = joiner(tmp_path / "ahead", behind, now + 600.0)
    async with linked_pair([behind, ahead]) as (left, right):
        right.answer(lambda request: Taken())
        assert isinstance(await left.ask(right, RELEASE).answer(), Taken)


# -- nonsense on a path that carries a link ------------------------------------------------------------


NONSENSE = {
    "another record": HEADER.pack(99, VERSION, 0, 0, 0, 0),
    "a length beyond the limit": HEADER.pack(RecordKind.PING, VERSION, 0, 9_000, 0, 0),
    "data beyond the limit": encode_data_head(0, 0, 1 << 31),
    "more has come than was sent": encode_record(RecordKind.ACK, 0, 1 << 60),
    "a gap": encode_data_head(1_000_000, 0, 1),
    "attaching twice": encode_record(RecordKind.ATTACH, 0, 0, codec.encode(FRESH)),
    "an ending that is none": encode_record(RecordKind.ENDING, 0, 0, b"nonsense"),
    "a frame that is none": encode_data_head(0, 0, 64) + bytes(64),
}


@pytest.mark.parametrize("what", NONSENSE)
async def test_nonsense_ends_the_link_with_a_reason_and_nobody_is_asked_for_more_of_it(
    alone: Station, members: list[Member], what: str
) -> None:
    async with intruder(members[2], alone) as one:
        one.attach()
        await one.is_attached()
        one.end.transport.write(NONSENSE[what])
        await one.is_cut()

        assert one.refusal
        # What follows is not read any more, and whoever it was finds a node that is well.
        await soon(lambda: not carriers(alone))
    assert len(alone.ear.noted("peer.broke_protocol")) == 1
    assert alone.board.ways._tasks == set()


async def test_a_link_whose_other_end_speaks_nonsense_is_not_dialled_again(
    pair: tuple[Station, Station],
) -> None:
    left, right = pair
    (end,) = ends(right)
    end.transport.write(NONSENSE["a gap"])
    await left.is_down()
    await right.is_down()

    assert "lacks" in left.ear.down[0][1]
    assert left.ear.noted("path.lost") == []
    await soon(lambda: not carriers(left) and not carriers(right))


async def test_whoever_attaches_and_lies_of_what_has_come_loses_the_link(
    alone: Station, members: list[Member]
) -> None:
    async with intruder(members[2], alone) as one, intruder(members[2], alone) as liar:
        one.attach()
        await one.is_attached()
        liar.attach(Attach(LINK, True, PathKind.LAN, 1 << 40, False))
        await liar.is_cut()
        await one.is_cut()

    assert carriers(alone) == []


async def test_a_flood_of_endings_ends_the_link_once(alone: Station, members: list[Member]) -> None:
    async with intruder(members[2], alone) as one:
        one.attach()
        await one.is_attached()
        ending = encode_record(RecordKind.ENDING, 0, 0, codec.encode(Ending("enough")))
        one.end.transport.write(ending * 5_000)
        await one.is_cut()

    assert carriers(alone) == []
    assert alone.ear.noted("peer.broke_protocol") == []


async def test_empty_data_and_pings_without_end_are_answered_and_harm_nobody(
    alone: Station, members: list[Member]
) -> None:
    async with intruder(members[2], alone) as one:
        one.attach()
        await one.is_attached()
        one.end.transport.write(encode_data_head(0, 0, 0) * 5_000)
        one.end.transport.write(encode_record(RecordKind.PING, 9, 0) * 500)
        await one.until(lambda: len(pongs(one)) == 500)

        assert len(carriers(alone)) == 1
        assert {number for _, number, _ in pongs(one)} == {9}


async def test_a_node_that_does_not_punch_lets_offers_go_without_an_answer(
    alone: Station, members: list[Member]
) -> None:
    async with intruder(members[2], alone) as one:
        one.attach()
        await one.is_attached()
        one.end.transport.write(encode_record(RecordKind.OFFER, 0, 0, b"nonsense") * 1_000)
        one.say(RecordKind.PING, 9)
        await one.until(lambda: pongs(one))

        assert len(carriers(alone)) == 1
        assert alone.board.ways._tasks == set()


def pongs(one: Intruder) -> list[tuple[RecordKind, int, bytes]]:
    return [record for record in one.heard_of if record[0] is RecordKind.PONG]


# -- what is left --------------------------------------------------------------------------------------


async def test_a_path_that_comes_up_when_its_link_is_over_is_closed(
    pair: tuple[Station, Station],
) -> None:
    left, right = pair
    (carrier,) = carriers(left)
    opened = await left.board.ways.dialer.path(right.address)
    carrier.abort()
    await soon(lambda: not carriers(left))
    left.board.ways.attach(carrier, opened.end)

    await soon(opened.end.transport.is_closing)
    assert carriers(left) == []


async def test_links_opened_and_closed_in_all_orders_leave_nothing(members: list[Member]) -> None:
    left, right = (tls_station(member) for member in members[:2])
    await listen(right, members[1])
    dice = random.Random(5)
    before = asyncio.all_tasks()
    made: list[FrameLink] = []
    for _ in range(100):
        link = await left.board.ways.dial(right.address, left.board.on_link)
        assert isinstance(link, FrameLink)
        made.append(link)
        for station in (left, right):
            for carrier in carriers(station):
                what = dice.choice(("close", "abort", "cut", "end", "fail", "leave", "leave"))
                match what:
                    case "close":
                        carrier.link.close("test")
                    case "abort":
                        carrier.link.abort()
                    case "cut":
                        for end in list(carrier._ends.values()):
                            end.abort()
                    case "end":
                        carrier.end("test")
                    case "fail":
                        carrier.fail(None)
                    case _:
                        pass
    for carrier in carriers(left):
        carrier.link.close("test over")

    await soon(lambda: not carriers(left) and not carriers(right))
    await soon(lambda: all(link.closing for link in made))
    for one in (left.board.ways, right.board.ways):
        await soon(partial(operator.not_, one._tasks))
        assert (len(one._upkeep), len(one._over), len(one._arrivals)) == (0, 0, 0)
    await left.board.close("test over")
    await right.board.close("test over")
    await soon(lambda: asyncio.all_tasks() <= before)
