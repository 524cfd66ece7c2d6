"""A node finds out how it is seen and who comes in, over real sockets on loopback: STUN, links, TLS."""

import asyncio
import errno
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from nat import stun
from nat.answering import ANSWERS_PER_S
from nat.behaviour import NatClass
from nat.endpoint import Endpoint
from node.communication.reach import DialedOut, Fact, Knocked, NatKnown
from node.effects import DialOut, ProbeNat
from node.runtime import tls
from node.runtime.dialling_back import DIAL_S, dial_back
from node.runtime.outlook import Outlook
from node.runtime.packets import Packets, bind
from protocol.errors import ErrorCode, ErrorInfo
from protocol.limits import PACKET_BYTES_MAX
from protocol.members import Packet
from protocol.messages import DialBack, DialedBack, Knock
from protocol.paths import Filtering, Mapping
from tests.node.runtime.sealed import sealer
from tests.node.runtime.small_mesh import Member
from tests.node.runtime.stations import Asked, Station, Waiting, listen, three_members, tls_station

TOKEN = b"0123456789ab"


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    return three_members(tmp_path_factory.mktemp("members"))


@dataclass(slots=True)
class Hearing(Waiting):
    """What the packets and the outlook of one node tell."""

    facts: list[Fact] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        Waiting.__init__(self)

    def packet(self, peer: str, packet: Packet) -> None:
        raise AssertionError("nobody seals a packet here")

    def packet_dropped(self, why: str) -> None:
        self.dropped.append(why)
        self.changed()

    def tell(self, fact: Fact) -> None:
        self.facts.append(fact)
        self.changed()

    def known(self) -> NatKnown | None:
        return next((one for one in reversed(self.facts) if isinstance(one, NatKnown)), None)


@dataclass(slots=True)
class House:
    """One node: a switchboard that is dialled by TLS, packets on the same host, and an outlook."""

    host: str
    member: Member
    station: Station
    packets: Packets
    outlook: Outlook
    hearing: Hearing

    @property
    def udp(self) -> str:
        return f"{self.host}:{self.packets.port}"

    def does_favours(self) -> None:
        """As a Node that grants everything."""

        def asked(one: Asked) -> None:
            back = one.header.request
            assert isinstance(back, DialBack)
            self.outlook.carry_out(DialOut(one.number, one.peer, back.addresses, back.knocks))

        def told(fact: Fact) -> None:
            if isinstance(fact, DialedOut):
                self.station.board.reply(fact.request, fact.outcome, None)

        self.station.ear.on_asked = asked
        self.outlook.tell = told


@pytest.fixture
async def houses(members: list[Member]) -> AsyncIterator[list[House]]:
    """Three, of which the first has dialled the others."""
    async with AsyncExitStack() as stack:
        hosts = [f"127.0.0.{number}" for number in (1, 2, 3)]
        opened = [await _house(*one, stack) for one in zip(hosts, members, strict=True)]
        first, *others = opened
        for other in others:
            first.station.board.dial((other.station.address,), other.station.id)
            await first.station.up(other.station)
            other.does_favours()
        yield opened


async def _house(host: str, member: Member, stack: AsyncExitStack) -> House:
    station, hearing = tls_station(member), Hearing()
    await listen(station, member)
    packets = Packets(await bind(host, 0), sealer("anna").sealing, hearing)
    outlook = Outlook(
        station.board, partial(tls.client_context, member.membership), tell=hearing.tell
    )
    outlook.speak_stun(packets, await bind(host, 0))
    stack.push_async_callback(station.board.close, "the test is over")
    stack.push_async_callback(packets.close)
    stack.push_async_callback(outlook.close)
    return House(host, member, station, packets, outlook, hearing)


@pytest.fixture
def asker() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.setblocking(False)
        yield one


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def _answer(asker: socket.socket) -> stun.Message:
    async with asyncio.timeout(5):
        return stun.parse(await asyncio.get_running_loop().sock_recv(asker, 2000))


# -- STUN on the port of packets ---------------------------------------------------------------------


