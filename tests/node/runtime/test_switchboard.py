"""Many connections on one board: dialing, doubles, bulk, and the end of it all."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from node.runtime import bulk, frame_link, lanes, switchboard, tls
from node.runtime import connection as connections
from node.runtime.frame_link import FrameLink
from node.runtime.greeting import Terms
from node.runtime.links import StreamCancelled
from node.runtime.memory_link import memory_link_pair
from node.runtime.tcp_link import Security, dial
from protocol.errors import ConfigError, ErrorCode
from protocol.frames import FrameType, encode_data_prefix
from protocol.ids import ContentId, MeshId
from protocol.limits import PROTOCOL_MAX, PROTOCOL_MIN
from protocol.messages import FetchBlock, Fetched, Join, Joined, Probe, Probed, Release, Taken
from tests.node.runtime.small_mesh import Member, founder
from tests.node.runtime.stations import (
    HIGH,
    LOW,
    MESH,
    SOON_S,
    THIRD,
    RawPeer,
    Station,
    link_in_memory,
    linked_pair,
    listen,
    plain_station,
    three_members,
    tls_station,
)

LARGE = 100_000
NOWHERE = "127.0.0.1:9"
RELEASE = Release(put="p")
FETCH = FetchBlock(content=ContentId("c" * 64), nbytes=LARGE)
OTHER_MESH = MeshId("4" * 64)

Pair = tuple[Station, Station]


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    return three_members(tmp_path_factory.mktemp("members"))


@pytest.fixture(autouse=True)
async def no_complaints() -> AsyncIterator[None]:
    """What goes wrong in a callback is told to the loop alone."""
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    yield
    assert complaints == []


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "RETIRE_S", 0.03)


@pytest.fixture
def long_farewell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed link that cannot say its last word stays for longer than any test waits."""
    monkeypatch.setattr(frame_link, "CLOSE_S", 10 * SOON_S)
    monkeypatch.setattr(switchboard, "CLOSE_S", 0.01)


Make = Callable[..., Awaitable[Station]]


@pytest.fixture
async def make(members: list[Member]) -> AsyncIterator[Make]:
    """make(n): a board with the n-th smallest id; listening by TLS, or plain on request."""
    made: list[Station] = []

    async def board(place: int, kind: str = "tls", mesh: MeshId = MESH) -> Station:
        if kind == "tls":
            station = tls_station(members[place])
            await listen(station, members[place])
        else:
            station = plain_station((LOW, HIGH, THIRD)[place], mesh)
            await listen(station)
        made.append(station)
        return station

    yield board
    for station in made:
        await station.board.close("test over")


