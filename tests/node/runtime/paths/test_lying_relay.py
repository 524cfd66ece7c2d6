"""A relay in the middle of a link: whatever it does to the bytes, nothing wrong is delivered, and the link goes on."""

import operator
import os
import random
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest

from node.runtime.paths import upkeep
from protocol.ids import ContentId
from protocol.messages import FetchBlock, Fetched, Release, Taken
from protocol.paths import PathKind
from tests.node.runtime.paths.byway import VIA, Byway, Spoil, honest
from tests.node.runtime.paths.intruder import carriers
from tests.node.runtime.relaying.small_relay import eventually
from tests.node.runtime.small_mesh import Member
from tests.node.runtime.stations import Station, listen, tls_station

LARGE = 2 * 1024 * 1024
BROKEN_BYTES = 300_000
"""So much goes well before the relay begins to lie: the handshake is over by then."""
LIES_MAX = 3
RELEASE = Release(put="p")
FETCH = FetchBlock(content=ContentId("c" * 64), nbytes=LARGE)


@pytest.fixture
async def apart(members: list[Member]) -> AsyncIterator[tuple[Station, Station, Byway]]:
    """With a relay between them."""
    left, right = (tls_station(member) for member in members[:2])
    byway = Byway(left, right, members[1])
    left.ear.addresses[right.id] = (VIA,)
    yield left, right, byway
    await left.board.close("test over")
    await right.board.close("test over")
    await byway.close()


async def link(left: Station, right: Station) -> None:
    left.board.dial((VIA,), right.id)
    await left.up(right)
    await right.up(left)


@pytest.fixture
async def pair(apart: tuple[Station, Station, Byway]) -> tuple[Station, Station, Byway]:
    """Linked by way of a relay alone."""
    await link(apart[0], apart[1])
    return apart


def after(nbytes: int, lie: Spoil) -> Spoil:
    """Honest until so much has passed."""
    passed = 0

    def spoil(piece: bytes) -> list[bytes]:
        nonlocal passed
        passed += len(piece)
        return [piece] if passed <= nbytes else lie(piece)

    return spoil


def flips(piece: bytes) -> list[bytes]:
    at = len(piece) // 2
    return [piece[:at], bytes([piece[at] ^ 1]), piece[at + 1 :]]


def drops(piece: bytes) -> list[bytes]:
    return []


