"""What a request carries: bytes, a file or an array, each a size and a run of chunks that can be begun anew."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sedma.errors import SedmaError

CHUNK_BYTES = 1 << 20
"""Between two chunks we look whether the daemon has already refused the rest."""


class Body(Protocol):
    """Told by its size beforehand, so that a daemon can refuse it before the first byte."""

    @property
    def kind(self) -> str:
        """Its media type."""

    @property
    def nbytes(self) -> int: ...

    def chunks(self) -> Iterator[bytes | memoryview]: ...


@dataclass(frozen=True, slots=True)
class BytesBody:
    """A short document."""

    kind: str
    content: bytes

    @property
    def nbytes(self) -> int:
        return len(self.content)

    def chunks(self) -> Iterator[bytes | memoryview]:
        yield self.content


@dataclass(frozen=True, slots=True)
class FileBody:
    """A .npy file as it lies on disk; never held whole."""

    path: Path
    nbytes: int
    kind: str = "application/x-npy"

    @classmethod
    def of(cls, path: Path) -> "FileBody":
        """SedmaError where there is no such file or it cannot be read."""
        try:
            if not path.is_file():
                reason = "is a directory" if path.is_dir() else "no such file"
                raise SedmaError("bad_request", f"{path}: {reason}")
            with path.open("rb"):
                return cls(path, path.stat().st_size)
        except OSError as error:
            raise SedmaError("bad_request", f"{path}: {error.strerror}") from error

    def chunks(self) -> Iterator[bytes | memoryview]:
        buffer = memoryview(bytearray(min(CHUNK_BYTES, max(1, self.nbytes))))
        left = self.nbytes
        try:
            with self.path.open("rb", buffering=0) as file:
                while left:
                    count = file.readinto(buffer[: min(left, len(buffer))])
                    if not count:
                        raise EOFError
                    left -= count
                    yield buffer[:count]
        except EOFError:
            reason = f"{self.path}: became shorter while it was sent"
            raise SedmaError("bad_request", reason) from None
        except OSError as error:
            raise SedmaError("bad_request", f"{self.path}: {error.strerror}") from error
