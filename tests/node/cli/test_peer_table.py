"""The cells of `peers`."""

from typing import Any

import pytest

from node.cli.peer_table import HEADS, SPARE, _peer, show_peers

PEER: dict[str, Any] = {
    "name": "cellar",
    "id": "0123456789abcdef",
    "state": "connected",
    "addresses": ["10.0.0.2:7879"],
    "budget_bytes": 1 << 30,
    "free_bytes": 1 << 29,
    "speed_macs_s": 2e10,
    "in_flight": 0,
    "rtt_ms": 0.52,
}


def cell(head: str, **told: object) -> str:
    return _peer(PEER | told)[HEADS.index(head)]


def test_the_path_names_its_relay() -> None:
    assert cell("PATH", path="relay", via="pub0", bytes_in=0, bytes_out=0) == "relay pub0"
    assert cell("PATH", path="punched", via="", bytes_in=0, bytes_out=0) == "punched"
    assert cell("PATH") == "-", "a daemon of the version before tells none"


def test_the_round_trip_is_that_of_calls_or_else_of_the_path() -> None:
    assert cell("RTT>", path_rtt_ms=400.0) == "0.5 ms"
    assert cell("RTT>", rtt_ms=None, path_rtt_ms=0.81) == "0.8 ms"
    assert cell("RTT>", rtt_ms=0.0) == "<1 ms"
    assert cell("RTT>", rtt_ms=None) == "-"


def test_the_address_is_one_to_dial() -> None:
    assert cell("ADDRESS", addresses=["via:r", "10.0.0.2:7879"]) == "10.0.0.2:7879"
    assert cell("ADDRESS", addresses=["via:r"]) == cell("ADDRESS", addresses=[]) == "-"


def test_bytes_are_told_of_who_is_linked() -> None:
    carried = {"bytes_in": 2048, "bytes_out": 0}
    assert cell("GOT>", path="lan", **carried) == "2 KiB"
    assert cell("GOT>", path="", **carried) == "-"


@pytest.mark.parametrize(
    ("nat", "told"),
    [
        ("", "-"),
        ("IPv4 symmetric NAT", "symmetric"),
        ("IPv6 open", "open"),
        ("IPv4 some NAT", "some NAT"),
        ("IPv4 port-restricted NAT, IPv6 firewall", "port-restricted"),
    ],
)
def test_the_nat_is_told_in_short(nat: str, told: str) -> None:
    assert cell("NAT", nat=nat) == told
    assert cell("NAT", nat=nat, reach="public") == "public"


def test_why_somebody_is_out_of_reach_stands_below(capsys: pytest.CaptureFixture[str]) -> None:
    show_peers([PEER, PEER | {"name": "attic", "state": "lost", "why": "it answers nobody"}])

    assert capsys.readouterr().out.splitlines()[3:] == [
        "",
        "attic (0123456789ab) is lost: it answers nobody",
    ]


def test_what_can_be_spared_are_columns_that_there_are() -> None:
    assert set(SPARE) < set(HEADS)
