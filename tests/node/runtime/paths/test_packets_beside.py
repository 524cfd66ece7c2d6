"""Where sealed packets go whose receiver has a link that was punched: beside it, and into it where that does not pass.

Real sockets, QUIC and STUN on loopback.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from nat.datagrams import Address, Datagrams
from nat.punched import PunchedPath
from node.runtime.whereabouts import Detour
from protocol.ids import NodeId
from protocol.paths import PathKind
from tests.node.runtime.paths.byway import RELAY, Byway
from tests.node.runtime.paths.intruder import carriers
from tests.node.runtime.paths.punched_pair import linked_by_punching
from tests.node.runtime.relaying.small_relay import eventually
from tests.node.runtime.stations import Station, three_members

PACKET = b"\x0asealed by left"


@dataclass
class Pair:
    left: Station
    right: Station
    byway: Byway
    came: list[tuple[bytes, Detour]] = field(default_factory=list)
    """What was opened on the right."""

    def open(self, datagram: bytes, detour: Detour) -> NodeId | None:
        self.came.append((datagram, detour))
        return self.left.id if datagram == PACKET else None

    async def open_another_path(self) -> None:
        opened = await self.left.board.ways.relayed(RELAY, self.right.id)
        self.left.board.ways.attach(carriers(self.left)[0], opened.end)
        await eventually(lambda: len(carriers(self.right)[0].kinds) == 2)

    def way(self, station: Station) -> PunchedPath:
        """Of its best path."""
        (carrier,) = carriers(station)
        assert carrier._active is not None
        way = carrier._active.transport.get_extra_info("path")
        assert isinstance(way, PunchedPath)
        return way


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    members = three_members(tmp_path)
    left, right = await linked_by_punching(members)
    one = Pair(left, right, Byway(left, right, members[1]))
    right.board.ways.on_packet = one.open
    one.way(right).on_packet = partial(right.board.ways.packet_punched, left.id)
    yield one
    for station in (left, right):
        await station.board.close("test over")
    await one.byway.close()


async def test_where_the_link_is_punched_a_packet_goes_by_itself(pair: Pair) -> None:
    assert pair.left.board.ways.send_packet(pair.right.id, PACKET, False) is Detour.PUNCHED

    await eventually(lambda: len(pair.came) == 1)
    assert pair.came == [(PACKET, Detour.PUNCHED)]


async def test_a_packet_for_which_the_socket_has_no_room_goes_within_the_link(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Datagrams.send

    def full(one: Datagrams, datagrams: list[bytes], to: Address) -> int:
        return 0 if datagrams == [PACKET] else send(one, datagrams, to)

    monkeypatch.setattr(Datagrams, "send", full)

    assert pair.left.board.ways.send_packet(pair.right.id, PACKET, False) is Detour.LINK
    await eventually(lambda: len(pair.came) == 1)
    assert pair.came == [(PACKET, Detour.LINK)]


async def test_a_packet_for_a_hole_in_doubt_takes_another_path_too_if_there_is_one(
    pair: Pair,
) -> None:
    ways = pair.left.board.ways
    assert ways.send_packet(pair.right.id, PACKET, True) is Detour.PUNCHED
    await eventually(lambda: len(pair.came) == 1)

    await pair.open_another_path()
    assert ways.send_packet(pair.right.id, PACKET, True) is Detour.PUNCHED

    await eventually(lambda: len(pair.came) == 3)
    assert [detour for _, detour in pair.came].count(Detour.LINK) == 1


async def test_a_hole_in_doubt_that_has_closed_is_left_though_nothing_else_is_said(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pair.open_another_path()
    (carrier,) = carriers(pair.left)
    assert carrier.kind is PathKind.PUNCHED
    monkeypatch.setattr(Datagrams, "send", lambda one, datagrams, to: len(datagrams))

    pair.left.board.ways.send_packet(pair.right.id, PACKET, True)

    await eventually(lambda: carrier.kind is PathKind.RELAY)


async def test_what_is_sealed_by_somebody_else_is_no_word_of_the_peer(pair: Pair) -> None:
    ways = pair.right.board.ways

    assert ways.packet_punched(pair.left.id, PACKET)
    assert not ways.packet_punched(pair.right.id, PACKET)
    assert not ways.packet_punched(pair.left.id, b"\x0aforged")


async def test_to_whom_there_is_no_path_no_packet_goes_along_it(pair: Pair) -> None:
    assert pair.left.board.ways.send_packet(pair.left.id, PACKET, False) is None
    carriers(pair.left)[0].abort()
    await asyncio.sleep(0)

    assert pair.left.board.ways.send_packet(pair.right.id, PACKET, False) is None