async def test_who_asks_is_told_from_where_it_is_seen_by_both_ports(
    houses: list[House], asker: socket.socket
) -> None:
    house = houses[1]
    asker.sendto(stun.request(TOKEN), (house.host, house.packets.port))
    first = await _answer(asker)
    assert first.other is not None
    asker.sendto(stun.request(TOKEN), (house.host, first.other.port))
    second = await _answer(asker)

    assert first.mapped == second.mapped == Endpoint(*asker.getsockname())
    assert second.other == Endpoint("0.0.0.0", house.packets.port)
    assert house.packets.counters["stun_answered"] == 2


async def test_an_ipv4_asker_at_a_socket_for_both_families_is_told_an_ipv4_address(
    members: list[Member], asker: socket.socket
) -> None:
    hearing = Hearing()
    packets = Packets(await bind("", 0), sealer("anna").sealing, hearing)
    outlook = Outlook(
        tls_station(members[0]).board,
        partial(tls.client_context, members[0].membership),
        hearing.tell,
    )
    outlook.speak_stun(packets, await bind("", 0))
    asker.sendto(stun.request(TOKEN), ("127.0.0.1", packets.port))

    answer = await _answer(asker)

    assert answer.mapped == Endpoint(*asker.getsockname())
    await outlook.close()
    await packets.close()


async def test_nonsense_on_both_ports_is_counted_and_unanswered(
    houses: list[House], asker: socket.socket
) -> None:
    house = houses[1]
    asker.sendto(stun.request(TOKEN), (house.host, house.packets.port))
    other = (await _answer(asker)).other
    assert other is not None
    for first in range(4):
        asker.sendto(bytes([first]) * 40, (house.host, house.packets.port))
        asker.sendto(bytes([first]) * 40, (house.host, other.port))
    asker.sendto(b"\4" * 40, (house.host, house.packets.port))
    asker.sendto(b"", (house.host, house.packets.port))
    asker.sendto(bytes(PACKET_BYTES_MAX + 50), (house.host, house.packets.port))

    await house.hearing.until(lambda: len(house.hearing.dropped) == 2)
    asker.sendto(stun.request(TOKEN), (house.host, house.packets.port))
    await _answer(asker)

    assert house.packets.counters["stun_answered"] == 2
    assert house.packets.counters["stun.nonsense"] == 9


async def test_a_flood_is_answered_no_more_often_than_the_limit(
    houses: list[House], asker: socket.socket
) -> None:
    began = time.monotonic()
    for _ in range(300):
        asker.sendto(stun.request(TOKEN), (houses[1].host, houses[1].packets.port))
        await asyncio.sleep(0)
    answers = 0
    try:
        async with asyncio.timeout(0.3):
            while True:
                await asyncio.get_running_loop().sock_recv(asker, 2000)
                answers += 1
    except TimeoutError:
        pass

    at_once = ANSWERS_PER_S
    assert at_once <= answers <= at_once + ANSWERS_PER_S * (time.monotonic() - began)


# -- our own NAT -------------------------------------------------------------------------------------


async def test_on_loopback_a_node_finds_that_all_is_open(houses: list[House]) -> None:
    first, second, third = houses
    servers = ((second.station.id, (second.udp,)), (third.station.id, (third.udp,)))
    began = time.monotonic()

    first.outlook.carry_out(ProbeNat(servers))
    await first.hearing.until(lambda: (known := first.hearing.known()) and known.knowledge.ipv4)
    took_s = time.monotonic() - began
    await first.hearing.until(
        lambda: (
            (one := first.hearing.known())
            and one.knowledge.ipv4
            and one.knowledge.ipv4.filtering is not Filtering.UNKNOWN
        )
    )

    known = first.hearing.known()
    assert known is not None and known.knowledge.ipv4 is not None
    found = known.knowledge.ipv4
    assert found.mapping is Mapping.NONE
    assert found.mapped == (Endpoint("127.0.0.1", first.packets.port),)
    assert found.filtering is Filtering.INDEPENDENT
    assert found.nat is NatClass.OPEN
    assert (found.asked, found.answered) == (2, 2)
    assert took_s < 1.0


