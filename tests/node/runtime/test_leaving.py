"""A node that has left belongs nowhere, seeks nobody, and says so until it joins again."""

from pathlib import Path

import pytest

from node.runtime import credentials, leaving
from node.runtime.members_store import Kept
from protocol.errors import ConfigError
from protocol.ids import short
from protocol.members import MemberRecord
from tests.node.runtime.small_mesh import Member, founder

NOW = 1_800_000_000.0


@pytest.fixture
def member(tmp_path: Path) -> Member:
    one = founder(tmp_path, NOW)
    one.data_dir.members.begin(one.membership.mesh)
    one.data_dir.members.keep((MemberRecord(bytes(32), 1, 1, ("192.0.2.1:1",)),), (), NOW)
    return one


def test_who_has_left_is_in_no_mesh_and_knows_nobody(member: Member) -> None:
    leaving.leave(member.data_dir, member.membership)

    assert credentials.load(member.data_dir, member.identity) is None
    assert member.data_dir.members.load(NOW) == Kept()


def test_a_start_after_it_says_which_mesh_was_left_and_what_to_do(member: Member) -> None:
    leaving.check_not_left(member.data_dir)
    leaving.leave(member.data_dir, member.membership)

    with pytest.raises(ConfigError, match="has left mesh .* --join TICKET") as caught:
        leaving.check_not_left(member.data_dir)
    assert short(member.membership.mesh) in str(caught.value)

    leaving.has_joined(member.data_dir)
    leaving.check_not_left(member.data_dir)


def test_the_key_of_a_mesh_is_put_aside_and_not_deleted(member: Member) -> None:
    key = member.membership.ca_key.read_bytes()

    leaving.leave(member.data_dir, member.membership)
    (member.data_dir.mesh / "second").touch()
    leaving.leave(member.data_dir, member.membership)

    first, second = sorted(member.data_dir.path.glob("mesh-left-*"))
    assert (first / "ca.key").read_bytes() == key
    assert [entry.name for entry in second.iterdir()] == ["second"]
    assert not any(member.data_dir.mesh.iterdir())


def test_a_damaged_list_of_members_keeps_nobody_from_leaving(member: Member) -> None:
    (member.data_dir.path / "members.db").write_bytes(b"no database")

    leaving.leave(member.data_dir, member.membership)

    assert credentials.load(member.data_dir, member.identity) is None
    assert member.data_dir.members.load(NOW) == Kept()


def test_where_the_disk_refuses_the_node_is_a_member_still(member: Member) -> None:
    (member.data_dir.path / "members.db").unlink()
    (member.data_dir.path / "members.db").mkdir()

    with pytest.raises(OSError, match=r"members\.db"):
        leaving.leave(member.data_dir, member.membership)

    assert credentials.load(member.data_dir, member.identity) == member.membership


def test_a_node_that_died_before_it_had_left_is_a_member_still(member: Member) -> None:
    member.data_dir.left.write_text(member.membership.mesh)

    assert credentials.load(member.data_dir, member.identity) == member.membership
