"""Links and paths of one node, by real TLS on loopback: what others may do with them, and what is left of them."""

import asyncio
import operator
import random
import time
from functools import partial
from pathlib import Path

import pytest

from nat.records import HEADER, VERSION, RecordKind, encode_data_head, encode_record
from node.runtime.frame_link import FrameLink
from protocol import codec
from protocol.messages import Release, Taken
from protocol.paths import Attach, Ending, PathKind
from tests.node.runtime.paths.intruder import FRESH, LINK, Intruder, carriers, ends, intruder
from tests.node.runtime.relaying.small_relay import eventually
from tests.node.runtime.small_mesh import Member, founder, joiner
from tests.node.runtime.stations import Station, linked_pair, listen, tls_station

RELEASE = Release(put="p")

pytestmark = pytest.mark.usefixtures("little_patience")


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
        await eventually(lambda: not carriers(alone))
    assert len(alone.ear.noted("peer.broke_protocol")) == 1
    assert not alone.board.ways._tasks


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
    await eventually(lambda: not carriers(left) and not carriers(right))


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
        assert not alone.board.ways._tasks


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
    await eventually(lambda: not carriers(left))
    left.board.ways.attach(carrier, opened.end)

    await eventually(opened.end.transport.is_closing)
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

    await eventually(lambda: not carriers(left) and not carriers(right))
    await eventually(lambda: all(link.closing for link in made))
    for one in (left.board.ways, right.board.ways):
        await eventually(partial(operator.not_, one._tasks))
        assert (len(one._upkeep), len(one._over), len(one._arrivals)) == (0, 0, 0)
    await left.board.close("test over")
    await right.board.close("test over")
    await eventually(lambda: asyncio.all_tasks() <= before)
