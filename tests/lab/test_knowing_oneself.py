"""A node behind each kind of router finds out what it is behind, from two public nodes, and in time."""

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from nat.behaviour import Behaviour, NatClass
from nat.endpoint import Endpoint
from nat.knocks import AskKnock
from nat.probe import Server
from node.runtime.look import Look
from node.runtime.packets import Packets, bind
from node.runtime.stunning import Stunning
from protocol.members import Packet
from tests.lab.kinds import SHORT_S, Kind
from tests.lab.lab import Lab
from tests.lab.plan import Host
from tests.node.runtime.sealed import sealer

START_S = 10.0
MAPPED_S = 2.5
"""How the NAT maps, or that nothing comes through, on a machine that is busy with other tests."""
KNOWN_S = 4.0
"""All but how long mappings live."""
LIVES_S = 40.0
"""Within which it is known that a mapping does not live for 30 s."""

FOUND = {
    Kind.OPEN: (NatClass.OPEN, None),
    Kind.FIREWALL: (NatClass.FIREWALL, None),
    Kind.FULL: (NatClass.FULL_CONE, False),
    Kind.ADDRESS: (NatClass.ADDRESS, False),
    Kind.PORT: (NatClass.PORT, False),
    Kind.RST: (NatClass.PORT, False),
    Kind.CGN: (NatClass.PORT, True),
    Kind.SAME_PREFIX: (NatClass.PORT, False),
    Kind.SYMMETRIC_RANDOM: (NatClass.SYMMETRIC, False),
    Kind.SYMMETRIC_SEQUENTIAL: (NatClass.SYMMETRIC, False),
    Kind.DUAL_STACK: (NatClass.SYMMETRIC, False),
    Kind.UDP_BLOCKED: (NatClass.BLOCKED, None),
    Kind.TLS_ONLY: (NatClass.BLOCKED, None),
    Kind.SHORT_LIVED: (NatClass.PORT, False),
    Kind.HAIRPIN: (NatClass.PORT, True),
}
"""By IPv4: the class, and whether the outside address leads back in."""
FOUND6 = {
    Kind.OPEN: NatClass.OPEN,
    Kind.DUAL_STACK: NatClass.FIREWALL,
    Kind.IPV6_ONLY: NatClass.FIREWALL,
}


class Deaf:
    """Nobody here seals packets."""

    def packet(self, peer: str, packet: Packet) -> None:
        raise AssertionError("a sealed packet came")

    def packet_dropped(self, why: str) -> None:
        raise AssertionError(f"a packet was dropped: {why}")


class PublicNode:
    """Answers on a public host, on a loop of its own: what is made in a thread stays in the namespace it is in."""

    def __init__(self, lab: Lab, host: Host) -> None:
        self.host = host
        self.port = 0
        self._lab = lab
        self._ready = threading.Event()
        # A daemon, lest one that does not come up keeps the whole run from ending.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(START_S), f"{host} does not answer"

    def server(self, family: socket.AddressFamily, local: str) -> Server:
        host = self.host.address if family == socket.AF_INET else self.host.address6
        return Server(self.host.name, Endpoint(host, self.port), local)

    def knock(self, ask: AskKnock) -> None:
        self._loop.call_soon_threadsafe(self._knock, ask)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def _knock(self, ask: AskKnock) -> None:
        self._stunning.knock(ask.to, ask.token, alternate=ask.alternate)

    def _run(self) -> None:
        with self._lab.on_host(self.host):
            asyncio.run(self._answer())

    async def _answer(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        packets = Packets(await bind("", 7879), sealer("anna").sealing, Deaf())
        self._stunning = Stunning(packets, await bind("", 0), lambda message: None)
        self.port = packets.port
        self._ready.set()
        await self._over.wait()
        self._stunning.close()
        await packets.close()


@dataclass(slots=True)
class Found:
    """What one host learnt, each with the seconds since it began."""

    told: list[tuple[float, Behaviour]]

    @property
    def last(self) -> Behaviour:
        return self.told[-1][1]


@pytest.fixture(scope="module")
def public(lab: Lab) -> Iterator[list[PublicNode]]:
    with contextlib.ExitStack() as kept:
        yield [
            kept.enter_context(contextlib.closing(PublicNode(lab, host))) for host in lab.publics
        ]


def look(
    lab: Lab,
    public: list[PublicNode],
    host: Host,
    family: socket.AddressFamily,
    seconds: float,
    enough: Callable[[Behaviour], bool] = lambda behaviour: False,
) -> Found:
    """From this host, for so long or until that is enough."""
    with lab.on_host(host):
        return asyncio.run(_look(public, host, family, seconds, enough))


async def _look(
    public: list[PublicNode],
    host: Host,
    family: socket.AddressFamily,
    seconds: float,
    enough: Callable[[Behaviour], bool],
) -> Found:
    found = Found([])
    over = asyncio.Event()
    looks: list[Look] = []
    packets = Packets(await bind("", 7879), sealer("bert").sealing, Deaf())
    stunning = Stunning(packets, await bind("", 0), lambda message: looks[0].heard(0, message))
    local = host.address if family == socket.AF_INET else host.address6
    servers = tuple(node.server(family, local) for node in public)

    def ask(asked: AskKnock, one: Look) -> None:
        next(node for node in public if node.host.name == asked.member).knock(asked)
        one.knock_ended(asked.token, sent=True)

    def learnt(behaviour: Behaviour) -> None:
        found.told.append((time.monotonic() - began, behaviour))
        if enough(behaviour):
            over.set()

    began = time.monotonic()
    looks.append(Look(servers, stunning, random.Random(1), ask=ask, learnt=learnt))
    looks[0].begin()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await over.wait()
    looks[0].close()
    stunning.close()
    await packets.close()
    return found


def test_each_kind_is_known_by_name_within_seconds(lab: Lab, public: list[PublicNode]) -> None:
    hosts = [lab.of(kind)[0] for kind in FOUND]
    with ThreadPoolExecutor(len(hosts)) as pool:
        found = pool.map(lambda host: look(lab, public, host, socket.AF_INET, KNOWN_S), hosts)
        told = dict(zip(FOUND, found, strict=True))

    assert {kind: (one.last.nat, one.last.hairpin) for kind, one in told.items()} == FOUND
    for kind, one in told.items():
        mapped_s, _ = one.told[0]
        assert mapped_s <= MAPPED_S, kind


def test_by_ipv6_there_is_no_nat_but_a_firewall(lab: Lab, public: list[PublicNode]) -> None:
    hosts = [lab.of(kind)[0] for kind in FOUND6]
    with ThreadPoolExecutor(len(hosts)) as pool:
        found = pool.map(lambda host: look(lab, public, host, socket.AF_INET6, KNOWN_S), hosts)

    assert dict(zip(FOUND6, (one.last.nat for one in found), strict=True)) == FOUND6


def test_the_short_life_of_mappings_is_measured(lab: Lab, public: list[PublicNode]) -> None:
    host = lab.of(Kind.SHORT_LIVED)[0]

    found = look(lab, public, host, socket.AF_INET, LIVES_S, lambda one: one.dead_s is not None)

    assert found.last.alive_s is not None and found.last.dead_s is not None
    assert found.last.alive_s < SHORT_S < found.last.dead_s
