"""Packets over real sockets: who is heard, where answers go, and that nothing that goes wrong is more than a number."""

import asyncio
import errno
import random
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from functools import partial

import pytest

from node.runtime.packets import READS_MAX, Packets, bind
from node.runtime.whereabouts import ALONE_EACH, UNANSWERED_MAX, Detour
from protocol.codec import encode_packet
from protocol.ids import MeshId, NodeId, key_digest
from protocol.limits import PACKET_BYTES_MAX
from protocol.members import Ack, Alive, Gossip, MemberRecord, Packet, Ping
from tests.node.runtime.sealed import Sealer, key_pair, sealer
from tests.node.runtime.stations import Waiting

IP_RECVERR = 11
"""Linux; lets the network's errors be told at a socket that is not connected."""
NOWHERE = ("127.0.0.1:9",)


class Place(Waiting):
    """One node's UDP side, what it has heard, and why it dropped the rest."""

    def __init__(self, who: Sealer, bound: socket.socket) -> None:
        super().__init__()
        self.who = who
        self.socket = bound
        self.heard: list[tuple[NodeId, Packet]] = []
        self.dropped: list[str] = []
        self.packets = Packets(bound, who.sealing, self)

    @property
    def addresses(self) -> tuple[str, ...]:
        return (f"127.0.0.1:{self.packets.port}",)

    async def has_heard(self, count: int) -> list[tuple[NodeId, Packet]]:
        await self.until(lambda: len(self.heard) >= count)
        return self.heard

    async def has_dropped(self, count: int) -> list[str]:
        await self.until(lambda: len(self.dropped) >= count)
        return self.dropped

    def packet(self, peer: NodeId, packet: Packet) -> None:
        self.heard.append((peer, packet))
        self.changed()

    def packet_dropped(self, why: str) -> None:
        self.dropped.append(why)
        self.changed()


