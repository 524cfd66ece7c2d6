"""What a peer may make this node do by offering to punch; that punching works, the laboratory shows."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from nat.records import RecordKind, encode_record
from node.runtime.paths import punching, upkeep
from node.runtime.paths.multipath import Multipath
from node.runtime.paths.punching import OFFERS_PER_MINUTE, Puncher
from protocol import codec
from protocol.paths import Attach, Candidate, Offer, PathKind, signed_offer_bytes
from tests.node.runtime.paths.intruder import LINK, Intruder, carriers, intruder
from tests.node.runtime.paths.punched_pair import Site
from tests.node.runtime.relaying.small_relay import eventually, signatures
from tests.node.runtime.small_mesh import Member
from tests.node.runtime.stations import Station, listen, tls_station

USERNAME, PASSWORD = "user", "p" * 22


@pytest.fixture
def site(members: list[Member]) -> Site:
    return Site(members)


@pytest.fixture
async def station(
    members: list[Member], site: Site, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Station]:
    """One that punches."""
    monkeypatch.setattr(upkeep, "RESUME_S", 0.3)
    monkeypatch.setattr(punching, "PUNCH_S", 0.3)
    one, member = tls_station(members[1]), members[1]
    ways = one.board.ways
    ways.make_puncher = lambda: Puncher(
        one.id, member.membership, signatures(member), site, ways, None
    )
    await listen(one, member)
    yield one
    await one.board.close("test over")


@pytest.fixture
async def peer(station: Station, members: list[Member]) -> AsyncIterator[Intruder]:
    """A member with a link to it."""
    async with intruder(members[2], station) as one:
        one.attach()
        await one.is_attached()
        yield one


def at(host: str, port: int = 4000, kind: str = "srflx") -> Candidate:
    return Candidate("f", host, port, kind, 1)


def offer(
    signer: Member,
    receiver: Station,
    number: int = 1,
    *candidates: Candidate,
    link: bytes = LINK,
    answers: bool = False,
) -> bytes:
    plain = Offer(link, number, answers, USERNAME, PASSWORD, candidates)
    said = signed_offer_bytes(plain, signer.identity.id, receiver.id)
    return codec.encode(msgspec.structs.replace(plain, signature=signatures(signer).sign(said)))


def answers(peer: Intruder) -> list[Offer]:
    said = [payload for kind, _, payload in peer.heard_of if kind is RecordKind.OFFER]
    return [codec.decode(Offer, payload) for payload in said]


def puncher(station: Station) -> Puncher:
    return station.board.ways._punching


async def test_an_offer_is_answered_with_a_signed_one_of_the_same_number(
    station: Station, peer: Intruder, members: list[Member]
) -> None:
    peer.say(RecordKind.OFFER, payload=offer(members[2], station, 7))
    await peer.until(lambda: answers(peer))
    (answer,) = answers(peer)
    signed = signed_offer_bytes(answer, station.id, members[2].identity.id)

    assert (answer.number, answer.answers, answer.link) == (7, True, LINK)
    assert signatures(members[2]).verifies(signatures(members[1]).key, signed, answer.signature)


async def test_an_offer_is_answered_on_the_path_that_it_came_by(
    station: Station, peer: Intruder, members: list[Member]
) -> None:
    """The path in use may be one that has just died, as where the peer's router has mapped it anew."""
    async with intruder(members[2], station) as newer:
        newer.attach(Attach(LINK, True, PathKind.LAN, 0, False))
        await newer.is_attached()
        peer.say(RecordKind.OFFER, payload=offer(members[2], station))
        await peer.until(lambda: answers(peer))

        assert answers(newer) == []
        (carrier,) = carriers(station)
        assert carrier.remote == newer.end.local


