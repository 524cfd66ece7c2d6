"""The laboratory's routers are what they are said to be: found out from both sides, by sockets alone."""

import dataclasses
import time

import pytest

from tests.lab.kinds import SHORT_S, Kind, Pair
from tests.lab.lab import Lab
from tests.lab.plan import Host
from tests.lab.probe import (
    SILENCE_S,
    Enters,
    Internet,
    Ports,
    Same,
    Tcp,
    Udp,
    connected,
    endpoint,
    heard,
    probe_tcp,
    probe_udp,
    remote,
)

PORT = Udp(translated=True, same=Same.ALWAYS, ports=Ports.KEPT, enters=Enters.SAME_ENDPOINT)
RANDOM = dataclasses.replace(PORT, same=Same.PER_ENDPOINT, ports=Ports.OTHER)
# One who has the address that others see needs no router to reach himself.
PUBLIC = Udp(
    translated=False, same=Same.ALWAYS, ports=Ports.KEPT, enters=Enters.ANYBODY, hairpin=True
)
BEHIND_FIREWALL = dataclasses.replace(PUBLIC, enters=Enters.SAME_ENDPOINT)

UDP: dict[Kind, Udp | None] = {
    Kind.OPEN: PUBLIC,
    Kind.FIREWALL: BEHIND_FIREWALL,
    Kind.FULL: dataclasses.replace(PORT, enters=Enters.ANYBODY),
    Kind.ADDRESS: dataclasses.replace(PORT, enters=Enters.SAME_ADDRESS),
    Kind.PORT: PORT,
    Kind.RST: dataclasses.replace(PORT, refuses=True),
    Kind.CGN: dataclasses.replace(PORT, hairpin=True),
    Kind.SAME_PREFIX: PORT,
    Kind.SYMMETRIC_RANDOM: RANDOM,
    Kind.SYMMETRIC_SEQUENTIAL: dataclasses.replace(RANDOM, ports=Ports.NEXT),
    Kind.DUAL_STACK: RANDOM,
    Kind.UDP_BLOCKED: None,
    Kind.TLS_ONLY: None,
    Kind.SHORT_LIVED: PORT,
    Kind.HAIRPIN: dataclasses.replace(PORT, hairpin=True),
}

KEPT = Tcp(same=Same.ALWAYS, ports=Ports.KEPT)
REFUSING = dataclasses.replace(KEPT, refuses=True)
OTHERS = Tcp(same=Same.PER_ENDPOINT, ports=Ports.OTHER)

TCP: dict[Kind, Tcp] = dict.fromkeys(UDP, KEPT) | {
    Kind.OPEN: REFUSING,
    Kind.RST: REFUSING,
    Kind.SYMMETRIC_RANDOM: OTHERS,
    Kind.SYMMETRIC_SEQUENTIAL: dataclasses.replace(OTHERS, ports=Ports.NEXT),
    Kind.DUAL_STACK: OTHERS,
    Kind.UDP_BLOCKED: dataclasses.replace(OTHERS, other=False),
    Kind.TLS_ONLY: dataclasses.replace(OTHERS, other=False, text=False),
}

IPV6 = {
    Kind.OPEN: (PUBLIC, REFUSING),
    Kind.DUAL_STACK: (BEHIND_FIREWALL, KEPT),
    Kind.IPV6_ONLY: (BEHIND_FIREWALL, KEPT),
}

MAPPED_ONCE = [kind for kind, found in UDP.items() if found and found.same is Same.ALWAYS]

# One port for all, as daemons have it: two hosts behind one router want it both.
NODE_PORT = 7879


@pytest.mark.parametrize("kind", UDP)
def test_a_kind_is_what_it_is_said_to_be(kind: Kind, lab: Lab, internet: Internet) -> None:
    (host,) = lab.of(kind)

    assert probe_udp(internet, host) == UDP[kind]
    assert probe_tcp(internet, host) == TCP[kind]


@pytest.mark.parametrize("kind", IPV6)
def test_a_kind_is_in_ipv6_what_it_is_said_to_be(kind: Kind, lab: Lab, internet6: Internet) -> None:
    (host,) = lab.of(kind)

    assert (probe_udp(internet6, host), probe_tcp(internet6, host)) == IPV6[kind]


def test_a_host_has_the_addresses_of_its_kind_and_no_other(lab: Lab) -> None:
    assert {host.kind for host in lab.hosts if host.address} == {*UDP, *Pair}
    assert {host.kind for host in lab.hosts if host.address6} == {*IPV6}


@pytest.mark.parametrize("kind", MAPPED_ONCE)
def test_a_stranger_who_comes_too_early_is_not_in_the_way_of_what_follows(
    kind: Kind, lab: Lab, internet: Internet
) -> None:
    (host,) = lab.of(kind)
    client, (server, _), (stranger, _) = internet.udp_socket(host), *internet.udp
    mapped = internet.outside(client, server)
    assert mapped is not None
    for _ in range(3):
        internet.send(stranger, mapped)
    list(heard(client, SILENCE_S))

    assert internet.outside(client, stranger) == mapped
    answer = internet.send(stranger, mapped)
    assert (answer, endpoint(stranger)) in list(heard(client, SILENCE_S))


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


@pytest.mark.parametrize("pair", Pair)
def test_two_hosts_on_one_port_keep_one_outside_port_each(
    pair: Pair, lab: Lab, internet: Internet
) -> None:
    servers = [server for servers in internet.udp for server in servers]
    clients = [internet.udp_socket(host, NODE_PORT) for host in lab.of(pair)]
    seen = [{internet.outside(client, server) for server in servers} for client in clients]

    assert [len(ends) for ends in seen] == [1, 1]
    assert seen[0] != seen[1]
    assert None not in seen[0] | seen[1]


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


def test_a_short_lived_mapping_is_gone_after_twelve_seconds_and_a_usual_one_is_not(
    lab: Lab, internet: Internet
) -> None:
    server = internet.udp[0][0]
    ends = []
    for kind in (Kind.SHORT_LIVED, Kind.SHORT_LIVED, Kind.PORT):
        client = internet.udp_socket(lab.of(kind)[0])
        mapped = internet.outside(client, server)
        assert mapped is not None
        ends.append((client, mapped))
    began = time.monotonic()

    def answered(number: int, after_s: float) -> bool:
        time.sleep(max(began + after_s - time.monotonic(), 0.0))
        client, mapped = ends[number]
        said = internet.send(server, mapped)
        return any(data == said for data, _ in heard(client, SILENCE_S))

    assert answered(0, SHORT_S - 2.0)
    assert not answered(1, SHORT_S + 1.0)
    assert answered(2, SHORT_S + 1.0)


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