class Places:
    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def open(self, name: str, *friends: str, host: str = "127.0.0.1") -> Place:
        place = Place(sealer(name, *friends), await bind(host, 0))
        self._stack.push_async_callback(place.packets.close)
        return place

    async def pair(self) -> tuple[Place, Place]:
        return await self.open("anna", "bert"), await self.open("bert", "anna")

    async def close(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def places() -> AsyncIterator[Places]:
    opened = Places()
    yield opened
    await opened.close()


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        yield one


async def test_a_packet_arrives_with_the_name_of_its_sender(places: Places) -> None:
    anna, bert = await places.pair()

    anna.packets.send(bert.who.id, bert.addresses, Ping(7))

    assert await bert.has_heard(1) == [(anna.who.id, Ping(7))]
    assert anna.packets.counters["sent"] == bert.packets.counters["received"] == 1


async def test_an_answer_goes_where_the_question_came_from(places: Places) -> None:
    anna, bert = await places.pair()
    anna.packets.send(bert.who.id, bert.addresses, Ping(1))
    await bert.has_heard(1)

    bert.packets.send(anna.who.id, NOWHERE, Ack(1))

    assert await anna.has_heard(1) == [(bert.who.id, Ack(1))]


async def test_who_has_moved_is_answered_at_its_new_address(places: Places) -> None:
    anna, bert = await places.pair()
    anna.packets.send(bert.who.id, bert.addresses, Ping(1))
    await bert.has_heard(1)
    moved = Place(anna.who, await bind("127.0.0.1", 0))

    moved.packets.send(bert.who.id, bert.addresses, Ping(2))
    await bert.has_heard(2)
    bert.packets.send(anna.who.id, NOWHERE, Ack(2))

    assert await moved.has_heard(1) == [(bert.who.id, Ack(2))]
    await moved.packets.close()


async def test_who_answers_no_more_is_sought_at_its_recorded_addresses(places: Places) -> None:
    anna, bert = await places.pair()
    passing = Place(anna.who, await bind("127.0.0.1", 0))
    passing.packets.send(bert.who.id, bert.addresses, Ping(1))
    await bert.has_heard(1)
    await passing.packets.close()

    for number in range(3):
        bert.packets.send(anna.who.id, anna.addresses, Ping(number))

    assert await anna.has_heard(1) == [(bert.who.id, Ping(2))]


async def test_all_likely_addresses_are_tried_and_one_copy_is_heard(places: Places) -> None:
    anna, bert = await places.pair()

    anna.packets.send(bert.who.id, ("127.0.0.1:9", *bert.addresses, "localhost:9"), Ping(1))
    anna.packets.send(bert.who.id, 2 * bert.addresses, Ping(2))

    assert await bert.has_heard(2) == [(anna.who.id, Ping(1)), (anna.who.id, Ping(2))]
    assert anna.packets.counters["sent"] == 3


async def test_a_name_is_looked_up_beside_the_loop(places: Places) -> None:
    anna, bert = await places.pair()
    address = (f"localhost:{bert.packets.port}",)

    anna.packets.send(bert.who.id, address, Ping(1))
    assert anna.packets.counters["send.no_way"] == 1, "it does not wait"
    while not anna.packets.counters["sent"]:
        await asyncio.sleep(0.01)
        anna.packets.send(bert.who.id, address, Ping(2))

    assert await bert.has_heard(1) == [(anna.who.id, Ping(2))]


@pytest.mark.parametrize(
    "address", ["", "nonsense", "no.such.host.invalid:7879", "a\0b:1", "127.0.0.1:0", "[::1]:9"]
)
async def test_an_address_that_leads_nowhere_is_counted(places: Places, address: str) -> None:
    anna, bert = await places.pair()

    anna.packets.send(bert.who.id, (address,), Ping(1))

    assert anna.packets.counters == {"send.no_way": 1}


@pytest.mark.parametrize("host", ["::", "::1", ""])
async def test_packets_pass_over_ipv6_too(places: Places, host: str) -> None:
    anna = await places.open("anna", "bert", host=host)
    bert = await places.open("bert", "anna", host=host)

    anna.packets.send(bert.who.id, (f"[::1]:{bert.packets.port}",), Ping(1))
    await bert.has_heard(1)
    bert.packets.send(anna.who.id, (), Ack(1))

    assert await anna.has_heard(1) == [(bert.who.id, Ack(1))]


async def test_one_socket_for_all_interfaces_speaks_both_languages(places: Places) -> None:
    anna = await places.open("anna", "bert", host="")
    bert = await places.open("bert", "anna", host="127.0.0.1")

    anna.packets.send(bert.who.id, bert.addresses, Ping(1))
    await bert.has_heard(1)
    bert.packets.send(anna.who.id, (), Ack(1))

    assert await anna.has_heard(1) == [(bert.who.id, Ack(1))]


# -- what goes wrong ---------------------------------------------------------------------------------


async def test_a_packet_that_is_too_large_stays_here(places: Places) -> None:
    anna, bert = await places.pair()
    record = MemberRecord(anna.who.key, 1, 1, tuple("x" * 256 for _ in range(5)))

    anna.packets.send(bert.who.id, bert.addresses, Gossip((Alive(record),)))

    assert anna.packets.counters == {"send.too_large": 1}


async def test_nothing_is_sent_to_whom_we_do_not_know(places: Places) -> None:
    anna, bert = await places.pair()

    anna.packets.send(sealer("carl").id, bert.addresses, Ping(1))

    assert anna.packets.counters == {"send.no_key": 1}


async def test_a_closed_port_over_there_is_counted(places: Places) -> None:
    anna, bert = await places.pair()
    anna.socket.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        gone = (f"127.0.0.1:{closed.getsockname()[1]}",)

    anna.packets.send(bert.who.id, gone, Ping(1))
    anna.packets._read()
    assert anna.packets.counters["receive.refused"] == 1
    anna.packets.send(bert.who.id, bert.addresses, Ping(2))

    assert await bert.has_heard(1) == [(anna.who.id, Ping(2))]


async def test_a_network_out_of_reach_is_counted(places: Places) -> None:
    """Who is bound to loopback has no way out of the machine."""
    anna, bert = await places.pair()

    anna.packets.send(bert.who.id, ("192.0.2.1:9",), Ping(1))

    assert anna.packets.counters == {"send.failed": 1}


@pytest.mark.parametrize(
    ("code", "counted"),
    [
        (errno.ENETUNREACH, "send.unreachable"),
        (errno.EHOSTUNREACH, "send.unreachable"),
        (errno.EAGAIN, "send.buffer_full"),
        (errno.ENOBUFS, "send.buffer_full"),
        (errno.EPERM, "send.failed"),
    ],
)
async def test_what_the_kernel_says_is_counted(places: Places, code: int, counted: str) -> None:
    anna, bert = await places.pair()
    bound = Refusing(OSError(code, "no"))
    packets = Packets(bound, anna.who.sealing, anna)

    packets.send(bert.who.id, bert.addresses, Ping(1))
    await packets.close()

    assert packets.counters == {counted: 1}


class Refusing(socket.socket):
    """A socket whose kernel takes nothing."""

    def __init__(self, error: OSError) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.setblocking(False)
        self._error = error

    def sendto(self, *arguments: object) -> int:
        raise self._error


async def test_a_datagram_larger_than_any_is_counted(places: Places) -> None:
    anna, bert = await places.pair()

    anna.packets._transmit(bytes(70_000), ("127.0.0.1", bert.packets.port))

    assert anna.packets.counters == {"send.too_large": 1}


async def test_what_overflows_the_buffer_is_lost_and_the_rest_is_heard(places: Places) -> None:
    anna, bert = await places.pair()
    bert.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)

    for number in range(1_000):
        anna.packets.send(bert.who.id, bert.addresses, Ping(number))
    await bert.has_heard(1)
    anna.packets.send(bert.who.id, bert.addresses, Ping(1_000))
    await bert.until(lambda: bert.heard[-1][1] == Ping(1_000))

    assert anna.packets.counters["sent"] == 1_001
    assert 2 <= len(bert.heard) < 1_000


