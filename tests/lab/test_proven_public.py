"""Real daemons on public hosts and behind routers: who is public is proven by others, and `status` tells the truth."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import sedma
from tests.lab.kinds import Kind
from tests.lab.lab import Lab
from tests.lab.plan import Host
from tests.live.daemons import Daemon, Daemons, eventually, ticket
from tests.live.namespaces import run

BEHIND = (Kind.PORT, Kind.FIREWALL, Kind.SYMMETRIC_RANDOM, Kind.RST, Kind.UDP_BLOCKED)
HTTPS_TOO = {"SEDMA_MESH_ALSO_LISTEN": "0.0.0.0:443"}
FORWARD = """
table ip forwarded {{
  chain enters {{
    type nat hook prerouting priority dstnat - 5;
    iifname "wan" ip daddr {outside} meta l4proto {{ tcp, udp }} th dport 7879 dnat to {inside}
  }}
}}
"""
"""What a router's page calls a forwarded port."""
PROVEN_S = 20.0


class Place:
    """A daemon on a host of the laboratory."""

    def __init__(self, lab: Lab, host: Host, daemons: Daemons, joins: str | None = None) -> None:
        self._lab = lab
        self.host = host
        with lab.on_host(host):
            self.daemon: Daemon = daemons(
                f"{host.kind}-{host.name[-4:]}",
                listen="0.0.0.0:7879",
                join=joins,
                environment=HTTPS_TOO if host in lab.publics else None,
            )
            self._client = self.daemon.client()

    def ask(self, question: Callable[[sedma.Client], Any]) -> Any:
        with self._lab.on_host(self.host):
            return question(self._client)

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = self.ask(lambda client: client.status())
        return told

    def once(self, holds: Callable[["Place"], Any]) -> Any:
        """What this gives once it is true."""
        try:
            return eventually(lambda: holds(self), "what was expected of it", PROVEN_S)
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.status()}: {self.daemon.said}") from None

    def addresses(self, peer: str) -> list[str]:
        """Of another node, as it is known here."""
        found = [one for one in self.ask(lambda client: client.peers()) if one["id"] == peer]
        return list(found[0]["addresses"])

    def reaches(self) -> set[str]:
        """What it says of how others are reached."""
        return {peer["reach"] for peer in self.ask(lambda client: client.peers())}


@pytest.fixture(scope="module")
def small_lab(machine: None) -> Iterator[Lab]:
    with contextlib.closing(Lab(BEHIND)) as lab:
        yield lab


@pytest.fixture(scope="module")
def places(small_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Place]]:
    """Two on public hosts, then one behind each of `BEHIND`."""
    lab, daemons = small_lab, Daemons(tmp_path_factory.mktemp("lab"))
    with contextlib.closing(daemons):
        first, *others = [*lab.publics, *lab.hosts]
        founder = Place(lab, first, daemons)
        token = founder.ask(lambda client: ticket(client, may_invite=True))
        _forward(lab, lab.of(Kind.RST)[0])
        yield [founder, *(Place(lab, host, daemons, token) for host in others)]


def _forward(lab: Lab, host: Host) -> None:
    rules = FORWARD.format(outside=host.outside, inside=host.address)
    run("ip", "netns", "exec", host.routers[0].wan.box, "nft", "-f", "-", told=rules)


def test_who_is_public_is_proven_by_another(places: list[Place]) -> None:
    for place in places[:2]:
        here = [f"{place.host.address}:{port}" for port in (7879, 443)]
        status = place.once(lambda place: place.status()["public"] and place.status())
        assert status["public"] == here
        assert (
            f"public at {', '.join(here)} (another node has come in by TCP and UDP)"
            in status["nat"]
        )


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (2, "IPv4: port-restricted NAT, hairpin no"),
        (3, "IPv4: firewall"),
        (4, "IPv4: symmetric NAT, hairpin no"),
        (6, "IPv4: UDP blocked"),
    ],
)
def test_who_is_not_knows_why(places: list[Place], number: int, words: str) -> None:
    place = places[number]

    place.once(lambda place: words in place.status()["nat"])

    assert place.status()["public"] == []
    assert any(found["fix"] for found in place.status()["findings"])


def test_a_forwarded_port_is_found_proven_and_told_to_all(places: list[Place]) -> None:
    founder, place = places[0], places[5]
    outside = f"{place.host.outside}:7879"

    status = place.once(lambda place: place.status()["public"] and place.status())

    assert status["public"] == [outside]
    assert "IPv4: " in status["nat"]
    assert place.ask(lambda client: client.ticket())["addresses"][0] == outside
    founder.once(lambda founder: founder.addresses(status["id"])[:1] == [outside])


def test_each_knows_who_of_the_others_is_public(places: list[Place]) -> None:
    for place in places[2:]:
        place.once(lambda place: "public" in place.reaches())


def test_who_moves_says_so_and_looks_anew(small_lab: Lab, places: list[Place]) -> None:
    place = places[2]
    before = len(place.daemon.noted("nat.found"))

    small_lab.move(place.host)

    place.once(lambda place: place.status()["listen"] == [f"{place.host.address}:7879"])
    place.once(lambda place: len(place.daemon.noted("nat.found")) > before)
    assert len(place.daemon.noted("network.changed")) == 1


def test_nobody_has_stumbled(places: list[Place]) -> None:
    for place in places:
        assert "Traceback" not in place.daemon.said, place.daemon.said
