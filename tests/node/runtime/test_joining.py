"""Strangers with tickets, at a real door: who is let in, what the others are told, and what strangers may not do."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from node.runtime import connection as connections
from node.runtime import credentials, joining, reaching, switchboard, tickets, tls
from node.runtime.datadir import DataDir
from node.runtime.greeting import Terms
from node.runtime.identity import Identity
from node.runtime.joining import ask_to_join
from node.runtime.tcp_link import Security, dial
from protocol.errors import ErrorCode, TaskError
from protocol.frames import FrameType
from protocol.gossip import Tell
from protocol.messages import Join, Joined, Multiply, Probe, Probed, Request
from protocol.ticket import Ticket
from tests.node.runtime.small_mesh import Member, founder, stranger
from tests.node.runtime.stations import (
    SOFTWARE,
    SOON_S,
    RawPeer,
    Station,
    listen,
    three_members,
    tls_station,
)

NOW = time.time()
JOIN = Join(token="a token", public_key=bytes(32), proof=bytes(64))


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    return three_members(tmp_path_factory.mktemp("members"))


@pytest.fixture(scope="module")
def outsider(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataDir, Identity]:
    return stranger(tmp_path_factory.mktemp("outsider"))


@pytest.fixture(autouse=True)
async def no_complaints() -> AsyncIterator[None]:
    """What goes wrong in a callback is told to the loop alone."""
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    yield
    assert complaints == []


@pytest.fixture
async def host(members: list[Member]) -> AsyncIterator[Station]:
    """Redeems tickets of its own."""
    station = tls_station(members[0])
    await listen(station, members[0])

    async def redeem(join: Join) -> Joined:
        return members[0].office.redeem(join, time.time())

    station.ear.on_join = redeem
    yield station
    await station.board.close("test over")


def ticket(
    member: Member, *addresses: str, uses: int = 16, now: float = NOW, ttl_s: float = 1e5
) -> Ticket:
    minted, _ = member.office.mint(
        addresses, ttl_s=ttl_s, uses=uses, may_invite=False, now_wall=now
    )
    return minted


async def ask(to: Ticket, who: Identity) -> Joined:
    async with asyncio.timeout(SOON_S):
        return await ask_to_join(to, tickets.join_request(who, to), who.id, SOFTWARE)


async def refusal(to: Ticket, who: Identity) -> TaskError:
    with pytest.raises(TaskError) as refused:
        await ask(to, who)
    return refused.value


async def happens(event: asyncio.Event) -> None:
    async with asyncio.timeout(SOON_S):
        await event.wait()


async def knock(host: Station, member: Member) -> RawPeer:
    """A stranger at the door, who has said hello."""
    peer = RawPeer()
    security = Security(tls.joining_context(member.ticket(now=NOW)), tls.peer_id)
    name, port = host.address.split(":")
    await dial(name, int(port), security, peer.met, timeout_s=SOON_S)
    peer.say(FrameType.HELLO, 0, Terms(peer.id, None, "stranger").hello(bulk=False))
    await peer.hears(FrameType.HELLO)
    return peer


# -- tickets -------------------------------------------------------------------------------------------


async def test_whoever_shows_a_ticket_comes_home_with_certificates(
    host: Station, members: list[Member], tmp_path: Path
) -> None:
    data_dir, who = stranger(tmp_path / "newcomer")
    shown = ticket(members[0], "127.0.0.1:9", host.address)

    joined = await ask(shown, who)
    membership = credentials.adopt(data_dir, who, shown.mesh, joined, time.time())

    newcomer = tls_station(Member(data_dir, who, membership))
    host.answer(lambda request: Probed())
    newcomer.board.dial((host.address,), host.id)
    await newcomer.up(host)
    assert await newcomer.ask(host, Probe()).answer() == Probed()
    await newcomer.board.close("test over")
    assert host.ear.up == [who.id], "a stranger's connection is nobody's link"


async def test_an_expired_ticket_is_refused_with_its_age(
    host: Station, members: list[Member], outsider: tuple[DataDir, Identity]
) -> None:
    old = ticket(members[0], host.address, now=NOW - 7_200, ttl_s=60)

    refused = await refusal(old, outsider[1])

    assert refused.code is ErrorCode.TICKET_EXPIRED
    assert "expired" in str(refused) and "sedma-node ticket" in str(refused)
    assert refused.info.node == host.id


async def test_a_used_up_ticket_is_refused(
    host: Station, members: list[Member], outsider: tuple[DataDir, Identity], tmp_path: Path
) -> None:
    once = ticket(members[0], host.address, uses=1)
    await ask(once, outsider[1])
    await ask(once, outsider[1])

    refused = await refusal(once, stranger(tmp_path / "late")[1])

    assert refused.code is ErrorCode.TICKET_USED_UP


async def test_only_the_minter_is_shown_its_ticket(
    host: Station, members: list[Member], outsider: tuple[DataDir, Identity]
) -> None:
    refused = await refusal(ticket(members[1], host.address), outsider[1])

    assert refused.code is ErrorCode.UNAVAILABLE
    minter = members[1].identity.id[:8]
    assert str(refused) == f"{host.address} is now node {host.id[:8]}, not {minter}"


async def test_the_minter_is_looked_for_at_all_its_addresses(
    host: Station, members: list[Member], outsider: tuple[DataDir, Identity]
) -> None:
    """A private address may be another member's by now."""
    other = tls_station(members[1])
    await listen(other, members[1])

    joined = await ask(ticket(members[0], other.address, host.address), outsider[1])
    await other.board.close("test over")

    assert joined.chain