async def test_a_flood_leaves_the_loop_time_for_others(places: Places) -> None:
    anna, bert = await places.pair()
    for number in range(READS_MAX + 1):
        anna.packets.send(bert.who.id, bert.addresses, Ping(number))

    bert.packets._read()

    assert len(bert.heard) == READS_MAX
    await bert.has_heard(READS_MAX + 1)


# -- who is not heard --------------------------------------------------------------------------------


async def test_strangers_and_forgers_are_told_apart_and_not_answered(
    places: Places, stranger: socket.socket
) -> None:
    anna, bert = await places.pair()
    good = anna.who.sealing.seal(bert.who.id, encode_packet(Ping(1)))
    assert good is not None
    abroad = sealer("anna", "bert", incarnation=1_900_000_000, mesh=MeshId("4e" * 32))
    other_mesh = abroad.sealing.seal(bert.who.id, b"")
    nonsense = anna.who.sealing.seal(bert.who.id, b"\xc1")
    unknown = sealer("carl", "bert").sealing.seal(bert.who.id, b"")
    assert other_mesh and nonsense and unknown
    told = {
        "short": good[:61],
        "long": good + bytes(PACKET_BYTES_MAX),
        "foreign": b"\0" + good[1:],
        "version": good[:1] + b"\2" + good[2:],
        "unknown": unknown,
        "nonsense": nonsense,
        "forged": other_mesh,
    }

    for datagram in (good, *told.values(), good):
        stranger.sendto(datagram, ("127.0.0.1", bert.packets.port))

    assert await bert.has_dropped(8) == [*told, "replayed"]
    assert bert.heard == [(anna.who.id, Ping(1))]
    assert bert.packets.counters["sent"] == 0
    stranger.setblocking(False)
    with pytest.raises(BlockingIOError):
        stranger.recv(1)


