"""Real daemons on hosts of the laboratory: started, asked, and what their logs tell."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

import sedma
from tests.lab.lab import Lab
from tests.lab.plan import Host
from tests.live.daemons import Daemon, Daemons, eventually, ticket
from tests.live.small_mesh import BROKEN

PORT = 7879
BOTH_FAMILIES = f"[::]:{PORT}"
IPV4_ALONE = f"0.0.0.0:{PORT}"
MEMORY = "128MiB"
READY_S = 60.0
"""A daemon has so long to start: many do at the same time."""
WAIT_S = 20.0


class Place:
    """A daemon on a host of the laboratory, through all its lives."""

    def __init__(
        self,
        lab: Lab,
        host: Host,
        daemons: Daemons,
        name: str,
        *,
        listen: str = BOTH_FAMILIES,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.host = host
        self.name = name
        self.daemon: Daemon
        self.id = ""
        self._lab = lab
        self._daemons = daemons
        self._listen = listen
        self._environment = environment or {}
        self._client: sedma.Client | None = None

    def __repr__(self) -> str:
        return self.name

    def start(self, join: str | None = None) -> None:
        self._client = None
        with self._lab.on_host(self.host):
            self.daemon = self._daemons(
                self.name,
                MEMORY,
                join=join,
                listen=self._listen,
                flags=("--cpus", "1", "--label", self.name),
                environment=self._environment,
            )

    def ready(self) -> "Place":
        """Wait until it can be asked."""
        with self._lab.on_host(self.host):
            self._client = self.daemon.client(READY_S)
            self.id = self._client.status()["id"]
        return self

    def ask(self, question: Callable[[sedma.Client], Any]) -> Any:
        with self._lab.on_host(self.host):
            assert self._client is not None
            return question(self._client)

    @contextmanager
    def client(self) -> Iterator[sedma.Client]:
        """One of its own for this thread, which is on the host meanwhile."""
        with (
            self._lab.on_host(self.host),
            sedma.connect(data_dir=self.daemon.data_dir) as client,
        ):
            yield client

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = self.ask(lambda client: client.status())
        return told

    def peers(self) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = self.ask(lambda client: client.peers())
        return told

    def peer(self, other: "Place") -> dict[str, Any]:
        """The other, as this one sees it; empty if it does not know it."""
        return next((one for one in self.peers() if one["id"] == other.id), {})

    def is_linked(self, *others: "Place") -> bool:
        return all(self.peer(other).get("state") == "connected" for other in others)

    def doctor(self) -> list[dict[str, str]]:
        words = ["doctor", "--json", "--data-dir", str(self.daemon.data_dir)]
        with self._lab.on_host(self.host):
            told = subprocess.run(
                [sys.executable, "-m", "node.cli.main", *words],
                capture_output=True,
                check=False,
                text=True,
                timeout=60,
            )
        found: list[dict[str, str]] = json.loads(told.stdout)["findings"]
        return found

    def metrics(self) -> dict[str, float]:
        """Each sample by its name and the values of its labels."""
        url = (self.daemon.data_dir / "api.url").read_text().strip()
        with self._lab.on_host(self.host), urllib.request.urlopen(f"{url}/metrics") as answer:
            text = answer.read().decode()
        return {
            " ".join([sample.name, *sample.labels.values()]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def once(self, holds: Callable[[], Any], what: str, within_s: float = WAIT_S) -> Any:
        """What this gives once it is true; else the failure shows our log."""
        try:
            return eventually(holds, what, within_s)
        except AssertionError as late:
            raise AssertionError(f"{self}: {late}: {self.daemon.said}") from None

    def used(self, other: "Place", kind: str, since: float) -> float | None:
        """Seconds from then (wall clock) until the link to the other ran over a path of this kind; None: not yet."""
        for line in self.daemon.noted("path.used"):
            at = datetime.fromisoformat(line["timestamp"]).timestamp()
            if at >= since and line["path"] == kind and other.id.startswith(line["peer"]):
                return at - since
        return None

    def unlinked(self, other: "Place") -> int:
        """How often the link to the other was lost."""
        lines = self.daemon.noted("peer.unlinked")
        return sum(other.id.startswith(line["peer"]) for line in lines)

    def faults(self) -> str:
        """Its log from the first word on that no log may hold; empty if there is none."""
        lines = self.daemon.said.splitlines()
        for at, line in enumerate(lines):
            if any(word in line for word in BROKEN):
                return "\n".join(lines[at : at + 40])
        return ""


def found_mesh(founder: Place, *others: Place, may_invite: bool = False) -> None:
    """Start them all: the others at the same time, by one ticket of the founder."""
    founder.start()
    token = founder.ready().ask(lambda client: ticket(client, may_invite=may_invite))
    for place in others:
        place.start(token)
    for place in others:
        place.ready()
