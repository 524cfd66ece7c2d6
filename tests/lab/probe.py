"""Finds out, by plain sockets alone, what a host of the laboratory sits behind: the laboratory is not believed before.

Two public hosts have two UDP sockets and two TCP listeners each. Both ends of every conversation are ours, so a packet
that must not arrive is followed, where that is possible, by one that must: then no silence has to be waited for.
"""

import contextlib
import enum
import itertools
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from tests.lab.lab import Lab
from tests.lab.plan import Host

SOON_S = 0.5
"""What will arrive is there by then, however busy the machine."""

SILENCE_S = 0.1
"""What has not arrived by then will not."""

UDP_PORTS = (3478, 3479)
HTTPS_PORT = 443
TCP_PORTS = (HTTPS_PORT, 8443)

TLS_HELLO = bytes.fromhex("1603010005 0100000100")
PLAIN_TEXT = b"GET / HTTP/1.1\r\n\r\n"

Endpoint = tuple[str, int]


class Same(enum.Enum):
    """What the outside port of one socket depends on."""

    ALWAYS = enum.auto()
    PER_ENDPOINT = enum.auto()
    """On the remote address and port."""


class Ports(enum.Enum):
    KEPT = enum.auto()
    NEXT = enum.auto()
    """Each is the one after the last."""
    OTHER = enum.auto()


class Enters(enum.Enum):
    ANYBODY = enum.auto()
    SAME_ADDRESS = enum.auto()
    SAME_ENDPOINT = enum.auto()


@dataclass(frozen=True, slots=True)
class Udp:
    translated: bool
    same: Same
    ports: Ports
    enters: Enters
    hairpin: bool = False
    """Whether two sockets of the host reach one another by where they seem to be."""
    refuses: bool = False
    """Whether a stranger is told that nobody listens."""


@dataclass(frozen=True, slots=True)
class Tcp:
    """Whether data passes outwards: to port 443 as TLS begins and otherwise, and to another port."""

    same: Same
    ports: Ports
    tls: bool = True
    text: bool = True
    other: bool = True
    refuses: bool = False


class Internet:
    """Two public hosts, and questions that are answered from there."""

    def __init__(self, lab: Lab, ipv6: bool = False) -> None:
        self.lab = lab
        self.family = socket.AF_INET6 if ipv6 else socket.AF_INET
        self._kept = contextlib.ExitStack()
        self._tokens = itertools.count()
        self.hosts = lab.publics[:2]
        self.udp = [[self.udp_socket(host, port) for port in UDP_PORTS] for host in self.hosts]
        self.tcp = [[self._listener(host, port) for port in TCP_PORTS] for host in self.hosts]

    def close(self) -> None:
        self._kept.close()

    def address(self, host: Host) -> str:
        return host.address6 if self.family is socket.AF_INET6 else host.address

    def udp_socket(self, host: Host, port: int = 0) -> socket.socket:
        with self.lab.on_host(host):
            one = self._kept.enter_context(socket.socket(self.family, socket.SOCK_DGRAM))
        one.bind((self.address(host), port))
        return one

    def tcp_socket(self, host: Host, port: int = 0) -> socket.socket:
        with self.lab.on_host(host):
            one = self._kept.enter_context(socket.socket(self.family, socket.SOCK_STREAM))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((self.address(host), port))
        return one

    def outside(self, client: socket.socket, server: socket.socket) -> Endpoint | None:
        """Where the client seems to be; None if nothing gets through."""
        said = self.send(client, endpoint(server))
        return next((sender for data, sender in heard(server) if data == said), None)

    def send(self, source: socket.socket, to: Endpoint) -> bytes:
        token = str(next(self._tokens)).encode()
        source.sendto(token, to)
        return token

    def _listener(self, host: Host, port: int) -> socket.socket:
        one = self.tcp_socket(host, port)
        one.listen()
        return one


def endpoint(one: socket.socket) -> Endpoint:
    host, port = one.getsockname()[:2]
    return str(host), int(port)


def heard(one: socket.socket, within_s: float = SOON_S) -> Iterator[tuple[bytes, Endpoint]]:
    """Until nothing has come for so long."""
    one.settimeout(within_s)
    while True:
        try:
            data, sender = one.recvfrom(2048)
        except TimeoutError:
            return
        yield data, (sender[0], sender[1])


def probe_udp(internet: Internet, host: Host) -> Udp | None:
    """None if there is no such address, or UDP is blocked."""
    client = internet.udp_socket(host)
    (first, second), (third, _) = internet.udp
    if internet.outside(client, first) is None:
        return None
    ends = [internet.outside(client, server) for server in (first, second, third)]
    seen = [end for end in ends if end is not None]
    same, ports = _mapping(endpoint(client), seen)
    return Udp(
        translated=seen[0][0] != endpoint(client)[0],
        same=same,
        ports=ports,
        enters=_enters(internet, host),
        hairpin=_hairpin(internet, host),
        refuses=_refuses_udp(internet, host),
    )


