"""A membership is proven before it is kept, and survives restarts, crashes and the years."""

import time
from pathlib import Path

import msgspec
import pytest

from node.runtime import credentials
from node.runtime.tickets import join_request
from protocol.errors import ConfigError, PeerError
from protocol.messages import Joined
from tests.node.runtime.small_mesh import DAY_S, Member, founder, joiner, stranger

NOW = time.time()


@pytest.fixture
def anna(tmp_path: Path) -> Member:
    return founder(tmp_path / "anna", NOW)


def test_a_founder_is_found_again(anna: Member) -> None:
    assert credentials.load(anna.data_dir, anna.identity) == anna.membership
    assert anna.membership.is_founder
    assert anna.membership.can_invite


def test_secrets_are_for_the_owner_alone(anna: Member) -> None:
    assert anna.membership.ca_key.stat().st_mode & 0o777 == 0o600


def test_a_node_without_leaf_belongs_nowhere_and_can_found_again(anna: Member) -> None:
    anna.membership.chain_file.unlink()

    assert credentials.load(anna.data_dir, anna.identity) is None
    assert credentials.found(anna.data_dir, anna.identity, NOW).mesh != anna.membership.mesh


def test_a_joiner_is_found_again_in_the_same_mesh(anna: Member, tmp_path: Path) -> None:
    bert = joiner(tmp_path / "bert", anna, NOW)

    assert credentials.load(bert.data_dir, bert.identity) == bert.membership
    assert bert.membership.mesh == anna.membership.mesh
    assert not bert.membership.can_invite


def answers_that_prove_nothing(anna: Member, other: Member, joined: Joined) -> list[Joined]:
    replace = msgspec.structs.replace
    foreign = other.membership
    return [
        replace(joined, ca=foreign.ca_file.read_text()),
        replace(joined, ca="garbage"),
        replace(joined, chain="garbage"),
        replace(joined, chain=anna.membership.chain_file.read_text()),
        replace(joined, chain=foreign.chain_file.read_text()),
        replace(joined, chain=joined.chain * 3),
        replace(joined, chain=joined.chain + foreign.ca_file.read_text()),
        replace(joined, invite=foreign.chain_file.read_text()),
        replace(joined, invite="garbage"),
    ]


def test_an_answer_that_proves_nothing_is_not_kept(anna: Member, tmp_path: Path) -> None:
    data_dir, bert = stranger(tmp_path / "bert")
    ticket = anna.ticket(now=NOW)
    joined = anna.office.redeem(join_request(bert, ticket), NOW)
    other = founder(tmp_path / "other", NOW)

    for answer in answers_that_prove_nothing(anna, other, joined):
        with pytest.raises(PeerError, match="answer"):
            credentials.adopt(data_dir, bert, ticket.mesh, answer, NOW)
    assert list(data_dir.mesh.iterdir()) == []


def test_a_certificate_of_another_time_points_at_the_clocks(anna: Member, tmp_path: Path) -> None:
    data_dir, bert = stranger(tmp_path / "bert")
    ticket = anna.ticket(now=NOW)
    joined = anna.office.redeem(join_request(bert, ticket), NOW)

    with pytest.raises(PeerError, match="set the clocks of both machines"):
        credentials.adopt(data_dir, bert, ticket.mesh, joined, NOW - 2 * DAY_S)


def test_another_mesh_does_not_replace_the_first(anna: Member, tmp_path: Path) -> None:
    bert = joiner(tmp_path / "bert", anna, NOW)
    other = founder(tmp_path / "other", NOW)
    ticket = other.ticket(now=NOW)
    joined = other.office.redeem(join_request(bert.identity, ticket), NOW)

    with pytest.raises(ConfigError, match="join with another --data-dir"):
        credentials.adopt(bert.data_dir, bert.identity, ticket.mesh, joined, NOW)
    with pytest.raises(ConfigError, match="with it goes the CA"):
        credentials.check_free_for(anna.data_dir, anna.identity, ticket.mesh)


def test_joining_again_renews_and_keeps_the_right_to_invite(anna: Member, tmp_path: Path) -> None:
    bert = joiner(tmp_path / "bert", anna, NOW, may_invite=True)
    later = NOW + 200 * DAY_S
    ticket = anna.ticket(now=later)
    joined = anna.office.redeem(join_request(bert.identity, ticket), later)

    renewed = credentials.adopt(bert.data_dir, bert.identity, ticket.mesh, joined, later)

    assert renewed.expires_at == pytest.approx(bert.membership.expires_at + 200 * DAY_S, abs=2)
    assert renewed.can_invite


def test_who_can_sign_renews_its_own_leaf_when_it_is_due(anna: Member) -> None:
    early, due = NOW + 200 * DAY_S, NOW + 300 * DAY_S

    assert credentials.renew(anna.data_dir, anna.identity, anna.membership, early) == (
        anna.membership
    )
    renewed = credentials.renew(anna.data_dir, anna.identity, anna.membership, due)
    assert renewed.expires_at == pytest.approx(due + 365 * DAY_S, abs=2)


def test_who_cannot_sign_keeps_the_leaf_it_has(anna: Member, tmp_path: Path) -> None:
    bert = joiner(tmp_path / "bert", anna, NOW)
    due = NOW + 360 * DAY_S

    assert credentials.renew(bert.data_dir, bert.identity, bert.membership, due) == bert.membership


@pytest.mark.parametrize("name", ["ca.crt", "leaf.crt"])
@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nAA", b"\xff" * 50])
def test_damaged_files_are_named(anna: Member, name: str, content: bytes) -> None:
    (anna.data_dir.mesh / name).write_bytes(content)

    with pytest.raises(ConfigError, match=f"{name} is damaged"):
        credentials.load(anna.data_dir, anna.identity)


def test_a_leaf_of_another_node_is_noticed(anna: Member, tmp_path: Path) -> None:
    bert = joiner(tmp_path / "bert", anna, NOW)
    anna.membership.chain_file.write_bytes(bert.membership.chain_file.read_bytes())

    with pytest.raises(ConfigError, match=f"belongs to node {bert.identity.id[:8]}"):
        credentials.load(anna.data_dir, anna.identity)


def test_a_damaged_ca_key_leaves_the_node_in_the_mesh(anna: Member) -> None:
    anna.membership.ca_key.write_bytes(b"")

    assert credentials.load(anna.data_dir, anna.identity) is not None
    with pytest.raises(ConfigError, match="ca.key is damaged"):
        anna.ticket(now=NOW)