async def test_a_late_packet_does_not_move_its_sender(
    places: Places, stranger: socket.socket
) -> None:
    """Whoever holds a packet back and sends it on later must not draw the answers to himself."""
    anna, bert = await places.pair()
    held_back = anna.who.sealing.seal(bert.who.id, encode_packet(Ping(1)))
    assert held_back is not None
    anna.packets.send(bert.who.id, bert.addresses, Ping(2))
    await bert.has_heard(1)

    stranger.sendto(held_back, ("127.0.0.1", bert.packets.port))
    await bert.has_heard(2)
    bert.packets.send(anna.who.id, NOWHERE, Ack(1))

    assert await anna.has_heard(1) == [(bert.who.id, Ack(1))]


async def test_twenty_thousand_bad_datagrams_leave_no_trace_but_numbers(
    places: Places, stranger: socket.socket
) -> None:
    dice = random.Random(20_261_121)
    anna, bert = await places.pair()
    address = ("127.0.0.1", bert.packets.port)
    seal = partial(anna.who.sealing.seal, bert.who.id)
    good = [seal(encode_packet(Ping(n))) or b"" for n in range(60)]
    good += [seal(dice.randbytes(dice.randrange(64))) or b"" for _ in range(60)]
    before_kib = 0

    for number in range(20_000):
        datagram = _bad(dice, dice.choice(good))
        stranger.sendto(datagram, address)
        if number % READS_MAX == READS_MAX - 1:
            await asyncio.sleep(0)
        if number == 2_000:
            before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    anna.packets.send(bert.who.id, bert.addresses, Ping(99))
    await bert.until(lambda: bool(bert.heard) and bert.heard[-1][1] == Ping(99))

    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    counters = bert.packets.counters
    assert counters["received"] == len(bert.heard) + len(bert.dropped) > 10_000
    assert counters["sent"] == 0
    assert {why.removeprefix("dropped.") for why in counters if "dropped" in why} <= set(
        bert.dropped
    )
    assert grown_kib < 4_096


def _bad(dice: random.Random, good: bytes) -> bytes:
    """Noise, or a good packet that was cut, lengthened, or changed in one place."""
    match dice.randrange(5):
        case 0:
            return dice.randbytes(dice.randrange(1_400))
        case 1:
            return good[: dice.randrange(len(good))]
        case 2:
            return good + dice.randbytes(dice.randrange(1, 1_400))
        case 3:
            return b"\x0a\x01" + key_digest(key_pair("bert").key) + dice.randbytes(60)
        case _:
            at = dice.randrange(len(good))
            return good[:at] + bytes((good[at] ^ 1 << dice.randrange(8),)) + good[at + 1 :]


@pytest.mark.parametrize("detour", Detour)
async def test_whom_no_packet_reaches_is_sent_them_along_its_link(
    places: Places, detour: Detour
) -> None:
    here, there = await places.pair()
    went: list[bytes] = []

    def take(peer: NodeId, datagram: bytes, in_doubt: bool) -> Detour:
        went.append(datagram)
        return detour

    here.packets.detour = take
    here.packets.send(there.who.id, ("192.0.2.1:7879",), Ping(1))
    (datagram,) = went

    assert there.packets.arrived(datagram, detour) == here.who.id
    assert await there.has_heard(1) == [(here.who.id, Ping(1))]
    assert here.packets.counters["sent"] == there.packets.counters["received"] == 0
    assert here.packets.counters[f"sent_{detour}"] == 1
    assert there.packets.counters[f"received_{detour}"] == 1
    there.packets.detour = lambda *packet: None
    there.packets.send(here.who.id, (), Ping(2))
    assert there.packets.counters["send.no_way"] == 1, (
        "such a packet says nothing of where its sender is"
    )