def drops_the_half(piece: bytes) -> list[bytes]:
    return [piece[: len(piece) // 2]]


def doubles(piece: bytes) -> list[bytes]:
    return [piece, piece]


def reorders() -> Spoil:
    held: list[bytes] = []

    def spoil(piece: bytes) -> list[bytes]:
        held.append(piece)
        if len(held) < 2:
            return []
        told = held[::-1]
        held.clear()
        return told

    return spoil


def invents(piece: bytes) -> list[bytes]:
    return [random.Random(len(piece)).randbytes(1_000), piece]


LIES: dict[str, Callable[[], Spoil]] = {
    "flips bits": lambda: flips,
    "drops the half": lambda: drops_the_half,
    "doubles": lambda: doubles,
    "reorders": reorders,
    "invents": lambda: invents,
}


async def test_who_is_reached_by_a_relay_alone_is_linked(
    pair: tuple[Station, Station, Byway],
) -> None:
    left, right, byway = pair
    right.answer(lambda request: Taken())

    assert isinstance(await left.ask(right, RELEASE).answer(), Taken)
    assert carriers(left)[0].kind is carriers(right)[0].kind is PathKind.RELAY
    assert byway.opened == 1


@pytest.mark.parametrize("lie", LIES)
async def test_what_a_relay_changes_is_never_delivered_and_the_link_goes_on(
    apart: tuple[Station, Station, Byway], lie: str
) -> None:
    left, right, byway = apart

    def make_spoil() -> Spoil:
        return after(BROKEN_BYTES, LIES[lie]()) if byway.opened <= LIES_MAX else honest

    byway.make_spoil = make_spoil
    await link(left, right)
    content = os.urandom(LARGE)
    right.ear.on_asked = lambda asked: right.board.reply(
        asked.number, Fetched(nbytes=LARGE), memoryview(content)
    )
    into = bytearray(LARGE)
    await left.ask(right, FETCH, deadline_s=30.0, into=into).answer()

    assert into == content
    assert byway.opened == LIES_MAX + 1
    assert len(right.ear.requests) == 1
    assert left.ear.down == right.ear.down == []
    assert left.ear.noted("peer.broke_protocol") == right.ear.noted("peer.broke_protocol") == []


async def test_a_relay_that_holds_everything_back_makes_a_link_slow_and_nothing_else(
    apart: tuple[Station, Station, Byway],
) -> None:
    left, right, byway = apart
    byway.delay_s = 0.03
    await link(left, right)
    right.answer(lambda request: Taken())
    for _ in range(3):
        assert isinstance(await left.ask(right, RELEASE).answer(), Taken)

    (carrier,) = carriers(left)
    assert carrier.rtt_s is not None
    # Twice the delay, less what the loop's clock may lag behind: a timer counts from when the loop last looked at it.
    assert carrier.rtt_s >= 1.5 * byway.delay_s
    assert byway.opened == 1
    assert left.ear.down == right.ear.down == []


async def test_in_whose_name_a_relay_opens_a_channel_is_not_believed(
    apart: tuple[Station, Station, Byway], members: list[Member]
) -> None:
    left, right, byway = apart
    byway.claimed = members[2].identity.id
    await link(left, right)

    assert right.ear.up == [left.id]
    assert [carrier.peer for carrier in carriers(right)] == [left.id]


async def test_a_relay_that_swallows_all_is_found_silent_and_another_path_takes_over(
    apart: tuple[Station, Station, Byway], members: list[Member]
) -> None:
    left, right, byway = apart
    byway.make_spoil = lambda: after(20_000, drops)
    await link(left, right)
    await listen(right, members[1])
    right.take_bodies()
    right.ear.on_body = lambda number: right.board.reply(number, Taken(), None)
    asked = left.ask(right, RELEASE, deadline_s=30.0, body=os.urandom(LARGE))
    # A direct path comes up while the relay has swallowed what was under way.
    left.ear.addresses[right.id] = (VIA, right.address)
    left.board.ways.network_changed(frozenset({"127.0.0.1"}))

    assert isinstance(await asked.answer(), Taken)
    assert carriers(left)[0].kind is PathKind.LAN
    assert len(right.ear.requests) == 1
    assert left.ear.down == right.ear.down == []


async def test_a_relay_that_cuts_every_channel_at_once_is_not_asked_without_end(
    pair: tuple[Station, Station, Byway], members: list[Member]
) -> None:
    left, right, byway = pair
    await listen(right, members[1])
    left.ear.addresses[right.id] = (VIA, right.address)
    left.board.ways.network_changed(frozenset({"127.0.0.1"}))
    await left.ear.until(lambda: carriers(left)[0].kind is PathKind.LAN)
    for _ in range(20):
        byway.cut()
        right.answer(lambda request: Taken())
        await left.ask(right, RELEASE).answer()

    assert byway.opened <= 4
    assert left.ear.down == right.ear.down == []


async def test_links_by_way_of_a_relay_leave_nothing_however_they_end(
    apart: tuple[Station, Station, Byway], monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right, byway = apart
    monkeypatch.setattr(upkeep, "RESUME_S", 0.2)
    dice = random.Random(11)
    endings: tuple[Callable[[], None], ...] = (
        lambda: left.board.hang(right.id, "enough"),
        lambda: right.board.hang(left.id, "enough"),
        lambda: carriers(right)[0].abort(),
        lambda: carriers(left)[0].fail(None),
        lambda: carriers(left)[0].link.abort(),
        byway.cut,
    )
    for _ in range(40):
        await link(left, right)
        dice.choice(endings)()
        for station in (left, right):
            for carrier in carriers(station):
                carrier.link.abort()
        await left.is_down()
        await right.is_down()
        for station in (left, right):
            station.ear.up.clear()
            station.ear.down.clear()
    await eventually(lambda: not carriers(left) and not carriers(right))
    await eventually(lambda: not byway._pumps)
    for station in (left, right):
        await eventually(partial(operator.not_, station.board.ways._tasks))
        assert len(station.board.ways._upkeep) == 0


async def test_without_any_way_back_the_link_is_over_in_time(
    pair: tuple[Station, Station, Byway], monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right, byway = pair
    monkeypatch.setattr(upkeep, "RESUME_S", 0.5)
    byway.failure = "it is not there"
    byway.cut()
    await left.is_down()
    await right.is_down()

    assert "no other path within 0.5 s" in left.ear.down[0][1]
    assert 2 <= byway.opened <= 5
    assert carriers(left) == []
