"""What a doctor and a scraper find at daemons that run."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.live.daemons import QUICK, Daemon, connected, eventually, ticket

Start = Callable[..., Daemon]


def examined(daemon: Daemon) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit code, and of each check the finding that was made last."""
    words = ["doctor", "--json", "--data-dir", str(daemon.data_dir)]
    run = subprocess.run(
        [sys.executable, "-m", "node.cli.main", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={k: v for k, v in os.environ.items() if not k.startswith("SEDMA_")},
    )
    assert "Traceback" not in run.stderr, run.stderr
    return run.returncode, {one["check"]: one for one in json.loads(run.stdout)["findings"]}


def scraped(daemon: Daemon) -> dict[tuple[str, ...], float]:
    """(name, label values...) to the value."""
    url = (daemon.data_dir / "api.url").read_text().strip()
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    families: list[Metric] = list(text_string_to_metric_families(text))
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_doctor_finds_a_mesh_well_then_a_peer_gone_then_the_daemon_held_up(daemon: Start) -> None:
    first = daemon("first", environment=QUICK)
    here = first.client()
    second = daemon("second", join=ticket(here), environment=QUICK)
    second.client()
    eventually(lambda: len(connected(here)) == 1, "they are linked")

    code, found = examined(first)
    assert code == 0
    assert found["daemon"]["found"].endswith(": ready")
    assert f"process {first.process.pid}" in found["daemon"]["found"]
    assert (found["peers"]["state"], found["peers"]["found"]) == ("ok", "1 connected")
    assert found["version"]["found"].endswith("here and on 1 other")
    assert found["ports"]["state"] == "ok"
    assert found["data directory"]["state"] == "ok"
    assert found["UDP buffer"]["found"].endswith("; 0 dropped")

    second.process.send_signal(signal.SIGSTOP)
    eventually(lambda: here.peers()[0]["state"] == "lost", "it is given up")
    code, found = examined(first)
    assert code == 1
    assert found["peers"]["state"] == "problem"
    assert "is lost" in found["peer"]["found"]

    first.process.send_signal(signal.SIGSTOP)
    code, found = examined(first)
    first.process.send_signal(signal.SIGCONT)
    assert code == 1
    assert "does not answer" in found["daemon"]["found"]


def test_a_scraper_sees_peers_links_packets_tasks_and_refusals(daemon: Start) -> None:
    first = daemon("first", environment=QUICK)
    here = first.client()
    second = daemon("second", join=ticket(here), environment=QUICK)
    there = second.client()
    eventually(lambda: len(connected(here)) == 1, "they are linked")
    before = scraped(first)
    here.put("w", np.ones((300, 200), np.float32), replicas=2)
    there.matmul("w", np.ones((2, 300), np.float32))
    here.get("w")
    assert first.get("/v1/tasks/none")[0] == 404
    sent = "sedma_packets_total", "sent"
    eventually(lambda: scraped(first).get(sent), "it has probed the other")
    after = scraped(first)

    assert after["sedma_peers", "connected"] == 1
    assert after["sedma_node_state", "ready"] == 1
    links = {labels: count for labels, count in after.items() if labels[0] == "sedma_links"}
    assert {labels[2] for labels, count in links.items() if count} == {"lan"}
    # The copy for the other node has gone out over a link.
    carried = "sedma_link_bytes_total", "out"
    assert after[carried] - before[carried] > 4 * 300 * 200
    assert after[sent] > 0
    assert after["sedma_tasks_total", "done"] > before["sedma_tasks_total", "done"]
    assert after["sedma_refusals_total", "client", "not_found"] == 1
    assert after["sedma_weights",] == 1
    assert after["sedma_memory_pinned_bytes",] >= 4 * 300 * 200
    assert after["sedma_loop_lag_seconds_count",] > 0


def test_strangers_that_are_turned_away_are_counted(daemon: Start) -> None:
    first = daemon()
    address = first.client().status()["listen"][0]
    host, port = address.split(":")
    with socket.create_connection((host, int(port))) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        stranger.recv(4096)

    def refused() -> Any:
        return scraped(first).get(("sedma_refusals_total", "stranger", "link.refused"))

    assert eventually(refused, "the refusal is counted") == 1
