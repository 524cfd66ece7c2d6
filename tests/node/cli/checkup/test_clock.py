"""What can be known of the clock without asking a time server."""

from pathlib import Path

from node.cli.checkup.clock import findings
from node.cli.checkup.finding import Finding
from node.cli.checkup.kernel import ClockState

NOW = 1_800_000_000.0
KEPT = ClockState(synchronised=True, error_s=0.02)


def told(
    place: Path,
    state: ClockState | None = KEPT,
    incarnation: int | None = int(NOW) - 3600,
    peers: dict[str, int] | None = None,
) -> list[Finding]:
    if incarnation is not None:
        (place / "incarnation").write_text(f"{incarnation}\n")
    return list(findings(state, place, peers or {}, NOW))


def test_a_clock_that_is_kept_is_fine(tmp_path: Path) -> None:
    (one,) = told(tmp_path)

    assert (one.state, one.found) == ("ok", "kept by a time service, right within 20 ms")


def test_a_clock_that_nobody_keeps_is_a_warning(tmp_path: Path) -> None:
    (one,) = told(tmp_path, ClockState(synchronised=False, error_s=16.0), incarnation=None)

    assert one.state == "warning"
    assert "timedatectl set-ntp true" in one.fix


def test_where_the_kernel_does_not_tell_nothing_is_claimed(tmp_path: Path) -> None:
    (one,) = told(tmp_path, None)

    assert one.state == "ok"
    assert "does not say" in one.found


def test_a_clock_that_was_set_back_since_the_last_start_is_a_problem(tmp_path: Path) -> None:
    (one,) = told(tmp_path, incarnation=int(NOW) + 7200)

    assert one.state == "problem"
    assert one.found == "it stands 2h 0m before the last start of this node"


def test_incarnations_raised_by_denials_are_no_wrong_clock(tmp_path: Path) -> None:
    (one,) = told(tmp_path, incarnation=int(NOW) + 40, peers={"cellar": int(NOW) + 40})

    assert one.state == "ok"


def test_a_peer_that_started_in_the_future_is_told_by_name(tmp_path: Path) -> None:
    _, one = told(tmp_path, peers={"cellar": int(NOW) + 3600, "attic": int(NOW) - 5})

    assert one.state == "warning"
    assert one.found == "cellar started up to 1h 0m in what is the future here"
