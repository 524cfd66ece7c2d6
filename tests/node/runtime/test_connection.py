"""Calls and requests on one connection, in memory and by TLS, and against a peer that breaks the rules."""

import asyncio
from asyncio import Future
from collections.abc import AsyncIterator, Coroutine

import pytest

from node.runtime import connection as connections
from node.runtime.greeting import Terms
from node.runtime.links import LinkClosed, StreamCancelled
from node.runtime.memory_link import memory_link_pair
from protocol import codec
from protocol.errors import ErrorCode, ErrorInfo
from protocol.frames import FrameType, encode_data_prefix
from protocol.limits import STREAMS_MAX
from protocol.messages import (
    FetchBlock,
    Fetched,
    Probe,
    Probed,
    Release,
    Request,
    RequestHeader,
    Reserve,
    Reserved,
    ResponseHeader,
    Taken,
)
from tests.node.runtime.small_mesh import Member
from tests.node.runtime.stations import (
    HIGH,
    LOW,
    MESH,
    SOON_S,
    Asked,
    RawPeer,
    Station,
    linked_pair,
    plain_station,
    three_members,
)

Pair = tuple[Station, Station]

RESERVE = Reserve(put="p", nbytes=1)
RELEASE = Release(put="p")
"""Answered by Taken; that it comes with a body is nothing to the connection."""
HELLO_AGAIN = Terms(HIGH, MESH, "raw").hello(bulk=False)
FULL = ErrorInfo(code=ErrorCode.NO_ROOM, reason="full", need=10, free=3)
CONTENT = "c" * 64


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    return three_members(tmp_path_factory.mktemp("members"))


@pytest.fixture(params=["memory", "tls"])
async def pair(request: pytest.FixtureRequest, members: list[Member]) -> AsyncIterator[Pair]:
    async with linked_pair(members if request.param == "tls" else None) as linked:
        yield linked


@pytest.fixture
async def station() -> AsyncIterator[Station]:
    here = plain_station(LOW)
    yield here
    await here.board.close("test over")


@pytest.fixture(params=["asked by its dialer", "asked by whom it dialed"])
async def asker(request: pytest.FixtureRequest, pair: Pair) -> Pair:
    """(who asks, who is asked): streams are odd one way and even the other."""
    return pair if request.param == "asked by its dialer" else (pair[1], pair[0])


def fetch(nbytes: int) -> Request:
    return FetchBlock(content=CONTENT, nbytes=nbytes)  # type: ignore[arg-type]


async def soon(doing: "Coroutine[object, object, None] | Future[None]") -> None:
    async with asyncio.timeout(SOON_S):
        await doing


# -- calls that end well -------------------------------------------------------------------------------


async def test_a_call_is_answered_with_the_load(asker: Pair) -> None:
    here, there = asker
    there.answer(lambda request: Probed())

    outcome = here.ask(there, Probe(), trace="t1")
    assert await outcome.answer() == Probed()

    assert outcome.answers[0][1].in_flight == 7
    (asked,) = there.ear.requests
    assert (asked.peer, asked.header.trace) == (here.id, "t1")
    assert 0 < asked.header.deadline_ms <= SOON_S * 1e3
    assert there.ear.left == [], "only bodies are told to have left"