@pytest.fixture(params=["plain", "tls"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def silent_address() -> Iterator[str]:
    """Connections are taken there, and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


async def eventually(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(SOON_S):
        while not happened():  # noqa: ASYNC110  # for what nobody tells
            await asyncio.sleep(0.002)


def open_files() -> set[str]:
    """Of this process, by what they lead to: sockets have numbers of their own."""
    found = set()
    for file in Path("/proc/self/fd").iterdir():
        # The directory itself is open while it is read, and gone when it is looked at.
        with suppress(FileNotFoundError):
            found.add(str(file.readlink()))
    return found


def listening(station: Station) -> "asyncio.Task[None]":
    (server,) = station.board._servers
    return server._accepting


def links(station: Station) -> int:
    return len(station.board._connections())


async def meet(left: Station, right: Station) -> None:
    left.board.dial((right.address,), right.id)
    await left.up(right)
    await right.up(left)


# -- dialing -------------------------------------------------------------------------------------------


async def test_a_dialed_peer_comes_up_on_both_sides(make: Make, kind: str) -> None:
    left, right = await make(0, kind), await make(1, kind)

    await meet(left, right)

    assert (left.ear.up, right.ear.up) == ([right.id], [left.id])
    assert left.ear.found == left.ear.failed == right.ear.found == []


async def test_whoever_is_found_at_an_address_is_told(make: Make, kind: str) -> None:
    left, right = await make(0, kind), await make(1, kind)

    left.board.dial((NOWHERE, right.address), None)
    await left.ear.until(lambda: left.ear.found)

    assert left.ear.up == [right.id]
    assert left.ear.found == [(NOWHERE, right.address)]
    assert left.ear.failed == []


async def test_a_failed_dial_names_every_address(
    make: Make, silent_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.runtime.reaching.DIAL_S", 0.05)
    left = await make(0)

    left.board.dial((NOWHERE, "no port", silent_address), THIRD)
    await left.ear.until(lambda: left.ear.failed)

    ((peer, reason),) = left.ear.failed
    assert peer == THIRD
    for words in (f"nothing listens at {NOWHERE}", "no port: ", f"no answer from {silent_address}"):
        assert words in reason
    assert links(left) == 0


async def test_without_an_address_nobody_is_reached(make: Make) -> None:
    left = await make(0)

    left.board.dial((), THIRD)
    await left.ear.until(lambda: left.ear.failed)

    assert left.ear.failed == [(THIRD, "no address is known")]


async def test_a_side_that_says_no_hello_is_given_up(
    make: Make, silent_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "GREETING_S", 0.05)
    left = await make(0, "plain")

    left.board.dial((silent_address,), THIRD)
    await left.ear.until(lambda: left.ear.failed)

    assert f"{silent_address}: the other side did not say who it is" in left.ear.failed[0][1]
    await eventually(lambda: links(left) == 0)


async def test_another_member_than_sought_stays_linked(make: Make, kind: str) -> None:
    left, right, third = [await make(place, kind) for place in range(3)]

    left.board.dial((right.address,), third.id)
    await left.ear.until(lambda: left.ear.failed)

    assert left.ear.up == [right.id]
    ((peer, reason),) = left.ear.failed
    assert peer == third.id
    assert reason == f"{right.address} is now node {right.id[:8]}, not {third.id[:8]}"
    assert left.ear.down == []


async def test_the_one_sought_is_looked_for_at_its_other_addresses_too(make: Make) -> None:
    left, right, third = [await make(place) for place in range(3)]

    left.board.dial((right.address, NOWHERE, third.address), third.id)
    await left.up(third)

    assert left.ear.failed == []


async def test_our_own_address_is_recognised(make: Make, kind: str) -> None:
    left = await make(0, kind)

    left.board.dial((left.address,), None)
    await left.ear.until(lambda: left.ear.failed)

    assert left.ear.failed == [(None, f"{left.address}: that is this node itself")]
    assert left.ear.up == []
    assert left.ear.notes == []
    await eventually(lambda: links(left) == 0)


async def test_two_meshes_do_not_mix(make: Make) -> None:
    left, right = await make(0, "plain"), await make(1, "plain", OTHER_MESH)

    left.board.dial((right.address,), right.id)
    await left.ear.until(lambda: left.ear.failed)
    await right.ear.until(lambda: right.ear.noted("peer.rejected"))

    assert "belongs to mesh 44444444, this one to 33333333" in left.ear.failed[0][1]
    reason = str(right.ear.noted("peer.rejected")[0]["reason"])
    assert "belongs to mesh 33333333, this one to 44444444" in reason
    assert left.ear.up == right.ear.up == []


async def test_certificates_of_two_meshes_do_not_mix(make: Make, tmp_path: Path) -> None:
    left = await make(0)
    mallory = founder(tmp_path / "mallory", 1_700_000_000.0)
    stranger = tls_station(mallory)
    await listen(stranger, mallory)

    left.board.dial((stranger.address,), None)
    await left.ear.until(lambda: left.ear.failed)
    await stranger.ear.until(lambda: stranger.ear.noted("link.refused"))
    await stranger.board.close("test over")

    assert stranger.address in left.ear.failed[0][1]
    assert "another mesh" in left.ear.failed[0][1] or "expired" in left.ear.failed[0][1]
    assert set(stranger.ear.away) == {"link.refused"}
    assert left.ear.up == stranger.ear.up == []


@pytest.mark.parametrize("newer", [0, 1])
async def test_versions_apart_are_read_on_both_sides(make: Make, kind: str, newer: int) -> None:
    both = left, right = await make(0, kind), await make(1, kind)
    board, older = both[newer].board, both[1 - newer]
    board._terms = replace(board._terms, protocol_min=8, protocol_max=9)

    left.board.dial((right.address,), right.id)
    await left.ear.until(lambda: left.ear.failed)
    await right.ear.until(lambda: right.ear.noted("peer.rejected"))

    for reason in (left.ear.failed[0][1], str(right.ear.noted("peer.rejected")[0]["reason"])):
        assert "8 to 9" in reason and f"{PROTOCOL_MIN} to {PROTOCOL_MAX}" in reason
        assert f"update node {older.id[:8]} from sedma-node 0.0" in reason
    assert right.ear.away == ([] if kind == "tls" else ["peer.rejected"]), "members are no crowd"
    assert left.ear.up == right.ear.up == []
    await eventually(lambda: links(left) == links(right) == 0)


async def test_nobody_is_believed_an_id_that_its_certificate_does_not_prove(
    make: Make, members: list[Member]
) -> None:
    right = await make(1)
    liar = RawPeer(members[2].identity.id)
    security = Security(tls.client_context(members[0].membership), tls.peer_id)
    host, port = right.address.split(":")
    await dial(host, int(port), security, liar.met, timeout_s=SOON_S)
    mesh = members[0].membership.mesh
    liar.say(FrameType.HELLO, 0, Terms(liar.id, mesh, "liar").hello(bulk=False))

    reason = await liar.is_cut()
    assert f"says it is {liar.id[:8]} shows the certificate of" in reason
    assert right.ear.up == []
    assert right.ear.noted("peer.rejected")


async def test_an_address_that_cannot_be_had_is_a_matter_of_settings(make: Make) -> None:
    left = await make(0, "plain")
    port = int(left.address.rsplit(":", 1)[1])

    with pytest.raises(ConfigError, match="cannot listen on 127.0.0.1"):
        await plain_station(HIGH).board.listen("127.0.0.1", port, None)


# -- up and down ---------------------------------------------------------------------------------------


async def test_hanging_up_is_told_once_on_both_sides(make: Make, kind: str) -> None:
    left, right = await make(0, kind), await make(1, kind)
    await meet(left, right)

    left.board.hang(right.id, "banned")
    await left.ear.until(lambda: left.ear.down)
    await right.ear.until(lambda: right.ear.down)

    assert (left.ear.down, right.ear.down) == ([(right.id, "banned")], [(left.id, "banned")])
    left.board.hang(right.id, "again")
    left.board.hang(THIRD, "who is that")


async def test_a_peer_of_whom_something_comes_is_not_hung_up_on_for_its_silence(
    make: Make, kind: str
) -> None:
    """The answer may wait behind a body on the same slow path."""
    left, right = await make(0, kind), await make(1, kind)
    await meet(left, right)

    left.board.hang(right.id, "silent for a minute", 60.0)
    left.board.hang(right.id, "silent by now", 0.0)
    await left.ear.until(lambda: left.ear.down)

    assert left.ear.down == [(right.id, "silent by now")]


async def test_a_call_to_nobody_fails_later(make: Make) -> None:
    left = await make(0)

    outcome = left.ask(THIRD, Probe())
    assert not outcome.over
    error = await outcome.error()

    assert (error.code, error.node) == (ErrorCode.UNAVAILABLE, THIRD)


async def test_whoever_comes_back_at_once_is_up_anew(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old connection has been closed, but is not gone yet when the new one comes."""
    monkeypatch.setattr(switchboard, "CLOSE_S", 0.05)
    left = await make(0, "plain")
    old = RawPeer().dials(left)
    await left.up(old)
    old.link._transport.pause_reading()
    left.board.hang(old.id, "I am tired")
    new = RawPeer().dials(left)
    await left.ear.until(lambda: len(left.ear.up) == 2)

    assert left.ear.down == [(old.id, "I am tired")]
    old.link.abort()
    left.ask(new, Probe())
    await new.hears(FrameType.REQ)
    assert len(left.ear.down) == 1


async def frozen(left: Station) -> RawPeer:
    """A peer that is linked and has stopped reading."""
    peer = RawPeer().dials(left)
    await left.up(peer)
    peer.link._transport.pause_reading()
    return peer


async def test_a_frozen_peer_is_down_as_soon_as_we_hang_up(make: Make, long_farewell: None) -> None:
    left = await make(0, "plain")
    peer = await frozen(left)
    peer.ask(1, RELEASE)
    await left.ear.until(lambda: left.ear.requests)
    outcome = left.ask(peer, Probe())

    left.board.hang(peer.id, "it does not answer")
    late = left.ask(peer, Probe())
    assert not (left.ear.down or left.ear.gone or outcome.over), "nobody is told from within a call"

    assert "it does not answer" in (await outcome.error()).reason
    assert (await late.error()).code is ErrorCode.UNAVAILABLE
    assert left.ear.down == [(peer.id, "it does not answer")]
    assert left.ear.gone == [(left.ear.requests[0].number, "it does not answer")]
    assert links(left) == 0


def freeze(station: Station, link: FrameLink) -> None:
    """It reads nothing any more, on whatever carries it."""
    multipath = station.board.ways.multipath(link)
    if multipath is None:
        link._transport.pause_reading()
        return
    for end in multipath._ends.values():
        end.transport.pause_reading()


async def test_whoever_hangs_up_on_a_frozen_peer_may_dial_it_again(
    make: Make, kind: str, long_farewell: None
) -> None:
    left, right = await make(0, kind), await make(1, kind)
    await meet(left, right)
    (theirs,) = right.board._connections()
    assert isinstance(theirs.link, FrameLink)
    freeze(right, theirs.link)

    left.board.hang(right.id, "it does not answer")
    await left.is_down()
    left.board.dial((right.address,), right.id)
    await left.ear.until(lambda: len(left.ear.up) == 2)
    right.answer(lambda request: Probed())

    assert await left.ask(right, Probe()).answer() == Probed()
    assert left.ear.down == [(right.id, "it does not answer")]


async def test_what_still_comes_after_we_have_hung_up_is_ignored(
    make: Make, long_farewell: None
) -> None:
    left = await make(0, "plain")
    peer = await frozen(left)
    into = bytearray(LARGE)
    outcome = left.ask(peer, FETCH, into=into)
    peer.answer(2, Fetched(nbytes=LARGE), body_bytes=LARGE)
    await eventually(lambda: left.calls[0].response)
    peer.link._transport.write(encode_data_prefix(2, LARGE, end=True) + b"x" * 100)
    await eventually(lambda: into[99])

    left.board.hang(peer.id, "enough")
    peer.link._transport.write(b"y" * (LARGE - 100))
    peer.ask(1, RELEASE)
    heard = left.ear.up.copy()
    await outcome.error()
    await eventually(lambda: not peer.link._transport.get_write_buffer_size())

    assert bytes(into) == b"x" * 100 + bytes(LARGE - 100)
    assert (left.ear.up, left.ear.requests, len(left.ear.down)) == (heard, [], 1)


async def test_an_answer_on_its_way_to_a_frozen_peer_has_left_once_its_memory_is_free(
    make: Make, long_farewell: None
) -> None:
    left = await make(0, "plain")
    peer = RawPeer().dials(left)
    body = memoryview(bytes(LARGE))
    left.ear.on_asked = lambda asked: left.board.reply(asked.number, Fetched(nbytes=LARGE), body)
    for stream in (1, 3):
        peer.ask(stream, FETCH)
    await peer.hears(FrameType.RES, 2)
    peer.link._transport.pause_reading()
    peer.link.expect_body(1, memoryview(bytearray(LARGE)))
    here = left.board._connections()[0].link
    await eventually(lambda: here.bytes_out > LARGE)

    left.board.hang(peer.id, "enough")
    await left.is_down()
    await asyncio.sleep(0.01)
    assert left.ear.left == [], "the transport still has the first one's memory"
    here.abort()
    await left.ear.until(lambda: len(left.ear.left) == 2)
    await here.closed()

    assert sorted(left.ear.left) == [1, 2]
    assert left.ear.gone == []


async def test_whoever_sends_to_a_frozen_peer_is_woken_when_we_hang_up(
    make: Make, long_farewell: None
) -> None:
    left = await make(0, "plain")
    peer = RawPeer().dials(left)
    await left.up(peer)
    outcome = left.ask(peer, RELEASE, body_bytes=LARGE)
    request = await peer.hears(FrameType.REQ)
    peer.link._transport.pause_reading()
    peer.link.expect_body(request.stream, memoryview(bytearray(LARGE)))
    sending = asyncio.ensure_future(left.calls[0].send(memoryview(bytes(LARGE))))
    here = left.board._connections()[0].link
    await eventually(lambda: here.bytes_out > LARGE)

    left.board.hang(peer.id, "enough")
    await outcome.error()
    await asyncio.wait([sending], timeout=SOON_S)

    assert isinstance(sending.exception(), StreamCancelled)


async def test_a_frozen_peer_that_broke_the_protocol_is_down_at_once(
    make: Make, long_farewell: None
) -> None:
    left = await make(0, "plain")
    peer = await frozen(left)
    peer.ask(2, Probe())
    await left.is_down()

    assert "not the peer's to open" in left.ear.down[0][1]
    assert len(left.ear.noted("peer.broke_protocol")) == 1


async def test_whoever_says_no_hello_and_does_not_hang_up_is_given_up_in_time(
    make: Make, long_farewell: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "GREETING_S", 0.02)
    left = await make(0, "plain")
    peer = RawPeer()
    memory_link_pair(left.board.on_link, peer.met)
    peer.link._transport.pause_reading()

    await eventually(lambda: links(left) == 0)


async def test_a_peer_that_dials_anew_in_the_turn_in_which_we_hang_up_is_down_and_then_up(
    make: Make, long_farewell: None
) -> None:
    left = await make(0, "plain")
    old, other = await frozen(left), RawPeer(HIGH).dials(left)
    await left.up(other)
    told: list[str] = []
    left.ear.link_up = lambda peer, dialled: told.append("up")  # type: ignore[method-assign]
    left.ear.link_down = lambda peer, reason: told.append(reason)  # type: ignore[method-assign]
    left.ear.on_asked = lambda asked: left.board.hang(old.id, "tired")

    other.ask(1, Probe())
    new = RawPeer().dials(left)
    await eventually(lambda: len(told) == 2)
    left.ask(new, Probe())
    await new.hears(FrameType.REQ)

    assert told == ["tired", "up"]


async def test_closing_waits_for_the_farewell_to_whom_we_have_hung_up_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(switchboard, "CLOSE_S", 0.05)
    left = plain_station(LOW)
    peer = await frozen(left)
    here = left.board._connections()[0].link
    left.board.hang(peer.id, "enough")
    await left.is_down()

    async with asyncio.timeout(SOON_S):
        await left.board.close("the node is stopping")
        await here.closed()

    assert left.ear.down == [(peer.id, "enough")]


async def test_a_call_may_be_made_as_soon_as_a_link_is_up(make: Make) -> None:
    left, right = await make(0), await make(1)
    right.answer(lambda request: Probed())
    outcomes = []

    def link_up(peer: object, dialled: bool) -> None:
        outcomes.append(left.ask(right, Probe()))
        left.ear.changed()

    left.ear.link_up = link_up  # type: ignore[method-assign]
    left.board.dial((right.address,), right.id)
    await left.ear.until(lambda: outcomes)

    assert await outcomes[0].answer() == Probed()


# -- two connections of one kind ------------------------------------------------------------------------


async def test_of_two_simultaneous_dials_one_stays(make: Make, kind: str) -> None:
    left, right = await make(0, kind), await make(1, kind)
    for station in (left, right):
        station.answer(lambda request: Probed())
    left.board.dial((right.address,), right.id)
    right.board.dial((left.address,), left.id)
    await left.up(right)
    await right.up(left)

    for _ in range(30):
        there, back = left.ask(right, Probe()), right.ask(left, Probe())
        assert (await there.answer(), await back.answer()) == (Probed(), Probed())
    await eventually(lambda: links(left) == links(right) == 1)

    assert left.board._connections()[0].link.dialed, "the smaller id's stays"
    assert not right.board._connections()[0].link.dialed
    assert (left.ear.up, right.ear.up) == ([right.id], [left.id])
    assert left.ear.down == right.ear.down == []
    assert left.ear.failed == right.ear.failed == []


@pytest.mark.parametrize("first", ["low", "high"])
async def test_whoever_dials_first_the_smaller_ids_stays(make: Make, first: str) -> None:
    low, high = await make(0, "plain"), await make(1, "plain")
    pairs = [(low, high), (high, low)] if first == "low" else [(high, low), (low, high)]
    for dialler, listener in pairs:
        link_in_memory(dialler, listener)
        await low.ear.until(lambda: low.ear.up)
        await high.ear.until(lambda: high.ear.up)
    await eventually(lambda: links(low) == links(high) == 1)

    assert low.board._connections()[0].link.dialed
    assert (low.ear.up, high.ear.up) == ([HIGH], [LOW])
    assert low.ear.down == high.ear.down == []


@pytest.mark.parametrize("dialler", [0, 1])
async def test_of_two_dials_by_one_side_the_newer_stays(make: Make, dialler: int) -> None:
    stations = await make(0, "plain"), await make(1, "plain")
    one, other = stations[dialler], stations[1 - dialler]
    old, _ = link_in_memory(one, other)
    await one.up(other)
    new, _ = link_in_memory(one, other)
    await eventually(lambda: old.closing)
    await old.closed()

    assert [connection.link for connection in one.board._connections()] == [new]
    assert (one.ear.up, one.ear.down, other.ear.down) == ([other.id], [], [])


async def test_a_double_is_not_closed_while_a_call_is_under_way_on_it(make: Make) -> None:
    low, high = await make(0, "plain"), await make(1, "plain")
    old, _ = link_in_memory(high, low)
    await high.up(low)
    there = high.ask(low, RELEASE)
    await low.ear.until(lambda: low.ear.requests)
    new, _ = link_in_memory(low, high)
    await eventually(lambda: links(low) == links(high) == 2)
    await asyncio.sleep(4 * lanes.RETIRE_S)

    assert not old.closing and not new.closing
    low.board.reply(low.ear.requests[0].number, Taken(), None)
    await there.answer()
    await eventually(lambda: links(low) == links(high) == 1)
    assert not new.closing


async def test_a_double_takes_no_new_calls(make: Make) -> None:
    left = await make(0, "plain")
    old = RawPeer().dials(left)
    await left.up(old)
    new = RawPeer().dials(left)
    await eventually(lambda: len(left.board._pairs[THIRD].control.connections) == 2)

    left.ask(new, Probe())
    await new.hears(FrameType.REQ)
    assert old.heard(FrameType.REQ) == []


async def test_a_double_that_its_dialer_forgot_is_closed_here(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restart that this side did not notice."""
    monkeypatch.setattr(lanes, "FORGOTTEN_S", 0.1)
    left = await make(0, "plain")
    old = RawPeer().dials(left)
    await left.up(old)
    new = RawPeer().dials(left)

    assert "another connection" in await old.is_cut()
    assert new.lost == []
    assert left.ear.down == []


async def test_the_other_of_two_takes_over(make: Make) -> None:
    left = await make(0, "plain")
    old = RawPeer().dials(left)
    await left.up(old)
    new = RawPeer().dials(left)
    await eventually(lambda: len(left.board._pairs[THIRD].control.connections) == 2)
    new.link.abort()
    await eventually(lambda: links(left) == 1)

    left.ask(old, Probe())
    await old.hears(FrameType.REQ)
    assert (left.ear.up, left.ear.down) == ([THIRD], [])


async def test_five_dials_at_once_leave_one_link(make: Make) -> None:
    left, right = await make(0), await make(1)
    for _ in range(5):
        left.board.dial((right.address,), right.id)
        right.board.dial((left.address,), None)
    await right.ear.until(lambda: len(right.ear.found) == 5)
    await left.up(right)
    await eventually(lambda: links(left) == links(right) == 1)

    assert (left.ear.up, right.ear.up) == ([right.id], [left.id])
    assert left.ear.down == right.ear.down == []


# -- bulk ----------------------------------------------------------------------------------------------


def serve_large(station: Station) -> None:
    station.ear.on_asked = lambda asked: station.board.reply(
        asked.number, Fetched(nbytes=LARGE), memoryview(bytes(LARGE))
    )


async def fetch_large(asker: Station, peer: Station) -> None:
    await asker.ask(peer, FETCH, into=bytearray(LARGE)).answer()


def bulk_links(station: Station) -> int:
    return sum(connection.bulk for connection in station.board._connections())


async def test_bulk_is_dialed_for_the_first_large_call_and_used_by_both(
    make: Make, kind: str
) -> None:
    left, right = await make(0, kind), await make(1, kind)
    await meet(left, right)
    serve_large(left)
    right.answer(lambda request: Taken())
    await left.ask(right, RELEASE, body=bytes(64 * 1024)).answer()
    assert bulk_links(left) == 0, "64 KiB still go over control"

    come = right.take_bodies()
    right.ear.on_body = lambda number: right.board.reply(number, Taken(), None)
    await left.ask(right, RELEASE, body=bytes(LARGE)).answer()
    right.ear.addresses = {left.id: (NOWHERE,)}
    await fetch_large(right, left)
    await left.ask(right, RELEASE, body=bytes(LARGE)).answer()

    assert [len(body) for body in come.values()] == [LARGE, LARGE]
    assert bulk_links(left) == bulk_links(right) == 1
    for station in (left, right):
        (control,) = [one for one in station.board._connections() if not one.bulk]
        assert control.link.bytes_in < 2_000 and control.link.bytes_out < LARGE
    assert (left.ear.up, right.ear.up) == ([right.id], [left.id])


async def test_whoever_was_dialed_dials_bulk_where_the_peer_says_it_listens(make: Make) -> None:
    left, right = await make(0), await make(1)
    await meet(left, right)
    serve_large(left)
    right.ear.addresses = {left.id: (NOWHERE, left.address)}

    await fetch_large(right, left)

    assert bulk_links(left) == bulk_links(right) == 1


async def test_many_large_calls_at_once_share_one_bulk_connection(make: Make) -> None:
    left, right = await make(0), await make(1)
    await meet(left, right)
    for station, peer in ((left, right), (right, left)):
        serve_large(station)
        station.ear.addresses = {peer.id: (peer.address,)}

    async with asyncio.TaskGroup() as both:
        for _ in range(5):
            both.create_task(fetch_large(left, right))
            both.create_task(fetch_large(right, left))
    await eventually(lambda: bulk_links(left) == bulk_links(right) == 1)


async def test_without_bulk_control_is_used_and_bulk_tried_again_later(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "BULK_RETRY_S", 0.3)
    left, right = await make(0), await make(1)
    await meet(left, right)
    serve_large(left)
    right.ear.addresses = {left.id: (NOWHERE,)}

    await fetch_large(right, left)
    right.ear.addresses = {left.id: (left.address,)}
    await fetch_large(right, left)
    (failure,) = right.ear.noted("link.bulk_failed")
    assert f"nothing listens at {NOWHERE}" in str(failure["reason"])
    assert bulk_links(right) == 0

    await asyncio.sleep(0.3)
    await fetch_large(right, left)
    assert bulk_links(right) == 1


async def test_a_bulk_dial_that_takes_too_long_is_given_up(
    make: Make, silent_address: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "BULK_WAIT_S", 0.05)
    left, right = await make(0, kind), await make(1, kind)
    await meet(left, right)
    serve_large(left)
    right.ear.addresses = {left.id: (silent_address,)}

    await fetch_large(right, left)

    assert right.ear.noted("link.bulk_failed")
    await eventually(lambda: links(right) == 1)


async def test_another_node_at_the_bulk_address_is_not_mistaken_for_the_peer(make: Make) -> None:
    left, right, third = [await make(place) for place in range(3)]
    await meet(left, right)
    serve_large(left)
    right.ear.addresses = {left.id: (third.address,)}

    await fetch_large(right, left)

    (failure,) = right.ear.noted("link.bulk_failed")
    assert f"{third.address} is now node {third.id[:8]}" in str(failure["reason"])
    await eventually(lambda: links(right) == 1 and links(third) == 0)
    assert third.ear.up == []
    assert right.ear.up == [left.id]


async def test_without_any_address_control_is_used_at_once(make: Make) -> None:
    left, right = await make(0), await make(1)
    await meet(left, right)
    serve_large(left)

    await fetch_large(right, left)

    assert right.ear.notes == []


async def test_calls_end_while_they_wait_for_bulk(make: Make, silent_address: str) -> None:
    left, right = await make(0), await make(1)
    await meet(left, right)
    right.ear.addresses = {left.id: (silent_address,)}
    late = right.ask(left, RELEASE, deadline_s=0.02, body=bytes(LARGE))
    dropped = right.ask(left, RELEASE, body=bytes(LARGE))
    right.calls[1].cancel()
    pieces = right.ask(left, RELEASE, body_bytes=LARGE)
    sending = asyncio.ensure_future(right.calls[2].send(memoryview(bytes(LARGE))))
    await asyncio.sleep(0)

    assert (await late.error()).code is ErrorCode.DEADLINE
    right.board.hang(left.id, "enough")
    error = await pieces.error()
    await asyncio.wait([sending], timeout=SOON_S)

    assert error.code is ErrorCode.UNAVAILABLE and "enough" in error.reason
    assert sending.exception() is not None
    assert not dropped.over
    assert left.ear.requests == []


async def test_pieces_wait_for_bulk_to_come_up(make: Make) -> None:
    left, right = await make(0), await make(1)
    await meet(left, right)
    come = right.take_bodies()
    right.ear.on_body = lambda number: right.board.reply(number, Taken(), None)

    outcome = left.ask(right, RELEASE, body_bytes=LARGE)
    await left.calls[0].send(memoryview(b"a" * 60_000))
    await left.calls[0].send(memoryview(b"b" * 40_000))
    await outcome.answer()

    assert list(come.values()) == [b"a" * 60_000 + b"b" * 40_000]
    assert bulk_links(left) == 1


async def test_bulk_goes_with_the_last_control_connection(make: Make, kind: str) -> None:
    left, right = await make(0, kind), await make(1, kind)
    await meet(left, right)
    serve_large(right)
    await fetch_large(left, right)
    (control,) = [one for one in left.board._connections() if not one.bulk]

    control.link.close("control alone")
    await left.ear.until(lambda: left.ear.down)
    await right.ear.until(lambda: right.ear.down)
    await eventually(lambda: links(left) == links(right) == 0)

    assert (left.ear.down, right.ear.down) == (
        [(right.id, "control alone")],
        [(left.id, "control alone")],
    )
    assert left.board._pairs == right.board._pairs == {}


async def test_the_end_of_bulk_is_not_the_end_of_the_link(make: Make) -> None:
    left, right = await make(0), await make(1)
    await meet(left, right)
    serve_large(right)
    await fetch_large(left, right)
    (bulk,) = [one for one in left.board._connections() if one.bulk]

    bulk.link.close("bulk alone")
    await eventually(lambda: links(left) == links(right) == 1)
    await fetch_large(left, right)

    assert left.ear.down == right.ear.down == []
    assert bulk_links(left) == 1


# -- the end -------------------------------------------------------------------------------------------


async def test_closing_tells_every_peer_and_leaves_nothing(
    make: Make, members: list[Member], silent_address: str
) -> None:
    before = open_files()
    here, left, right = tls_station(members[2]), await make(0), await make(1)
    await listen(here, members[2])
    started = asyncio.Event()

    async def never(join: Join) -> Joined:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    here.ear.on_join = never
    await meet(here, left)
    await meet(right, here)
    serve_large(left)
    await fetch_large(here, left)
    join = Join(token="t", public_key=bytes(32), proof=bytes(64))
    joining = left.ask(here, join)
    async with asyncio.timeout(SOON_S):
        await started.wait()
    here.ear.addresses = {right.id: (silent_address,)}
    outcomes = [
        here.ask(left, RELEASE, body_bytes=LARGE),
        here.ask(right, RELEASE, body_bytes=LARGE),
        here.ask(right, Probe()),
    ]
    here.board.dial((silent_address,), None)
    await right.ear.until(lambda: right.ear.requests)
    accepting = [listening(station) for station in (left, right)]
    under_way = len(here.board._tasks) + len(here.board.ways._tasks)
    assert under_way == 3, "two dials and a redemption"

    await here.board.close("the node is stopping")

    assert asyncio.all_tasks() == {asyncio.current_task(), *accepting}
    for outcome in outcomes:
        assert (await outcome.error()).code is ErrorCode.UNAVAILABLE
    assert "the node is stopping" in (await joining.error()).reason
    for station in (left, right):
        await station.is_down()
        assert station.ear.down == [(here.id, "the node is stopping")]
        await station.board.close("so am I")
    await eventually(lambda: open_files() <= before)


async def test_closing_does_not_wait_for_a_peer_that_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(switchboard, "CLOSE_S", 0.05)
    left = plain_station(LOW)
    frozen = RawPeer().dials(left)
    await left.up(frozen)
    frozen.link._transport.pause_reading()

    async with asyncio.timeout(SOON_S):
        await left.board.close("the node is stopping")

    assert left.ear.down == [(THIRD, "the node is stopping")]
    assert links(left) == 0


async def test_after_the_end_nobody_is_called_or_dialed(make: Make) -> None:
    left, right = await make(0), await make(1)
    await meet(left, right)
    await left.board.close("the node is stopping")
    left.board.dial((right.address,), right.id)

    assert (await left.ask(right, Probe()).error()).code is ErrorCode.UNAVAILABLE
    assert left.ear.up == [right.id]
    assert asyncio.all_tasks() == {asyncio.current_task(), listening(right)}


async def test_a_linked_pair_speaks_over_memory_too() -> None:
    async with linked_pair(None) as (left, right):
        right.answer(lambda request: Probed())
        assert await left.ask(right, Probe()).answer() == Probed()
