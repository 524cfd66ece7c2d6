"""Two nodes in one network find each other there, whatever addresses they get, and nothing of it leaves the network."""

import asyncio
import contextlib
import random
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from nat.beacon import EVERY_S, REPEATS_S, Beacon
from node.runtime.lan import GROUP, GROUP_V6, Lan, local_networks
from protocol.ids import MeshId, NodeId
from tests.lab.kinds import Kind, Pair
from tests.lab.lab import Lab
from tests.lab.place import Place, found_mesh
from tests.lab.plan import Host
from tests.live.daemons import Daemons
from tests.live.namespaces import inside

MESH = MeshId("6" * 64)
ANNA, BERT, CARL = NodeId("a" * 52), NodeId("b" * 52), NodeId("c" * 52)
ETH_P_ALL = 3
FOUND_WITHIN_S = 1.5 * EVERY_S
"""At once, most often; on a machine so slow that the first words are over by then, with the next."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def one_lan(machine: None) -> Iterator[Lab]:
    with contextlib.closing(Lab([Pair.ONE_LAN, Kind.PORT])) as lab:
        yield lab


def lan_on(lab: Lab, host: Host, node: NodeId, found: list[tuple[NodeId, str]]) -> Lan:
    counters: Counter[str] = Counter()
    beacon = Beacon(MESH, node, 7879, lambda: (ANNA, BERT, CARL), random.Random(node), counters)

    def note(event: str, **fields: object) -> None:
        raise AssertionError(f"{event}: {fields}")

    with lab.on_host(host):
        lan = Lan(
            beacon, lambda: local_networks("::"), lambda *one: found.append(one), note, counters
        )
        lan.begin()
    return lan


async def test_hosts_of_one_network_find_each_other_by_both_families_and_nobody_else_hears(
    one_lan: Lab,
) -> None:
    here, there, elsewhere = one_lan.hosts
    heard: dict[NodeId, list[tuple[NodeId, str]]] = {ANNA: [], BERT: [], CARL: []}
    lans = []
    try:
        with _wiretap(here.routers[0].wan.box) as outside:
            for node, host in ((ANNA, here), (BERT, there), (CARL, elsewhere)):
                lans.append(lan_on(one_lan, host, node, heard[node]))
            # The third time that a newcomer speaks, and then some.
            await asyncio.sleep(REPEATS_S[-1] + 1.0)
            escaped = _escaped(outside)
    finally:
        for lan in lans:
            lan.close()

    by_ipv6, by_ipv4 = sorted(heard[ANNA], key=lambda one: ":" not in one[1].rpartition(":")[0])
    assert by_ipv4 == (BERT, f"{there.address}:7879")
    assert by_ipv6[0] == BERT and by_ipv6[1].startswith("[fe80::")
    assert by_ipv6[1].endswith("%eth0]:7879")
    assert heard[CARL] == []
    assert escaped == 0


@dataclass(frozen=True, slots=True)
class Home:
    lab: Lab
    public: Place
    here: Place
    there: Place


@pytest.fixture
def home(one_lan: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    daemons = Daemons(tmp_path_factory.mktemp("home"))
    with contextlib.closing(daemons):
        public, here, there = (
            Place(one_lan, host, daemons, name)
            for name, host in zip(
                ("public", "here", "there"), (one_lan.publics[0], *one_lan.hosts[:2]), strict=True
            )
        )
        found_mesh(public, here, there)
        yield Home(one_lan, public, here, there)


def test_two_whose_addresses_all_changed_meet_in_their_network_though_the_world_is_cut_off(
    home: Home,
) -> None:
    def linked() -> bool:
        """Over TCP within the network, at the addresses that they have now."""
        found = home.here.peer(home.there)
        return found.get("state") == "connected" and found["path"] == "lan"

    home.here.once(linked, "they are linked in their network", FOUND_WITHIN_S)
    home.public.daemon.stop()
    # Neither hears where the other one is now.
    for change in (home.lab.cut, home.lab.move):
        for place in (home.here, home.there):
            change(place.host)
    home.here.once(lambda: not linked(), "the old way is gone", FOUND_WITHIN_S)
    for place in (home.here, home.there):
        home.lab.heal(place.host)
    home.here.once(linked, "they have met again", FOUND_WITHIN_S)


def _wiretap(router: str) -> socket.socket:
    """All that passes the outer port of a router."""
    with inside(router):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    tap.bind(("wan", ETH_P_ALL))
    tap.setblocking(False)
    return tap


def _escaped(tap: socket.socket) -> int:
    """Packets to the group among them."""
    groups = (
        socket.inet_pton(socket.AF_INET, GROUP),
        socket.inet_pton(socket.AF_INET6, GROUP_V6),
    )
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            packet = tap.recv(2048)
            count += any(group in packet[:40] for group in groups)
    return count
