"""The data directory, as people find it or spoil it."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from node.cli.checkup.finding import Finding
from node.cli.checkup.folder import DISK_BYTES_MIN, findings, judge_disk

GIB = 1 << 30
NOBODY = 65534


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    for secret in ("node.key", "api.token"):
        (folder / secret).touch(mode=0o600)
    return folder


def of_folder(place: Path) -> Finding:
    return next(iter(findings(place, GIB, 0)))


def test_a_folder_for_its_owner_alone_is_fine(place: Path) -> None:
    assert of_folder(place).state == "ok"


def test_a_folder_that_is_not_there_yet_is_fine(tmp_path: Path) -> None:
    told = of_folder(tmp_path / "a" / "b")

    assert told.state == "ok"
    assert "the first `sedma-node up` makes it" in told.means


def test_a_folder_that_others_may_look_into_is_a_warning(place: Path) -> None:
    place.chmod(0o755)

    assert of_folder(place).fix == f"chmod 700 {place}"


def test_a_key_that_others_may_read_is_a_problem(place: Path) -> None:
    (place / "node.key").chmod(0o640)
    told = of_folder(place)

    assert told.state == "problem"
    assert told.fix == f"chmod 600 {place}/node.key"


def test_a_file_in_its_place_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    told = of_folder(tmp_path / "state")

    assert (told.state, told.found) == ("problem", f"{tmp_path}/state is a file")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a moment")
def test_a_folder_in_one_that_is_shut_to_this_user_is_a_problem() -> None:
    with TemporaryDirectory() as shut:
        os.seteuid(NOBODY)
        try:
            told = list(findings(Path(shut) / "state", GIB, None))
        finally:
            os.seteuid(0)

    assert [(one.state, one.found) for one in told] == [
        ("problem", f"{shut}/state is where this user may not look")
    ]


def test_without_a_daemon_the_blocks_are_counted(place: Path) -> None:
    (place / "blocks" / "ab").mkdir(parents=True)
    (place / "blocks" / "ab" / "abcd").write_bytes(bytes(3000))
    *_, disk = findings(place, GIB, None)

    assert "2.93 KiB of 1 GiB used" in disk.found


def test_a_disk_that_is_full_before_its_quota_is_a_warning() -> None:
    told = judge_disk(free_bytes=2 * GIB, quota_bytes=20 * GIB, used_bytes=3 * GIB)

    assert told.state == "warning"
    assert told.fix.endswith("below 5 GiB")
    assert judge_disk(free_bytes=17 * GIB, quota_bytes=20 * GIB, used_bytes=3 * GIB).state == "ok"


def test_a_disk_without_room_for_lists_is_a_problem() -> None:
    assert judge_disk(DISK_BYTES_MIN - 1, quota_bytes=0, used_bytes=0).state == "problem"
