"""Who gets in with a ticket, how often, and what the others are told."""

import time
from pathlib import Path

import msgspec
import pytest

from node.runtime.tickets import TicketOffice, join_request
from protocol.errors import ConfigError, ErrorCode, TaskError
from protocol.messages import Join
from protocol.ticket import Ticket, decode, encode, make_token, read_token
from tests.node.runtime.small_mesh import DAY_S, Member, founder, joiner, stranger

NOW = time.time()


@pytest.fixture
def anna(tmp_path: Path) -> Member:
    return founder(tmp_path / "anna", NOW)


def refusal(office: TicketOffice, join: Join, now: float = NOW) -> tuple[ErrorCode, str]:
    with pytest.raises(TaskError) as caught:
        office.redeem(join, now)
    return caught.value.code, caught.value.info.reason


def test_a_ticket_says_what_was_promised(anna: Member) -> None:
    ticket, claims = anna.office.mint(
        ("192.0.2.1:7879",), ttl_s=60.0, uses=3, may_invite=True, now_wall=NOW
    )

    assert read_token(ticket.token).claims == claims
    assert (claims.uses, claims.may_invite, claims.minter) == (3, True, anna.identity.id)
    assert NOW + 60 <= claims.expires_at < NOW + 61
    assert ticket.mesh == claims.mesh == anna.membership.mesh


def test_a_ticket_fits_in_a_message_to_a_friend(anna: Member) -> None:
    ticket = anna.ticket(now=NOW)

    assert len(encode(ticket)) < 1_200
    assert decode(encode(ticket)) == ticket


def test_an_expired_ticket_is_refused(anna: Member, tmp_path: Path) -> None:
    _, bert = stranger(tmp_path / "bert")
    join = join_request(bert, anna.ticket(now=NOW, ttl_s=60.0))

    code, reason = refusal(anna.office, join, NOW + 3 * 3_600)

    assert code is ErrorCode.TICKET_EXPIRED
    assert "expired 3 hours ago: mint a new one" in reason


def test_a_ticket_lets_in_as_many_nodes_as_it_was_for(anna: Member, tmp_path: Path) -> None:
    ticket = anna.ticket(now=NOW, uses=2)
    joins = [join_request(stranger(tmp_path / name)[1], ticket) for name in "bcd"]

    anna.office.redeem(joins[0], NOW)
    anna.office.redeem(joins[1], NOW)
    code, reason = refusal(anna.office, joins[2])

    assert code is ErrorCode.TICKET_USED_UP
    assert "was for 2 nodes" in reason


def test_a_node_that_comes_again_is_not_counted_again(anna: Member, tmp_path: Path) -> None:
    ticket = anna.ticket(now=NOW, uses=1)
    join = join_request(stranger(tmp_path / "bert")[1], ticket)

    first, second = anna.office.redeem(join, NOW), anna.office.redeem(join, NOW)

    assert first.ca == second.ca
    assert first.chain != second.chain


def test_the_count_survives_a_restart(anna: Member, tmp_path: Path) -> None:
    ticket = anna.ticket(now=NOW, uses=1)
    anna.office.redeem(join_request(stranger(tmp_path / "bert")[1], ticket), NOW)

    again = TicketOffice(anna.data_dir, anna.identity, anna.membership)
    code, _ = refusal(again, join_request(stranger(tmp_path / "carl")[1], ticket))

    assert code is ErrorCode.TICKET_USED_UP


def test_expired_tokens_are_forgotten(anna: Member, tmp_path: Path) -> None:
    short_lived = join_request(stranger(tmp_path / "bert")[1], anna.ticket(now=NOW, ttl_s=60.0))
    anna.office.redeem(short_lived, NOW)
    later = NOW + DAY_S
    anna.office.redeem(join_request(stranger(tmp_path / "carl")[1], anna.ticket(now=later)), later)

    assert len(msgspec.json.decode(anna.data_dir.tickets.read_bytes())) == 1


def test_a_ticket_of_another_mesh_says_which_is_which(anna: Member, tmp_path: Path) -> None:
    other = founder(tmp_path / "other", NOW)
    join = join_request(stranger(tmp_path / "bert")[1], other.ticket(now=NOW))

    code, reason = refusal(anna.office, join)

    assert code is ErrorCode.WRONG_MESH
    assert other.membership.mesh[:8] in reason
    assert anna.membership.mesh[:8] in reason


def test_a_ticket_at_the_wrong_door_names_the_right_one(anna: Member, tmp_path: Path) -> None:
    bert = joiner(tmp_path / "bert", anna, NOW)
    join = join_request(stranger(tmp_path / "carl")[1], anna.ticket(now=NOW))

    code, reason = refusal(bert.office, join)

    assert code is ErrorCode.TICKET_INVALID
    assert f"minted by node {anna.identity.id[:8]}" in reason


def test_claims_that_were_changed_no_longer_hold(anna: Member, tmp_path: Path) -> None:
    _, bert = stranger(tmp_path / "bert")
    ticket = anna.ticket(now=NOW, uses=1)
    token = read_token(ticket.token)
    widened = msgspec.structs.replace(token.claims, uses=10_000)
    forged = Ticket(ticket.ca, ticket.addresses, make_token(widened, token.signature))

    code, reason = refusal(anna.office, join_request(bert, forged))

    assert code is ErrorCode.TICKET_INVALID
    assert "signature does not hold" in reason


def test_a_key_that_the_joiner_does_not_own_is_not_certified(anna: Member, tmp_path: Path) -> None:
    ticket = anna.ticket(now=NOW)
    bert = join_request(stranger(tmp_path / "bert")[1], ticket)
    carl = join_request(stranger(tmp_path / "carl")[1], ticket)
    stolen = msgspec.structs.replace(bert, public_key=carl.public_key)

    code, reason = refusal(anna.office, stolen)

    assert code is ErrorCode.TICKET_INVALID
    assert "does not own its key" in reason


def test_who_was_merely_let_in_cannot_invite(anna: Member, tmp_path: Path) -> None:
    bert = joiner(tmp_path / "bert", anna, NOW)

    with pytest.raises(TaskError, match="may not invite") as caught:
        bert.ticket(now=NOW)
    assert caught.value.code is ErrorCode.FORBIDDEN


def test_an_inviter_invites_but_makes_no_inviters(anna: Member, tmp_path: Path) -> None:
    bert = joiner(tmp_path / "bert", anna, NOW, may_invite=True)

    assert joiner(tmp_path / "carl", bert, NOW).membership.can_invite is False
    with pytest.raises(TaskError, match="leave out --may-invite"):
        bert.ticket(now=NOW, may_invite=True)


def test_a_right_to_invite_runs_out(anna: Member, tmp_path: Path) -> None:
    bert = joiner(tmp_path / "bert", anna, NOW, may_invite=True)

    with pytest.raises(TaskError, match="right to invite has run out"):
        bert.ticket(now=NOW + 6 * 365 * DAY_S)


def test_a_damaged_count_is_not_taken_for_none(anna: Member, tmp_path: Path) -> None:
    join = join_request(stranger(tmp_path / "bert")[1], anna.ticket(now=NOW))
    anna.data_dir.tickets.write_bytes(b"{")

    with pytest.raises(ConfigError, match=r"tickets\.json is damaged"):
        anna.office.redeem(join, NOW)
