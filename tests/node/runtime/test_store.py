"""What the store gives back is what was written, or an error; what it counts is what is there."""

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from node.runtime import store as store_module
from node.runtime.durable import atomic_write
from node.runtime.store import DamagedContent, Store, content_id
from protocol.errors import ErrorCode, TaskError
from protocol.ids import ContentId

MIB = 1 << 20
BLOCK = np.arange(50 * 8, dtype=np.float32).reshape(50, 8)


def bytes_of(matrix: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> memoryview:
    return matrix.data.cast("B")


def file_of(folder: Path, content: ContentId) -> Path:
    return folder / "blocks" / content


def read(store: Store, content: ContentId, nbytes: int) -> bytes:
    target = bytearray(nbytes)
    store.read_into(content, memoryview(target))
    return bytes(target)


def refusal(store: Store, content: ContentId, nbytes: int) -> ErrorCode:
    with pytest.raises(TaskError) as caught:
        read(store, content, nbytes)
    return caught.value.code


def test_content_comes_back_under_its_hash_also_after_a_restart(tmp_path: Path) -> None:
    content = Store(tmp_path, MIB).write(memoryview(b"weights"))

    again = Store(tmp_path, MIB)

    assert content == content_id(b"weights")
    assert read(again, content, 7) == b"weights"
    assert again.used_bytes == 7


def test_the_same_content_is_kept_once(tmp_path: Path) -> None:
    store = Store(tmp_path, MIB)

    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(lambda _: store.write(bytes_of(BLOCK)), range(32)))

    assert len(names) == 1
    assert store.used_bytes == BLOCK.nbytes


def test_the_quota_is_refused_with_need_and_free(tmp_path: Path) -> None:
    store = Store(tmp_path, 10)
    store.write(memoryview(b"123456"))

    with pytest.raises(TaskError, match=r"raise share\.disk") as caught:
        store.write(memoryview(b"abcde"))

    assert caught.value.code is ErrorCode.NO_ROOM
    assert (caught.value.info.need, caught.value.info.free) == (5, 4)
    assert store.used_bytes == 6


def test_a_disk_with_less_room_than_the_quota_is_named_as_what_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path, 1_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3))

    with pytest.raises(
        TaskError, match=f"the disk under {tmp_path}.* is full: make room"
    ) as caught:
        store.write(memoryview(b"abcde"))

    assert caught.value.code is ErrorCode.NO_ROOM
    assert (caught.value.info.need, caught.value.info.free) == (5, 3)


def test_writers_at_once_do_not_exceed_the_quota(tmp_path: Path) -> None:
    store = Store(tmp_path, 1_000)

    def try_write(number: int) -> bool:
        try:
            store.write(memoryview(bytes([number]) * 100))
        except TaskError as refused:
            return refused.code is not ErrorCode.NO_ROOM
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(try_write, range(40))) == 10
    assert store.used_bytes == 1_000


def test_a_full_disk_is_no_room_and_counts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path, MIB)

    def full(path: Path, data: memoryview) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store_module, "atomic_write", full)
    with pytest.raises(TaskError, match="make room there") as caught:
        store.write(memoryview(b"weights"))

    assert caught.value.code is ErrorCode.NO_ROOM
    assert store.used_bytes == 0


def test_deleted_content_is_gone_and_no_longer_counted(tmp_path: Path) -> None:
    store = Store(tmp_path, MIB)
    content = store.write(memoryview(b"weights"))

    store.delete(content)
    store.delete(content)

    assert refusal(store, content, 7) is ErrorCode.NOT_FOUND
    assert store.used_bytes == 0
    assert store.write(memoryview(b"weights")) == content


@pytest.mark.parametrize("damage", [b"wEights", b"weight", b"weights!", b""])
def test_a_damaged_file_is_noticed_and_removed(tmp_path: Path, damage: bytes) -> None:
    content = Store(tmp_path, MIB).write(memoryview(b"weights"))
    file_of(tmp_path, content).write_bytes(damage)
    store = Store(tmp_path, MIB)

    with pytest.raises(DamagedContent, match="damaged on disk and has been removed"):
        read(store, content, 7)

    assert store.used_bytes == 0
    assert not file_of(tmp_path, content).exists()
    store.write(memoryview(b"weights"))
    assert read(store, content, 7) == b"weights"


def test_asking_for_a_wrong_size_destroys_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path, MIB)
    content = store.write(memoryview(b"weights"))

    assert refusal(store, content, 6) is ErrorCode.BAD_REQUEST
    assert refusal(store, content, 8) is ErrorCode.BAD_REQUEST
    assert read(store, content, 7) == b"weights"


def test_a_file_that_somebody_removed_is_not_found(tmp_path: Path) -> None:
    store = Store(tmp_path, MIB)
    content = store.write(memoryview(b"weights"))
    file_of(tmp_path, content).unlink()

    assert refusal(store, content, 7) is ErrorCode.NOT_FOUND
    assert store.used_bytes == 0