@pytest.mark.parametrize("what", ["forged", "not signed", "elsewhere", "to another", "repeated"])
async def test_an_offer_that_does_not_count_ends_the_link_and_sends_nothing(
    station: Station, peer: Intruder, members: list[Member], what: str
) -> None:
    good = codec.decode(Offer, offer(members[2], station, 5))
    match what:
        case "forged":
            said = [offer(members[0], station, 5)]
        case "not signed":
            said = [codec.encode(msgspec.structs.replace(good, signature=bytes(64)))]
        case "elsewhere":
            said = [offer(members[2], station, 5, link=bytes(16))]
        case "to another":
            other = tls_station(members[0])
            said = [offer(members[2], other, 5)]
        case _:
            said = [codec.encode(good)] * 2
    for one in said:
        peer.say(RecordKind.OFFER, payload=one)
    await peer.is_cut()

    assert len(answers(peer)) <= len(said) - 1
    await eventually(lambda: not carriers(station) and not station.board.ways._tasks)
    assert puncher(station)._answering == 0
    assert puncher(station)._talks == {}


async def test_an_offer_that_a_later_one_has_overtaken_is_passed_over(
    station: Station, peer: Intruder, members: list[Member]
) -> None:
    """An offer that is made anew goes by another path than the first, which may be slower."""
    for number in (2, 1):
        peer.say(RecordKind.OFFER, payload=offer(members[2], station, number))
    peer.say(RecordKind.PING, 9)
    await peer.until(lambda: RecordKind.PONG in [kind for kind, _, _ in peer.heard_of])
    await peer.until(lambda: answers(peer))

    assert [answer.number for answer in answers(peer)] == [2]
    assert len(carriers(station)) == 1


async def test_an_offer_with_hundreds_of_addresses_is_not_even_read(
    station: Station, peer: Intruder, members: list[Member]
) -> None:
    # A thousand do not fit into a record.
    many = tuple(at("8.8.8.8", port, "s") for port in range(1, 300))
    payload = offer(members[2], station, 1, *many)
    assert len(payload) < 8_192
    peer.say(RecordKind.OFFER, payload=payload)
    await peer.is_cut()

    assert answers(peer) == []
    assert "Offer" in str(station.ear.noted("peer.broke_protocol")[0]["reason"])


async def test_who_is_not_known_yet_may_offer_and_gets_no_answer(
    station: Station, peer: Intruder, members: list[Member], site: Site
) -> None:
    del site.keys[members[2].identity.id]
    peer.say(RecordKind.OFFER, payload=offer(members[2], station))
    peer.say(RecordKind.PING, 9)
    await peer.until(lambda: RecordKind.PONG in [kind for kind, _, _ in peer.heard_of])

    assert len(carriers(station)) == 1
    assert not station.board.ways._tasks


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_of_a_flood_of_offers_the_last_few_are_looked_at_and_one_is_answered_at_a_time(
    station: Station, peer: Intruder, members: list[Member]
) -> None:
    before = open_files()
    flood = [offer(members[2], station, number) for number in range(1, 201)]
    peer.end.transport.write(b"".join(encode_record(RecordKind.OFFER, 0, 0, one) for one in flood))
    peer.say(RecordKind.PING, 9)
    await peer.until(lambda: RecordKind.PONG in [kind for kind, _, _ in peer.heard_of])
    (carrier,) = carriers(station)

    assert puncher(station)._talks[carrier].judge._last == OFFERS_PER_MINUTE
    assert puncher(station)._answering <= 1
    await eventually(lambda: not station.board.ways._tasks)
    assert puncher(station)._answering == 0
    assert len(answers(peer)) <= OFFERS_PER_MINUTE
    await eventually(lambda: open_files() <= before)


async def test_a_node_that_cannot_prove_its_key_opens_no_way_that_nobody_would_close(
    station: Station, peer: Intruder, members: list[Member]
) -> None:
    chain = members[1].membership.chain_file
    hidden = chain.rename(chain.with_suffix(".hidden"))
    try:
        peer.say(RecordKind.OFFER, payload=offer(members[2], station))
        await eventually(lambda: bool(station.ear.noted("path.not_punched")))
    finally:
        hidden.rename(chain)

    (failure,) = station.ear.noted("path.not_punched")
    assert chain.name in str(failure)


async def test_why_an_offer_has_led_to_no_path_is_said(
    station: Station, peer: Intruder, members: list[Member]
) -> None:
    peer.say(RecordKind.OFFER, payload=offer(members[2], station))
    await eventually(lambda: bool(station.ear.noted("path.not_punched")))

    (failure,) = station.ear.noted("path.not_punched")
    assert "no way through the NATs of both sides within" in str(failure)


