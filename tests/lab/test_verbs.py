"""What can be done to a host in mid-connection: each seen from the other end of the connection."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.lab.kinds import Kind, Pair
from tests.lab.lab import Lab
from tests.lab.plan import Host
from tests.lab.probe import SILENCE_S, Endpoint, Internet, connected, endpoint, heard

ONE_PORT = [Kind.FULL, Kind.ADDRESS, Kind.PORT, Kind.CGN, Kind.HAIRPIN]
MANY_PORTS = [Kind.SYMMETRIC_RANDOM, Kind.SYMMETRIC_SEQUENTIAL]
MOVED = [Kind.OPEN, Kind.FIREWALL, Kind.IPV6_ONLY, Kind.DUAL_STACK, Kind.PORT, Kind.CGN]
PAIRS = [Pair.ONE_LAN, Pair.TWO_LANS_HAIRPIN, Pair.ONE_CARRIER]


@pytest.fixture(scope="module")
def lab(machine: None) -> Iterator[Lab]:
    asked: dict[Kind | Pair, None] = dict.fromkeys([*ONE_PORT, *MANY_PORTS, *MOVED, *PAIRS])
    with contextlib.closing(Lab([*asked])) as one:
        yield one


@pytest.fixture
def internet(lab: Lab) -> Iterator[Internet]:
    with contextlib.closing(Internet(lab)) as one:
        yield one


@pytest.fixture
def internet6(lab: Lab) -> Iterator[Internet]:
    with contextlib.closing(Internet(lab, ipv6=True)) as one:
        yield one


class Talk:
    """A socket of a host, with its mapping to the server."""

    def __init__(self, internet: Internet, host: Host) -> None:
        self.client, self.server = internet.udp_socket(host), internet.udp[0][0]
        self._internet = internet
        self.mapped = self.seen()

    def seen(self) -> Endpoint:
        found = self._internet.outside(self.client, self.server)
        assert found is not None
        return found

    @property
    def is_reached(self) -> bool:
        """Whether what the server sends to the mapping arrives."""
        said = self._internet.send(self.server, self.mapped)
        return any(data == said for data, _ in heard(self.client, SILENCE_S))

    @property
    def reaches(self) -> bool:
        said = self._internet.send(self.client, endpoint(self.server))
        return any(data == said for data, _ in heard(self.server, SILENCE_S))


@pytest.mark.parametrize("kind", [Kind.FIREWALL, *ONE_PORT, *MANY_PORTS])
def test_a_router_that_forgets_lets_nothing_in_until_the_host_speaks(
    kind: Kind, lab: Lab, internet: Internet
) -> None:
    (host,) = lab.of(kind)
    talk = Talk(internet, host)
    assert talk.is_reached

    lab.forget_mappings(host)

    assert not talk.is_reached
    assert (talk.seen() == talk.mapped) == (kind not in MANY_PORTS)


@pytest.mark.parametrize("kind", [*ONE_PORT, *MANY_PORTS])
def test_a_rebound_host_has_another_outside_port_each_time(
    kind: Kind, lab: Lab, internet: Internet
) -> None:
    (host,) = lab.of(kind)
    talk = Talk(internet, host)
    seen = [talk.mapped]
    for _ in range(5):
        lab.rebind(host)
        assert not talk.is_reached
        seen.append(talk.seen())

    assert len(set(seen)) == len(seen)
    assert {address for address, _ in seen} == {host.outside}


@pytest.mark.parametrize("kind", ONE_PORT)
def test_a_rebound_host_still_has_one_outside_port_for_all(
    kind: Kind, lab: Lab, internet: Internet
) -> None:
    (host,) = lab.of(kind)
    lab.rebind(host)
    client = internet.udp_socket(host)

    servers = [server for servers in internet.udp for server in servers]
    assert len({internet.outside(client, server) for server in servers}) == 1


def test_a_host_without_a_translator_cannot_be_rebound(lab: Lab) -> None:
    with pytest.raises(AssertionError, match="no outside port"):
        lab.rebind(lab.of(Kind.FIREWALL)[0])


def test_tcp_goes_on_through_a_router_that_forgot_once_the_host_speaks(
    lab: Lab, internet: Internet
) -> None:
    (host,) = lab.of(Kind.PORT)
    client = internet.tcp_socket(host)
    with connected(client, internet.tcp[0][0]) as accepted:
        lab.forget_mappings(host)
        client.sendall(b"here")

        assert accepted.recv(16) == b"here"
        accepted.sendall(b"there")
        assert client.recv(16) == b"there"


@pytest.mark.parametrize("kind", [Kind.PORT, Kind.SYMMETRIC_RANDOM])
def test_tcp_through_a_rebound_router_is_dead(kind: Kind, lab: Lab, internet: Internet) -> None:
    (host,) = lab.of(kind)
    client = internet.tcp_socket(host)
    with connected(client, internet.tcp[0][0]) as accepted:
        lab.rebind(host)
        client.sendall(b"from another port")

        with pytest.raises(ConnectionResetError):
            client.recv(1)
        accepted.settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            accepted.recv(1)


@pytest.mark.parametrize("kind", [Kind.OPEN, Kind.PORT, Kind.CGN, *PAIRS])
def test_a_cut_host_neither_hears_nor_is_heard_until_it_is_healed(
    kind: Kind | Pair, lab: Lab, internet: Internet
) -> None:
    host = lab.of(kind)[0]
    talk = Talk(internet, host)

    lab.cut(host)
    assert not talk.is_reached
    assert not talk.reaches
    assert not _passes(internet, host)
    lab.heal(host)

    assert talk.is_reached
    assert talk.reaches
    assert _passes(internet, host)


@pytest.mark.parametrize("kind", [Kind.OPEN, Kind.PORT, Kind.CGN, *PAIRS])
def test_without_udp_a_host_still_has_its_tcp(
    kind: Kind | Pair, lab: Lab, internet: Internet
) -> None:
    host = lab.of(kind)[0]
    talk = Talk(internet, host)

    lab.cut_udp(host)
    assert not talk.is_reached
    assert not talk.reaches
    assert _passes(internet, host)
    lab.heal(host)

    assert talk.is_reached


def test_udp_is_cut_in_ipv6_too(lab: Lab, internet6: Internet) -> None:
    (host,) = lab.of(Kind.IPV6_ONLY)
    talk = Talk(internet6, host)

    lab.cut_udp(host)
    assert not talk.reaches
    assert _passes(internet6, host)
    lab.heal(host)

    assert talk.reaches


def test_two_hosts_in_one_lan_lose_one_another_when_one_is_cut(
    lab: Lab, internet: Internet
) -> None:
    here, there = lab.of(Pair.ONE_LAN)
    source, target = internet.udp_socket(here), internet.udp_socket(there)

    def arrives() -> bool:
        said = internet.send(source, endpoint(target))
        return any(data == said for data, _ in heard(target, SILENCE_S))

    assert arrives()
    lab.cut(there)
    assert not arrives()
    lab.heal(there)
    assert arrives()


@pytest.mark.parametrize("kind", MOVED)
def test_a_host_that_moved_has_other_addresses_and_reaches_all_from_there(
    kind: Kind, lab: Lab, internet: Internet, internet6: Internet
) -> None:
    (host,) = lab.of(kind)
    before = host.address, host.address6, host.outside

    lab.move(host)

    after = host.address, host.address6, host.outside
    assert all(new != old for old, new in zip(before, after, strict=True) if old)
    if host.address:
        assert Talk(internet, host).mapped[0] == host.outside
        assert _passes(internet, host)
    if host.address6:
        assert Talk(internet6, host).mapped[0] == host.address6


@pytest.mark.parametrize("pair", PAIRS)
def test_of_two_behind_one_router_one_moves_alone(pair: Pair, lab: Lab, internet: Internet) -> None:
    here, there = lab.of(pair)
    outside, stays = here.outside, there.address

    lab.move(here)

    assert (here.outside, there.address) == (outside, stays)
    assert [Talk(internet, host).mapped[0] for host in (here, there)] == [outside, outside]


def test_what_moved_leaves_its_sockets_behind(lab: Lab, internet: Internet) -> None:
    (host,) = lab.of(Kind.PORT)
    talk = Talk(internet, host)

    lab.move(host)

    assert not talk.is_reached


def _passes(internet: Internet, host: Host) -> bool:
    client = internet.tcp_socket(host)
    client.settimeout(SILENCE_S)
    listener = internet.tcp[0][0]
    if client.connect_ex(endpoint(listener)) != 0:
        return False
    accepted, _ = listener.accept()
    accepted.close()
    return True
