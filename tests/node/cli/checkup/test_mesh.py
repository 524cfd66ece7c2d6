"""What the daemon tells, as a doctor says it."""

from typing import Any

import pytest

from node.cli.checkup.mesh import (
    TOLD_MAX,
    judge_address,
    judge_arrays,
    judge_daemon,
    judge_peers,
    judge_reach,
    judge_relays,
    judge_versions,
)

STATUS: dict[str, Any] = {
    "id": "abcdef0123456789",
    "name": "attic",
    "version": "0.1.0",
    "state": "ready",
    "listen": ["192.0.2.1:7879"],
    "uptime_s": 61.0,
}
PEER: dict[str, Any] = {
    "id": "0123456789abcdef",
    "name": "cellar",
    "state": "connected",
    "software": "sedma 0.1.0",
    "addresses": ["192.0.2.2:7879"],
    "why": "",
    "age_s": 125.0,
}


def test_a_daemon_that_is_ready_is_fine() -> None:
    (told,) = judge_daemon(STATUS, 7)

    assert told.state == "ok"
    assert told.found == "attic (abcdef012345), process 7, up 1m 1s: ready"


def test_a_daemon_that_cannot_join_is_a_problem_with_its_reason() -> None:
    joining = STATUS | {"state": "joining", "joining": "192.0.2.9:7879 refuses"}
    (told,) = judge_daemon(joining, None)

    assert told.state == "problem"
    assert told.found.endswith("joining: 192.0.2.9:7879 refuses")


def test_a_twin_of_this_node_is_a_problem() -> None:
    twin = "another process runs with a copy of this data directory"
    _, told = judge_daemon(STATUS | {"duplicated": twin}, 7)

    assert (told.check, told.state, told.found) == ("identity", "problem", twin)


def test_what_is_known_of_the_nat_is_told_and_what_would_help_is_a_warning() -> None:
    found = [
        {"what": "IPv4: symmetric", "means": "a relay carries all", "fix": "forward the port"},
        {"what": "IPv6: open", "means": "everybody can send", "fix": ""},
    ]
    first, second = judge_reach(STATUS | {"nat": "IPv4: symmetric", "findings": found})

    assert (first.state, first.found, first.fix) == (
        "warning",
        "IPv4: symmetric",
        "forward the port",
    )
    assert (second.state, second.means) == ("ok", "everybody can send")


def test_a_nat_of_which_nothing_is_known_yet_is_told_in_one_line() -> None:
    (told,) = judge_reach(STATUS | {"nat": "not known", "findings": []})

    assert (told.check, told.state, told.found) == ("NAT", "ok", "not known")
    assert list(judge_reach(STATUS)) == []


def test_a_peer_by_way_of_a_relay_is_explained_and_what_would_help_is_a_warning() -> None:
    found = {"what": "cellar is reached by way of relay pub0: both", "means": "m", "fix": "forward"}
    _, mended, waits = judge_peers(
        [PEER | {"relayed": found}, PEER | {"relayed": found | {"fix": ""}}, PEER]
    )

    assert (mended.check, mended.state, mended.found) == ("path", "warning", found["what"])
    assert (mended.means, mended.fix) == ("m", "forward")
    assert waits.state == "ok", "there is nothing to do about it"


def test_of_many_relayed_peers_the_first_are_explained_and_all_are_counted() -> None:
    found = {"what": "w", "means": "m", "fix": "f"}
    _, *told = judge_peers([PEER | {"relayed": found}] * (TOLD_MAX + 3))

    assert len(told) == TOLD_MAX + 1
    assert told[-1].found == "3 more are reached by way of relays"


def test_a_node_on_loopback_alone_is_warned() -> None:
    (here,) = judge_address(STATUS | {"listen": ["127.0.0.1:7879", "[::1]:7879"]})
    (away,) = judge_address(STATUS | {"listen": ["127.0.0.1:7879", "via:abc", "192.0.2.1:1"]})

    assert (here.state, away.state) == ("warning", "ok")


