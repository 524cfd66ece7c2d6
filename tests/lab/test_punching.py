"""Our own punching, through the routers of the laboratory: ICE, and QUIC over the way that it finds."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator

import pytest

from nat import stun
from nat.answering import Answering
from nat.candidates import CheckRate, Network, usable
from nat.datagrams import Address, Datagrams, OnDatagrams, bind
from nat.endpoint import Endpoint
from nat.ice import CONNECT_S, IceAttempt, NoWay, own_networks
from nat.ice_socket import GATHER_S
from nat.punched import PunchedPath
from protocol.paths import Candidate
from tests.lab.kinds import Kind, Pair
from tests.lab.lab import Lab
from tests.lab.plan import Host
from tests.lab.wire import Wire
from tests.nat.attempts import talking
from tests.nat.test_quic import closed, noise, send_all

STUN_PORT = 7879
SOON_S = 0.25
"""A direct path is there by then, between routers without delay."""
SLACK_S = 0.3
MIB = 1 << 20
ROUND_TRIP_S = 0.08
"""Where each of two hosts is attached by a wire of 20 ms."""


class Seers:
    """The public hosts, which tell everybody from where it is seen, by the rules of a public node."""

    def __init__(self, lab: Lab) -> None:
        self.addresses: list[Address] = []
        self._sockets: list[Datagrams] = []
        loop = asyncio.get_running_loop()
        self._answering = Answering(loop.time())
        self._now = loop.time
        for host in lab.publics:
            for address in filter(None, (host.address, host.address6)):
                with lab.on_host(host):
                    one = Datagrams(bind(address, STUN_PORT), self._came)
                one.on_datagrams = self._answerer(one)
                self._sockets.append(one)
                self.addresses.append((address, STUN_PORT))

    def close(self) -> None:
        for one in self._sockets:
            one.close()

    def _came(self, buffer: bytes, segment: int, sender: Address) -> None:
        raise AssertionError("nothing can come before it is known how to answer")

    def _answerer(self, one: Datagrams) -> OnDatagrams:
        def came(buffer: bytes, segment: int, sender: Address) -> None:
            for start in range(0, len(buffer), segment):
                datagram = buffer[start : start + segment]
                message = stun.parse(datagram)
                answer = self._answering.asked(
                    datagram, message, Endpoint(*sender), None, self._now()
                )
                if answer is not None:
                    one.send([answer], sender)

        return came


@contextlib.contextmanager
def seers(lab: Lab) -> Iterator[list[Address]]:
    with contextlib.closing(Seers(lab)) as all_of_them:
        yield all_of_them.addresses


async def gathered(
    lab: Lab, host: Host, servers: list[Address], *, dialled: bool, same_site: bool = False
) -> tuple[IceAttempt, tuple[Candidate, ...]]:
    rate = CheckRate(asyncio.get_running_loop().time())
    attempt = IceAttempt(
        dialled=dialled, rate=rate, peer="peer", servers=servers, same_site=same_site
    )
    with lab.on_host(host):
        return attempt, await attempt.gather()


@contextlib.asynccontextmanager
async def punched(
    lab: Lab, one: Host, other: Host, *, same_site: bool = False
) -> AsyncIterator[tuple[PunchedPath, PunchedPath, float]]:
    """Both paths, and how long it took after the offers were there."""
    with seers(lab) as servers:
        near, ours = await gathered(lab, one, servers, dialled=True, same_site=same_site)
        far, theirs = await gathered(lab, other, servers, dialled=False, same_site=same_site)

    def networks(host: Host) -> list[Network]:
        with lab.on_host(host):
            return own_networks() if same_site else []

    loop = asyncio.get_running_loop()
    began = loop.time()
    found = await asyncio.gather(
        near.connect(far.username, far.password, usable(theirs, (), networks(one))),
        far.connect(near.username, near.password, usable(ours, (), networks(other))),
        return_exceptions=True,
    )
    took_s = loop.time() - began
    paths = [one for one in found if isinstance(one, PunchedPath)]
    try:
        for end in found:
            if isinstance(end, BaseException):
                raise end
        yield paths[0], paths[1], took_s
    finally:
        for path in paths:
            path.close()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Kind.PORT, Kind.SAME_PREFIX),
        (Kind.PORT, Kind.CGN),
        (Kind.CGN, Kind.RST),
        (Kind.FULL, Kind.SYMMETRIC_RANDOM),
        (Kind.SYMMETRIC_RANDOM, Kind.FULL),
        (Kind.OPEN, Kind.SYMMETRIC_SEQUENTIAL),
        (Kind.ADDRESS, Kind.SYMMETRIC_RANDOM),
        (Kind.DUAL_STACK, Kind.IPV6_ONLY),
        (Kind.FIREWALL, Kind.OPEN),
    ],
)
async def test_routers_between_which_there_is_a_way_are_punched_through_at_once(
    one: Kind, other: Kind, lab: Lab
) -> None:
    hosts = lab.of(one)[0], lab.of(other)[0]
    async with punched(lab, *hosts) as (near_path, far_path, took_s):
        near, far = await talking(near_path, far_path)
        data = noise(MIB, 5)

        await asyncio.gather(send_all(near, data), send_all(far, data))
        await asyncio.gather(near.has(MIB), far.has(MIB))

        assert near.digest.digest() == far.digest.digest() == hashlib.sha256(data).digest()
        assert took_s < SOON_S
        await closed(near, far)


async def test_two_hosts_of_one_network_meet_there(lab: Lab) -> None:
    here, there = lab.of(Pair.ONE_LAN)

    async with punched(lab, here, there, same_site=True) as (near, _, took_s):
        assert near.remote[0] == there.address
        assert took_s < SOON_S


@pytest.mark.parametrize(
    ("one", "other"),
    [(Kind.PORT, Kind.SYMMETRIC_RANDOM), (Kind.UDP_BLOCKED, Kind.OPEN)],
)
async def test_routers_without_a_way_are_known_as_such_in_three_seconds(
    one: Kind, other: Kind, lab: Lab
) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()

    with pytest.raises(NoWay):
        async with punched(lab, lab.of(one)[0], lab.of(other)[0]):
            pass

    # Each of the two gathers what it offers first.
    assert loop.time() - began < CONNECT_S + 2 * GATHER_S + SLACK_S


async def test_a_peer_whose_router_gives_it_another_port_is_followed_and_nothing_is_lost(
    machine: None,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        lab = stack.enter_context(contextlib.closing(Lab([Kind.FULL, Kind.SYMMETRIC_RANDOM])))
        full, symmetric = lab.hosts
        near_path, far_path, _ = await stack.enter_async_context(punched(lab, full, symmetric))
        near, far = await talking(near_path, far_path)
        before = near_path.remote
        data = noise(8 * MIB, 6)
        both = asyncio.gather(send_all(near, data), send_all(far, data))
        await far.has(MIB)

        await asyncio.get_running_loop().run_in_executor(None, lab.rebind, symmetric)
        await both
        await asyncio.gather(near.has(len(data)), far.has(len(data)))

        assert near_path.remote != before
        assert near.digest.digest() == far.digest.digest() == hashlib.sha256(data).digest()
        await closed(near, far)


@pytest.mark.parametrize("loss", [0.0, 0.02])
async def test_a_long_way_is_found_within_two_round_trips_and_a_quarter_second(
    loss: float, machine: None
) -> None:
    wire = Wire(delay_ms=20, jitter_ms=1, loss=loss)
    with contextlib.closing(Lab([Kind.PORT, Kind.CGN], wire=wire)) as lab:
        async with punched(lab, *lab.hosts) as (_, _, took_s):
            assert took_s < 2 * ROUND_TRIP_S + SOON_S
