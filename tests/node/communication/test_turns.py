import random

from node.communication.turns import INTERVAL_S, MUCH, QUICK_S, ROUNDS_MAX, Turns
from tests.node.communication.gossiping import node

PEERS = [node(number) for number in range(1, 9)]


def turns(linked: int, settled: bool = True) -> Turns:
    """So many linked peers; settled: each has had the turn that a new link brings."""
    one = Turns(random.Random(1))
    for peer in PEERS[:linked]:
        one.meet(peer, 0.0, 0.0)
        if settled:
            begun = one.begin(0.0)
            for other in begun:
                one.end(other)
    return one


def test_nobody_linked_nothing_to_do() -> None:
    one = turns(0)

    assert one.deadline is None and one.begin(1e9) == []


def test_a_new_link_has_its_turn_at_once() -> None:
    one = turns(1, settled=False)

    assert one.deadline == 0.0
    assert one.begin(0.0) == [PEERS[0]]


def test_of_many_new_links_a_few_at_a_time_have_their_turn() -> None:
    one = turns(8, settled=False)
    first = one.begin(0.0)

    assert len(first) == ROUNDS_MAX
    assert one.deadline is not None and one.deadline > 0.0
    one.end(first[0])
    assert one.deadline == 0.0
    assert len(one.begin(0.1)) == 1


def test_in_quiet_times_one_peer_in_ten_seconds() -> None:
    one, asked = turns(8), []
    while one.deadline is not None and one.deadline < 1000.0:
        for peer in one.begin(one.deadline):
            asked.append(peer)
            one.end(peer)
            one.agree(one.deadline)

    assert 95 <= len(asked) <= 105
    assert len(set(asked)) == 8


def test_who_has_learnt_much_asks_on_quickly_until_nobody_can_be_taught() -> None:
    one = turns(8)
    now = 1.0
    moments: list[float] = []
    one.learn(MUCH, False, now)
    while one.deadline is not None and len(moments) < 40:
        now = one.deadline
        moments.append(now)
        for peer in one.begin(now):
            one.end(peer)
            one.agree(now)
    pauses = [later - earlier for earlier, later in zip([1.0, *moments], moments, strict=False)]

    assert pauses[0] <= QUICK_S
    assert sum(pause < 5.0 for pause in pauses) < 12
    assert pauses[-1] > 0.9 * INTERVAL_S


def test_differences_that_no_round_removes_do_not_keep_it_busy() -> None:
    one = turns(8)
    now, rounds = 1.0, 0
    one.learn(MUCH, False, now)
    while one.deadline is not None and one.deadline < 301.0:
        now = one.deadline
        for peer in one.begin(now):
            rounds += 1
            one.end(peer)
            one.learn(0, True, now)

    assert rounds < 50


def test_many_told_one_by_one_are_much_too() -> None:
    one = turns(8)
    for number in range(MUCH):
        one.hear(1, 1.0 + number / 10)

    assert one.deadline is not None and one.deadline < 1.0 + MUCH / 10 + QUICK_S


def test_now_and_then_one_is_not_much() -> None:
    one = turns(8)
    before = one.deadline
    for number in range(MUCH):
        one.hear(1, -100.0 + 3.0 * number)

    assert one.deadline == before


def test_a_peer_that_is_parted_from_has_no_turn() -> None:
    one = turns(2, settled=False)
    one.part(PEERS[0])
    begun = one.begin(100.0)

    assert set(begun) == {PEERS[1]}
    one.part(PEERS[1])
    assert one.deadline is None


def test_a_turn_of_its_own_comes_after_the_one_under_way() -> None:
    one = turns(1, settled=False)
    one.begin(0.0)
    one.want(PEERS[0], 0.1)

    assert one.begin(0.1) == []
    one.end(PEERS[0])
    assert one.begin(0.2) == [PEERS[0]]
