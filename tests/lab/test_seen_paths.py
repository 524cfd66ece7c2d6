"""Real daemons behind routers of the laboratory: what people are told of the paths between them is so."""

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

import sedma
from tests.lab.kinds import Kind
from tests.lab.lab import Lab
from tests.lab.plan import Host
from tests.live.daemons import Daemon, Daemons, eventually, ticket

BEHIND = (Kind.SYMMETRIC_RANDOM, Kind.SYMMETRIC_RANDOM, Kind.ADDRESS)
PUBLIC = ("pub0", "pub1")
NAMES = (*PUBLIC, "shy", "coy", "open")
MET_S = 30.0


@dataclass(slots=True)
class Seat:
    """A daemon on its host."""

    lab: Lab
    host: Host
    daemon: Daemon
    client: sedma.Client

    def status(self) -> dict[str, Any]:
        with self.lab.on_host(self.host):
            return self.client.status()

    def peer(self, name: str) -> dict[str, Any]:
        """The other, as this one sees it; empty if it does not know it."""
        with self.lab.on_host(self.host):
            return next((one for one in self.client.peers() if one["name"] == name), {})

    def doctor(self) -> list[dict[str, Any]]:
        words = ["doctor", "--json", "--data-dir", str(self.daemon.data_dir)]
        with self.lab.on_host(self.host):
            told = subprocess.run(
                [sys.executable, "-m", "node.cli.main", *words],
                capture_output=True,
                check=False,
                text=True,
                timeout=30,
            )
        found: list[dict[str, Any]] = json.loads(told.stdout)["findings"]
        return found

    def metrics(self) -> dict[str, float]:
        """Each sample by its name and the values of its labels."""
        url = (self.daemon.data_dir / "api.url").read_text().strip()
        with self.lab.on_host(self.host), urllib.request.urlopen(f"{url}/metrics") as answer:
            text = answer.read().decode()
        return {
            " ".join([sample.name, *sample.labels.values()]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture(scope="module")
def seats(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Seat]]:
    daemons = Daemons(tmp_path_factory.mktemp("seen"))
    with contextlib.closing(Lab(BEHIND)) as lab, contextlib.closing(daemons):
        seats: dict[str, Seat] = {}
        token = None
        for name, host in zip(NAMES, [*lab.publics, *lab.hosts], strict=True):
            with lab.on_host(host):
                daemon = daemons(name, "128MiB", listen="0.0.0.0:7879", join=token)
                seats[name] = Seat(lab, host, daemon, daemon.client())
                token = token or ticket(seats[name].client)
        yield seats


def test_a_pair_that_cannot_punch_is_told_why_and_what_would_help(seats: dict[str, Seat]) -> None:
    for here, there in (("shy", "coy"), ("coy", "shy")):
        peer = eventually(partial(_explained, seats[here], there), "relayed, with a reason", MET_S)
        assert (peer["path"], peer["paths"][0]) == ("relay", "relay")
        assert peer["via"] in PUBLIC
        assert peer["nat"] == "IPv4 symmetric NAT"
        told = f"{there} is reached by way of relay {peer['via']}: both NATs are symmetric"
        assert peer["relayed"]["what"].startswith(told)
        assert [one["fix"] for one in seats[here].doctor() if one["found"].startswith(told)] == [
            peer["relayed"]["fix"]
        ]


def test_a_pair_that_can_is_seen_to_be_punched(seats: dict[str, Seat]) -> None:
    peer = eventually(
        lambda: (one := seats["shy"].peer("open")) and one["path"] == "punched" and one,
        "punched",
        MET_S,
    )

    assert peer["relayed"] is None and peer["via"] == peer["why_not_direct"] == ""
    assert "relay" in peer["paths"], "kept warm"
    assert peer["bytes_in"] > 0 and peer["bytes_out"] > 0
    assert not any(
        one["check"] == "path" and "open is" in one["found"] for one in seats["shy"].doctor()
    )


def test_status_tells_of_relays_on_both_sides(seats: dict[str, Seat]) -> None:
    homes = eventually(lambda: seats["shy"].status()["home_relays"], "it has a home", MET_S)
    assert set(homes) <= set(PUBLIC)
    assert seats["shy"].status()["forwards_for"] is None, "nobody can come to it"
    eventually(lambda: seats[homes[0]].status()["forwards_for"], "it forwards", MET_S)


def test_metrics_count_paths_and_what_is_forwarded(seats: dict[str, Seat]) -> None:
    relays, behind = (
        [seats[name].metrics() for name in some] for some in (PUBLIC, ("shy", "open"))
    )

    # Whoever has opened the link looks for the hole; both have the path.
    assert sum(told["sedma_path_attempts_total punched"] for told in behind) >= 1
    for told in behind:
        assert told["sedma_path_outcomes_total punched connected"] >= 1
        assert told["sedma_path_outcomes_total relay connected"] >= 1
        assert told["sedma_path_bytes_total relay in"] > 0
    assert sum(told["sedma_relay_guests"] for told in relays) >= len(BEHIND)
    assert sum(told["sedma_relay_bytes_total"] for told in relays) > 0


def _explained(seat: Seat, name: str) -> dict[str, Any]:
    """The peer, once both sides know their NATs."""
    peer = seat.peer(name)
    known = peer and peer["relayed"] and "symmetric" in peer["relayed"]["what"]
    return peer if known else {}


def test_nobody_has_stumbled(seats: dict[str, Seat]) -> None:
    for seat in seats.values():
        assert "Traceback" not in seat.daemon.said, seat.daemon.said