async def test_an_address_that_the_machine_would_not_choose_itself_is_no_nat(
    houses: list[House],
) -> None:
    """The third listens at 127.0.0.3; left to itself the machine would send from 127.0.0.1."""
    first, second, third = houses
    third.outlook.tell = third.hearing.tell

    third.outlook.carry_out(
        ProbeNat(((first.station.id, (first.udp,)), (second.station.id, (second.udp,))))
    )
    await third.hearing.until(third.hearing.known)

    known = third.hearing.known()
    assert known is not None and known.knowledge.ipv4 is not None
    assert known.knowledge.ipv4.mapping is Mapping.NONE


async def test_who_listens_at_443_too_is_asked_at_its_own_port(houses: list[House]) -> None:
    first, second, _ = houses

    first.outlook.carry_out(ProbeNat(((second.station.id, (f"{second.host}:443", second.udp)),)))
    await first.hearing.until(first.hearing.known)

    known = first.hearing.known()
    assert known is not None and known.knowledge.ipv4 is not None
    assert known.knowledge.ipv4.answered == 1


async def test_where_nobody_answers_udp_is_said_to_be_blocked_in_time(houses: list[House]) -> None:
    first, second, _ = houses
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        began = time.monotonic()
        first.outlook.carry_out(
            ProbeNat(((second.station.id, (f"127.0.0.1:{deaf.getsockname()[1]}",)),))
        )
        await first.hearing.until(first.hearing.known)

    known = first.hearing.known()
    assert known is not None and known.knowledge.ipv4 is not None
    assert known.knowledge.ipv4.nat is NatClass.BLOCKED
    assert time.monotonic() - began <= 1.5 + 0.5