@pytest.mark.parametrize("rows_at_once", [1, 7, 50, 64])
def test_panels_are_the_block_piece_by_piece(tmp_path: Path, rows_at_once: int) -> None:
    store = Store(tmp_path, MIB)
    content = store.write(bytes_of(BLOCK))

    read_back = np.zeros_like(BLOCK)
    for first, rows in store.panels(content, 8, rows_at_once):
        assert len(rows) <= rows_at_once
        read_back[first : first + len(rows)] = rows

    assert np.array_equal(read_back, BLOCK)


def test_panels_of_a_damaged_block_are_never_given(tmp_path: Path) -> None:
    content = Store(tmp_path, MIB).write(bytes_of(BLOCK))
    damaged = bytearray(bytes_of(BLOCK))
    damaged[-1] ^= 1
    file_of(tmp_path, content).write_bytes(damaged)

    with pytest.raises(DamagedContent):
        next(Store(tmp_path, MIB).panels(content, 8, 4))
    assert not file_of(tmp_path, content).exists()


def test_panels_of_missing_content_or_of_another_width_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path, MIB)
    content = store.write(bytes_of(BLOCK))

    with pytest.raises(TaskError) as caught:
        next(store.panels(content_id(b"other"), 8, 4))
    assert caught.value.code is ErrorCode.NOT_FOUND
    with pytest.raises(TaskError) as caught:
        next(store.panels(content, 7, 4))
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_leftovers_are_removed_and_foreign_files_left_alone(tmp_path: Path) -> None:
    Store(tmp_path, MIB)
    (tmp_path / "blocks" / ".ab.01.sedma-tmp").write_bytes(b"half")
    (tmp_path / "blocks" / "notes").write_bytes(b"not ours")

    store = Store(tmp_path, MIB)

    assert [entry.name for entry in (tmp_path / "blocks").iterdir()] == ["notes"]
    assert store.used_bytes == 0


def test_contents_that_nobody_names_are_swept_once_they_are_old(tmp_path: Path) -> None:
    store = Store(tmp_path, MIB)
    named, stray, fresh = (store.write(memoryview(text)) for text in (b"n", b"stray", b"fresh"))
    for content in (named, stray):
        os.utime(file_of(tmp_path, content), (1000.0, 1000.0))

    assert store.sweep({named}, older_than=1000.0) == []
    assert store.sweep({named}, older_than=1001.0) == [stray]
    assert store.used_bytes == len(b"n") + len(b"fresh")
    assert file_of(tmp_path, fresh).exists() and not file_of(tmp_path, stray).exists()


def test_content_that_is_written_again_is_new(tmp_path: Path) -> None:
    store = Store(tmp_path, MIB)
    content = store.write(memoryview(b"twice"))
    os.utime(file_of(tmp_path, content), (1000.0, 1000.0))

    store.write(memoryview(b"twice"))

    assert store.sweep(set(), older_than=1001.0) == []


def test_content_written_again_since_its_end_was_ordered_stays(tmp_path: Path) -> None:
    store = Store(tmp_path, MIB)
    content = store.write(memoryview(b"twice"))
    ordered_at = store.stamp

    store.write(memoryview(b"twice"))
    store.delete(content, before=ordered_at)

    assert read(Store(tmp_path, MIB), content, 5) == b"twice"
    store.delete(content, before=store.stamp)
    assert not file_of(tmp_path, content).exists()
    assert store.used_bytes == 0


def test_content_that_is_being_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is there, and not known yet: without the file, what is known in the end would be wrong."""
    store = Store(tmp_path, MIB)
    content = content_id(b"weights")

    def interrupted(path: Path, data: memoryview) -> None:
        store.delete(content, before=store.stamp)
        atomic_write(path, data)
        store.delete(content, before=store.stamp)

    monkeypatch.setattr(store_module, "atomic_write", interrupted)
    store.write(memoryview(b"weights"))

    assert read(Store(tmp_path, MIB), content, 7) == b"weights"
    store.delete(content, before=store.stamp)
    assert store.used_bytes == 0


def test_content_whose_writing_failed_can_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path, MIB)
    content = store.write(memoryview(b"weights"))
    file_of(tmp_path, content).write_bytes(b"")
    store = Store(tmp_path, MIB)

    def full(path: Path, data: memoryview) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "atomic_write", full)
        with pytest.raises(TaskError):
            store.write(memoryview(b"weights"))
    store.delete(content, before=store.stamp)

    assert not file_of(tmp_path, content).exists()


def test_content_written_again_after_somebody_removed_its_file_is_there_again(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path, MIB)
    content = store.write(memoryview(b"weights"))
    file_of(tmp_path, content).unlink()

    store.write(memoryview(b"weights"))

    assert read(Store(tmp_path, MIB), content, 7) == b"weights"
    assert store.used_bytes == 7