def test_one_version_everywhere_is_fine() -> None:
    (told,) = judge_versions("0.1.0", STATUS, [PEER])

    assert (told.state, told.found) == ("ok", "sedma 0.1.0 here and on 1 other")


def test_a_daemon_older_than_what_is_installed_is_a_warning() -> None:
    (told,) = judge_versions("0.2.0", STATUS, [PEER])

    assert told.state == "warning"
    assert told.found == "the daemon runs 0.1.0, installed is 0.2.0"


def test_peers_of_another_version_are_told_by_name() -> None:
    newer = PEER | {"software": "sedma 0.2.0"}
    gone = newer | {"state": "left"}
    unknown = PEER | {"software": ""}
    (told,) = judge_versions("0.1.0", STATUS, [PEER, newer, gone, unknown])

    assert told.state == "warning"
    assert told.found == "here sedma 0.1.0; cellar (0123456789ab) runs sedma 0.2.0"


def test_a_node_alone_is_fine() -> None:
    (told,) = judge_peers([])

    assert told.state == "ok"


@pytest.mark.parametrize(
    ("state", "why", "apart"),
    [
        ("connected", "", False),
        ("known", "", False),
        ("known", "timed out", True),
        ("suspect", "", True),
        ("lost", "", True),
        ("stopped", "", False),
        ("left", "", False),
    ],
)
def test_who_should_be_in_reach_and_is_not_is_told_with_the_reason(
    state: str, why: str, apart: bool
) -> None:
    _, *told = judge_peers([PEER, PEER | {"state": state, "why": why}])

    assert [one.state for one in told] == (["warning"] if apart else [])
    if apart:
        reason = why or "it answers nobody"
        assert told[0].found == (f"cellar (0123456789ab) is {state}: {reason} (at 192.0.2.2:7879)")


def test_nobody_in_reach_is_a_problem() -> None:
    whole, one = judge_peers([PEER | {"state": "known", "why": "timed out"}])

    assert (whole.state, one.state) == ("problem", "warning")


def test_of_many_out_of_reach_only_some_are_told() -> None:
    lost = [PEER | {"id": f"{number:016x}", "state": "lost"} for number in range(TOLD_MAX + 5)]
    told = list(judge_peers([PEER, *lost]))

    assert len(told) == 1 + TOLD_MAX + 1
    assert told[-1].found == "5 more"


APART = PEER | {"state": "known", "why": "no answer from 192.0.2.2:7879"}


def test_without_a_relay_whoever_is_out_of_reach_may_be_so_for_that() -> None:
    (told,) = judge_relays(STATUS, [PEER, APART])

    assert (told.check, told.state) == ("relay", "warning")
    assert "relay.serve" in told.fix


@pytest.mark.parametrize(
    ("status", "peers"),
    [
        (STATUS, [PEER]),
        (STATUS, []),
        (STATUS | {"home_relays": ["pub"]}, [PEER, APART]),
        (STATUS | {"public": ["192.0.2.1:7879"]}, [PEER, APART]),
    ],
)
def test_no_relay_is_missed_where_none_is_needed_or_one_is_there(
    status: dict[str, Any], peers: list[dict[str, Any]]
) -> None:
    assert list(judge_relays(status, peers)) == []


def test_a_node_with_fewer_than_half_of_its_tiles_healthy_is_a_warning() -> None:
    def arrays(healthy: float, count: int = 4) -> dict[str, Any]:
        return {"arrays": {"arrays": count, "healthy": healthy, "stuck": 0.108}}

    peers = [PEER | arrays(0.5), PEER | arrays(0.0, count=0), PEER | arrays(0.49), PEER]

    here, there = judge_arrays(STATUS | arrays(0.25), peers)

    assert (here.state, there.state) == ("warning", "warning")
    assert here.found == (
        "25% of the tiles of attic (abcdef012345) are healthy; 10.8% of its cells are stuck"
    )
    assert there.found.startswith("49% of the tiles of cellar")
    assert list(judge_arrays(STATUS, [PEER])) == []
