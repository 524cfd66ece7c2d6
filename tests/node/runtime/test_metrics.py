"""All of `/metrics`, read by the parser of Prometheus."""

import msgspec
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from node.api.exposition import exposition
from node.runtime.lag import Lag
from node.runtime.metrics import families, of_relay
from node.runtime.relaying.forwarding import RelayFigures
from node.runtime.tally import Tally
from node.runtime.traffic import Totals
from protocol.client import PeerView, StatusView
from protocol.paths import PathKind
from tests.node.runtime.test_tally import Way

STATUS = StatusView(
    id="abcdef",
    name='at"tic\\',
    version="0.1.0",
    mesh="m1",
    state="ready",
    budget_bytes=2 << 30,
    rss_bytes=1 << 30,
    free_bytes=1 << 29,
    pinned_bytes=5,
    leased_bytes=6,
    disk_budget_bytes=20 << 30,
    disk_used_bytes=7,
    peers=1,
    weights=3,
    tasks_in_flight=2,
    tasks_done=5,
    tasks_failed=1,
    parts_redone={"stronger": 3},
    listen=(),
    api="",
    data_dir="",
    can_invite=True,
    uptime_s=61.5,
    packets={"sent": 9, "sent_bytes": 900, "received": 8, "dropped.forged": 2},
)
PEER = PeerView(
    id="0123",
    name="cellar",
    state="connected",
    software="sedma 0.1.0",
    addresses=(),
    labels=(),
    budget_bytes=0,
    free_bytes=0,
    rss_bytes=0,
    speed_macs_s=0.0,
    queue_s=0.0,
    in_flight=0,
    rtt_ms=None,
    age_s=0.0,
)
LOST = msgspec.structs.replace(PEER, id="4567", state="lost")


def told(tally: Tally, lag: Lag) -> dict[str, Metric]:
    totals = Totals(100, 200, {(True, "relay"): 1, (False, "lan"): 2})
    text = exposition(families(STATUS, [PEER, PEER, LOST], totals, tally, lag))
    return {read.name: read for read in text_string_to_metric_families(text)}


def value(read: dict[str, Metric], name: str, /, **labels: str) -> float:
    """Of the one sample that has just these labels."""
    family = read[name.removesuffix("_total")]
    (found,) = [one for one in family.samples if one.name == name and one.labels == labels]
    number: float = found.value
    return number


@pytest.fixture
async def read() -> dict[str, Metric]:
    tally, lag = Tally(), Lag()
    lag.stop()
    lag.lateness.noted(0.25, lag.lateness._began_at)
    tally.attempt(PathKind.PUNCHED)
    tally.watch(Way(PathKind.PUNCHED))
    tally.watch(Way(PathKind.RELAY, bytes_out=64))
    tally.refused("client", "no_room")
    return told(tally, lag)


def test_every_family_says_what_it_means_and_what_kind_it_is(read: dict[str, Metric]) -> None:
    for name, family in read.items():
        assert name.startswith("sedma_")
        assert family.documentation.endswith(".")
        assert family.type in ("counter", "gauge", "summary")
        totals = {sample.name.endswith("_total") for sample in family.samples}
        assert totals <= {family.type == "counter"}


def test_no_two_samples_are_the_same_series(read: dict[str, Metric]) -> None:
    series = [
        (sample.name, *sorted(sample.labels.items()))
        for family in read.values()
        for sample in family.samples
    ]

    assert len(series) == len(set(series)) > 60


def test_the_figures_of_status_and_peers_are_told(read: dict[str, Metric]) -> None:
    assert value(read, "sedma_node_info", id="abcdef", name='at"tic\\', mesh="m1") == 1
    assert value(read, "sedma_node_state", state="ready") == 1
    assert value(read, "sedma_node_state", state="joining") == 0
    assert value(read, "sedma_uptime_seconds") == 61.5
    assert value(read, "sedma_peers", state="connected") == 2
    assert value(read, "sedma_peers", state="lost") == 1
    assert value(read, "sedma_peers", state="suspect") == 0
    assert value(read, "sedma_tasks_total", outcome="failed") == 1
    assert value(read, "sedma_parts_redone_total", how="stronger") == 3
    assert value(read, "sedma_parts_redone_total", how="digital") == 0
    assert value(read, "sedma_memory_resident_bytes") == 1 << 30
    assert value(read, "sedma_disk_used_bytes") == 7


def test_links_packets_paths_and_refusals_are_told_by_kind(read: dict[str, Metric]) -> None:
    assert value(read, "sedma_links", opened_by="peer", path="lan") == 2
    assert value(read, "sedma_links", opened_by="us", path="relay") == 1
    assert value(read, "sedma_links", opened_by="us", path="none") == 0
    assert value(read, "sedma_link_bytes_total", direction="in") == 100
    assert value(read, "sedma_packets_total", kind="dropped.forged") == 2
    assert value(read, "sedma_packet_bytes_total", direction="out") == 900
    assert value(read, "sedma_path_attempts_total", kind="punched") == 1
    assert value(read, "sedma_path_outcomes_total", kind="punched", outcome="connected") == 1
    assert value(read, "sedma_path_outcomes_total", kind="ipv6", outcome="failed") == 0
    assert value(read, "sedma_path_bytes_total", kind="relay", direction="out") == 64
    assert value(read, "sedma_paths", kind="relay") == 1
    assert value(read, "sedma_paths", kind="lan") == 0
    assert value(read, "sedma_refusals_total", to="client", reason="no_room") == 1


def test_the_lag_of_the_loop_is_a_summary_beside_its_worst(read: dict[str, Metric]) -> None:
    late = {sample.name: sample.value for sample in read["sedma_loop_lag_seconds"].samples}

    assert late == {"sedma_loop_lag_seconds_sum": 0.25, "sedma_loop_lag_seconds_count": 1}
    assert value(read, "sedma_loop_lag_max_seconds") == 0.25


def test_a_relay_tells_for_whom_and_what_it_forwards() -> None:
    figures = RelayFigures(3, 2, {"opened": 5, "forwarded": 9, "forwarded_bytes": 900})
    text = exposition(of_relay(figures))
    read = {read.name: read for read in text_string_to_metric_families(text)}

    assert value(read, "sedma_relay_guests") == 3
    assert value(read, "sedma_relay_channels") == 2
    assert value(read, "sedma_relay_bytes_total") == 900
    assert value(read, "sedma_relay_events_total", event="opened") == 5
    assert {one.labels["event"] for one in read["sedma_relay_events"].samples} == {
        "opened",
        "forwarded",
    }