@contextlib.contextmanager
def bystander() -> Iterator[socket.socket]:
    """A port of this machine that nobody has any business with."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.setblocking(False)
        yield one


async def test_nothing_is_sent_to_addresses_that_no_peer_elsewhere_can_have(
    station: Station, peer: Intruder, members: list[Member], site: Site
) -> None:
    with bystander() as victim:
        port = victim.getsockname()[1]
        named = [
            at(host, port, kind)
            for host in ("127.0.0.1", "::ffff:127.0.0.1", "224.0.0.1", "0.0.0.0")
            for kind in ("host", "srflx")
        ]
        peer.say(RecordKind.OFFER, payload=offer(members[2], station, 1, *named))
        await peer.until(lambda: answers(peer))
        await eventually(lambda: not station.board.ways._tasks)

        with pytest.raises(BlockingIOError):
            victim.recv(2_000)
    assert station.ear.noted("path.not_punched")


async def test_an_answer_to_nothing_is_passed_over(
    station: Station, peer: Intruder, members: list[Member]
) -> None:
    for number in (0, 1, 5):
        peer.say(RecordKind.OFFER, payload=offer(members[2], station, number, answers=True))
    peer.say(RecordKind.PING, 9)
    await peer.until(lambda: RecordKind.PONG in [kind for kind, _, _ in peer.heard_of])

    assert len(carriers(station)) == 1
    assert not station.board.ways._tasks


async def asking(station: Station, carrier: Multipath) -> "asyncio.Task[dict[str, Exception]]":
    """It offers by itself."""
    task = asyncio.get_running_loop().create_task(station.board.ways.punch(carrier))
    await asyncio.sleep(0)
    return task


async def test_a_late_answer_does_not_spoil_the_next_attempt_and_a_forged_one_ends_it(
    station: Station, peer: Intruder, members: list[Member]
) -> None:
    (carrier,) = carriers(station)
    for _ in range(2):
        attempt = await asking(station, carrier)
        await peer.until(lambda: answers(peer))
        number = answers(peer)[-1].number
        peer.say(RecordKind.OFFER, payload=offer(members[2], station, number - 1, answers=True))
        failure = (await attempt)[PathKind.PUNCHED]
        assert "no way through" in str(failure)
        peer.heard_of.clear()
    attempt = await asking(station, carrier)
    await peer.until(lambda: answers(peer))
    number = answers(peer)[-1].number
    peer.say(RecordKind.OFFER, payload=offer(members[0], station, number, answers=True))
    failure = (await attempt)[PathKind.PUNCHED]

    assert "not signed by it" in str(failure)
    assert len(carriers(station)) == 1


async def test_an_offer_is_made_again_when_the_link_goes_over_to_another_path(
    station: Station, peer: Intruder, members: list[Member]
) -> None:
    """The first may have gone out on a path that was dead already, as where this machine has moved."""
    (carrier,) = carriers(station)
    attempt = await asking(station, carrier)
    await peer.until(lambda: answers(peer))
    async with intruder(members[2], station) as newer:
        newer.attach(Attach(LINK, True, PathKind.LAN, 0, False))
        await newer.until(lambda: answers(newer))
        (first,), (again,) = answers(peer), answers(newer)
        assert again.number == first.number + 1
        assert (again.username, again.candidates) == (first.username, first.candidates)

        newer.say(RecordKind.OFFER, payload=offer(members[2], station, first.number, answers=True))
        answer = offer(members[2], station, again.number, answers=True)
        newer.say(RecordKind.OFFER, payload=answer)
        failure = (await attempt)[PathKind.PUNCHED]
        assert "the peer sees no address" in str(failure)


async def test_a_link_that_is_over_is_not_punched_for(station: Station, peer: Intruder) -> None:
    (carrier,) = carriers(station)
    carrier.fail(None)

    assert await station.board.ways.punch(carrier) == {}
    assert puncher(station)._talks == {}
