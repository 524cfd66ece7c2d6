"""Matrices between files and the daemon: streamed both ways, never held whole, never half written."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from node.cli.session import UsageError
from protocol.errors import TaskError
from protocol.npy import NpyHeader, parse
from sedma.bodies import FileBody
from sedma.errors import SedmaError
from sedma.transport import Reply

PIECE_BYTES = 1 << 20


def input_file(path: Path) -> FileBody:
    """UsageError where there is no such file."""
    try:
        return FileBody.of(path)
    except SedmaError as error:
        raise UsageError(error.reason) from error


def shape_in(path: Path) -> tuple[int, ...]:
    """The shape that a .npy file's header tells."""
    input_file(path)
    with path.open("rb") as file:
        return _header(file.read(PIECE_BYTES), str(path)).shape


@contextmanager
def output_file(path: Path) -> Iterator[BinaryIO]:
    """A file that stands in its place only once it is whole; `-` and devices are written as they are.

    Opened before anything is asked of a daemon, so that no answer is lost to a misspelt folder.
    """
    if str(path) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as device:
                yield device
            return
        with _beside(path) as file:
            yield file
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


@contextmanager
def _beside(path: Path) -> Iterator[BinaryIO]:
    """A file in the same folder that takes the path's place at the end, or is removed."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            os.fchmod(file.fileno(), 0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def save(reply: Reply, file: BinaryIO) -> tuple[int, ...]:
    """Copy an answer that is a .npy body; its shape. SedmaError if it breaks off."""
    piece = memoryview(bytearray(PIECE_BYTES))
    filled = reply.readinto(piece)
    while filled < PIECE_BYTES and (count := reply.readinto(piece[filled:])):
        filled += count
    header = _header(bytes(piece[:filled]), "the daemon's answer")
    expected = header.header_bytes + header.values_bytes
    written = 0
    while filled:
        file.write(piece[:filled])
        written += filled
        filled = reply.readinto(piece)
    if written != expected:
        reason = f"the answer broke off after {written} of {expected} bytes"
        raise SedmaError("unreachable", reason)
    return header.shape


def _header(prefix: bytes, what: str) -> NpyHeader:
    try:
        header = parse(prefix)
    except TaskError as error:
        raise UsageError(f"{what}: {error.info.reason}") from error
    if header is None:
        raise UsageError(f"{what}: ends before its header does")
    return header


def _umask() -> int:
    """It can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
