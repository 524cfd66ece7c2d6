"""Who is in the mesh and who was, on disk: a node that starts again looks for the others, and knows who is dead.

    mesh     whose members these are
    members  id, signed record              as they describe themselves
    graves   id, signed record, cause, when buried (Unix time); forgotten after `GRAVE_S`
    places   id, addresses                  of whom nothing but these is known: from a ticket, or an older layout

SQLite in WAL mode, opened for each call: written every few seconds at most, and only where something changed.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from node.effects import Grave
from protocol.errors import ConfigError
from protocol.ids import MeshId, NodeId
from protocol.members import Cause, MemberRecord

GRAVE_S = 72 * 3600.0
"""How long a grave outlives its member: whoever was away for longer has to be told of by others anew."""

PLACES_MAX = 256
"""Of so many one will still answer."""

BUSY_S = 5.0
CACHE_KIB = 256

Places = tuple[tuple[NodeId, tuple[str, ...]], ...]

_TABLES = """
CREATE TABLE IF NOT EXISTS mesh (id TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS members (id TEXT PRIMARY KEY, record BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS graves
    (id TEXT PRIMARY KEY, record BLOB NOT NULL, cause TEXT NOT NULL, buried_at REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS places (id TEXT PRIMARY KEY, addresses TEXT NOT NULL) STRICT;
"""
_RECORD = msgspec.msgpack.Decoder(MemberRecord)
_ADDRESSES = msgspec.json.Decoder(tuple[str, ...])


@dataclass(frozen=True, slots=True)
class Kept:
    members: tuple[MemberRecord, ...] = ()
    graves: tuple[Grave, ...] = ()


class MembersStore:
    """The file of one data directory.

    What a start reads raises ConfigError, with what to do about it; what is written later raises OSError.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._written: dict[NodeId, MemberRecord] = {}
        """The members as they stand on disk, as far as this process has written or read them."""

    def begin(self, mesh: MeshId) -> None:
        """From now on it is about this mesh; what was of another one is forgotten."""
        with self._starting() as database:
            if database.execute("SELECT id FROM mesh").fetchall() in ([], [(mesh,)]):
                database.execute("INSERT OR IGNORE INTO mesh VALUES (?)", (mesh,))
                return
            _clear(database)
            database.execute("INSERT INTO mesh VALUES (?)", (mesh,))
        self._written = {}

    def forget(self) -> None:
        """This node belongs to no mesh any more; blocks."""
        try:
            with _opened(self._file) as database:
                _clear(database)
        except sqlite3.OperationalError as wrong:
            raise OSError(f"{self._file}: {wrong}") from wrong
        except sqlite3.DatabaseError:
            # Damaged, and it is to hold nothing from now on.
            self._file.unlink()
        self._written = {}

    def load(self, now_wall: float) -> Kept:
        """In the order of their ids."""
        with self._starting() as database:
            members = database.execute("SELECT record FROM members ORDER BY id").fetchall()
            graves = database.execute(
                "SELECT record, cause, buried_at FROM graves WHERE buried_at > ? ORDER BY id",
                (now_wall - GRAVE_S,),
            ).fetchall()
            kept = Kept(
                tuple(_RECORD.decode(record) for (record,) in members),
                tuple(
                    Grave(_RECORD.decode(record), Cause(cause), max(0.0, now_wall - buried_at))
                    for record, cause, buried_at in graves
                ),
            )
        self._written = {record.id: record for record in kept.members}
        return kept

    def keep(
        self, members: tuple[MemberRecord, ...], graves: tuple[Grave, ...], now_wall: float
    ) -> None:
        """These and no others, unless this node has left its mesh; blocks."""
        told = {record.id: record for record in members}
        changed = [r for node, r in told.items() if self._written.get(node) != r]
        gone = self._written.keys() - told.keys()
        rows = [
            (
                grave.record.id,
                msgspec.msgpack.encode(grave.record),
                grave.cause,
                now_wall - grave.age_s,
            )
            for grave in graves
            if grave.age_s < GRAVE_S
        ]
        with self._writing() as database:
            if not database.execute("SELECT id FROM mesh").fetchall():
                return
            database.executemany(
                "INSERT OR REPLACE INTO members VALUES (?, ?)",
                [(record.id, msgspec.msgpack.encode(record)) for record in changed],
            )
            database.executemany("DELETE FROM members WHERE id = ?", [(node,) for node in gone])
            # A record that came later tells more than a place.
            database.executemany(
                "DELETE FROM places WHERE id = ?", [(record.id,) for record in changed]
            )
            database.execute("DELETE FROM graves")
            database.executemany("INSERT OR REPLACE INTO graves VALUES (?, ?, ?, ?)", rows)
        self._written = told

    def places(self) -> Places:
        with self._starting() as database:
            rows = database.execute("SELECT id, addresses FROM places ORDER BY rowid").fetchall()
            return tuple((NodeId(node), _ADDRESSES.decode(addresses)) for node, addresses in rows)

    def keep_places(self, places: Places) -> None:
        """These and no others, at most PLACES_MAX; blocks."""
        rows = [(node, msgspec.json.encode(at).decode()) for node, at in places[:PLACES_MAX]]
        with self._writing() as database:
            database.execute("DELETE FROM places")
            database.executemany("INSERT OR REPLACE INTO places VALUES (?, ?)", rows)

    # -- within --------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _starting(self) -> Iterator[sqlite3.Connection]:
        try:
            with _opened(self._file) as database:
                yield database
        except (sqlite3.OperationalError, OSError) as wrong:
            why = wrong.strerror if isinstance(wrong, OSError) else wrong
            raise ConfigError(
                f"{self._file} cannot be read: {why}: let this user read and write it, or remove it"
                " and start with --join TICKET"
            ) from wrong
        except (sqlite3.Error, msgspec.DecodeError, ValueError) as wrong:
            raise ConfigError(
                f"{self._file} is damaged ({wrong}): remove it and start with --join TICKET"
            ) from wrong

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with _opened(self._file) as database:
                yield database
        except sqlite3.Error as wrong:
            raise OSError(f"{self._file}: {wrong}") from wrong


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    """One transaction, whole or not at all."""
    # For its owner alone, as are the files that SQLite puts beside it.
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    database = sqlite3.connect(file, timeout=BUSY_S, isolation_level=None)
    with contextlib.closing(database):
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        database.executescript(_TABLES)
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
        except BaseException:
            # A full disk may have ended the transaction: what it said would be lost behind our own failure.
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")


def _clear(database: sqlite3.Connection) -> None:
    for table in ("mesh", "members", "graves", "places"):
        database.execute(f"DELETE FROM {table}")  # noqa: S608 (names of our own)
