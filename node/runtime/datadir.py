"""The data directory: one daemon's memory across restarts, locked against a second one."""

import fcntl
import os
import secrets
from pathlib import Path

from protocol.errors import ConfigError

SCHEMA = 1
"""Of the directory's layout; a newer one is left alone."""


def atomic_write(path: Path, content: bytes | memoryview, mode: int = 0o600) -> None:
    """Old or new, never a mixture: temporary file, fsync, rename, fsync of the directory."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class DataDir:
    """An opened and locked data directory; ConfigError if another daemon has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (path / "lock").open("a+", encoding="ascii")
        except OSError as wrong:
            raise ConfigError(f"{path} cannot be used: {wrong.strerror}; see --data-dir") from wrong
        self._take_lock()
        self._check_schema()
        for leftover in path.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)

    @property
    def token(self) -> str:
        """What lets programs in: made once, readable by the owner alone."""
        file = self.path / "api.token"
        if not file.exists():
            atomic_write(file, secrets.token_urlsafe(32).encode())
        return file.read_text(encoding="ascii").strip()

    def tell_url(self, url: str) -> None:
        atomic_write(self.path / "api.url", url.encode())

    def identity(self) -> bytes:
        """32 random bytes that name this node, made once."""
        file = self.path / "node.seed"
        if not file.exists():
            atomic_write(file, secrets.token_bytes(32))
        seed = file.read_bytes()
        if len(seed) != 32:
            raise ConfigError(
                f"{file} is damaged ({len(seed)} bytes, not 32); restore or remove it"
            )
        return seed

    def close(self) -> None:
        (self.path / "api.url").unlink(missing_ok=True)
        self._lock.close()

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise ConfigError(
                f"{self.path} is in use by the daemon with process id {holder}; stop that one, or"
                " give this one its own --data-dir"
            ) from taken
        self._lock.seek(0)
        self._lock.truncate()
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def _check_schema(self) -> None:
        file = self.path / "schema"
        if not file.exists():
            atomic_write(file, str(SCHEMA).encode())
        found = file.read_text(encoding="ascii").strip()
        if found != str(SCHEMA):
            raise ConfigError(
                f"{self.path} was written by another version of sedma (layout {found}, this one"
                f" reads {SCHEMA}); start that version, or use another --data-dir"
            )