async def test_a_ticket_of_another_mesh_is_not_even_shown(
    host: Station, outsider: tuple[DataDir, Identity], tmp_path: Path
) -> None:
    other = ticket(founder(tmp_path / "mallory", NOW), host.address)

    refused = await refusal(other, outsider[1])

    assert refused.code is ErrorCode.UNAVAILABLE
    assert f"the node at {host.address} belongs to another mesh" in str(refused)
    assert host.ear.up == []


async def test_a_mesh_that_nobody_answers_for_is_named_by_its_addresses(
    members: list[Member], outsider: tuple[DataDir, Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaching, "DIAL_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        refused = await refusal(ticket(members[0], "127.0.0.1:9", address), outsider[1])

    assert refused.code is ErrorCode.UNAVAILABLE
    assert "nothing listens at 127.0.0.1:9" in str(refused)
    assert f"no answer from {address}" in str(refused)


async def test_a_node_does_not_join_itself(host: Station, members: list[Member]) -> None:
    refused = await refusal(ticket(members[0], host.address), members[0].identity)

    assert refused.code is ErrorCode.CONFLICT
    assert "this node itself" in str(refused)


async def test_a_joiner_reads_that_versions_are_apart(
    host: Station,
    members: list[Member],
    outsider: tuple[DataDir, Identity],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        joining, "Terms", lambda *who: replace(Terms(*who), protocol_min=8, protocol_max=9)
    )

    refused = await refusal(ticket(members[0], host.address), outsider[1])

    assert refused.code is ErrorCode.VERSION_MISMATCH
    assert f"update node {host.id[:8]}" in str(refused)
    await host.ear.until(lambda: host.ear.noted("peer.rejected"))


async def test_a_host_that_hangs_up_is_told_with_its_reason(
    host: Station, members: list[Member], outsider: tuple[DataDir, Identity]
) -> None:
    asked = asyncio.Event()

    async def never(join: Join) -> Joined:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    host.ear.on_join = never
    joiner = asyncio.ensure_future(refusal(ticket(members[0], host.address), outsider[1]))
    await happens(asked)
    await host.board.close("the node is stopping")

    refused = await joiner
    assert refused.code is ErrorCode.UNAVAILABLE
    assert "the node is stopping" in str(refused)


async def test_a_joiner_that_is_stopped_leaves_nothing(
    host: Station, members: list[Member], outsider: tuple[DataDir, Identity]
) -> None:
    asked = asyncio.Event()

    async def never(join: Join) -> Joined:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    host.ear.on_join = never
    joiner = asyncio.ensure_future(ask(ticket(members[0], host.address), outsider[1]))
    await happens(asked)
    joiner.cancel()
    await asyncio.wait([joiner])

    async with asyncio.timeout(SOON_S):
        while host.board._connections():  # noqa: ASYNC110  # for what nobody tells
            await asyncio.sleep(0.002)


async def test_a_member_may_renew_and_stays_linked(host: Station, members: list[Member]) -> None:
    member = tls_station(members[1])
    member.board.dial((host.address,), host.id)
    await member.up(host)
    shown = ticket(members[0], host.address)

    joined = await member.ask(host, tickets.join_request(members[1].identity, shown)).answer()
    host.answer(lambda request: Probed())
    await member.ask(host, Probe()).answer()
    await member.board.close("test over")

    assert isinstance(joined, Joined)
    assert host.ear.requests[0].header.request == Probe(), "joining is not the driver's business"


# -- strangers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_", [Probe(), Tell(), "multiply"], ids=["probe", "tell", "multiply"]
)
async def test_strangers_may_do_nothing_but_join(
    host: Station, members: list[Member], request_: Request | str
) -> None:
    if isinstance(request_, str):
        request_ = Multiply(
            name="w",
            version=(1, 0, "x"),  # type: ignore[arg-type]
            blocks=((0, 0),),
            transpose=False,
            m=1,
            share=None,
            x_key=1,
        )
    peer = await knock(host, members[0])
    peer.ask(1, request_, body_bytes=1_000_000)

    error = await peer.hears_error()

    assert error.code is ErrorCode.FORBIDDEN
    assert "may only join" in error.reason
    assert host.ear.requests == []
    assert host.ear.up == []


async def test_a_stranger_with_nonsense_gets_no_further(
    host: Station, members: list[Member]
) -> None:
    peer = await knock(host, members[0])
    peer.say(FrameType.REQ, 1, b"\xc1")

    assert (await peer.hears_error()).code is ErrorCode.BAD_REQUEST
    assert host.ear.away == ["peer.nonsense"]


async def test_a_stranger_that_is_refused_is_shown_out(
    host: Station, members: list[Member]
) -> None:
    peer = await knock(host, members[0])
    peer.ask(1, JOIN)

    assert (await peer.hears_error()).code is ErrorCode.TICKET_INVALID
    assert "nothing more to do here" in await peer.is_cut()
    assert host.ear.away == ["ticket.refused"]


@pytest.mark.parametrize("says", ["nothing", "something else", "pings"])
async def test_a_stranger_that_shows_no_ticket_is_cut_off(
    host: Station, members: list[Member], monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    monkeypatch.setattr(connections, "STRANGER_S", 0.05)
    peer = await knock(host, members[0])
    if says == "something else":
        peer.ask(1, Probe())
    if says == "pings":
        peer.say(FrameType.PING, 1)

    assert "did not show a ticket in time" in await peer.is_cut()


async def test_a_joiner_that_is_cut_off_reads_why(
    host: Station,
    members: list[Member],
    outsider: tuple[DataDir, Identity],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The farewell may come before the joiner has asked at all."""
    monkeypatch.setattr(switchboard, "STRANGERS_MAX", 0)

    refused = await refusal(ticket(members[0], host.address), outsider[1])

    assert refused.code is ErrorCode.UNAVAILABLE
    assert "strangers are connected already" in str(refused)


async def test_for_the_sixty_fifth_stranger_a_silent_one_goes_and_members_come_in_anyway(
    host: Station, members: list[Member]
) -> None:
    crowd = []
    for _ in range(4):
        crowd += await asyncio.gather(*(knock(host, members[0]) for _ in range(16)))
    late = await knock(host, members[0])

    cut = [asyncio.ensure_future(peer.is_cut()) for peer in crowd]
    (gone,), others = await asyncio.wait(cut, return_when=asyncio.FIRST_COMPLETED)
    for other in others:
        other.cancel()
    assert "64 strangers are connected already" in await gone
    assert not late.lost
    member = tls_station(members[1])
    member.board.dial((host.address,), host.id)
    await member.up(host)
    assert host.ear.up == [members[1].identity.id]
    await member.board.close("test over")


async def test_the_seventeenth_at_once_is_told_to_come_back(
    host: Station, members: list[Member], outsider: tuple[DataDir, Identity]
) -> None:
    go = asyncio.Event()
    inside: list[Join] = []
    real = host.ear.on_join

    async def slow(join: Join) -> Joined:
        inside.append(join)
        host.ear.changed()
        await go.wait()
        return await real(join)

    host.ear.on_join = slow
    shown = ticket(members[0], host.address)
    waiting = [asyncio.ensure_future(ask(shown, outsider[1])) for _ in range(16)]
    await host.ear.until(lambda: len(inside) == 16)
    refused = await refusal(shown, outsider[1])
    pushy = await knock(host, members[0])
    pushy.ask(1, JOIN)
    error = await pushy.hears_error()
    why = await pushy.is_cut()
    go.set()
    await asyncio.gather(*waiting)

    assert refused.code is error.code is ErrorCode.OVERLOADED
    assert refused.info.retry_after_s is not None
    assert "nothing more to do here" in why, "who came too early does not stay at the door"


async def test_a_stranger_that_leaves_while_its_ticket_is_read_is_forgotten(
    host: Station, members: list[Member]
) -> None:
    asked, go, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(join: Join) -> Joined:
        asked.set()
        await go.wait()
        done.set()
        return Joined(ca="", chain="")

    host.ear.on_join = slow
    peer = await knock(host, members[0])
    peer.ask(1, JOIN)
    await happens(asked)
    peer.link.abort()
    async with asyncio.timeout(SOON_S):
        while host.board._connections():  # noqa: ASYNC110  # for what nobody tells
            await asyncio.sleep(0.002)
    go.set()
    await happens(done)
    await asyncio.sleep(0)

    assert host.ear.gone == []
    assert host.board._redeeming._under_way == 0


async def test_a_joiner_answers_no_questions(
    members: list[Member], outsider: tuple[DataDir, Identity]
) -> None:
    host = RawPeer(members[0].identity.id)
    server = tls_station(members[0])
    server.board.on_link = host.met  # type: ignore[method-assign, assignment]
    await listen(server, members[0])
    joiner = asyncio.ensure_future(refusal(ticket(members[0], server.address), outsider[1]))
    await host.is_met()
    mesh = members[0].membership.mesh
    host.say(FrameType.HELLO, 0, Terms(host.id, mesh, "host").hello(bulk=False))
    await host.hears(FrameType.REQ)
    host.ask(2, Probe())
    host.ask(4, JOIN)

    for number in (1, 2):
        error = await host.hears_error(number)
        assert error.code is ErrorCode.UNAVAILABLE
    host.link.close("that is all")
    assert "that is all" in str(await joiner)
    await server.board.close("test over")