async def test_a_machine_without_ipv6_looks_at_ipv4_alone(
    houses: list[House], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the kernel is booted with ipv6.disable=1: there no such socket can be made at all."""
    first, second, _ = houses

    class WithoutIPv6(socket.socket):
        def __init__(
            self, family: int = -1, kind: int = -1, proto: int = -1, fileno: int | None = None
        ) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, kind, proto, fileno)

    monkeypatch.setattr(socket, "socket", WithoutIPv6)

    first.outlook.carry_out(ProbeNat(((second.station.id, ("[2001:db8::1]:7879", second.udp)),)))
    await first.hearing.until(first.hearing.known)

    known = first.hearing.known()
    assert known is not None and known.knowledge.ipv4 is not None
    assert known.knowledge.ipv4.answered == 1


async def test_out_of_file_descriptors_a_look_goes_on_without_the_sockets_that_it_cannot_have(
    houses: list[House],
) -> None:
    first, second, third = houses
    servers = ((second.station.id, (second.udp,)), (third.station.id, (third.udp,)))
    wrong: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: wrong.append(context))
    first.outlook.carry_out(ProbeNat(servers))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        await first.hearing.until(first.hearing.known)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert first.packets.counters["stun.no_socket"] > 0
    assert wrong == []


async def test_no_socket_is_left_behind(houses: list[House]) -> None:
    first, second, third = houses
    before = _open_files()
    servers = ((second.station.id, (second.udp,)), (third.station.id, (third.udp,)))

    for _ in range(3):
        first.outlook.carry_out(ProbeNat(servers))
        await first.hearing.until(first.hearing.known)
        first.hearing.facts.clear()
    await first.outlook.close()

    # Its second port is closed too, which was open before.
    assert _open_files() == before - 1


# -- others ------------------------------------------------------------------------------------------


async def test_a_node_that_stops_begins_nothing_more(houses: list[House]) -> None:
    first, second, third = houses
    probe = ProbeNat(((second.station.id, (second.udp,)), (third.station.id, (third.udp,))))
    with socket.create_server(("127.0.0.1", 0)) as mute:
        dial_out = DialOut(1, second.station.id, (f"127.0.0.1:{mute.getsockname()[1]}",), ())
        first.outlook.carry_out(dial_out)
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(first.outlook.close())
        await asyncio.sleep(0)
        assert not closing.done(), "it waits for the dial to end"
        before = _open_files()
        first.outlook.carry_out(probe)
        first.outlook.carry_out(dial_out)
        await closing
        first.outlook.carry_out(dial_out)
        await asyncio.sleep(0)

    assert len(first.outlook._tasks) == 0
    assert first.outlook._looks == {}
    assert _open_files() < before


async def test_a_dial_back_finds_who_answers_where(houses: list[House]) -> None:
    first, second, third = houses
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = f"127.0.0.1:{mute.getsockname()[1]}"
        nobody = "127.0.0.1:9"
        mine, theirs = first.station.address, third.station.address
        knock = Knock(first.udp, TOKEN, alternate=True)

        asked = first.station.ask(
            second.station, DialBack(addresses=(mine, theirs, nobody, silent), knocks=(knock,))
        )
        answer = await asked.answer()

    assert answer == DialedBack(reached=(mine,), missed=(theirs, nobody, silent), sent=(TOKEN,))
    await first.hearing.until(lambda: Knocked(TOKEN) in first.hearing.facts)


async def test_who_has_no_file_descriptor_left_says_nothing_of_the_address(
    houses: list[House], members: list[Member]
) -> None:
    context = tls.client_context(members[0].membership)
    station = houses[1].station
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        found = await dial_back(station.id, (station.address,), context)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert found == ((), ())


async def test_who_holds_on_to_the_connection_is_not_waited_for(houses: list[House]) -> None:
    _, second, third = houses
    context = tls.server_context(second.member.membership)
    held: list[socket.socket] = []

    def hold(listener: socket.socket) -> None:
        # One handshake, and then neither a word nor a goodbye.
        plain, _ = listener.accept()
        held.append(context.wrap_socket(plain, server_side=True))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        holding = asyncio.create_task(asyncio.to_thread(hold, listener))
        began = time.monotonic()
        client = tls.client_context(third.member.membership)
        reached, _ = await dial_back(second.station.id, (address,), client)
        await holding

    assert reached == (address,)
    assert time.monotonic() - began < DIAL_S
    held[0].close()


async def test_the_dial_back_leaves_no_link_and_no_complaint_behind(houses: list[House]) -> None:
    first, second, _ = houses

    asked = first.station.ask(second.station, DialBack(addresses=(first.station.address,)))
    await asked.answer()
    # What comes after it on the same loop finds all as it was.
    again = first.station.ask(second.station, DialBack(addresses=(first.station.address,)))
    await again.answer()

    assert set(first.station.ear.up) == {house.station.id for house in houses[1:]}
    assert first.station.ear.notes == []
    assert first.station.ear.down == []


async def test_a_knock_comes_from_the_second_port_where_that_is_asked(
    houses: list[House], asker: socket.socket
) -> None:
    first, second, _ = houses
    host, port = asker.getsockname()
    sources = []
    for alternate in (False, True):
        knock = Knock(f"{host}:{port}", TOKEN, alternate)
        await first.station.ask(second.station, DialBack(knocks=(knock,))).answer()
        # It was sent before the answer, and loopback delivers at once.
        datagram, source = asker.recvfrom(100)
        assert stun.parse(datagram) == stun.Message(stun.Kind.INDICATION, TOKEN)
        sources.append(source[1])

    assert sources[0] == second.packets.port
    assert sources[1] != second.packets.port


async def test_a_knock_that_does_not_leave_is_not_told_as_sent(houses: list[House]) -> None:
    """Else who asked for it would take his own router for one that lets nothing in."""
    first, second, _ = houses
    for to in ("[2001:db8::1]:9", "255.255.255.255:9"):
        for alternate in (False, True):
            asked = DialBack(knocks=(Knock(to, TOKEN, alternate),))

            answer = await first.station.ask(second.station, asked).answer()

            assert answer == DialedBack(sent=()), "its sockets are of IPv4, and do not broadcast"


def _refuse(house: House, asked: Asked) -> None:
    error = ErrorInfo(code=ErrorCode.BAD_REQUEST, reason="an older version")
    house.station.board.refuse(asked.number, error)


async def test_a_member_that_refuses_leaves_the_filter_unknown(houses: list[House]) -> None:
    first, second, third = houses
    for house in (second, third):
        house.station.ear.on_asked = partial(_refuse, house)
    servers = ((second.station.id, (second.udp,)), (third.station.id, (third.udp,)))

    first.outlook.carry_out(ProbeNat(servers))
    await first.hearing.until(first.hearing.known)
    await asyncio.sleep(0.3)

    known = first.hearing.known()
    assert known is not None and known.knowledge.ipv4 is not None
    assert known.knowledge.ipv4.filtering is Filtering.UNKNOWN
