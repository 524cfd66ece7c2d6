import re
from html.parser import HTMLParser
from math import nan

import msgspec
import pytest

from node.simulation.outcome import (
    Broken,
    Happening,
    Membership,
    Memory,
    Outcome,
    Requests,
    Sample,
    Traffic,
)
from node.simulation.report import figures, html

BYTES_S = {"membership": 60.0, "digests": 300.0, "calls": 20.0, "bodies": 5000.0}


@pytest.fixture
def outcome() -> Outcome:
    samples = [
        Sample(
            at_s=0.5 * n,
            living=8,
            agreement=0.5 if 10 < n < 20 else 1.0,
            false_suspicions=n % 7 == 0,
            false_deaths=0,
            bytes_s=BYTES_S,
            asked=4,
            in_time=3,
            p50_s=0.2 if n % 3 else nan,
            p95_s=0.6,
            p99_s=1.1,
            fill_mean=0.3,
            fill_max=0.7,
        )
        for n in range(1, 121)
    ]
    return Outcome(
        scenario="my <scenario>",
        about="Less & more.",
        choice="ours",
        nodes=8,
        seed=7,
        run_s=60.0,
        membership=Membership(
            agreement=1.0,
            agreed_again_s=(4.5,),
            suspicions=20,
            false_suspicions=12,
            false_deaths=0,
            stops=2,
            detected_s=(3.0, 5.0, 4.0),
            spread_s=(0.5, float("inf"), 0.4),
        ),
        requests=Requests(
            asked=200,
            in_time=150,
            late=20,
            shed=16,
            failed=10,
            lost=4,
            latency_s={"p50": 0.2, "p99": 1.7},
            errors={"deadline": 10},
            probes_each=1.5,
        ),
        traffic=Traffic(bytes_s=BYTES_S, packets_s=2.5),
        memory=Memory(fill_mean=0.3, fill_max=0.7),
        events={"peer.linked": 56},
        steps=1000,
        wall_s=0.5,
        broken=None,
        happenings=(Happening(what="split", at_s=5.0, until_s=10.0),),
        samples=tuple(samples),
    )


class Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_other_file_and_no_network(outcome: Outcome) -> None:
    text = html(outcome)
    reader = Balance()
    reader.feed(text)

    assert reader.open == []
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<script|<link|src=", text)
    assert "prefers-color-scheme: dark" in text
    assert "my &lt;scenario&gt;" in text and "<scenario>" not in text


def test_the_page_draws_agreement_suspicions_bytes_latency_and_memory(outcome: Outcome) -> None:
    text = html(outcome)

    for title in ("Convergence", "False suspicions", "Bytes of a node", "Latency", "Memory"):
        assert f"<h2>{title}</h2>" in text
    assert text.count("<svg") == 6
    assert text.count(">split</text>") == 6
    assert "Every invariant held" in text


def test_figures_are_told_as_people_read_them(outcome: Outcome) -> None:
    told = dict(figures(outcome))

    assert told["answered in time"] == "150 (75.0%)"
    assert told["noticed by the first after"] == "4 s (median of 3), at last 5 s"
    assert told["then by all after"] == "500 ms (median of 3), at last never"
    assert told["agreed again after a split"] == "4.5 s"
    assert told["  digests"] == "300 B/s"


def test_where_no_node_ever_ran_nothing_is_told_of_its_traffic(outcome: Outcome) -> None:
    silent = msgspec.structs.replace(outcome.traffic, packets_s=nan)

    told = dict(figures(msgspec.structs.replace(outcome, traffic=silent)))

    assert told["packets of a node"] == "-"


def test_a_broken_rule_stands_on_the_page_with_its_place(outcome: Outcome) -> None:
    broken = Broken(
        invariant="within budget", at_s=3.25, machine="n0001", what="2 > 1", replay="sedma-node ..."
    )
    text = html(msgspec.structs.replace(outcome, broken=broken))

    assert "within budget, at 3.250 s on n0001: 2 &gt; 1" in text
    assert "Every invariant held" not in text
