"""The laboratory's routers are what they are said to be: found out from both sides, by sockets alone."""

import dataclasses
import errno
import time

import pytest

from tests.lab.kinds import SHORT_S, Kind, Pair
from tests.lab.lab import Lab
from tests.lab.probe import (
    SILENCE_S,
    SOON_S,
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

NAT_PMP_PORT = 5351


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


def test_what_nobody_listens_for_in_public_is_told_through_a_router(
    lab: Lab, internet: Internet
) -> None:
    for kind in (Kind.PORT, Kind.CGN, Kind.SYMMETRIC_RANDOM):
        (host,) = lab.of(kind)
        udp, tcp = internet.udp_socket(host), internet.tcp_socket(host)
        nobody = (lab.publics[0].address, NODE_PORT)
        udp.settimeout(SOON_S)
        udp.connect(nobody)
        udp.send(b"?")

        with pytest.raises(ConnectionRefusedError):
            udp.recv(1)
        assert tcp.connect_ex(nobody) == errno.ECONNREFUSED


def test_a_router_says_that_it_opens_no_port_for_anybody(lab: Lab, internet: Internet) -> None:
    (host,) = lab.of(Kind.PORT)
    client = internet.udp_socket(host)
    client.settimeout(SOON_S)
    client.connect((host.port.gateway, NAT_PMP_PORT))
    client.send(bytes(2))

    with pytest.raises(ConnectionRefusedError):
        client.recv(16)


def test_where_only_tls_passes_the_server_may_not_speak_first(lab: Lab, internet: Internet) -> None:
    client = internet.tcp_socket(lab.of(Kind.TLS_ONLY)[0])
    with connected(client, internet.tcp[0][0]) as accepted:
        accepted.sendall(b"220 welcome")
        client.settimeout(SILENCE_S)

        with pytest.raises(TimeoutError):
            client.recv(1)


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
