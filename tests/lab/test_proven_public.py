"""Real daemons on public hosts and behind routers: who is public is proven by others, and `status` tells the truth."""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.lab.kinds import Kind
from tests.lab.lab import Lab
from tests.lab.place import IPV4_ALONE, PORT, Place, found_mesh
from tests.lab.plan import Host
from tests.live.daemons import Daemons
from tests.live.namespaces import run

BEHIND = (Kind.PORT, Kind.FIREWALL, Kind.SYMMETRIC_RANDOM, Kind.RST, Kind.UDP_BLOCKED)
HTTPS_TOO = {"SEDMA_MESH_ALSO_LISTEN": "0.0.0.0:443"}
FORWARD = """
table ip forwarded {{
  chain enters {{
    type nat hook prerouting priority dstnat - 5;
    iifname "wan" ip daddr {outside} meta l4proto {{ tcp, udp }} th dport {port} dnat to {inside}
  }}
}}
"""
"""What a router's page calls a forwarded port."""


@pytest.fixture(scope="module")
def small_lab(machine: None) -> Iterator[Lab]:
    with contextlib.closing(Lab(BEHIND)) as lab:
        yield lab


@pytest.fixture(scope="module")
def places(small_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Place]]:
    """Two on public hosts, then one behind each of `BEHIND`."""
    lab, daemons = small_lab, Daemons(tmp_path_factory.mktemp("lab"))
    with contextlib.closing(daemons):
        places = [
            Place(lab, host, daemons, f"public{number}", listen=IPV4_ALONE, environment=HTTPS_TOO)
            for number, host in enumerate(lab.publics)
        ]
        places += [
            Place(lab, host, daemons, host.kind.value, listen=IPV4_ALONE) for host in lab.hosts
        ]
        _forward(lab, lab.of(Kind.RST)[0])
        found_mesh(*places, may_invite=True)
        yield places


def _forward(lab: Lab, host: Host) -> None:
    rules = FORWARD.format(outside=host.outside, inside=host.address, port=PORT)
    run("ip", "netns", "exec", host.routers[0].wan.box, "nft", "-f", "-", told=rules)


def behind(places: list[Place], kind: Kind) -> Place:
    return next(place for place in places if place.host.kind is kind and place.host.routers)


def test_who_is_public_is_proven_by_another(places: list[Place]) -> None:
    for place in places[:2]:
        here = [f"{place.host.address}:{port}" for port in (PORT, 443)]
        status = place.once(partial(proven, place, here), "both of its ports are proven")
        told = f"public at {', '.join(here)} (another node has come in by TCP and UDP)"
        assert told in status["nat"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Kind.PORT, "IPv4: port-restricted NAT, hairpin no"),
        (Kind.FIREWALL, "IPv4: firewall"),
        (Kind.SYMMETRIC_RANDOM, "IPv4: symmetric NAT, hairpin no"),
        (Kind.UDP_BLOCKED, "IPv4: UDP blocked"),
    ],
)
def test_who_is_not_knows_why(places: list[Place], kind: Kind, words: str) -> None:
    place = behind(places, kind)

    place.once(lambda: words in place.status()["nat"], words)

    status = place.status()
    nat = next(found for found in status["findings"] if found["what"].startswith("IPv4: "))
    assert status["public"] == []
    assert nat["means"]
    # The others meet most peers as they are.
    assert bool(nat["fix"]) is (kind in (Kind.SYMMETRIC_RANDOM, Kind.UDP_BLOCKED))


def test_a_forwarded_port_is_found_proven_and_told_to_all(places: list[Place]) -> None:
    founder, place = places[0], behind(places, Kind.RST)
    outside = f"{place.host.outside}:{PORT}"

    status = place.once(partial(proven, place, [outside]), "it is proven")

    assert "IPv4: " in status["nat"]
    assert place.ask(lambda client: client.ticket())["addresses"][0] == outside
    founder.once(
        lambda: founder.peer(place).get("addresses", [])[:1] == [outside], "the others know"
    )


def test_each_knows_who_of_the_others_is_public(places: list[Place]) -> None:
    for place in places[2:]:
        place.once(partial(knows_who_is_public, place), "it knows of a public one")


def test_who_moves_says_so_and_looks_anew(small_lab: Lab, places: list[Place]) -> None:
    place = behind(places, Kind.PORT)
    before = len(place.daemon.noted("nat.found"))

    small_lab.move(place.host)

    here = f"{place.host.address}:{PORT}"
    place.once(lambda: place.status()["listen"] == [here], "it says where it is now")
    place.once(lambda: len(place.daemon.noted("nat.found")) > before, "it has looked anew")
    assert len(place.daemon.noted("network.changed")) == 1


def test_nobody_has_stumbled(places: list[Place]) -> None:
    faults = "".join(place.faults() for place in places)
    assert not faults, faults


def knows_who_is_public(place: Place) -> bool:
    return "public" in {peer["reach"] for peer in place.peers()}


def proven(place: Place, addresses: list[str]) -> dict[str, Any]:
    """Its status once it is public at all of these (each is proven on its own); empty before."""
    status = place.status()
    return status if status["public"] == addresses else {}
