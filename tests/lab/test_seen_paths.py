"""Real daemons behind routers of the laboratory: what people are told of the paths between them is so."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.kinds import Kind
from tests.lab.lab import Lab
from tests.lab.place import IPV4_ALONE, Place, found_mesh
from tests.live.daemons import Daemons

BEHIND = (Kind.SYMMETRIC_RANDOM, Kind.SYMMETRIC_RANDOM, Kind.ADDRESS)
PUBLIC = ("pub0", "pub1")
NAMES = (*PUBLIC, "shy", "coy", "open")
MET_S = 30.0


@pytest.fixture(scope="module")
def places(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Place]]:
    """By name; shy and coy are behind symmetric NATs, open behind one that can be punched through."""
    daemons = Daemons(tmp_path_factory.mktemp("seen"))
    with contextlib.closing(Lab(BEHIND)) as lab, contextlib.closing(daemons):
        places = {
            name: Place(lab, host, daemons, name, listen=IPV4_ALONE)
            for name, host in zip(NAMES, [*lab.publics, *lab.hosts], strict=True)
        }
        found_mesh(*places.values())
        yield places


@pytest.mark.parametrize(("here", "there"), [("shy", "coy"), ("coy", "shy")])
def test_a_pair_that_cannot_punch_is_told_why_and_what_would_help(
    here: str, there: str, places: dict[str, Place]
) -> None:
    one, other = places[here], places[there]

    peer, found = one.once(
        lambda: explained(one, other),
        "`peers` and `doctor` tell of the same relay, and why there is one",
        MET_S,
    )

    assert (peer["path"], peer["paths"][0]) == ("relay", "relay")
    assert peer["via"] in PUBLIC
    assert peer["nat"] == "IPv4 symmetric NAT"
    assert found["found"].startswith(peer["relayed"]["what"])
    assert found["fix"] == peer["relayed"]["fix"]


def test_a_pair_that_can_is_seen_to_be_punched(places: dict[str, Place]) -> None:
    shy = places["shy"]
    peer = shy.once(lambda: punched(shy, places["open"]), "punched", MET_S)

    assert peer["relayed"] is None and peer["via"] == peer["why_not_direct"] == ""
    assert "relay" in peer["paths"], "kept warm"
    assert peer["bytes_in"] > 0 and peer["bytes_out"] > 0
    assert not any(one["check"] == "path" and "open is" in one["found"] for one in shy.doctor())


def test_status_tells_of_relays_on_both_sides(places: dict[str, Place]) -> None:
    shy = places["shy"]
    homes = shy.once(lambda: shy.status()["home_relays"], "it has a home", MET_S)
    assert set(homes) <= set(PUBLIC)
    assert shy.status()["forwards_for"] is None, "nobody can come to it"
    relay = places[homes[0]]
    relay.once(lambda: relay.status()["forwards_for"], "it forwards", MET_S)


def test_metrics_count_paths_and_what_is_forwarded(places: dict[str, Place]) -> None:
    shy = places["shy"]
    shy.once(lambda: punched(shy, places["open"]), "punched", MET_S)
    relays, behind = (
        [places[name].metrics() for name in some] for some in (PUBLIC, ("shy", "open"))
    )

    # Whoever has opened the link looks for the hole; both have the path.
    assert sum(told["sedma_path_attempts_total punched"] for told in behind) >= 1
    for told in behind:
        assert told["sedma_path_outcomes_total punched connected"] >= 1
        assert told["sedma_path_outcomes_total relay connected"] >= 1
        assert told["sedma_path_bytes_total relay in"] > 0
    assert sum(told["sedma_relay_guests"] for told in relays) >= len(BEHIND)
    assert sum(told["sedma_relay_bytes_total"] for told in relays) > 0


def test_nobody_has_stumbled(places: dict[str, Place]) -> None:
    faults = "".join(place.faults() for place in places.values())
    assert not faults, faults


def explained(place: Place, other: Place) -> tuple[dict[str, Any], dict[str, str]] | None:
    """The other one as `peers` has it and what `doctor` finds of it, once both sides know their NATs.

    The link may move to the other relay between the two questions: then this is to be asked again.
    """
    peer = place.peer(other)
    told = f"{other} is reached by way of relay {peer.get('via')}: both NATs are symmetric"
    relayed = peer.get("relayed")
    if relayed is None or not relayed["what"].startswith(told):
        return None
    found = [one for one in place.doctor() if one["found"].startswith(told)]
    return (peer, found[0]) if found else None


def punched(place: Place, other: Place) -> dict[str, Any]:
    """The other, once it is reached through both routers; empty before."""
    peer = place.peer(other)
    return peer if peer and peer["path"] == "punched" else {}
