"""Content on disk under its own hash, and the manifests that say what it is part of.

Everything here blocks and is called from worker threads. A file's name is the BLAKE3 hash of its bytes, so what is
read back can be trusted or is known to be damaged.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np
from blake3 import blake3

from compute.partition import Block, BlockGrid, Matrix
from node.runtime.durable import atomic_write
from protocol.errors import ErrorCode, TaskError
from protocol.ids import ContentId
from protocol.messages import Manifest


def content_id(content: memoryview | bytes) -> ContentId:
    return ContentId(blake3(content).hexdigest())


class Store:
    """Blocks, sketches and manifests below one folder, within a quota of bytes."""

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        self._contents = folder / "blocks"
        self._manifests = folder / "manifests"
        self.quota_bytes = quota_bytes
        for place in (self._contents, self._manifests):
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self.used_bytes = sum(file.stat().st_size for file in self._contents.iterdir())

    def write(self, content: memoryview) -> ContentId:
        """Keep these bytes; NO_ROOM past the quota. Writing the same content again costs nothing."""
        name = content_id(content)
        path = self._contents / name
        if path.exists():
            return name
        with self._lock:
            if self.used_bytes + content.nbytes > self.quota_bytes:
                free = max(self.quota_bytes - self.used_bytes, 0)
                reason = "the disk quota is full; remove weights or raise share.disk"
                raise TaskError(ErrorCode.NO_ROOM, reason, need=content.nbytes, free=free)
            self.used_bytes += content.nbytes
        try:
            atomic_write(path, content)
        except OSError as wrong:
            with self._lock:
                self.used_bytes -= content.nbytes
            reason = f"the disk does not take a block: {wrong.strerror}"
            raise TaskError(ErrorCode.NO_ROOM, reason, need=content.nbytes, free=0) from wrong
        return name

    def read_into(self, content: ContentId, target: memoryview) -> None:
        """Fill `target` with the content, verified; NOT_FOUND if it is missing or damaged."""
        path = self._contents / content
        try:
            with path.open("rb", buffering=0) as file:
                got = 0
                while got < target.nbytes and (n := file.readinto(target[got:])):
                    got += n
        except FileNotFoundError as missing:
            reason = f"content {content[:12]} is not on this node's disk"
            raise TaskError(ErrorCode.NOT_FOUND, reason) from missing
        if got != target.nbytes or content_id(target) != content:
            self.delete(content)
            reason = f"content {content[:12]} was damaged on disk and has been removed"
            raise TaskError(ErrorCode.NOT_FOUND, reason)

    def panels(
        self, content: ContentId, columns: int, rows_at_once: int
    ) -> Iterator[tuple[int, Matrix]]:
        """A block's rows from disk, some at a time: (first row, rows)."""
        with (self._contents / content).open("rb", buffering=0) as file:
            first = 0
            while True:
                rows = np.fromfile(file, np.float32, rows_at_once * columns)
                if rows.size == 0:
                    return
                panel = rows.reshape(-1, columns)
                yield first, panel
                first += panel.shape[0]

    def rows(
        self,
        grid: BlockGrid,
        contents: Mapping[Block, ContentId],
        row: int,
        first: int,
        count: int,
    ) -> Matrix:
        """`count` rows of a matrix from the `first` of a block row on, put together from its blocks."""
        whole: Matrix = np.empty((count, grid.columns), np.float32)
        for column in range(grid.column_blocks):
            start, stop = grid.column_span(column)
            width = stop - start
            values = np.fromfile(
                self._contents / contents[Block(row, column)],
                np.float32,
                count * width,
                offset=first * width * 4,
            )
            whole[:, start:stop] = values.reshape(count, width)
        return whole

    def delete(self, content: ContentId) -> None:
        path = self._contents / content
        with self._lock:
            if path.exists():
                self.used_bytes -= path.stat().st_size
                path.unlink()

    def keep_manifest(self, manifest: Manifest) -> None:
        atomic_write(
            self._manifests / f"{manifest.head.name}.manifest", msgspec.msgpack.encode(manifest)
        )

    def manifests(self) -> tuple[list[Manifest], list[str]]:
        """All that can be read, and the names of files that cannot."""
        read, damaged = [], []
        for file in sorted(self._manifests.iterdir()):
            try:
                read.append(msgspec.msgpack.decode(file.read_bytes(), type=Manifest))
            except msgspec.DecodeError:
                damaged.append(os.fspath(file))
        return read, damaged
