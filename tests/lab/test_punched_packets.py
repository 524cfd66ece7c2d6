"""How daemons behind routers probe each other: by packets straight through the hole that their link has punched.

Two hosts behind port-restricted routers and two public ones. What passes the card of one host is listened to.
"""

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import pytest

from nat.punched import FIRST_OF_QUIC
from node.runtime.sealing import MAGIC
from tests.lab.kinds import Kind
from tests.lab.lab import Lab
from tests.lab.place import Place, found_mesh
from tests.live.daemons import Daemons

TOGETHER_S = 60.0
SETTLED_S = 10.0
"""After which what the daemons had to find out about themselves and each other is said."""
LISTEN_S = 20.0
PROBES_MIN = 4
"""Pings in that time from each side to the other: each probes three others, one in a second."""
MESSAGE_BYTES_MIN = 200
"""Of a frame of QUIC with half a round of gossip, 64 hashes or their answer; what acknowledges it has half of that."""
MESSAGES_MAX = 12
"""In 20 s: each of both begins three rounds at most, with a random one of three others."""
ACKS_OF_MESSAGE = 2
"""By QUIC, and by the link's stream, whose own is acknowledged in turn: four in a round."""
ACKS_BEFORE = 4
"""Of a round that began before we listened."""
CUT_S = 8.0
BACK_S = 30.0
"""Until they have punched anew, with some attempts that fail."""

ETH_P_ALL, ETH_P_IP = 3, 0x0800
"""What is sent is told to those alone who hear all."""
ETHERNET_BYTES = 14
UDP_BYTES = 8


@dataclass(slots=True)
class Mesh:
    lab: Lab
    publics: list[Place]
    near: Place
    far: Place

    @property
    def all(self) -> list[Place]:
        return [*self.publics, self.near, self.far]

    def is_punched(self) -> bool:
        return all(
            one.peer(other).get("path") == "punched"
            for one, other in ((self.near, self.far), (self.far, self.near))
        )

    def noted(self, event: str, since: float) -> list[str]:
        """Who has noted this of whom from then on (wall clock)."""
        return [
            f"{place}: {event} {line['peer']}"
            for place in self.all
            for line in place.daemon.noted(event)
            if datetime.fromisoformat(line["timestamp"]).timestamp() >= since
        ]


@pytest.fixture(scope="module")
def mesh(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    daemons = Daemons(tmp_path_factory.mktemp("mesh"))
    with contextlib.closing(Lab([Kind.PORT, Kind.PORT])) as lab, contextlib.closing(daemons):
        publics = [
            Place(lab, host, daemons, f"public{number}") for number, host in enumerate(lab.publics)
        ]
        near, far = (
            Place(lab, host, daemons, name)
            for name, host in zip(("near", "far"), lab.hosts, strict=True)
        )
        found_mesh(*publics, near, far)
        one = Mesh(lab, publics, near, far)
        near.once(one.is_punched, "they have punched", TOGETHER_S)
        time.sleep(SETTLED_S)
        yield one


def through_the_hole(mesh: Mesh, seconds: float) -> Counter[tuple[str, bool]]:
    """Datagrams between `near` and `far` in that time, by what they are and whether `near` has sent them."""
    far = socket.inet_aton(mesh.far.host.routers[0].wan.address)
    with mesh.lab.on_host(mesh.near.host):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    found: Counter[tuple[str, bool]] = Counter()
    until = time.monotonic() + seconds
    with tap:
        while (left_s := until - time.monotonic()) > 0:
            tap.settimeout(left_s)
            try:
                frame, (_, protocol, kind, *_) = tap.recvfrom(2048)
            except TimeoutError:
                break
            packet = frame[ETHERNET_BYTES:]
            ends = packet[12:16], packet[16:20]
            if protocol == ETH_P_IP and packet[9] == socket.IPPROTO_UDP and far in ends:
                first = packet[4 * (packet[0] & 0xF) + UDP_BYTES]
                found[what_is(first, len(frame)), kind == socket.PACKET_OUTGOING] += 1
    return found


def what_is(first: int, frame_bytes: int) -> str:
    if first == MAGIC:
        return "packet"
    if first < FIRST_OF_QUIC:
        return "check"
    return "message" if frame_bytes >= MESSAGE_BYTES_MIN else "ack"


def test_probes_cross_the_hole_by_themselves_in_both_directions(mesh: Mesh) -> None:
    before = mesh.near.status()["packets"], mesh.far.status()["packets"]
    found = through_the_hole(mesh, LISTEN_S)
    after = mesh.near.status()["packets"], mesh.far.status()["packets"]
    print(f"\n    in {LISTEN_S:.0f} s: {dict(found)}", end="")

    for is_sent in (True, False):
        # Each ping has its answer.
        assert found["packet", is_sent] >= 2 * PROBES_MIN, found
    # QUIC has nothing but the rounds of gossip that fall to these two.
    messages, acks = (found[what, True] + found[what, False] for what in ("message", "ack"))
    assert messages <= MESSAGES_MAX, found
    assert acks <= ACKS_OF_MESSAGE * messages + ACKS_BEFORE, found
    for place, was, now in zip((mesh.near, mesh.far), before, after, strict=True):
        for counter in ("sent_punched", "received_punched"):
            assert now[counter] - was[counter] >= 2 * PROBES_MIN, (place, counter)
        assert now.get("sent_by_link", 0) == was.get("sent_by_link", 0), place


def test_when_a_router_maps_anew_packets_find_the_new_hole_and_nobody_is_given_up(
    mesh: Mesh,
) -> None:
    began = time.time()
    mesh.lab.rebind(mesh.near.host)
    mesh.near.once(lambda: mesh.near.used(mesh.far, "punched", began), "punched anew", BACK_S)
    mesh.far.once(mesh.is_punched, "both use it", BACK_S)

    found = through_the_hole(mesh, LISTEN_S)

    assert all(found["packet", is_sent] >= PROBES_MIN for is_sent in (True, False)), found
    # Who probes the host before that has spoken to anybody may suspect it for a moment, whatever carries the packets.
    assert mesh.noted("peer.died", began) == []
    assert (mesh.near.unlinked(mesh.far), mesh.far.unlinked(mesh.near)) == (0, 0)


def test_while_udp_is_cut_packets_go_by_the_link_again_and_nobody_is_given_up(mesh: Mesh) -> None:
    before = mesh.near.status()["packets"].get("sent_by_link", 0)
    began = time.time()
    mesh.lab.cut_udp(mesh.near.host)
    mesh.near.once(lambda: mesh.near.used(mesh.far, "relay", began), "by the relay", BACK_S)
    time.sleep(CUT_S)
    assert mesh.near.status()["packets"]["sent_by_link"] > before
    healed = time.time()
    mesh.lab.heal(mesh.near.host)
    mesh.near.once(lambda: mesh.near.used(mesh.far, "punched", healed), "punched anew", BACK_S)

    assert mesh.noted("peer.died", began) == []
