"""Beacons over real multicast, on loopback alone."""

import asyncio
import os
import random
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nat.beacon import Beacon, encode
from node.runtime.lan import GROUP, PORT, Lan, Place, local_networks
from protocol.ids import MeshId, NodeId

MESH = MeshId(os.urandom(32).hex())
"""Each run's own: whatever else is tested on this machine speaks to the same group."""
ANNA, BERT = NodeId("a" * 52), NodeId("b" * 52)
LOOPBACK = Place("lo", ipv4="127.0.0.1", ipv6=False)
SOON_S = 5.0
IP_RECVTTL = 12
"""Python has no name for it."""


@dataclass
class Neighbour:
    lan: Lan
    found: asyncio.Queue[tuple[NodeId, str]] = field(default_factory=asyncio.Queue)
    notes: list[str] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)

    async def finds(self) -> tuple[NodeId, str]:
        async with asyncio.timeout(SOON_S):
            return await self.found.get()


@contextmanager
def neighbours(
    *places: Place, nodes: tuple[NodeId, ...] = (ANNA, BERT)
) -> Iterator[list[Neighbour]]:
    made: list[Neighbour] = []

    def make(node: NodeId, port: int) -> Neighbour:
        counters: Counter[str] = Counter()
        beacon = Beacon(MESH, node, port, lambda: (ANNA, BERT), random.Random(port), counters)
        found: asyncio.Queue[tuple[NodeId, str]] = asyncio.Queue()
        notes: list[str] = []

        def note(event: str, **fields: object) -> None:
            notes.append(f"{event}: {fields['reason']}")

        lan = Lan(beacon, lambda: places, lambda *one: found.put_nowait(one), note, counters)
        return Neighbour(lan, found, notes, counters)

    try:
        for number, node in enumerate(nodes):
            made.append(make(node, 7001 + number))
            made[-1].lan.begin()
        yield made
    finally:
        for one in made:
            one.lan.close()


async def test_two_nodes_find_each_other() -> None:
    with neighbours(LOOPBACK) as (anna, bert):
        assert await anna.finds() == (BERT, "127.0.0.1:7002")
        # Anna spoke before Bert was there, and answers him.
        assert await bert.finds() == (ANNA, "127.0.0.1:7001")
        assert anna.lan.addresses_of(BERT) == ("127.0.0.1:7002",)
        assert anna.notes == bert.notes == []


async def test_what_is_said_goes_no_further_than_one_network() -> None:
    heard = _listener()
    with heard, neighbours(LOOPBACK, nodes=(ANNA,)):
        heard.settimeout(SOON_S)
        *_, flags, _ = said = await asyncio.to_thread(heard.recvmsg, 256, 256)

    assert len(said[0]) == 40
    assert flags == 0
    (ttl,) = [data for level, kind, data in said[1] if kind == socket.IP_TTL]
    assert int.from_bytes(ttl, "little") == 1


async def test_noise_is_ignored_and_who_speaks_afterwards_is_heard() -> None:
    with neighbours(LOOPBACK, nodes=(ANNA,)) as (anna,), _speaker() as speaker:
        for said in (
            b"",
            b"?",
            bytes(40),
            b"SdmB" * 100,
            encode(MESH, ANNA, 1, bytes(8), asks=False),
        ):
            speaker.sendto(said, (GROUP, PORT))
        speaker.sendto(encode(MESH, BERT, 7009, bytes(8), asks=False), (GROUP, PORT))

        assert await anna.finds() == (BERT, "127.0.0.1:7009")
        assert anna.found.empty()
        assert anna.counters == {"beacon.ignored": 4}


async def test_nobody_is_heard_who_sends_to_us_alone() -> None:
    """From outside of the network nobody reaches a group, but any port."""
    with neighbours(LOOPBACK, nodes=(ANNA,)) as (anna,), _speaker() as speaker:
        speaker.sendto(encode(MESH, BERT, 1, bytes(8), asks=False), ("127.0.0.1", PORT))
        speaker.sendto(encode(MESH, BERT, 2, bytes(8), asks=False), (GROUP, PORT))

        assert await anna.finds() == (BERT, "127.0.0.1:2")


async def test_where_there_is_no_multicast_that_is_noted_once() -> None:
    with neighbours(Place("nowhere0", "10.0.0.1", True), Place("nowhere1", "10.0.0.2", False)) as (
        anna,
        bert,
    ):
        anna.lan.begin()

        assert [note.partition(":")[0] for note in anna.notes] == ["lan.not_heard"]
        assert anna.found.empty() and bert.found.empty()


async def test_after_a_change_of_the_network_one_asks_anew_who_is_there() -> None:
    with neighbours(LOOPBACK) as (anna, bert):
        await bert.finds()
        before = _open_sockets()
        for _ in range(20):
            anna.lan.begin()

        assert _open_sockets() == before
        assert anna.lan.addresses_of(BERT) != ()


INTERFACES = {
    "eth0": ["192.168.1.5", "fe80::1%eth0"],
    "wan0": ["60.1.0.2", "fe80::2%wan0"],
    "six0": ["2a0b::5", "fe80::3%six0"],
    "ula0": ["fd00::5"],
}


@pytest.mark.parametrize(
    ("listen", "places"),
    [
        ("::", [Place("eth0", "192.168.1.5", True), Place("six0", "", True)]),
        ("0.0.0.0", [Place("eth0", "192.168.1.5", False)]),
        ("192.168.1.5", [Place("eth0", "192.168.1.5", False)]),
        ("2a0b::5", [Place("six0", "", True)]),
        ("60.1.0.2", []),
        ("127.0.0.1", []),
        ("node.example", []),
    ],
)
def test_one_speaks_where_somebody_near_could_dial_and_never_under_a_public_ipv4_address(
    listen: str, places: list[Place]
) -> None:
    assert local_networks(listen, INTERFACES) == places


def test_this_machines_own_networks_are_asked_for_without_harm() -> None:
    assert all(place.name != "lo" for place in local_networks("::"))


def _speaker() -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    return one


def _listener() -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    one.bind((GROUP, PORT))
    group = socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")
    one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    return one


def _open_sockets() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
