import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.communication.graveyard import Graveyard
from node.communication.own_member import OwnMember
from node.communication.roster import INCARNATION_MAX, Change, Roster, Standing
from protocol.ids import NodeId
from protocol.limits import PEERS_MAX
from protocol.members import Alive, Cause, Dead, MemberRecord, News, Suspect
from tests.node.communication.memberships import alive, node, signed
from tests.node.communication.swarm import MESH, Hashed, record


def roster(*known: int) -> Roster:
    """Of node 0, which knows these."""
    signatures = Hashed(0)
    own = OwnMember(record(0), signatures)
    own.mesh = MESH
    dice = random.Random(1)
    made = Roster(own, signatures, Graveyard(dice), 1.0, dice)
    for number in known:
        assert made.learn(alive(number), 0.0) is Change.JOINED
    return made


def suspect(number: int, incarnation: int = 1, accuser: int = 9) -> Suspect:
    return Suspect(node(number), incarnation, node(accuser))


def dead(number: int, incarnation: int = 1) -> Dead:
    return Dead(node(number), incarnation)


def test_a_record_signed_by_its_owner_is_believed_once() -> None:
    believed = roster()

    assert believed.learn(alive(1), 0.0) is Change.JOINED
    assert believed.learn(alive(1), 0.0) is None
    assert believed.members == {node(1): signed(1)}


def test_a_record_is_verified_once_however_often_it_comes() -> None:
    signatures = Hashed(0)
    own = OwnMember(record(0), signatures)
    own.mesh = MESH
    dice = random.Random(1)
    believed = Roster(own, signatures, Graveyard(dice), 1.0, dice)

    for _ in range(10):
        believed.learn(alive(1), 0.0)

    assert signatures.checked == 1


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (msgspec.structs.replace(signed(1), addresses=("203.0.113.6:1",)), "forged"),
        (msgspec.structs.replace(signed(1), incarnation=2), "forged"),
        (msgspec.structs.replace(signed(1), gone=Cause.LEFT), "forged"),
        (msgspec.structs.replace(signed(1), signature=bytes(64)), "forged"),
        (signed(1, INCARNATION_MAX + 1), "absurd"),
        (signed(1, addresses=("a" * 250,) * 4), "oversized"),
    ],
)
def test_what_cannot_be_believed_is_dropped_and_counted(wrong: MemberRecord, reason: str) -> None:
    believed = roster()

    assert believed.learn(Alive(wrong), 0.0) is None
    assert (believed.members, dict(believed.counters)) == ({}, {reason: 1})


def test_a_forged_goodbye_buries_nobody() -> None:
    believed = roster(1)
    forged = msgspec.structs.replace(signed(1, 5), gone=Cause.STOPPED)

    assert believed.learn(Alive(forged), 0.0) is None
    assert node(1) in believed.members


def test_news_of_64_unknown_members_is_counted_and_nothing_else() -> None:
    believed = roster(1)
    for number in range(100, 132):
        believed.learn(suspect(number), 0.0)
        believed.learn(dead(number), 0.0)

    assert believed.counters["unknown"] == 64
    assert (list(believed.members), believed.graves) == ([node(1)], {})


def test_a_full_roster_takes_no_newcomer_but_hears_of_its_members() -> None:
    believed = roster(1)
    others = {NodeId(f"n{number}"): record(2) for number in range(PEERS_MAX - 1)}
    believed.restore({node(1): signed(1), **others})

    assert believed.learn(alive(7), 0.0) is None
    assert believed.counters["full"] == 1
    assert believed.learn(alive(1, 2), 0.0) is Change.MOVED


def test_a_suspect_is_trusted_again_by_its_own_higher_incarnation_alone() -> None:
    believed = roster(1)

    assert believed.learn(suspect(1), 0.0) is Change.SUSPECTED
    assert believed.learn(alive(1), 0.0) is None
    assert believed.learn(alive(1, 2), 0.0) is Change.TRUSTED
    assert believed.learn(suspect(1), 0.0) is None


def test_a_further_accuser_confirms_and_the_same_one_does_not() -> None:
    believed = roster(*range(1, 8))
    believed.learn(suspect(1, accuser=2), 0.0)

    assert believed.learn(suspect(1, accuser=3), 0.0) is Change.CONFIRMED
    assert believed.learn(suspect(1, accuser=3), 0.0) is None


