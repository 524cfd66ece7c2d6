"""Content on disk under its own hash: blocks of weights and their sketches, within a quota.

A file's name is the BLAKE3 hash of its bytes, so what is read back is proven or known to be
damaged; damaged files are removed, and the content is fetched again from another holder. Everything
here blocks and is safe to call from several worker threads at once.
"""

import errno
import math
import os
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Set
from io import FileIO
from pathlib import Path

import numpy as np
from blake3 import blake3

from compute.partition import Matrix
from node.runtime.durable import atomic_write, remove_leftovers
from node.runtime.manifests import ManifestShelf
from protocol.errors import ErrorCode, TaskError
from protocol.ids import ContentId
from protocol.messages import Manifest
from protocol.quantities import size_text

CONTENT_ID = re.compile(r"[0-9a-f]{64}")
PROOF_BYTES = 512 * 1024
"""Hashed at once when a file is proven: fast, and no copy of the block in memory."""
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DamagedContent(TaskError):
    """The disk gave back other bytes than were written; the file is gone, the content is not here."""

    def __init__(self, content: ContentId) -> None:
        super().__init__(
            ErrorCode.NOT_FOUND,
            f"content {content[:12]} was damaged on disk and has been removed",
        )


def content_id(content: memoryview | bytes) -> ContentId:
    return ContentId(blake3(content).hexdigest())


