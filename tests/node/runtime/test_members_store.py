"""Who was there and who is dead outlives the process, and belongs to one mesh."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from node.effects import Grave
from node.runtime.members_store import GRAVE_S, PLACES_MAX, Kept, MembersStore
from protocol.errors import ConfigError
from protocol.ids import MeshId, NodeId
from protocol.members import Cause, MemberRecord

MESH, OTHER = MeshId("3" * 64), MeshId("4" * 64)
NOW = 1_800_000_000.0
A, B, C = (MemberRecord(bytes([n]) * 32, n, 1, (f"192.0.2.{n}:7879",)) for n in (1, 2, 3))


@pytest.fixture
def store(tmp_path: Path) -> MembersStore:
    opened = MembersStore(tmp_path / "members.db")
    opened.begin(MESH)
    return opened


def again(tmp_path: Path) -> MembersStore:
    """As the next start finds it."""
    return MembersStore(tmp_path / "members.db")


def by_id(*records: MemberRecord) -> tuple[MemberRecord, ...]:
    return tuple(sorted(records, key=lambda record: record.id))


def test_at_first_nobody_is_known(tmp_path: Path) -> None:
    assert again(tmp_path).load(NOW) == Kept()
    assert again(tmp_path).places() == ()


def test_members_and_graves_outlive_the_process(store: MembersStore, tmp_path: Path) -> None:
    store.keep((A, B), (Grave(C, Cause.STOPPED, 10.0),), NOW)

    kept = again(tmp_path).load(NOW + 60.0)

    assert kept == Kept(by_id(A, B), (Grave(C, Cause.STOPPED, 70.0),))


def test_what_is_kept_last_is_all_there_is(store: MembersStore, tmp_path: Path) -> None:
    moved = MemberRecord(A.key, 4, 1, ("[::1]:7879",))
    store.keep((A, B), (), NOW)
    store.keep((moved, C), (Grave(B, Cause.SILENT, 0.0),), NOW)
    assert again(tmp_path).load(NOW) == Kept(by_id(moved, C), (Grave(B, Cause.SILENT, 0.0),))

    following = again(tmp_path)
    following.load(NOW)
    following.keep((C, B), (), NOW)

    assert again(tmp_path).load(NOW) == Kept(by_id(B, C))


def test_graves_are_forgotten_after_three_days(store: MembersStore, tmp_path: Path) -> None:
    store.keep((), (Grave(A, Cause.SILENT, 0.0), Grave(B, Cause.LEFT, GRAVE_S)), NOW)

    assert [grave.record for grave in store.load(NOW + GRAVE_S - 1.0).graves] == [A]
    assert store.load(NOW + GRAVE_S).graves == ()


def test_a_clock_that_was_set_back_makes_no_grave_younger_than_new(store: MembersStore) -> None:
    store.keep((), (Grave(A, Cause.SILENT, 0.0),), NOW)

    assert store.load(NOW - 500.0).graves == (Grave(A, Cause.SILENT, 0.0),)


def test_a_record_replaces_the_place_where_somebody_was_sought(store: MembersStore) -> None:
    nobody = NodeId("z" * 52)
    store.keep_places(((A.id, ("192.0.2.9:1",)), (nobody, ("h:1", "h:2"))))

    store.keep((A,), (), NOW)

    assert store.places() == ((nobody, ("h:1", "h:2")),)


def test_a_place_told_by_a_ticket_outlives_the_older_record(
    store: MembersStore, tmp_path: Path
) -> None:
    store.keep((A, B), (), NOW)
    store.keep_places(((A.id, ("192.0.2.9:1",)),))

    following = again(tmp_path)
    following.load(NOW)
    following.keep((A,), (), NOW)

    assert again(tmp_path).places() == ((A.id, ("192.0.2.9:1",)),)


def test_no_more_places_are_remembered_than_a_start_can_use(store: MembersStore) -> None:
    many = tuple((NodeId(f"{n:052}"), (f"192.0.2.1:{n}",)) for n in range(2 * PLACES_MAX))

    store.keep_places(many)

    assert store.places() == many[:PLACES_MAX]


def test_the_members_of_another_mesh_are_forgotten(store: MembersStore, tmp_path: Path) -> None:
    store.keep_places(((B.id, ("192.0.2.9:1",)),))
    store.keep((A,), (Grave(C, Cause.SILENT, 0.0),), NOW)

    again(tmp_path).begin(MESH)
    assert again(tmp_path).load(NOW).members == (A,)

    again(tmp_path).begin(OTHER)
    assert again(tmp_path).load(NOW) == Kept()
    assert again(tmp_path).places() == ()


def test_who_has_left_keeps_nobody_any_more(store: MembersStore) -> None:
    store.keep((A,), (), NOW)
    store.forget()

    store.keep((A, B), (), NOW)

    assert store.load(NOW) == Kept()


def test_the_file_is_for_its_owner_alone(store: MembersStore, tmp_path: Path) -> None:
    assert (tmp_path / "members.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + bytes(200)])
def test_a_damaged_file_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "members.db").write_bytes(content * 100)

    with pytest.raises(ConfigError, match=r"members\.db is damaged .*remove it.* --join TICKET"):
        again(tmp_path).load(NOW)


@pytest.mark.parametrize(
    "row", [(b"\xc1", "silent"), (b"", "silent"), (b"\x00", "silent"), (None, "bored")]
)
def test_a_damaged_row_says_so_too(
    store: MembersStore, tmp_path: Path, row: tuple[bytes | None, str]
) -> None:
    store.keep((), (Grave(A, Cause.SILENT, 0.0),), NOW)
    with sqlite3.connect(tmp_path / "members.db") as database:
        record, cause = row
        database.execute("UPDATE graves SET record = ifnull(?, record), cause = ?", (record, cause))
    database.close()

    with pytest.raises(ConfigError, match="is damaged"):
        again(tmp_path).load(NOW)


def test_a_disk_that_refuses_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "members.db").mkdir()

    with pytest.raises(OSError, match=r"members\.db"):
        again(tmp_path).keep((A,), (), NOW)
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory: .*or remove it"):
        again(tmp_path).load(NOW)


def test_what_the_disk_said_is_told_where_sqlite_has_ended_the_transaction_itself(
    store: MembersStore, tmp_path: Path
) -> None:
    # As it does on a full disk: there is nothing left to roll back.
    with contextlib.closing(sqlite3.connect(tmp_path / "members.db")) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON members"
            " BEGIN SELECT RAISE(ROLLBACK, 'database or disk is full'); END"
        )

    with pytest.raises(OSError, match="database or disk is full"):
        store.keep((A,), (), NOW)