def test_a_suspect_whose_time_is_up_is_overdue_and_time_we_lost_is_given_back() -> None:
    believed = roster(1)
    believed.learn(suspect(1), 0.0)
    deadline = believed.suspicions[node(1)].deadline

    assert believed.overdue(deadline - 0.001) == []
    assert believed.overdue(deadline) == [dead(1)]
    believed.postpone(16.0)
    assert believed.overdue(deadline + 15.9) == []


def test_the_dead_come_back_by_a_higher_incarnation_alone() -> None:
    believed = roster(1)

    assert believed.learn(dead(1), 0.0) is Change.DIED
    assert believed.learn(alive(1), 0.0) is None
    assert believed.learn(alive(1, 2), 0.0) is Change.JOINED
    assert believed.graves == {}


def test_a_goodbye_tells_its_cause_and_outlives_rumours_of_the_same_life() -> None:
    believed = roster(1)

    assert believed.learn(alive(1, 2, Cause.LEFT), 0.0) is Change.LEFT
    assert believed.learn(suspect(1, 2), 0.0) is None
    assert believed.learn(dead(1, 2), 0.0) is None
    assert believed.graves[node(1)].cause is Cause.LEFT


def test_nobody_is_told_of_a_goodbye_what_he_would_have_to_deny() -> None:
    believed = roster(1, 2, 3)
    believed.learn(alive(1, 2, Cause.STOPPED), 0.0)
    believed.learn(dead(2), 0.0)
    believed.learn(suspect(3), 0.0)

    assert believed.bad_news(node(1)) is None
    assert believed.bad_news(node(2)) == dead(2)
    assert believed.bad_news(node(3)) == suspect(3)


def test_of_a_stranger_that_is_dead_we_do_not_hear_that_it_came_first() -> None:
    believed = roster()

    assert believed.learn_of_grave(signed(1), dead(1, 3), 0.0) is Change.MOVED
    assert believed.standing(node(1)) == (3, Standing.DEAD)
    assert believed.learn(alive(1, 3), 0.0) is None
    assert believed.learn(alive(1, 4), 0.0) is Change.JOINED


@pytest.mark.parametrize("news", [alive(1, 3), suspect(1, 3), dead(1, 3), alive(1, 3, Cause.LEFT)])
def test_all_that_is_believed_can_be_told_to_one_who_knows_nothing(news: News) -> None:
    one, other = roster(1), roster()
    one.learn(news, 0.0)

    pieces = one.about(node(1))
    for piece in pieces:
        other.learn(piece, 0.0)

    assert other.standing(node(1)) == one.standing(node(1))
    assert one.about(node(99)) == ()


def said(number: int, incarnation: int) -> Cause | None:
    """A node signs one record for each incarnation, so there is one answer to whether it says goodbye by it."""
    return {0: Cause.STOPPED, 1: Cause.LEFT}.get((number + 3 * incarnation) % 5)


kinds: list[Callable[[int, int], News]] = [
    lambda number, incarnation: alive(number, incarnation, said(number, incarnation)),
    suspect,
    dead,
]
news = st.builds(
    lambda kind, number, incarnation: kind(number, incarnation),
    st.sampled_from(kinds),
    st.integers(1, 3),
    st.integers(1, 5),
)


def beliefs(believed: Roster) -> dict[int, object]:
    return {
        number: (
            believed.standing(node(number)),
            believed.record(node(number)),
            node(number) in believed.members,
            None if node(number) in believed.members else believed.graves[node(number)].cause,
        )
        for number in (1, 2, 3)
    }


@given(st.lists(news, max_size=12), st.randoms(use_true_random=False))
def test_news_in_any_order_and_number_leads_to_the_same_beliefs(
    pieces: list[News], dice: random.Random
) -> None:
    straight, mixed = roster(1, 2, 3), roster(1, 2, 3)
    for piece in pieces:
        straight.learn(piece, 0.0)

    shuffled = pieces + pieces[: len(pieces) // 2]
    dice.shuffle(shuffled)
    for piece in shuffled:
        mixed.learn(piece, 0.0)

    assert beliefs(straight) == beliefs(mixed)


@given(st.lists(news, max_size=12))
def test_incarnation_and_standing_never_go_back(pieces: list[News]) -> None:
    believed = roster(1, 2, 3)
    before = {number: believed.standing(node(number)) for number in (1, 2, 3)}
    for piece in pieces:
        believed.learn(piece, 0.0)
        for number, held in before.items():
            now = believed.standing(node(number))
            assert now is not None and held is not None and now >= held
            before[number] = now
