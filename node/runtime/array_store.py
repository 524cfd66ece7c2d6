"""What a node cannot find out again of its simulated arrays, on disk.

The seed makes the same cells at every start. How often these were written, when last, and with which block, is what
happened to them since: with it a restarted node stands before the same arrays, as much older as time has passed.

    arrays  device, seed, block: whose cells; writes so far, when last (Unix time), which content,
            errors as they were seen since then: (age in seconds, slices, ||E|| / ||W|| in so many of them)

SQLite in WAL mode, one transaction for each writing of a block; a process that is killed loses none that has ended.
"""

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import msgspec
from blake3 import blake3

from protocol.errors import ConfigError
from protocol.ids import ContentId

SCHEMA = 1

ARRAYS_MAX = 65_536
"""Blocks whose cells are remembered; past it, those written longest ago count as new when they are used again."""

ERRORS_KEPT = 8
"""Of one writing: the first for each number of slices, and the latest."""

NAME_CHARS_MAX = 64
"""A device with a longer description goes by its hash."""

BUSY_S = 5.0
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
CACHE_KIB = 256

_TABLES = """
CREATE TABLE IF NOT EXISTS arrays (
    device TEXT NOT NULL, seed INTEGER NOT NULL, block TEXT NOT NULL,
    writes INTEGER NOT NULL, written_at REAL NOT NULL, content TEXT NOT NULL, errors TEXT NOT NULL,
    PRIMARY KEY (device, seed, block)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS arrays_by_age ON arrays (written_at);
"""

Errors = tuple[tuple[float, int, float], ...]
_ERRORS = msgspec.json.Decoder(Errors)


class Cells(NamedTuple):
    """Whose cells: every block of a device and seed has its own."""

    device: str
    seed: int
    block: str


@dataclass(frozen=True, slots=True)
class Written:
    """The last writing of these cells."""

    writes: int
    """This one included."""
    at_wall: float
    content: ContentId
    errors: Errors

    def seen(self, age_s: float, slices: int, error: float) -> "Written":
        """Looked at once more."""
        errors = [*self.errors, (age_s, slices, error)]
        if len(errors) > ERRORS_KEPT:
            del errors[self._first_to_go()]
        return replace(self, errors=tuple(errors))

    def fresh_error(self, slices: int) -> float:
        """The first that was seen in so many slices."""
        return next(error for _, count, error in self.errors if count == slices)

    @property
    def slices(self) -> int:
        """The most that were seen of it."""
        return max(count for _, count, _ in self.errors)

    def _first_to_go(self) -> int:
        """The oldest that is not the first of its kind."""
        counts = [slices for _, slices, _ in self.errors]
        return next((at for at, count in enumerate(counts) if count in counts[:at]), 0)


class ArrayStore:
    """The file of one data directory; safe to use from several threads.

    What a start finds wrong raises ConfigError, with what to do about it; what is read and written later OSError. It
    stays open from its first use on: opening and closing take 15 ms, which each block of a put would wait for.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None

    def begin(self) -> None:
        """See that it can be used."""
        try:
            with contextlib.closing(_connected(self._file)) as database:
                _check_whole(database)
        except (sqlite3.OperationalError, OSError) as wrong:
            raise ConfigError(f"{self._file} cannot be used: {wrong}: {_remedy(wrong)}") from wrong
        except (sqlite3.DatabaseError, msgspec.DecodeError) as wrong:
            raise ConfigError(_damaged(self._file, wrong)) from wrong

    def close(self) -> None:
        """It opens again when it is used again."""
        with self._lock:
            if self._database is not None:
                self._database.close()
            self._database = None

    def find(self, cells: Cells) -> Written | None:
        """None: never written, or too long ago to be remembered."""
        with self._open() as database:
            row = database.execute(
                "SELECT writes, written_at, content, errors FROM arrays"
                " WHERE device = ? AND seed = ? AND block = ?",
                (_name(cells.device), cells.seed, cells.block),
            ).fetchone()
        if row is None:
            return None
        return Written(row[0], row[1], ContentId(row[2]), _ERRORS.decode(row[3]))

    def keep(self, cells: Cells, written: Written) -> None:
        """In place of what was known of them."""
        errors = msgspec.json.encode(written.errors).decode()
        of_cells = (_name(cells.device), cells.seed, cells.block)
        row = (*of_cells, written.writes, written.at_wall, written.content, errors)
        with self._open() as database:
            database.execute("INSERT OR REPLACE INTO arrays VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            (count,) = database.execute("SELECT count(*) FROM arrays").fetchone()
            if count > ARRAYS_MAX:
                database.execute(
                    "DELETE FROM arrays WHERE (device, seed, block) IN"
                    " (SELECT device, seed, block FROM arrays ORDER BY written_at LIMIT ?)",
                    (count - ARRAYS_MAX,),
                )

    # -- within --------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._database is None:
                    self._database = _connected(self._file)
                with _transaction(self._database):
                    yield self._database
            except sqlite3.Error as wrong:
                raise _os_error(self._file, wrong) from wrong


def _connected(file: Path) -> sqlite3.Connection:
    # For its owner alone, as are the files that SQLite puts beside it.
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    database = sqlite3.connect(file, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        with _transaction(database):
            _check(database, file)
    except BaseException:
        database.close()
        raise
    return database


def _check_whole(database: sqlite3.Connection) -> None:
    """What is damaged inside would show at some later put, and at the load of weights: 30 ms for 20 MiB."""
    (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(found.splitlines()[-1])
    for (errors,) in database.execute("SELECT errors FROM arrays"):
        _ERRORS.decode(errors)


def _damaged(file: Path, wrong: Exception) -> str:
    told = "remove it; the simulated arrays then count as never written before"
    return f"{file} is damaged ({wrong}): {told}"


def _remedy(wrong: sqlite3.OperationalError | OSError) -> str:
    """A full disk is told as such, or as one that fails where it was to be mapped."""
    code = wrong.sqlite_errorcode if isinstance(wrong, sqlite3.Error) else 0
    if code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return "make room on its disk, or see what is wrong with it"
    return "let this user read and write it"


def _os_error(file: Path, wrong: sqlite3.Error) -> OSError:
    if wrong.sqlite_errorcode == sqlite3.SQLITE_FULL:
        return OSError(errno.ENOSPC, f"{file}: {wrong}")
    if wrong.sqlite_errorcode in DAMAGED:
        return OSError(f"stop the node: {_damaged(file, wrong)}")
    return OSError(f"{file}: {wrong}")


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Whole or not at all."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        # A full disk may have ended the transaction: what it said would be lost behind our own failure.
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _check(database: sqlite3.Connection, file: Path) -> None:
    (found,) = database.execute("PRAGMA user_version").fetchone()
    if found > SCHEMA:
        raise ConfigError(
            f"{file} was written by a newer sedma (layout {found}, this one knows {SCHEMA}):"
            " update sedma, or take another folder with --data-dir"
        )
    for statement in filter(str.strip, _TABLES.split(";")):
        database.execute(statement)
    database.execute(f"PRAGMA user_version = {SCHEMA}")


def _name(device: str) -> str:
    return device if len(device) <= NAME_CHARS_MAX else blake3(device.encode()).hexdigest()
