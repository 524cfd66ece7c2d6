"""Where a path goes as its peer turns up elsewhere. The sockets are real, the checks are answered by the test."""

import asyncio
from typing import cast

import pytest

from nat.candidates import UNVERIFIED_PACKETS_MAX, Budget, CheckRate
from nat.datagrams import Address, Datagrams, bind
from nat.path_keeper import UNANSWERED_MAX
from nat.punched import KNOWN_MAX, RECHECK_S, OnAnswer, PunchedPath, Way

PEER: Address = ("203.0.113.1", 4000)
MOVED: Address = ("203.0.113.1", 5000)
VICTIM: Address = ("203.0.113.99", 53)
OWN = b"\x40its own"
FOREIGN = b"\x40foreign"
SEALED = b"\x0asealed by the peer"


class Hearer:
    """Knows its own datagrams by their looks."""

    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self.reasons: list[str] = []

    def owns(self, datagram: bytes) -> bool:
        return datagram == OWN

    def heard(self, buffer: bytes, segment: int) -> None:
        self.datagrams.append(buffer)

    def writable(self) -> None: ...

    def answered(self) -> None: ...

    def lost(self, reason: str) -> None:
        self.reasons.append(reason)


class Scene:
    """One path, and the checks that it has sent."""

    def __init__(self, *, dialled: bool) -> None:
        self.socket = Datagrams(bind("127.0.0.1"), lambda buffer, segment, sender: None)
        self.checks: list[tuple[Way, OnAnswer]] = []
        self.hearer = Hearer()
        now = asyncio.get_running_loop().time()
        home = self.at(PEER)
        self.path = PunchedPath(
            home,
            {home, self.at(("203.0.113.2", 4000))},
            Budget(CheckRate(now), "peer"),
            lambda way, on_answer: self.checks.append((way, on_answer)),
            dialled=dialled,
        )
        self.path.listen(self.hearer)
        self.path.on_packet = self._opens
        self.packets: list[bytes] = []
        self.checks.clear()

    def at(self, remote: Address) -> Way:
        return Way(self.socket, remote)

    def close(self) -> None:
        self.path.close()
        self.socket.close()

    def _opens(self, datagram: bytes) -> bool:
        self.packets.append(datagram)
        return datagram == SEALED


class Ahead:
    """A loop on whose clock it is later."""

    def __init__(self, now: float) -> None:
        self.time = lambda: now
        self.call_at = asyncio.get_running_loop().call_at


@pytest.mark.parametrize("dialled", [True, False])
async def test_a_peer_that_turns_up_elsewhere_is_followed_once_it_has_answered(
    dialled: bool,
) -> None:
    scene = Scene(dialled=dialled)

    scene.path.came(scene.at(MOVED), OWN, 100)
    assert scene.hearer.datagrams == [OWN]
    assert scene.path.remote == PEER
    ((way, on_answer),) = scene.checks
    assert way.remote == MOVED
    on_answer()

    assert scene.path.remote == MOVED
    scene.close()


async def test_of_ways_that_both_know_the_dialler_chooses_and_the_listener_follows() -> None:
    dialler, listener = Scene(dialled=True), Scene(dialled=False)

    for one in (dialler, listener):
        one.path.came(one.at(("203.0.113.2", 4000)), OWN, 100)

    assert dialler.path.remote == PEER
    assert listener.path.remote == ("203.0.113.2", 4000)
    assert dialler.checks == listener.checks == []
    dialler.close()
    listener.close()


async def test_what_nobody_of_the_connection_can_have_written_is_dropped() -> None:
    scene = Scene(dialled=False)

    scene.path.came(scene.at(MOVED), FOREIGN, 100)

    assert scene.hearer.datagrams == []
    assert scene.checks == []
    scene.close()


async def test_packets_beside_quic_are_handed_to_whoever_opens_them_and_not_to_quic() -> None:
    scene = Scene(dialled=True)

    scene.path.packet_came(scene.at(PEER), SEALED)
    scene.path.packet_came(scene.at(MOVED), FOREIGN)

    assert scene.packets == [SEALED, FOREIGN]
    assert scene.hearer.datagrams == []
    scene.close()


@pytest.mark.parametrize("dialled", [True, False])
async def test_a_peer_whose_packets_come_from_elsewhere_is_followed_once_it_has_answered(
    dialled: bool,
) -> None:
    scene = Scene(dialled=dialled)

    scene.path.packet_came(scene.at(MOVED), SEALED)
    assert scene.path.remote == PEER
    ((way, on_answer),) = scene.checks
    assert way.remote == MOVED
    on_answer()

    assert scene.path.remote == MOVED
    scene.close()


