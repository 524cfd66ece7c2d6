"""The one folder in which a node keeps what outlives it, held by one daemon at a time.

    lock          held with flock(2) while the daemon lives; holds its process id
    schema        version of this layout
    incarnation   how often this node has started, roughly
    node.key      the node's Ed25519 key          node.id   the id that belongs to it
    mesh/         CA certificate and our own      members.db   who the others are, and who is dead
    left          the mesh that this node has left; what it had of it is in mesh-left-*
    tickets.json  who used which ticket minted here
    api.url, api.token   how commands on this machine find and address the daemon
    blocks/, manifests/  weights                  arrays.db    what was done to the simulated arrays they stand in
    spool/   what clients send and fetch

A folder moved to another machine is the same node there.
"""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from node.runtime.array_store import ArrayStore
from node.runtime.durable import atomic_write, remove_leftovers
from node.runtime.members_store import MembersStore, Places
from protocol.errors import ConfigError
from sedma.places import TOKEN_FILE, URL_FILE

SCHEMA = 2


class Paths:
    """Where things stand in a data directory: all that the daemon's own child may know of it."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()

    @property
    def key(self) -> Path:
        return self.path / "node.key"

    @property
    def id(self) -> Path:
        return self.path / "node.id"

    @property
    def mesh(self) -> Path:
        return self.path / "mesh"

    @property
    def tickets(self) -> Path:
        return self.path / "tickets.json"

    @property
    def blocks(self) -> Path:
        return self.path / "blocks"

    @property
    def manifests(self) -> Path:
        return self.path / "manifests"

    @property
    def spool(self) -> Path:
        return self.path / "spool"

    @property
    def left(self) -> Path:
        return self.path / "left"


class DataDir(Paths):
    """An open, locked data directory. ConfigError when it cannot be had, with what to do instead."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.members = MembersStore(self.path / "members.db")
        self.arrays = ArrayStore(self.path / "arrays.db")
        _create(self.path)
        self._lock: int | None = _lock(self.path)
        try:
            self._prepare()
        except OSError as wrong:
            self.close()
            raise ConfigError(f"data directory {self.path}: {wrong}") from wrong
        except ConfigError:
            self.close()
            raise

    def _prepare(self) -> None:
        self.mesh.mkdir(mode=0o700, exist_ok=True)
        for directory in (self.path, self.mesh):
            remove_leftovers(directory)
        migrate(self.path, MIGRATIONS, SCHEMA)
        self.arrays.begin()
        # We hold the lock, so whoever wrote this address is gone.
        self.withdraw_url()

    def close(self) -> None:
        """Let go of the lock. Commands no longer find the daemon."""
        if self._lock is None:
            return
        self.withdraw_url()
        self.arrays.close()
        os.close(self._lock)
        self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- this node ---------------------------------------------------------------------------------

    def next_incarnation(self, now_wall: float) -> int:
        """A number greater than at every start before, on disk before it is returned.

        Peers believe the greatest incarnation only, so a counter that fell back would make the node
        unheard. Hence it never lies below the Unix time in seconds: then it also grows when the
        file was lost or comes from a backup; and it grows when the clock was set back, for it
        counts on.
        """
        file = self.path / "incarnation"
        last = int(text) if (text := _read_text(file)) and text.isdecimal() else 0
        incarnation = max(last + 1, int(now_wall))
        self.keep_incarnation(incarnation)
        return incarnation

    def keep_incarnation(self, incarnation: int) -> None:
        """It was raised while the node runs: the next start must begin above it. Blocks."""
        atomic_write(self.path / "incarnation", f"{incarnation}\n".encode())

    # -- how commands find the daemon --------------------------------------------------------------

    @property
    def token(self) -> str:
        """What lets commands in: drawn once, readable by the owner alone."""
        file = self.path / TOKEN_FILE
        if token := _read_text(file):
            return token
        token = secrets.token_urlsafe(32)
        atomic_write(file, f"{token}\n".encode())
        return token

    def tell_url(self, url: str) -> None:
        atomic_write(self.path / URL_FILE, f"{url}\n".encode())

    def withdraw_url(self) -> None:
        (self.path / URL_FILE).unlink(missing_ok=True)


def _peers_to_members(path: Path) -> None:
    """Layout 1 kept (id, addresses) in `peers.json`."""
    file = path / "peers.json"
    try:
        places = msgspec.json.decode(file.read_bytes(), type=Places)
    except FileNotFoundError:
        return
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise ConfigError(
            f"{file} is damaged ({wrong}): remove it and start with --join TICKET"
        ) from wrong
    MembersStore(path / "members.db").keep_places(places)
    file.unlink()


MIGRATIONS: dict[int, Callable[[Path], None]] = {1: _peers_to_members}
"""From this version to the next; each must bear being done twice, should the daemon die in it."""


def migrate(path: Path, steps: Mapping[int, Callable[[Path], None]], target: int) -> None:
    """Bring the layout to version `target`, one step after the other, each noted when it is done."""
    file = path / "schema"
    text = _read_text(file)
    if text is not None and not text.isdecimal():
        raise ConfigError(f"{file} is damaged: it should hold a number such as {target}")
    found = target if text is None else int(text)
    if found > target:
        raise ConfigError(
            f"data directory {path} was written by a newer sedma (layout {found}, this one knows "
            f"{target}): update sedma, or take another folder with --data-dir"
        )
    for version in range(found, target):
        steps[version](path)
        atomic_write(file, f"{version + 1}\n".encode())
    if text is None:
        atomic_write(file, f"{target}\n".encode())


def _create(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Nobody else is to list a node's folder; but a folder full of something else is not ours
        # to shut (our own files in it are 0600 all the same).
        if (path / "schema").exists() or not any(path.iterdir()):
            path.chmod(0o700)
    except (FileExistsError, NotADirectoryError) as wrong:
        raise ConfigError(
            f"data directory {path}: there is a file of that name; take another --data-dir"
        ) from wrong
    except OSError as wrong:
        raise ConfigError(
            f"data directory {path}: {wrong.strerror}; take a folder that you may write with "
            "--data-dir"
        ) from wrong


def _lock(path: Path) -> int:
    """The descriptor that holds the lock; the kernel lets go of it however the process ends."""
    try:
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as wrong:
        raise ConfigError(
            f"data directory {path}: {wrong.strerror}; take a folder that you may write with "
            "--data-dir"
        ) from wrong
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as wrong:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise ConfigError(
            f"data directory {path} is in use by another daemon (process {holder}): stop that one, "
            "or start this one with a --data-dir of its own"
        ) from wrong
    except OSError as wrong:
        os.close(descriptor)
        raise ConfigError(f"data directory {path} cannot be locked: {wrong.strerror}") from wrong
    return descriptor


def _read_text(file: Path) -> str | None:
    with contextlib.suppress(FileNotFoundError):
        return file.read_text(errors="replace").strip()
    return None