class Store:
    """Blocks, sketches and manifests below one folder; the quota counts contents only."""

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        self.quota_bytes = quota_bytes
        self._contents = folder / "blocks"
        self._contents.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_leftovers(self._contents)
        self._shelf = ManifestShelf(folder / "manifests")
        self._lock = threading.Lock()
        self._sizes = {
            ContentId(file.name): file.stat().st_size
            for file in self._contents.iterdir()
            if CONTENT_ID.fullmatch(file.name)
        }
        self.used_bytes = sum(self._sizes.values())
        self._proven: set[ContentId] = set()
        """Written or verified since the start: the digital fallback reads these without hashing,
        which would take it half as long again. What rots later, the sketches catch."""
        self.stamp = 0
        """Grows with every write."""
        self._written: dict[ContentId, int] = {}
        self._writing: Counter[ContentId] = Counter()

    # -- contents ----------------------------------------------------------------------------------

    def write(self, content: memoryview) -> ContentId:
        """Keep these bytes; NO_ROOM past the quota or on a full disk. Twice costs nothing."""
        name = content_id(content)
        with self._lock:
            if self._sizes.get(name) == content.nbytes and self._renew(name):
                return name
            self._reserve(content.nbytes)
            self._writing[name] += 1
        try:
            atomic_write(self._contents / name, content)
        except BaseException as wrong:
            with self._lock:
                self._end_writing(name)
                self.used_bytes -= content.nbytes
            if isinstance(wrong, OSError):
                raise self._refusal(wrong, content.nbytes) from wrong
            raise
        with self._lock:
            # Another thread may have written the same content in the meantime, or a file of a wrong
            # size may have stood there: either is counted already.
            self._end_writing(name)
            self._stamp(name)
            self.used_bytes -= self._sizes.get(name, 0)
            self._sizes[name] = content.nbytes
            self._proven.add(name)
        return name

    def read_into(self, content: ContentId, target: memoryview) -> None:
        """Fill `target` with the content, verified.

        NOT_FOUND if it is missing or damaged, BAD_REQUEST if it has another size than `target`.
        """
        began = self.stamp
        with self._open(content) as file:
            size = _size(file)
            if size == target.nbytes:
                _fill(file, target)
        if size != target.nbytes:
            self._prove(content)
            reason = f"content {content[:12]} has {size} bytes, not {target.nbytes}"
            raise TaskError(ErrorCode.BAD_REQUEST, reason)
        self._judge(content, content_id(target), began)

    def panels(
        self, content: ContentId, columns: int, rows_at_once: int
    ) -> Iterator[tuple[int, Matrix]]:
        """A float32 block's rows from disk, some at a time: (first row, rows).

        The rows lie in one buffer that the next step overwrites. A file that has not been read
        since the start is proven before its first row is given; errors are those of `read_into`.
        """
        if content not in self._proven:
            self._prove(content)
        with self._open(content) as file:
            if _size(file) % (4 * columns):
                reason = f"content {content[:12]} does not have rows of {columns} float32 values"
                raise TaskError(ErrorCode.BAD_REQUEST, reason)
            rows = np.empty((rows_at_once, columns), np.float32)
            first = 0
            while got := _fill(file, rows.data.cast("B")):
                count = got // (4 * columns)
                yield first, rows[:count]
                first += count

    def has(self, content: ContentId) -> bool:
        """Whether it is here and undamaged."""
        try:
            if content not in self._proven:
                self._prove(content)
        except TaskError as refused:
            if refused.code is not ErrorCode.NOT_FOUND:
                raise
            return False
        return True

    def delete(self, content: ContentId, before: int | None = None) -> None:
        """Forget the content, if it is there; with a stamp, only if it has not been written again since."""
        with self._lock:
            if before is None or not (
                content in self._writing or self._written.get(content, -1) >= before
            ):
                self._delete(content)

    def sweep(self, named: Set[ContentId], older_than: float) -> list[ContentId]:
        """Remove contents that are not named and were last written before this moment (wall clock).

        Puts that were cut off leave such contents. What was written lately stays: a manifest that names it may be
        on its way.
        """
        with self._lock:
            unnamed = self._sizes.keys() - named
        swept = []
        for content in sorted(unnamed):
            with self._lock:
                if self._written_at(content) < older_than:
                    self._delete(content)
                    swept.append(content)
        return swept

    @property
    def free_bytes(self) -> int:
        """What the quota, and the file system, still leave."""
        return max(
            min(self.quota_bytes - self.used_bytes, shutil.disk_usage(self._contents).free), 0
        )

    # -- manifests ---------------------------------------------------------------------------------

    def keep_manifest(self, manifest: Manifest) -> None:
        self._shelf.keep(manifest)

    def leave_manifests_behind(self) -> list[str]:
        """What stands here is of a mesh that this node has left; the names of the files set aside."""
        return self._shelf.leave_behind()

    def manifests(self) -> tuple[list[Manifest], list[str]]:
        """All that can be read, and the files that could not and have been set aside."""
        return self._shelf.read()

    # -- within ------------------------------------------------------------------------------------

    def _delete(self, content: ContentId) -> None:
        self.used_bytes -= self._sizes.pop(content, 0)
        self._proven.discard(content)
        self._written.pop(content, None)
        (self._contents / content).unlink(missing_ok=True)

    def _renew(self, content: ContentId) -> bool:
        """It was written again, so it counts as new; False if somebody has removed the file."""
        try:
            os.utime(self._contents / content)
        except FileNotFoundError:
            return False
        self._stamp(content)
        return True

    def _stamp(self, content: ContentId) -> None:
        self._written[content] = self.stamp
        self.stamp += 1

    def _end_writing(self, content: ContentId) -> None:
        self._writing[content] -= 1
        if not self._writing[content]:
            del self._writing[content]

    def _written_at(self, content: ContentId) -> float:
        """Wall clock; never if the file is gone, which its next reader will find."""
        try:
            return (self._contents / content).stat().st_mtime
        except FileNotFoundError:
            return math.inf

    def _reserve(self, nbytes: int) -> None:
        free = self.free_bytes
        if nbytes > self.quota_bytes - self.used_bytes:
            reason = f"the disk quota of {size_text(self.quota_bytes)} is full: remove weights, or raise share.disk"
            raise TaskError(ErrorCode.NO_ROOM, reason, need=nbytes, free=free)
        if nbytes > free:
            raise self._full_disk(nbytes, free)
        self.used_bytes += nbytes

    def _refusal(self, wrong: OSError, nbytes: int) -> TaskError:
        if wrong.errno in FULL_DISK:
            return self._full_disk(nbytes, 0)
        reason = f"the disk under {self._contents} does not take a block: {wrong.strerror}"
        return TaskError(ErrorCode.UNAVAILABLE, reason)

    def _full_disk(self, nbytes: int, free: int) -> TaskError:
        reason = f"the disk under {self._contents} is full: make room there, or remove weights"
        return TaskError(ErrorCode.NO_ROOM, reason, need=nbytes, free=free)

    def _open(self, content: ContentId) -> FileIO:
        began = self.stamp
        try:
            return (self._contents / content).open("rb", buffering=0)
        except FileNotFoundError as missing:
            self.delete(content, began)
            reason = f"content {content[:12]} is not on this node's disk"
            raise TaskError(ErrorCode.NOT_FOUND, reason) from missing

    def _prove(self, content: ContentId) -> None:
        began = self.stamp
        hashed, piece = blake3(), memoryview(bytearray(PROOF_BYTES))
        with self._open(content) as file:
            while got := file.readinto(piece):
                hashed.update(piece[:got])
        self._judge(content, ContentId(hashed.hexdigest()), began)

    def _judge(self, content: ContentId, found: ContentId, began: int) -> None:
        if found != content:
            self.delete(content, began)
            raise DamagedContent(content)
        with self._lock:
            self._proven.add(content)


def _size(file: FileIO) -> int:
    return os.fstat(file.fileno()).st_size


def _fill(file: FileIO, target: memoryview) -> int:
    """Read until `target` is full or the file ends; how many bytes it was."""
    got = 0
    while got < target.nbytes and (count := file.readinto(target[got:])):
        got += count
    return got
