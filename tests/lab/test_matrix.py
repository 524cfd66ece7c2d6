"""A dozen pairs of the matrix that tell most: each meets, by the best path that there can be between its routers."""

import asyncio
import contextlib

import pytest

from protocol.paths import PathKind
from tests.lab.kinds import Kind, Pair
from tests.lab.lab import Lab
from tests.lab.matrix import main, meet_all
from tests.lab.pairs import Meeting, Wanted
from tests.lab.stations import stations
from tests.lab.tables import rows, square, summary

LAN, IPV4, PUNCHED, RELAY = PathKind.LAN, PathKind.IPV4, PathKind.PUNCHED, PathKind.RELAY
FIRST_MS = 2_000.0
KNOWN_MS = 4_000.0
"""On a machine that is busy with other tests."""
HELD_UP_MBIT_S = 20.0
"""Less than this is a body of 4 MiB that two seconds were waited with."""

MEET: dict[tuple[Kind | Pair, Kind | Pair], PathKind] = {
    (Kind.PORT, Kind.PORT): PUNCHED,
    (Kind.CGN, Kind.PORT): PUNCHED,
    (Kind.FULL, Kind.SYMMETRIC_RANDOM): PUNCHED,
    (Kind.SYMMETRIC_SEQUENTIAL, Kind.FULL): PUNCHED,
    (Kind.DUAL_STACK, Kind.IPV6_ONLY): PUNCHED,
    (Kind.OPEN, Kind.PORT): IPV4,
    (Kind.UDP_BLOCKED, Kind.OPEN): IPV4,
    (Pair.ONE_LAN, Pair.ONE_LAN): LAN,
    (Pair.ONE_CARRIER, Pair.ONE_CARRIER): PUNCHED,
    (Pair.TWO_LANS, Pair.TWO_LANS): RELAY,
    (Kind.SYMMETRIC_RANDOM, Kind.SYMMETRIC_SEQUENTIAL): RELAY,
    (Kind.UDP_BLOCKED, Kind.PORT): RELAY,
    (Kind.IPV6_ONLY, Kind.PORT): RELAY,
    (Kind.TLS_ONLY, Kind.UDP_BLOCKED): RELAY,
}
HOSTS = [*dict.fromkeys(kind for pair in MEET for kind in pair), Kind.PORT]
# All pairs meet before the first test: that takes half a minute where nothing else runs.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def met(machine: None, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Meeting]:
    async def meet(lab: Lab) -> list[Meeting]:
        async with stations(lab, tmp_path_factory.mktemp("stations")) as there:
            return await meet_all(
                there, [Wanted(*pair, (0, int(pair[0] == pair[1]))) for pair in MEET]
            )

    with contextlib.closing(Lab(HOSTS)) as lab:
        return {(one.here, one.there): one for one in asyncio.run(meet(lab))}


@pytest.mark.parametrize(("pair", "kind"), MEET.items())
def test_two_meet_by_the_best_path_that_there_can_be(
    pair: tuple[str, str], kind: PathKind, met: dict[tuple[str, str], Meeting]
) -> None:
    meeting = met[pair]

    assert meeting.failure == ""
    assert meeting.kind is kind
    assert meeting.first_ms is not None and meeting.first_ms < FIRST_MS


def test_the_first_answer_comes_by_a_relay_while_the_routers_are_punched_through(
    met: dict[tuple[str, str], Meeting],
) -> None:
    assert met[Kind.PORT, Kind.PORT].first_kind is RELAY
    assert met[Kind.CGN, Kind.PORT].first_kind is RELAY


def test_a_pair_without_a_direct_way_is_known_as_such(
    met: dict[tuple[str, str], Meeting],
) -> None:
    for pair, kind in MEET.items():
        known_ms = met[pair].hopeless_ms
        if kind is RELAY:
            assert known_ms is not None and known_ms < KNOWN_MS


def test_no_body_waits_for_a_second_connection_to_who_cannot_be_dialled(
    met: dict[tuple[str, str], Meeting],
) -> None:
    rate = met[Kind.OPEN, Kind.PORT].mbit_s

    assert rate is not None and rate > HELD_UP_MBIT_S


# -- what is asked of the matrix -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--pairs", "port,prot"], "prot is none of open, firewall,"),
        (["--runs", "0"], "--runs: 0 is none"),
        (["--rtt", "-1"], "--rtt: -1 is less than nothing"),
        (["--loss", "2"], "--loss: 2 is no part of a whole: write 0.02 for 2 %"),
        (["--lines", "/no/such/folder/file"], "--lines: No such file or directory"),
    ],
)
def test_what_cannot_be_is_refused_before_a_laboratory_is_built(
    words: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["matrix", *words])

    with pytest.raises(SystemExit):
        main()

    assert told in capsys.readouterr().err


# -- what the matrix shows -----------------------------------------------------------------------------

SHOWN = [
    Meeting("port", "port", 0, "", 20.0, RELAY, 30.0, None, PUNCHED, 500.0),
    Meeting("port", "cgn", 0, "", 40.0, RELAY, 50.0, None, PUNCHED, 400.0),
    Meeting("cgn", "port", 1, "", 60.0, RELAY, None, 2500.0, RELAY, 40.0),
    Meeting("port", "tls_only", 0, "no answer"),
]


def test_a_pair_is_direct_if_it_is_so_in_every_run() -> None:
    assert summary(SHOWN)[:2] == [
        "connected 2/3, direct 1",
        "first byte: median 35 ms, worst 50 ms (2 pairs)",
    ]


def test_each_pair_has_its_line_whoever_dialled() -> None:
    _, port, cgn, failed = rows(SHOWN)

    assert port.split() == ["port", "-", "port", "20.0", "relay", "30.0", "punched", "500.0"]
    assert cgn.split()[3:] == ["50.0", "relay", "50.0", "2500.0", "punched/relay", "220.0"]
    assert failed.split() == ["port", "-", "tls_only", "failed:", "no", "answer"]


def test_the_square_shows_where_runs_do_not_agree() -> None:
    _, port, cgn, tls_only, _ = square(SHOWN)

    assert port.split() == ["1", "port", "P", "?", "-"]
    assert cgn.split() == ["2", "cgn", "?"]
    assert tls_only.split() == ["3", "tls_only", "-"]