async def test_a_packet_is_heard_once_whatever_ways_its_copies_take(places: Places) -> None:
    here, there = await places.pair()

    def twice(peer: NodeId, datagram: bytes, in_doubt: bool) -> Detour:
        assert there.packets.arrived(datagram, Detour.PUNCHED) == here.who.id
        assert there.packets.arrived(datagram, Detour.LINK) is None
        return Detour.PUNCHED

    here.packets.detour = twice
    here.packets.send(there.who.id, there.addresses, Ping(1))

    assert there.dropped == ["replayed"]
    assert there.heard == [(here.who.id, Ping(1))]


class Hole:
    """Between two places; the one that sends notes whether it was in doubt of it."""

    def __init__(self, near: Place, far: Place) -> None:
        self.is_open = True
        self.is_slow = False
        """The other way is faster."""
        self.doubts: dict[Place, list[bool]] = {near: [], far: []}
        for here, there in ((near, far), (far, near)):
            here.packets.detour = partial(self._take, here, there)

    def _take(
        self, here: Place, there: Place, peer: NodeId, datagram: bytes, in_doubt: bool
    ) -> Detour:
        self.doubts[here].append(in_doubt)
        ways = [Detour.PUNCHED] * self.is_open + [Detour.LINK] * in_doubt
        for way in reversed(ways) if self.is_slow else ways:
            there.packets.arrived(datagram, way)
        return Detour.PUNCHED


async def test_a_hole_is_doubted_until_something_came_through_and_when_nothing_comes_any_more(
    places: Places,
) -> None:
    near, far = await places.pair()
    hole = Hole(near, far)

    def ping(count: int) -> list[bool]:
        """Whether the one that pings, and the one that answers, were in doubt."""
        for number in range(count):
            near.packets.send(far.who.id, (), Ping(number))
        said = hole.doubts[near]
        hole.doubts[near] = []
        return said

    def answer() -> list[bool]:
        far.packets.send(near.who.id, (), Ack(1))
        said = hole.doubts[far]
        hole.doubts[far] = []
        return said

    assert (ping(1), answer()) == ([True], [False])
    assert ping(UNANSWERED_MAX) == [False] * UNANSWERED_MAX
    assert (ping(1), answer()) == ([True], [False])

    hole.is_open = False
    assert ping(UNANSWERED_MAX + 1) == [False] * UNANSWERED_MAX + [True]
    # Who is asked by the link answers so at once.
    assert answer() == [True]
    assert len(near.heard) == 3

    hole.is_open = True
    assert (ping(1), answer(), ping(1)) == ([True], [False], [False])


async def test_a_hole_that_is_merely_slower_than_another_way_is_not_doubted_for_long(
    places: Places,
) -> None:
    near, far = await places.pair()
    hole = Hole(near, far)
    hole.is_slow = True

    for number in range(2 * ALONE_EACH):
        near.packets.send(far.who.id, (), Ping(number))
        far.packets.send(near.who.id, (), Ack(number))

    assert hole.doubts[near][0]
    assert not any(doubts[-1] for doubts in hole.doubts.values())
    assert len(near.heard) == len(far.heard) == 2 * ALONE_EACH


async def test_where_a_peer_was_heard_is_still_known_after_a_packet_that_took_a_detour(
    places: Places,
) -> None:
    here, there = await places.pair()
    there.packets.send(here.who.id, here.addresses, Ping(1))
    await here.has_heard(1)
    detoured = there.who.sealing.seal(here.who.id, encode_packet(Ping(2)))
    assert detoured is not None
    here.packets.arrived(detoured, Detour.PUNCHED)

    here.packets.send(there.who.id, (), Ping(3))

    assert await there.has_heard(1) == [(here.who.id, Ping(3))]


async def test_whom_packets_reach_is_not_sent_them_over_a_link(places: Places) -> None:
    here, there = await places.pair()
    there.packets.send(here.who.id, here.addresses, Ping(1))
    await here.has_heard(1)
    here.packets.detour = lambda *packet: pytest.fail("it has just been heard")
    here.packets.send(there.who.id, (), Ping(2))

    assert await there.has_heard(1) == [(here.who.id, Ping(2))]
