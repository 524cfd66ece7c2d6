"""What was done to simulated arrays outlives the process."""

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from node.runtime import array_store
from node.runtime.array_store import ERRORS_KEPT, ArrayStore, Cells, Written
from protocol.errors import ConfigError
from protocol.ids import ContentId

CELLS = Cells("rram-wan2022", 7, "w/0/1")
CONTENT = ContentId("c" * 64)
WRITTEN = Written(3, 1_800_000_000.25, CONTENT, ((0.0, 1, 0.01), (60.0, 1, 0.02)))


def opened(folder: Path) -> ArrayStore:
    """As a start finds it."""
    store = ArrayStore(folder / "arrays.db")
    store.begin()
    return store


def test_cells_that_nobody_wrote_are_not_known(tmp_path: Path) -> None:
    assert opened(tmp_path).find(CELLS) is None


@pytest.mark.parametrize("device", ["rram-wan2022", "", '{"name": "' + 4000 * "x" + '"}'])
def test_what_is_kept_is_found_at_the_next_start(tmp_path: Path, device: str) -> None:
    cells = CELLS._replace(device=device)
    opened(tmp_path).keep(cells, WRITTEN)

    assert opened(tmp_path).find(cells) == WRITTEN


@pytest.mark.parametrize(
    "other",
    [CELLS._replace(device="rram-harsh"), CELLS._replace(seed=8), CELLS._replace(block="w/1/0")],
)
def test_other_cells_are_other_cells(tmp_path: Path, other: Cells) -> None:
    store = opened(tmp_path)
    store.keep(CELLS, WRITTEN)

    assert store.find(other) is None


def test_of_many_looks_the_first_of_each_kind_and_the_latest_are_kept() -> None:
    written = Written(1, 0.0, CONTENT, ())
    for look in range(20):
        written = written.seen(float(look), 1 + (look == 2), look / 100)

    ages = [age_s for age_s, _, _ in written.errors]
    assert ages == [0.0, 2.0, *map(float, range(20 - ERRORS_KEPT + 2, 20))]
    assert (written.fresh_error(1), written.fresh_error(2)) == (0.0, 0.02)


def test_past_the_limit_those_written_longest_ago_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_store, "ARRAYS_MAX", 3)
    store = opened(tmp_path)
    for number in range(5):
        cells = CELLS._replace(block=f"w/0/{number}")
        store.keep(cells, Written(1, float(number), CONTENT, ()))

    found = [store.find(CELLS._replace(block=f"w/0/{number}")) for number in range(5)]

    assert [one is not None for one in found] == [False, False, True, True, True]


def test_what_was_kept_stands_even_if_the_process_is_killed_at_once(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from node.runtime.array_store import ArrayStore, Cells, Written\n"
        "store = ArrayStore(Path(sys.argv[1]) / 'arrays.db')\n"
        f"store.keep(Cells{tuple(CELLS)}, Written{(5, 1.5, CONTENT, ((0.0, 1, 0.5),))})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, tmp_path]).returncode == -9

    assert opened(tmp_path).find(CELLS) == Written(5, 1.5, CONTENT, ((0.0, 1, 0.5),))


def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "arrays.db").write_bytes(b"no database" * 200)

    with pytest.raises(ConfigError, match="remove it"):
        opened(tmp_path)


def test_damage_deep_within_is_found_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "arrays.db"
    store = opened(tmp_path)
    for seed in range(100):
        store.keep(CELLS._replace(seed=seed), WRITTEN)
    store.close()
    with file.open("r+b") as pages:
        pages.seek(2 * 4096)
        pages.write(bytes(range(256)) * 32)

    with pytest.raises(ConfigError, match="is damaged .*: remove it"):
        opened(tmp_path)


def test_errors_that_are_none_are_found_at_the_start(tmp_path: Path) -> None:
    opened(tmp_path).keep(CELLS, WRITTEN)
    with sqlite3.connect(tmp_path / "arrays.db") as database:
        database.execute("UPDATE arrays SET errors = '[[1'")

    with pytest.raises(ConfigError, match="is damaged .*: remove it"):
        opened(tmp_path)


def test_damage_that_comes_later_is_told_with_what_to_do(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.keep(CELLS, WRITTEN)
    store.close()
    file = tmp_path / "arrays.db"
    file.write_bytes(file.read_bytes()[:4096] + 2 * 4096 * b"x")

    with pytest.raises(OSError, match=r"stop the node: .*arrays\.db is damaged .*: remove it"):
        store.find(CELLS)


def test_a_file_that_may_not_grow_is_told_as_a_full_disk(tmp_path: Path) -> None:
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from node.runtime.array_store import ArrayStore\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "ArrayStore(Path(sys.argv[1]) / 'arrays.db').begin()\n"
    )

    ended = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True)

    assert ended.returncode == 1
    assert b"make room on its disk" in ended.stderr.splitlines()[-1]


def test_the_file_of_a_newer_node_is_left_alone(tmp_path: Path) -> None:
    opened(tmp_path)
    with sqlite3.connect(tmp_path / "arrays.db") as database:
        database.execute("PRAGMA user_version = 9")

    with pytest.raises(ConfigError, match="update sedma"):
        opened(tmp_path)


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    opened(tmp_path)

    assert (tmp_path / "arrays.db").stat().st_mode & 0o777 == 0o600


def test_it_opens_again_after_it_was_closed(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.keep(CELLS, WRITTEN)
    store.close()
    store.close()

    assert store.find(CELLS) == WRITTEN


def test_several_threads_may_keep_and_find_at_once(tmp_path: Path) -> None:
    store = opened(tmp_path)
    cells = [CELLS._replace(block=f"w/0/{number}") for number in range(40)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: store.keep(one, WRITTEN), cells))
        found = list(pool.map(store.find, cells))

    assert found == [WRITTEN] * 40