def probe_tcp(internet: Internet, host: Host) -> Tcp:
    client, https = internet.tcp_socket(host), [listeners[0] for listeners in internet.tcp]
    again = internet.tcp_socket(host, endpoint(client)[1])
    connections = [
        connected(one, listener) for one, listener in zip((client, again), https, strict=True)
    ]
    with connections[0], connections[1]:
        seen = [remote(one) for one in connections]
        same, ports = _mapping(endpoint(client), seen)
        return Tcp(
            same=same,
            ports=ports,
            tls=passes(internet, host, internet.tcp[0][0], TLS_HELLO),
            text=passes(internet, host, internet.tcp[0][0], PLAIN_TEXT),
            other=passes(internet, host, internet.tcp[0][1], TLS_HELLO),
            refuses=_refuses_tcp(internet, seen[0]),
        )


def connected(client: socket.socket, listener: socket.socket) -> socket.socket:
    """The listener's end of a new connection."""
    for one in (client, listener):
        one.settimeout(SOON_S)
    client.connect(endpoint(listener))
    accepted, _ = listener.accept()
    accepted.settimeout(SOON_S)
    return accepted


def remote(one: socket.socket) -> Endpoint:
    host, port = one.getpeername()[:2]
    return str(host), int(port)


def passes(internet: Internet, host: Host, listener: socket.socket, data: bytes) -> bool:
    """Whether a connection to this listener comes about and these first bytes arrive by it."""
    with internet.tcp_socket(host) as client:
        try:
            with connected(client, listener) as accepted:
                client.sendall(data)
                return accepted.recv(len(data)) == data
        except TimeoutError:
            return False


def _mapping(own: Endpoint, seen: list[Endpoint]) -> tuple[Same, Ports]:
    """Of one socket that has spoken to several others, each seeing it there."""
    same = Same.ALWAYS if len(set(seen)) == 1 else Same.PER_ENDPOINT
    if seen[0][1] == own[1]:
        return same, Ports.KEPT
    steps = {after[1] - before[1] for before, after in itertools.pairwise(seen)}
    return same, Ports.NEXT if steps == {1} else Ports.OTHER


def _enters(internet: Internet, host: Host) -> Enters:
    client = internet.udp_socket(host)
    (first, second), (third, _) = internet.udp
    mapped = internet.outside(client, first)
    assert mapped is not None
    stranger = internet.send(third, mapped)
    neighbour = internet.send(second, mapped)
    got = _until(client, internet.send(first, mapped))
    if stranger in got:
        return Enters.ANYBODY
    return Enters.SAME_ADDRESS if neighbour in got else Enters.SAME_ENDPOINT


def _hairpin(internet: Internet, host: Host) -> bool:
    clients = [internet.udp_socket(host) for _ in range(2)]
    server = internet.udp[0][0]
    ends = [internet.outside(client, server) for client in clients]
    here, there = (end for end in ends if end is not None)
    # Once more each: where answers alone come in, the first of either side makes way for the other's.
    said = [internet.send(clients[turn % 2], (there, here)[turn % 2]) for turn in range(4)]
    got = [
        data
        for client, end in zip(clients, (here, there), strict=True)
        for data in _until(client, internet.send(server, end))
    ]
    got += [data for client in clients for data, _ in heard(client, SILENCE_S)]
    return not set(said).isdisjoint(got)


def _refuses_udp(internet: Internet, host: Host) -> bool:
    client, stranger = internet.udp_socket(host), internet.udp_socket(internet.hosts[1])
    mapped = internet.outside(client, internet.udp[0][0])
    assert mapped is not None
    stranger.connect(mapped)
    stranger.send(b"?")
    try:
        return list(heard(stranger, SILENCE_S)) != []
    except ConnectionRefusedError:
        return True


def _refuses_tcp(internet: Internet, mapped: Endpoint) -> bool:
    stranger = internet.tcp_socket(internet.hosts[1])
    stranger.settimeout(SILENCE_S)
    try:
        stranger.connect(mapped)
    except ConnectionRefusedError:
        return True
    except TimeoutError:
        return False
    raise AssertionError(f"somebody listens at {mapped}")


def _until(client: socket.socket, last: bytes) -> list[bytes]:
    """All that came before this, which must come."""
    got: list[bytes] = []
    for data, _ in heard(client):
        if data == last:
            return got
        got.append(data)
    raise AssertionError("an answer did not come in")
