"""Who meets whom: the routers of two hosts together do what the theory says."""

import contextlib
import errno
import socket

import pytest

from tests.lab.kinds import Kind, Pair
from tests.lab.lab import Lab
from tests.lab.plan import Host
from tests.lab.probe import SILENCE_S, Endpoint, Internet, connected, endpoint, heard, remote

ATTEMPTS = 3


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (Kind.PORT, Kind.CGN, True),
        (Kind.RST, Kind.FIREWALL, True),
        (Kind.SAME_PREFIX, Kind.RST, True),
        (Kind.ADDRESS, Kind.SYMMETRIC_RANDOM, True),
        (Kind.PORT, Kind.SYMMETRIC_RANDOM, False),
        (Kind.SYMMETRIC_SEQUENTIAL, Kind.SYMMETRIC_RANDOM, False),
    ],
)
def test_two_punch_through_if_one_can_know_where_the_other_comes_from(
    one: Kind, other: Kind, meet: bool, lab: Lab, internet: Internet
) -> None:
    assert _meet(internet, lab.of(one)[0], lab.of(other)[0]) == meet


@pytest.mark.parametrize(
    ("pair", "by_their_own", "by_the_outside"),
    [
        (Pair.ONE_LAN, True, False),
        (Pair.TWO_LANS, False, False),
        (Pair.TWO_LANS_HAIRPIN, False, True),
        (Pair.ONE_CARRIER, False, True),
    ],
)
def test_a_pair_meets_by_its_own_addresses_or_by_the_outside_ones(
    pair: Pair, by_their_own: bool, by_the_outside: bool, lab: Lab, internet: Internet
) -> None:
    here, there = lab.of(pair)
    source, target = internet.udp_socket(here), internet.udp_socket(there)
    said = internet.send(source, endpoint(target))

    assert any(data == said for data, _ in heard(target, SILENCE_S)) == by_their_own
    assert _meet(internet, here, there) == by_the_outside


@pytest.mark.parametrize(
    ("pair", "passes"), [(Pair.TWO_LANS, False), (Pair.TWO_LANS_HAIRPIN, True)]
)
def test_a_hairpin_is_for_tcp_too(pair: Pair, passes: bool, lab: Lab, internet: Internet) -> None:
    here, there = lab.of(pair)
    known = internet.tcp_socket(there)
    with connected(known, internet.tcp[0][0]) as accepted:
        mapped = remote(accepted)
        listener, client = internet.tcp_socket(there, endpoint(known)[1]), internet.tcp_socket(here)
        listener.listen()
        client.settimeout(SILENCE_S)

        assert (client.connect_ex(mapped) == 0) == passes


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (Kind.PORT, Kind.SAME_PREFIX, True),
        (Kind.PORT, Kind.RST, True),
        (Kind.CGN, Kind.FIREWALL, True),
        (Kind.FULL, Kind.HAIRPIN, True),
        (Kind.PORT, Kind.SYMMETRIC_RANDOM, False),
    ],
)
def test_tcp_that_both_open_at_once_passes_where_udp_does(
    one: Kind, other: Kind, meet: bool, lab: Lab, internet: Internet
) -> None:
    hosts = [lab.of(one)[0], lab.of(other)[0]]
    known = [internet.tcp_socket(host) for host in hosts]
    listener = internet.tcp[0][0]
    with connected(known[0], listener) as here, connected(known[1], listener) as there:
        seen = [remote(here), remote(there)]

        assert _open_at_once(internet, hosts, known, seen) == meet


def test_two_hosts_with_the_same_address_meet(machine: None) -> None:
    with (
        contextlib.closing(Lab([Kind.SAME_PREFIX, Kind.SAME_PREFIX])) as lab,
        contextlib.closing(Internet(lab)) as internet,
    ):
        here, there = lab.hosts

        assert here.address == there.address
        assert here.outside != there.outside
        assert _meet(internet, here, there)


def test_a_private_address_leads_nowhere_from_elsewhere(lab: Lab, internet: Internet) -> None:
    (target,) = lab.of(Kind.FULL)
    there = internet.udp_socket(target)
    for kind in (Kind.OPEN, Kind.PORT, Kind.CGN):
        here = internet.udp_socket(lab.of(kind)[0])
        here.connect(endpoint(there))
        here.send(b"?")

        # Not even an error comes back.
        assert list(heard(here, SILENCE_S)) == []
        assert list(heard(there, SILENCE_S)) == []


def _open_at_once(
    internet: Internet, hosts: list[Host], known: list[socket.socket], seen: list[Endpoint]
) -> bool:
    """Whether a connection comes about in a few attempts, each from the port whose outside the other knows."""
    trying = [_opening(internet, *side) for side in zip(hosts, known, seen[::-1], strict=True)]
    for attempt in range(ATTEMPTS * len(hosts)):
        if all(_is_open(one) for one in trying):
            return True
        side = attempt % len(hosts)
        if trying[side].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED:
            trying[side].close()
            trying[side] = _opening(internet, hosts[side], known[side], seen[1 - side])
    return False


def _opening(internet: Internet, host: Host, known: socket.socket, to: Endpoint) -> socket.socket:
    one = internet.tcp_socket(host, endpoint(known)[1])
    one.setblocking(False)
    assert one.connect_ex(to) == errno.EINPROGRESS
    return one


def _is_open(one: socket.socket) -> bool:
    try:
        one.getpeername()
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
        return False
    return True


def _meet(internet: Internet, *hosts: Host) -> bool:
    """Whether both hear one another: each sends twice to where the other was seen, and answers what comes."""
    clients = [internet.udp_socket(host) for host in hosts]
    ends = [internet.outside(client, internet.udp[0][0]) for client in clients]
    for turn in range(4):
        to = ends[(turn + 1) % 2]
        assert to is not None
        internet.send(clients[turn % 2], to)
    heard_by = set()
    for client in [*clients, *clients]:
        came = next(heard(client, SILENCE_S), None)
        if came is not None:
            heard_by.add(client)
            internet.send(client, came[1])
    return len(heard_by) == 2