@pytest.mark.parametrize("nbytes", [1, 65_536, 700_001])
async def test_a_body_goes_with_a_request(asker: Pair, nbytes: int) -> None:
    here, there = asker
    come = there.take_bodies()
    there.ear.on_body = lambda number: there.board.reply(number, Taken(), None)
    body = bytes(range(251)) * (nbytes // 251 + 1)

    outcome = here.ask(there, RELEASE, body=body[:nbytes])
    await outcome.answer()

    assert list(come.values()) == [body[:nbytes]]


@pytest.mark.parametrize("nbytes", [1, 65_536, 700_001])
async def test_a_body_comes_with_an_answer(asker: Pair, nbytes: int) -> None:
    here, there = asker
    body = (bytes(range(251)) * (nbytes // 251 + 1))[:nbytes]
    into = bytearray(nbytes)
    there.ear.on_asked = lambda asked: there.board.reply(
        asked.number, Fetched(nbytes=nbytes), memoryview(body)
    )

    await here.ask(there, fetch(nbytes), into=into).answer()
    assert into == body
    await there.ear.until(lambda: there.ear.left)

    assert there.ear.left == [there.ear.requests[0].number]


async def test_bodies_go_both_ways_on_one_stream(asker: Pair) -> None:
    here, there = asker
    come = there.take_bodies()
    there.ear.on_body = lambda number: there.board.reply(
        number, Fetched(nbytes=90_000), memoryview(come[number])
    )
    into = bytearray(90_000)

    await here.ask(there, fetch(90_000), body=b"x" * 90_000, into=into).answer()

    assert into == b"x" * 90_000


async def test_a_body_goes_by_pieces_as_they_are_made(asker: Pair) -> None:
    here, there = asker
    come = there.take_bodies()
    there.ear.on_body = lambda number: there.board.reply(number, Taken(), None)

    outcome = here.ask(there, RELEASE, body_bytes=300_000)
    for byte in (b"a", b"b", b"c"):
        await soon(here.calls[0].send(memoryview(byte * 100_000)))
    await outcome.answer()

    assert list(come.values()) == [b"a" * 100_000 + b"b" * 100_000 + b"c" * 100_000]


async def test_two_thousand_calls_at_once_are_all_answered(asker: Pair) -> None:
    here, there = asker
    there.answer(lambda request: Probed())

    outcomes = [here.ask(there, Probe()) for _ in range(2_000)]
    for outcome in outcomes:
        await outcome.answer()

    assert len(there.ear.requests) == 2_000


async def test_calls_past_the_limit_wait_at_the_caller(asker: Pair) -> None:
    here, there = asker

    outcomes = [here.ask(there, Probe()) for _ in range(STREAMS_MAX + 2)]
    await there.ear.until(lambda: len(there.ear.requests) == STREAMS_MAX)
    here.calls[STREAMS_MAX].cancel()
    there.board.reply(there.ear.requests[0].number, Probed(), None)
    await outcomes[0].answer()
    await there.ear.until(lambda: len(there.ear.requests) == STREAMS_MAX + 1)
    there.board.reply(there.ear.requests[-1].number, Probed(), None)

    await outcomes[-1].answer()
    assert not outcomes[STREAMS_MAX].over


async def test_a_cancelled_answer_makes_room_for_the_next_call_at_once(pair: Pair) -> None:
    here, there = pair
    body = bytes(60_000)
    there.ear.on_asked = lambda asked: there.board.reply(
        asked.number, Fetched(nbytes=60_000), memoryview(body)
    )
    into = [bytearray(60_000) for _ in range(2 * STREAMS_MAX)]

    for place in into:
        here.ask(there, fetch(60_000), into=place)
    await there.ear.until(lambda: len(there.ear.requests) >= STREAMS_MAX // 2)
    for call in here.calls:
        call.cancel()
    await there.ear.until(lambda: there.ear.left)
    there.answer(lambda request: Probed())

    await here.ask(there, Probe()).answer()
    assert there.ear.noted("peer.broke_protocol") == []


# -- calls that end badly ------------------------------------------------------------------------------


async def test_a_refusal_says_who_refused_and_what_is_missing(asker: Pair) -> None:
    here, there = asker
    there.ear.on_asked = lambda asked: there.board.refuse(asked.number, FULL)

    error = await here.ask(there, RESERVE).error()

    assert (error.code, error.need, error.free, error.node) == (ErrorCode.NO_ROOM, 10, 3, there.id)
    assert here.ear.loads == {there.id: there.ear.digest}


async def test_an_early_refusal_ends_the_body(asker: Pair) -> None:
    here, there = asker

    def refuse_later(asked: Asked) -> None:
        there.board.grant(asked.number, memoryview(bytearray(asked.header.body_bytes)))
        there.board.refuse(asked.number, FULL)

    there.ear.on_asked = refuse_later
    error = await here.ask(there, RELEASE, body=bytes(5_000_000)).error()
    there.answer(lambda request: Probed())

    assert error.code is ErrorCode.NO_ROOM
    await here.ask(there, Probe()).answer()
    assert there.ear.bodies == []
    assert there.ear.gone == []


async def test_a_refused_body_of_pieces_tells_the_sender(asker: Pair) -> None:
    here, there = asker
    there.take_bodies()
    outcome = here.ask(there, RELEASE, body_bytes=300_000)
    await soon(here.calls[0].send(memoryview(bytes(100_000))))
    there.board.refuse(there.ear.requests[0].number, FULL)
    await outcome.error()

    with pytest.raises(StreamCancelled, match="ended before its body was sent"):
        await soon(here.calls[0].send(memoryview(bytes(100_000))))


async def test_a_refusal_wakes_whoever_waits_for_credit(asker: Pair) -> None:
    here, there = asker
    outcome = here.ask(there, RELEASE, body_bytes=300_000)
    await there.ear.until(lambda: there.ear.requests)
    sending = asyncio.ensure_future(here.calls[0].send(memoryview(bytes(100_000))))
    await asyncio.sleep(0)
    there.board.refuse(there.ear.requests[0].number, FULL)

    with pytest.raises(StreamCancelled):
        await soon(sending)
    assert (await outcome.error()).code is ErrorCode.NO_ROOM


async def test_a_lost_link_wakes_whoever_sends(asker: Pair) -> None:
    here, there = asker
    outcome = here.ask(there, RELEASE, body_bytes=300_000)
    await there.ear.until(lambda: there.ear.requests)
    sending = asyncio.ensure_future(here.calls[0].send(memoryview(bytes(100_000))))
    await asyncio.sleep(0)
    there.board.hang(here.id, "enough")

    with pytest.raises((LinkClosed, StreamCancelled)):
        await soon(sending)
    error = await outcome.error()
    assert (error.code, error.node) == (ErrorCode.UNAVAILABLE, there.id)
    assert "enough" in error.reason and there.id[:8] in error.reason


async def test_a_call_without_an_answer_ends_at_its_deadline(asker: Pair) -> None:
    here, there = asker

    error = await here.ask(there, Probe(), deadline_s=0.02).error()

    assert (error.code, error.node) == (ErrorCode.DEADLINE, there.id)
    assert "within 0.02 s" in error.reason
    await there.ear.until(lambda: there.ear.gone)
    assert there.ear.gone == [(there.ear.requests[0].number, "cancelled by the peer")]


@pytest.mark.parametrize("deadline_s", [0.0, -1.0])
async def test_no_time_left_fails_at_once_but_later(pair: Pair, deadline_s: float) -> None:
    here, there = pair

    outcome = here.ask(there, Probe(), deadline_s=deadline_s)

    assert not outcome.over, "nobody is called back from within a call"
    assert (await outcome.error()).code is ErrorCode.DEADLINE
    here.ask(there, Probe())
    await there.ear.until(lambda: there.ear.requests)
    assert len(there.ear.requests) == 1, "a call without time is not sent"


async def test_an_answer_of_another_size_is_not_taken(asker: Pair) -> None:
    here, there = asker
    there.ear.on_asked = lambda asked: there.board.reply(
        asked.number, Fetched(nbytes=100), memoryview(bytes(100))
    )

    for into in (bytearray(99), None):
        error = await here.ask(there, fetch(99), into=into).error()
        due = 0 if into is None else 99
        assert error.code is ErrorCode.INTERNAL
        assert f"100 bytes where {due}" in error.reason
    await there.ear.until(lambda: len(there.ear.left) == 2)


async def test_the_end_of_a_link_ends_calls_and_requests(asker: Pair) -> None:
    here, there = asker
    outcome = here.ask(there, RESERVE)
    back = there.ask(here, RESERVE)
    await there.ear.until(lambda: there.ear.requests)
    await here.ear.until(lambda: here.ear.requests)

    there.board.hang(here.id, "I am tired")

    for ended, peer in ((outcome, there), (back, here)):
        error = await ended.error()
        assert (error.code, error.node) == (ErrorCode.UNAVAILABLE, peer.id)
        assert "I am tired" in error.reason
    for station in asker:
        await station.is_down()
        assert station.ear.gone == [(station.ear.requests[0].number, "I am tired")]


async def test_a_reply_that_never_leaves_is_told_to_have_left(asker: Pair) -> None:
    here, there = asker
    into = bytearray(50_000_000)
    there.ear.on_asked = lambda asked: there.board.reply(
        asked.number, Fetched(nbytes=len(into)), memoryview(bytes(len(into)))
    )
    outcome = here.ask(there, fetch(1), into=into)
    await there.ear.until(lambda: there.ear.requests)

    here.board.hang(there.id, "enough")
    await outcome.error()
    await there.ear.until(lambda: there.ear.left)
    await there.ear.until(lambda: there.ear.down)

    assert there.ear.left == [there.ear.requests[0].number]
    assert there.ear.gone == []


# -- calls given up ------------------------------------------------------------------------------------


async def test_a_call_cancelled_before_it_is_sent_leaves_no_trace(asker: Pair) -> None:
    here, there = asker

    outcome = here.ask(there, RESERVE)
    here.calls[0].cancel()
    here.calls[0].cancel()
    here.ask(there, Probe())
    await there.ear.until(lambda: len(there.ear.requests) == 2)

    assert [number for number, _ in there.ear.gone] == [there.ear.requests[0].number]
    assert not outcome.over


async def test_a_call_cancelled_while_its_body_goes_frees_both_sides(asker: Pair) -> None:
    here, there = asker
    come = there.take_bodies()
    outcome = here.ask(there, RELEASE, body_bytes=300_000)
    await soon(here.calls[0].send(memoryview(bytes(100_000))))

    here.calls[0].cancel()
    await there.ear.until(lambda: there.ear.gone)

    assert [number for number, _ in there.ear.gone] == list(come)
    assert not outcome.over
    with pytest.raises(StreamCancelled):
        await soon(here.calls[0].send(memoryview(bytes(100_000))))


async def test_a_call_cancelled_while_its_answer_comes_is_written_no_more(asker: Pair) -> None:
    here, there = asker
    nbytes = 20_000_000
    into = bytearray(nbytes)
    there.ear.on_asked = lambda asked: there.board.reply(
        asked.number, Fetched(nbytes=nbytes), memoryview(b"x" * nbytes)
    )
    outcome = here.ask(there, fetch(nbytes), into=into)
    async with asyncio.timeout(SOON_S):
        while not into[0]:  # noqa: ASYNC110  # a frame of a body is told to nobody
            await asyncio.sleep(0)

    here.calls[0].cancel()
    into[:] = bytes(nbytes)
    await there.ear.until(lambda: there.ear.left)
    there.answer(lambda request: Probed())
    await here.ask(there, Probe()).answer()

    assert not any(into[:1000]) and not into[nbytes // 2] and not into[-1]
    assert not outcome.over


async def test_a_call_cancelled_after_its_end_is_left_alone(asker: Pair) -> None:
    here, there = asker
    there.answer(lambda request: Probed())
    outcome = here.ask(there, Probe())
    await outcome.answer()

    here.calls[0].cancel()
    await here.ask(there, Probe()).answer()

    assert len(outcome.answers) == 1
    assert there.ear.gone == []


async def test_the_asked_hears_nothing_more_of_what_it_answered(asker: Pair) -> None:
    here, there = asker
    there.answer(lambda request: Probed())
    await here.ask(there, Probe()).answer()

    there.board.hang(here.id, "enough")
    await here.ear.until(lambda: here.ear.down)
    await there.ear.until(lambda: there.ear.down)

    assert there.ear.gone == []


# -- peers that break the rules ------------------------------------------------------------------------


async def test_an_unknown_request_is_refused_and_the_link_stays(station: Station) -> None:
    peer = RawPeer().dials(station)
    peer.say(FrameType.REQ, 1, b"\xc1 nonsense")

    error = await peer.hears_error()
    assert (error.code, error.reason[:15]) == (ErrorCode.BAD_REQUEST, "not understood:")
    assert station.ear.noted("peer.nonsense")

    station.answer(lambda request: Probed())
    peer.ask(3, Probe())
    await peer.hears(FrameType.RES)


async def test_an_answer_of_the_wrong_kind_closes_the_link(station: Station) -> None:
    peer = RawPeer().dials(station)
    await station.up(peer)
    outcome = station.ask(peer, Probe())
    request = await peer.hears(FrameType.REQ)
    peer.answer(request.stream, Reserved())

    assert "Reserved came in answer to Probe" in await peer.is_cut()
    assert (await outcome.error()).code is ErrorCode.UNAVAILABLE
    (note,) = station.ear.noted("peer.broke_protocol")
    assert "Reserved came in answer to Probe" in str(note["reason"])


@pytest.mark.parametrize("dialled", [False, True])
@pytest.mark.parametrize("case", ["the other side's", "used before", "zero"])
async def test_a_request_on_a_stream_that_is_not_the_peers_closes_the_link(
    station: Station, dialled: bool, case: str
) -> None:
    peer = RawPeer().is_dialled_by(station) if dialled else RawPeer().dials(station)
    own = 2 if dialled else 1
    if case == "used before":
        peer.ask(own, Probe())
    peer.ask({"the other side's": own + 1, "used before": own, "zero": 0}[case], Probe())

    assert "which is not the peer's to open" in await peer.is_cut()
    assert station.ear.noted("peer.broke_protocol")


async def test_too_many_requests_at_once_close_the_link(station: Station) -> None:
    peer = RawPeer().dials(station)
    for number in range(STREAMS_MAX + 1):
        peer.ask(2 * number + 1, Probe())

    assert f"more than {STREAMS_MAX} requests" in await peer.is_cut()
    await station.ear.until(lambda: len(station.ear.gone) == STREAMS_MAX)


async def test_answers_nobody_takes_count_as_open_requests(station: Station) -> None:
    body = bytes(10)
    station.ear.on_asked = lambda asked: station.board.reply(
        asked.number, Fetched(nbytes=10), memoryview(body)
    )
    peer = RawPeer().dials(station)
    for number in range(STREAMS_MAX + 1):
        peer.ask(2 * number + 1, fetch(10))

    assert f"more than {STREAMS_MAX} requests" in await peer.is_cut()
    await station.ear.until(lambda: len(station.ear.left) == STREAMS_MAX)


async def test_cancelled_requests_are_open_no_more(station: Station) -> None:
    body = bytes(10)
    station.ear.on_asked = lambda asked: station.board.reply(
        asked.number, Fetched(nbytes=10), memoryview(body)
    )
    peer = RawPeer().dials(station)
    for number in range(2 * STREAMS_MAX):
        peer.ask(2 * number + 1, fetch(10))
        peer.say(FrameType.CANCEL, 2 * number + 1)
    await station.ear.until(lambda: len(station.ear.left) == 2 * STREAMS_MAX)

    assert peer.lost == []


async def test_late_frames_of_streams_that_are_over_are_ignored(station: Station) -> None:
    peer = RawPeer().dials(station)
    await station.up(peer)
    peer.answer(2, Probed())
    peer.refuse(4, FULL)
    peer.say(FrameType.CANCEL, 6)
    peer.say(FrameType.CREDIT, 8)
    peer.say(FrameType.PONG, 0)
    peer.say(FrameType.PROGRESS, 3)
    peer.say(FrameType.PING, 77)

    assert (await peer.hears(FrameType.PONG)).stream == 77


async def test_an_answer_after_the_deadline_is_ignored(station: Station) -> None:
    peer = RawPeer().dials(station)
    await station.up(peer)
    outcome = station.ask(peer, Probe(), deadline_s=0.01)
    request = await peer.hears(FrameType.REQ)
    await outcome.error()
    await peer.hears(FrameType.CANCEL)
    peer.answer(request.stream, Probed())
    peer.say(FrameType.PING, 1)
    await peer.hears(FrameType.PONG)

    assert len(outcome.errors) == 1 and not outcome.answers


async def test_a_second_answer_closes_the_link(station: Station) -> None:
    peer = RawPeer().dials(station)
    await station.up(peer)
    outcome = station.ask(peer, fetch(10), into=bytearray(10))
    request = await peer.hears(FrameType.REQ)
    peer.answer(request.stream, Fetched(nbytes=10), body_bytes=10)
    peer.answer(request.stream, Fetched(nbytes=10), body_bytes=10)

    assert "a second answer" in await peer.is_cut()
    assert (await outcome.error()).code is ErrorCode.UNAVAILABLE


async def test_an_error_instead_of_an_announced_body_frees_its_memory(station: Station) -> None:
    peer = RawPeer().dials(station)
    await station.up(peer)
    into = bytearray(10)
    outcome = station.ask(peer, fetch(10), into=into)
    request = await peer.hears(FrameType.REQ)
    peer.answer(request.stream, Fetched(nbytes=10), body_bytes=10)
    sent = peer.link.send_body(request.stream, memoryview(b"x" * 10))
    peer.refuse(request.stream, FULL)

    assert (await outcome.error()).code is ErrorCode.NO_ROOM
    await asyncio.wait([sent], timeout=SOON_S)
    peer.say(FrameType.PING, 1)
    await peer.hears(FrameType.PONG)
    assert not any(into)


async def test_a_peer_that_gives_our_request_up_fails_the_call(station: Station) -> None:
    peer = RawPeer().dials(station)
    await station.up(peer)
    outcome = station.ask(peer, RESERVE)
    request = await peer.hears(FrameType.REQ)
    peer.say(FrameType.CANCEL, request.stream)

    error = await outcome.error()
    assert (error.code, error.node) == (ErrorCode.UNAVAILABLE, peer.id)


async def test_an_answer_that_breaks_off_fails_the_call(station: Station) -> None:
    peer = RawPeer().dials(station)
    await station.up(peer)
    outcome = station.ask(peer, fetch(10), into=bytearray(10))
    request = await peer.hears(FrameType.REQ)
    peer.answer(request.stream, Fetched(nbytes=10), body_bytes=10)
    peer.say(FrameType.CANCEL, request.stream)

    error = await outcome.error()
    assert error.code is ErrorCode.UNAVAILABLE and "broke off" in error.reason


async def test_a_request_whose_body_breaks_off_is_gone(station: Station) -> None:
    station.take_bodies()
    peer = RawPeer().dials(station)
    peer.ask(1, RELEASE, body_bytes=10)
    peer.link.send_body(1, memoryview(bytes(5)), 10)
    await station.ear.until(lambda: station.ear.requests)
    peer.link.cancel(1)
    await station.ear.until(lambda: station.ear.gone)

    peer.say(FrameType.PING, 1)
    await peer.hears(FrameType.PONG)
    assert len(station.ear.gone) == 1
    assert station.ear.bodies == []


async def test_a_request_whose_body_is_shorter_than_it_said_is_refused(station: Station) -> None:
    station.take_bodies()
    peer = RawPeer().dials(station)
    peer.ask(1, RELEASE, body_bytes=10)
    await station.ear.until(lambda: station.ear.requests)
    peer.link._transport.write(encode_data_prefix(1, 6, end=True) + bytes(6))

    error = await peer.hears_error()
    assert error.code is ErrorCode.BAD_REQUEST
    assert error.reason == "the body ended 4 bytes short of what was said"
    assert station.ear.gone == [(station.ear.requests[0].number, error.reason)]
    assert station.ear.noted("peer.nonsense")
    assert station.ear.bodies == [] and not peer.lost


async def test_the_body_of_an_answered_request_is_told_to_nobody(station: Station) -> None:
    """The answer has a body of its own, which the peer takes only after it has sent its own."""
    station.take_bodies()
    peer = RawPeer().dials(station)
    peer.ask(1, fetch(10), body_bytes=10)
    sent = peer.link.send_body(1, memoryview(bytes(10)))
    await station.ear.until(lambda: station.ear.requests)
    number = station.ear.requests[0].number
    station.board.reply(number, Fetched(nbytes=10), memoryview(bytes(10)))
    await soon(sent)
    await peer.hears(FrameType.RES)
    into = bytearray(10)
    peer.link.expect_body(1, memoryview(into))
    await station.ear.until(lambda: station.ear.left)

    assert station.ear.bodies == []


@pytest.mark.parametrize(
    "kind", [kind for kind in FrameType if kind.name in ("REQ", "RES", "PING", "CANCEL")]
)
async def test_whoever_speaks_before_saying_hello_is_cut_off(
    station: Station, kind: FrameType
) -> None:
    peer = RawPeer()
    memory_link_pair(peer.met, station.board.on_link)
    peer.say(kind, 1)

    assert f"{kind.name} came before HELLO" in await peer.is_cut()
    assert station.ear.up == []


async def test_a_second_hello_closes_the_link(station: Station) -> None:
    peer = RawPeer().dials(station)
    peer.say(FrameType.HELLO, 0, codec.encode(HELLO_AGAIN))

    assert "a second HELLO" in await peer.is_cut()


async def test_whoever_does_not_say_hello_is_cut_off(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "GREETING_S", 0.02)
    peer = RawPeer()
    memory_link_pair(peer.met, station.board.on_link)

    assert "did not say who it is in time" in await peer.is_cut()


async def test_an_error_header_that_is_none_closes_the_link(station: Station) -> None:
    peer = RawPeer().dials(station)
    await station.up(peer)
    station.ask(peer, Probe())
    request = await peer.hears(FrameType.REQ)
    peer.say(FrameType.ERR, request.stream, b"\xc1")

    assert "ErrorHeader" in await peer.is_cut()


async def test_the_dialer_counts_in_odd_numbers_and_the_other_in_even_ones(
    station: Station,
) -> None:
    dialling, dialled = RawPeer().dials(station), RawPeer(HIGH).is_dialled_by(station)
    await station.up(dialling, dialled)
    for _ in range(3):
        station.ask(dialling, Probe())
        station.ask(dialled, Probe())
    await dialling.hears(FrameType.REQ, 3)
    await dialled.hears(FrameType.REQ, 3)

    assert [frame.stream for frame in dialling.heard(FrameType.REQ)] == [2, 4, 6]
    assert [frame.stream for frame in dialled.heard(FrameType.REQ)] == [1, 3, 5]


async def test_headers_say_what_was_asked_and_answered(station: Station) -> None:
    peer = RawPeer().dials(station)
    await station.up(peer)
    station.ask(peer, RELEASE, body=bytes(7), trace="t9")
    asked = codec.decode(RequestHeader, (await peer.hears(FrameType.REQ)).header)
    station.answer(lambda request: Probed())
    peer.ask(1, Probe())
    answered = codec.decode(ResponseHeader, (await peer.hears(FrameType.RES)).header)

    assert (asked.request, asked.body_bytes, asked.trace) == (RELEASE, 7, "t9")
    assert (answered.response, answered.load) == (Probed(), station.ear.digest)


async def test_empty_bodies_are_no_bodies(asker: Pair) -> None:
    here, there = asker
    there.ear.on_asked = lambda asked: there.board.reply(
        asked.number, Fetched(nbytes=0), memoryview(b"")
    )

    await here.ask(there, fetch(0), body=b"", into=bytearray()).answer()
    await there.ear.until(lambda: there.ear.left)

    assert there.ear.requests[0].header.body_bytes == 0
