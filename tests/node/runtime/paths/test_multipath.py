"""Links by real TLS on loopback, whose paths are cut, doubled and swapped while frames and bodies travel."""

import asyncio
import os
import random

import pytest

from nat.records import RecordKind
from node.runtime.paths.upkeep import RESUME_S
from protocol.ids import ContentId
from protocol.messages import FetchBlock, Fetched, Release, Taken
from protocol.paths import PathKind
from tests.node.runtime.paths.intruder import carriers, ends, intruder
from tests.node.runtime.relaying.small_relay import eventually
from tests.node.runtime.small_mesh import Member
from tests.node.runtime.stations import Station

LARGE = 24 * 1024 * 1024
RELEASE = Release(put="p")
FETCH = FetchBlock(content=ContentId("c" * 64), nbytes=LARGE)


async def test_a_link_over_tls_runs_on_a_path(pair: tuple[Station, Station]) -> None:
    left, right = pair
    (carrier,) = carriers(left)

    assert carrier.kind is PathKind.LAN
    assert carriers(right)[0].link_id == carrier.link_id


async def test_a_path_that_is_cut_is_found_again_and_nobody_notices(
    pair: tuple[Station, Station],
) -> None:
    left, right = pair
    right.answer(lambda request: Taken())
    for _ in range(5):
        for end in ends(left):
            end.abort()
        assert isinstance(await left.ask(right, RELEASE).answer(), Taken)

    assert left.ear.down == right.ear.down == []
    assert left.ear.up == [right.id]
    assert len(left.ear.noted("path.lost")) == 5


@pytest.mark.parametrize("seed", range(3))
async def test_large_bodies_come_whole_while_their_paths_are_cut_again_and_again(
    pair: tuple[Station, Station], seed: int
) -> None:
    left, right = pair
    dice = random.Random(seed)
    content = os.urandom(LARGE)
    right.ear.on_asked = lambda asked: right.board.reply(
        asked.number, Fetched(nbytes=LARGE), memoryview(content)
    )
    into = [bytearray(LARGE) for _ in range(2)]
    fetched = [left.ask(right, FETCH, deadline_s=30.0, into=one) for one in into]

    cuts = 0
    while not all(one.over for one in fetched):
        await asyncio.sleep(dice.uniform(0.005, 0.04))
        side = dice.choice((left, right))
        if (found := ends(side)) and cuts < 12:
            dice.choice(found).abort()
            cuts += 1
    for one in fetched:
        await one.answer()

    assert cuts >= 3
    assert all(one == content for one in into)
    assert left.ear.down == right.ear.down == []


async def test_requests_come_once_each_while_paths_are_cut(pair: tuple[Station, Station]) -> None:
    left, right = pair
    right.answer(lambda request: Taken())
    dice = random.Random(7)
    asked = []
    for number in range(400):
        asked.append(left.ask(right, RELEASE))
        if number % 20 == 0:
            await asyncio.sleep(dice.uniform(0.0, 0.02))
            for end in ends(dice.choice((left, right))):
                end.abort()
    for one in asked:
        await one.answer()

    assert len(right.ear.requests) == 400


async def test_a_peer_that_was_restarted_does_not_know_the_link(
    pair: tuple[Station, Station], members: list[Member]
) -> None:
    left, right = pair
    right.board.ways._links.clear()
    for end in ends(left):
        end.abort()
    await left.is_down()

    assert "no such link" in left.ear.down[0][1]


async def test_a_peer_whose_port_is_closed_is_not_waited_for(pair: tuple[Station, Station]) -> None:
    left, right = pair
    (server,) = right.board._servers
    await server.close()
    began = asyncio.get_running_loop().time()
    for end in ends(left):
        end.abort()
    await left.is_down()

    assert asyncio.get_running_loop().time() - began < RESUME_S / 2


async def test_who_asks_is_told_what_carries_the_link(pair: tuple[Station, Station]) -> None:
    left, right = pair
    right.answer(lambda request: Taken())
    await left.ask(right, RELEASE).answer()

    seen = left.board.sight(right.id)

    assert seen is not None and (seen.kind, seen.kinds) == (PathKind.LAN, (PathKind.LAN,))
    assert (seen.via, seen.why_not_direct) == (None, "")
    assert seen.bytes_in > 0 and seen.bytes_out > 0
    assert left.board.sight(left.id) is None


async def test_what_carries_a_link_is_told_once_it_is_up_and_when_that_changes(
    pair: tuple[Station, Station],
) -> None:
    left, right = pair
    assert left.ear.paths == [(right.id, PathKind.LAN)]

    for end in ends(left):
        end.abort()
    await left.ear.until(lambda: len(left.ear.paths) > 1)

    assert left.ear.paths == 2 * [(right.id, PathKind.LAN)]


async def test_word_that_something_has_come_is_a_sign_of_life(
    alone: Station, members: list[Member]
) -> None:
    """Of a peer that has nothing else to say while a large body goes to it by a slow path."""
    async with intruder(members[2], alone) as peer:
        peer.attach()
        await peer.until(lambda: peer.stream)
        (carrier,) = carriers(alone)
        long_ago = carrier.link.heard_at = 0.0
        peer.say(RecordKind.ACK, received=len(peer.stream))

        await eventually(lambda: carrier.link.heard_at > long_ago)
