"""Hears and says beacons on every local network of this machine, by UDP multicast that no router passes on.

Where multicast is not to be had, as in many containers, nodes are found by what the mesh tells of them alone: that is
noted once, and tried again when the network changes. When to speak and whom to believe, `nat/beacon.py` decides.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

import psutil

from nat.beacon import BEACON_BYTES, Announce, Beacon, BeaconEffect, Found
from nat.endpoint import Scope, scope
from node.runtime.addresses import ANY_HOST, machine_interfaces
from protocol.ids import NodeId

GROUP = "239.255.83.68"
"""Of an organisation's own (RFC 2365, section 6.1)."""
GROUP_V6 = "ff12::5344:6d42"
"""Not assigned for good, and for one link only (RFC 4291, section 2.7)."""
PORT = 7877
HOPS = 1
PLACES_MAX = 16
"""Networks spoken in: a machine that runs containers has one for each."""
READS_MAX = 64

Group = tuple[str, int] | tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class Place:
    """One interface that leads into a local network."""

    name: str
    ipv4: str
    """Our address there to speak from; empty: not by IPv4."""
    ipv6: bool


class Lan:
    """Of one node; `found` is told where a peer says that it is."""

    def __init__(
        self,
        beacon: Beacon,
        places: Callable[[], Iterable[Place]],
        found: Callable[[NodeId, str], None],
        note: Callable[..., None],
        counters: Counter[str],
    ) -> None:
        """Into `counters`, which its host may count in too, go beacons that a network did not take."""
        self._beacon = beacon
        self._places = places
        self._found = found
        self._note = note
        self._counters = counters
        self._noted = False
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        """That hear."""
        self._mouths: list[tuple[socket.socket, Group]] = []
        """That speak, and to whom."""
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Also when this machine's network has changed: whoever is there now is asked for."""
        self.close()
        for place in list(self._places())[:PLACES_MAX]:
            self._join(place)
        if self._mouths:
            self._feed(self._beacon.arrived(self._loop.time()))

    def addresses_of(self, peer: NodeId) -> tuple[str, ...]:
        """Where the peer has said of late that it is."""
        return self._beacon.addresses_of(peer, self._loop.time())

    def close(self) -> None:
        for one in self._sockets:
            self._loop.remove_reader(one)
            one.close()
        self._sockets.clear()
        self._mouths.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- within ----------------------------------------------------------------------------------------

    def _join(self, place: Place) -> None:
        """With sockets of its own: a socket is a member of few groups (Linux: 20), and speaks in one network."""
        families = [(socket.AF_INET, bool(place.ipv4)), (socket.AF_INET6, place.ipv6)]
        for family in [family for family, wanted in families if wanted]:
            opened: list[socket.socket] = []
            try:
                number = socket.if_nametoindex(place.name)
                opened.append(_ear(family, number))
                opened.append(_mouth(family, number, place.ipv4))
            except OSError as wrong:
                for one in opened:
                    one.close()
                self._wrong(f"{place.name}: {wrong.strerror or wrong}")
                continue
            ear, mouth = opened
            self._sockets += opened
            to: Group = (GROUP, PORT) if family == socket.AF_INET else (GROUP_V6, PORT, 0, number)
            self._mouths.append((mouth, to))
            self._loop.add_reader(ear, self._read, ear, place.name)

    def _read(self, ear: socket.socket, interface: str) -> None:
        for _ in range(READS_MAX):
            try:
                # One byte more, so that what is too long is seen to be.
                datagram, source = ear.recvfrom(BEACON_BYTES + 1)
            except BlockingIOError:
                return
            except OSError as wrong:
                # The interface is gone; soon we are told that the network has changed.
                self._wrong(f"{interface}: {wrong.strerror or wrong}")
                return
            # A link-local address means nothing without the interface, which IPv6 tells by its number alone.
            host = f"{source[0]}%{interface}" if source[3:] and source[3] else source[0]
            self._feed(self._beacon.heard(datagram, host, self._loop.time()))

    def _feed(self, effects: list[BeaconEffect]) -> None:
        for effect in effects:
            match effect:
                case Announce():
                    self._say(effect.datagram)
                case Found():
                    self._found(effect.peer, effect.address)
                case _:
                    assert_never(effect)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._beacon.deadline is not None:
            self._timer = self._loop.call_at(self._beacon.deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._feed(self._beacon.tick(self._loop.time()))

    def _say(self, datagram: bytes) -> None:
        for mouth, to in self._mouths:
            try:
                mouth.sendto(datagram, to)
            except OSError as wrong:
                self._counters["beacon.unsent"] += 1
                self._wrong(wrong.strerror or str(wrong))

    def _wrong(self, reason: str) -> None:
        if not self._noted:
            self._noted = True
            self._note("lan.not_heard", reason=reason)


def local_networks(
    listen_host: str, interfaces: Mapping[str, Sequence[str]] | None = None
) -> list[Place]:
    """Where somebody could dial us who is near: no network in which this machine has a public IPv4 address.

    `interfaces` are this machine's, those that are up and can do multicast, unless given.
    """
    table = _multicast_interfaces() if interfaces is None else interfaces
    places = []
    for name, texts in table.items():
        hosts = [text.partition("%")[0] for text in texts]
        scopes = {host: scope(host) for host in hosts}
        ipv4 = [host for host in hosts if ":" not in host]
        if any(scopes[host] is Scope.GLOBAL for host in ipv4):
            continue
        near = [host for host in ipv4 if scopes[host] is Scope.PRIVATE]
        six = any(":" in host and scopes[host] is Scope.LINK for host in hosts)
        if listen_host not in ANY_HOST:
            near = [host for host in near if host == listen_host]
            six = six and ":" in listen_host and listen_host in hosts
        elif listen_host == "0.0.0.0":  # noqa: S104 (only compared)
            six = False
        if near or six:
            places.append(Place(name, near[0] if near else "", six))
    return places


def _multicast_interfaces() -> dict[str, list[str]]:
    """Those of networks that many share; a tunnel to one other host is none."""
    states = psutil.net_if_stats()
    return {
        name: texts
        for name, texts in machine_interfaces().items()
        if name in states
        and states[name].isup
        and {"multicast", "broadcast"} <= set(states[name].flags.split(","))
    }


def _ear(family: socket.AddressFamily, interface: int) -> socket.socket:
    """Hears what is said to the group in this network, and nothing else: nobody can send here from outside."""
    one = socket.socket(family, socket.SOCK_DGRAM)
    try:
        one.setblocking(False)
        # Several nodes of one machine hear each beacon each.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET:
            one.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
            one.bind((GROUP, PORT))
            one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, _request(interface))
        else:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((GROUP_V6, PORT, 0, interface))
            group = socket.inet_pton(socket.AF_INET6, GROUP_V6) + struct.pack("@I", interface)
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    except OSError:
        one.close()
        raise
    return one


def _mouth(family: socket.AddressFamily, interface: int, host: str) -> socket.socket:
    """Speaks in this network only. Other nodes of this machine hear it too."""
    one = socket.socket(family, socket.SOCK_DGRAM)
    try:
        one.setblocking(False)
        if family == socket.AF_INET:
            one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
            one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _request(interface))
            one.bind((host, 0))
        else:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOPS)
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, interface)
    except OSError:
        one.close()
        raise
    return one


IP_MULTICAST_ALL = 49
"""Else Linux hands over what other programs' groups bring as well (ip(7)); Python has no name for it."""


def _request(interface: int) -> bytes:
    """struct ip_mreqn: group, own address (any), interface."""
    return struct.pack("@4s4si", socket.inet_aton(GROUP), bytes(4), interface)