async def test_by_packets_too_the_dialler_chooses_among_known_ways_and_the_listener_follows() -> (
    None
):
    dialler, listener = Scene(dialled=True), Scene(dialled=False)

    for one in (dialler, listener):
        one.path.packet_came(one.at(("203.0.113.2", 4000)), SEALED)

    assert dialler.path.remote == PEER
    assert listener.path.remote == ("203.0.113.2", 4000)
    assert dialler.checks == listener.checks == []
    dialler.close()
    listener.close()


async def test_what_the_peer_has_not_sealed_makes_us_ask_nobody_and_is_no_sign_of_life() -> None:
    scene = Scene(dialled=False)
    due = scene.path._deadline()
    await asyncio.sleep(0.01)

    scene.path.packet_came(scene.at(MOVED), FOREIGN)
    scene.path.packet_came(scene.at(PEER), FOREIGN)
    assert scene.checks == [] and scene.path._deadline() == due

    scene.path.packet_came(scene.at(PEER), SEALED)
    assert scene.path._deadline() > due
    scene.close()


async def test_packets_that_cross_in_both_directions_put_off_the_next_check() -> None:
    scene = Scene(dialled=True)
    due = scene.path._deadline()
    await asyncio.sleep(0.01)

    scene.path.send([SEALED])
    assert scene.path._deadline() == due, "the peer's NAT may forget us"
    scene.path.packet_came(scene.at(PEER), SEALED)

    assert scene.path._deadline() > due
    scene.close()


async def test_who_repeats_our_datagrams_from_a_forged_address_makes_us_send_little_there() -> None:
    scene = Scene(dialled=True)

    for _ in range(2 * UNVERIFIED_PACKETS_MAX):
        for _ in range(10):
            scene.path.came(scene.at(VICTIM), OWN, 100)
        scene.path._checked_at.clear()  # as after a pause of RECHECK_S

    assert len(scene.checks) == UNVERIFIED_PACKETS_MAX
    assert scene.path.remote == PEER
    scene.close()


async def test_an_address_is_not_asked_twice_in_a_moment() -> None:
    scene = Scene(dialled=True)

    for _ in range(10):
        scene.path.came(scene.at(MOVED), OWN, 100)
    assert len(scene.checks) == 1
    await asyncio.sleep(RECHECK_S * 1.2)
    scene.path.came(scene.at(MOVED), OWN, 100)

    assert len(scene.checks) == 2
    scene.close()


async def test_a_peer_that_asks_from_elsewhere_is_asked_back() -> None:
    scene = Scene(dialled=False)

    scene.path.asked(scene.at(MOVED))
    ((_, on_answer),) = scene.checks
    on_answer()

    assert scene.path.remote == MOVED
    scene.close()


async def test_of_ever_more_ways_few_are_remembered() -> None:
    scene = Scene(dialled=True)

    for port in range(10_000, 10_000 + 3 * KNOWN_MAX):
        scene.path.asked(scene.at((PEER[0], port)))
        scene.checks.pop()[1]()
        assert scene.path.remote == (PEER[0], port)

    assert len(scene.path._known) <= KNOWN_MAX
    assert scene.at(scene.path.remote) in scene.path._known
    scene.close()


async def test_a_path_that_is_found_dead_as_its_mapping_is_measured_is_lost_in_order() -> None:
    scene = Scene(dialled=True)
    for _ in range(UNANSWERED_MAX):
        scene.path._keeper.tick(scene.path._deadline())

    # The loop was held up, and the path's own timer is as late as this.
    scene.path._loop = cast(asyncio.AbstractEventLoop, Ahead(scene.path._deadline()))
    scene.path.keepalive(10.0)

    assert len(scene.hearer.reasons) == 1
    scene.socket.close()


async def test_a_closed_path_takes_and_sends_nothing_more() -> None:
    scene = Scene(dialled=True)
    closings: list[str] = []
    scene.path.on_closed = lambda: closings.append("once")
    scene.path.close()
    scene.path.close()

    scene.path.came(scene.at(PEER), OWN, 100)
    scene.path.packet_came(scene.at(PEER), SEALED)
    assert scene.path.send([b"late"]) == 1
    assert scene.hearer.datagrams == scene.packets == [] and closings == ["once"]
    scene.socket.close()
