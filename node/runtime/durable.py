"""Writes that are either whole or absent, whatever dies in between.

The bytes go to a temporary file beside their place, are forced to the disk, and only then take the
name; the folder is forced to the disk last, for a rename is an entry of the folder. A kill before
the rename leaves the old file and a temporary one, which the next start removes.
"""

import os
import secrets
from pathlib import Path

TEMPORARY_SUFFIX = ".sedma-tmp"
"""Ours alone: whatever else people keep in the folder is never taken for a leftover."""
WRITE_BYTES_MAX = 1 << 30
"""One write(2) takes no more than 2 GiB - 4 KiB on Linux."""


def atomic_write(path: Path, data: bytes | bytearray | memoryview, mode: int = 0o600) -> None:
    """Put `data` under `path`, replacing what stood there. OSError when the disk refuses."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    try:
        _write_new(temporary, memoryview(data).cast("B"), mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Force a folder's entries to the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(directory: Path) -> int:
    """Remove what writes that were cut off left in this folder, and say how many."""
    leftovers = list(directory.glob(f".*{TEMPORARY_SUFFIX}"))
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


def _write_new(path: Path, data: memoryview, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        while data:
            data = data[os.write(descriptor, data[:WRITE_BYTES_MAX]) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
