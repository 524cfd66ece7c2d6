"""Which relays a node behind a NAT keeps."""

import random

from hypothesis import given
from hypothesis import strategies as st

from nat.home import HOMES, REST_FIRST_S, REST_MAX_S, REVIEW_S, HomeRelays, Public, Release, Reserve
from protocol.ids import NodeId

ANNA, BERT, CARL, DORA = (NodeId(name) for name in ("anna", "bert", "carl", "dora"))


def public(node: NodeId, rtt_ms: float | None = None, serves: bool = True) -> Public:
    return Public(node, serves, None if rtt_ms is None else rtt_ms / 1e3)


THREE = (public(ANNA, 10), public(BERT, 40), public(CARL, 60))


def at_home(*publics: Public) -> HomeRelays:
    """The nearest two have said yes."""
    made = HomeRelays(random.Random(7))
    made.known(publics, now=0.0)
    for effect in made.wanted(True, now=0.0):
        made.reserved(effect.relay, now=0.0)
    return made


def test_the_nearest_two_are_asked() -> None:
    made = HomeRelays(random.Random(7))

    assert made.known(reversed(THREE), now=0.0) == []
    assert made.wanted(True, now=0.0) == [Reserve(ANNA), Reserve(BERT)]
    assert not made.homes
    made.reserved(BERT, now=0.1)
    made.reserved(ANNA, now=0.2)
    assert made.homes == (ANNA, BERT)


def test_who_does_not_serve_is_not_asked() -> None:
    made = at_home(public(ANNA, 10, serves=False), public(BERT, 40))

    assert made.homes == (BERT,)
    assert made.known((public(ANNA, 10), public(BERT, 40, serves=False)), now=1.0) == [
        Release(BERT),
        Reserve(ANNA),
    ]


def test_a_node_that_others_can_dial_needs_none() -> None:
    made = at_home(*THREE)

    assert made.wanted(False, now=1.0) == [Release(ANNA), Release(BERT)]
    assert (made.homes, made.deadline) == ((), None)


def test_another_one_takes_the_place_of_one_that_fails_at_once() -> None:
    made = at_home(*THREE)

    assert made.failed(ANNA, now=1.0) == [Reserve(CARL)]
    made.reserved(CARL, now=1.1)
    assert made.homes == (BERT, CARL)


def test_one_that_has_worked_is_asked_once_more_before_another_takes_its_place() -> None:
    made = at_home(*THREE)

    assert made.failed(ANNA, now=30.0) == [Reserve(ANNA)]
    assert made.failed(ANNA, now=30.1) == [Reserve(CARL)]


def test_without_another_one_it_is_asked_again_and_ever_less_often() -> None:
    made = at_home(public(ANNA, 10))
    now, pauses = 1.0, []
    for _ in range(12):
        assert made.failed(ANNA, now) == []
        assert made.deadline is not None
        pauses.append(made.deadline - now)
        assert made.tick(made.deadline - 1e-6) == []
        now = made.deadline
        assert made.tick(now) == [Reserve(ANNA)]

    assert REST_FIRST_S / 2 <= pauses[0] <= REST_FIRST_S
    assert pauses[0] < pauses[2] < pauses[4]
    assert REST_MAX_S / 2 <= pauses[-1] <= REST_MAX_S


def test_one_that_has_worked_for_long_is_asked_again_soon() -> None:
    made = at_home(public(ANNA, 10))
    for now in (1.0, 100.0, 200.0):
        made.failed(ANNA, now)
        made.tick(now + REST_MAX_S)
        made.reserved(ANNA, now + REST_MAX_S)

    assert made.failed(ANNA, now=1000.0) == [Reserve(ANNA)]
    assert made.failed(ANNA, now=1000.0) == []
    assert made.deadline is not None
    assert made.deadline - 1000.0 <= REST_FIRST_S


def test_a_home_is_kept_when_one_that_is_a_little_nearer_comes() -> None:
    made = at_home(*THREE)

    assert made.known((*THREE, public(DORA, 29)), now=REVIEW_S) == []
    assert made.homes == (ANNA, BERT)


def test_a_home_gives_way_to_one_that_is_nearer_by_far_once_that_has_said_yes() -> None:
    made = at_home(*THREE)

    assert made.known((*THREE, public(DORA, 20)), now=1.0) == []
    assert made.deadline == REVIEW_S
    assert made.tick(REVIEW_S) == [Reserve(DORA)]
    assert made.homes == (ANNA, BERT)
    assert made.reserved(DORA, now=REVIEW_S + 0.1) == [Release(BERT)]
    assert made.homes == (ANNA, DORA)


def test_one_that_was_to_come_fills_the_place_of_a_home_that_fails() -> None:
    made = at_home(*THREE)
    made.known((*THREE, public(DORA, 20)), now=REVIEW_S)

    assert made.failed(ANNA, now=REVIEW_S) == []
    assert made.reserved(DORA, now=REVIEW_S) == []
    assert made.homes == (BERT, DORA)


def test_one_that_was_to_come_and_refuses_costs_nothing() -> None:
    made = at_home(*THREE)
    made.known((*THREE, public(DORA, 20)), now=REVIEW_S)

    assert made.failed(DORA, now=REVIEW_S) == []
    assert made.homes == (ANNA, BERT)


def test_a_home_that_others_think_is_gone_is_kept_while_it_works() -> None:
    made = at_home(*THREE)

    assert made.known((public(CARL, 60),), now=1.0) == []
    assert made.homes == (ANNA, BERT)
    assert made.failed(ANNA, now=2.0) == [Reserve(CARL)]


def test_what_the_connection_itself_tells_of_the_distance_counts() -> None:
    made = at_home(*THREE)

    made.measured(ANNA, 0.200, now=1.0)

    # In what order others are told of them does not follow each measurement.
    assert made.homes == (ANNA, BERT)
    assert made.tick(REVIEW_S) == [Reserve(CARL)]


def test_nodes_that_know_no_distances_do_not_all_take_the_same() -> None:
    publics = [public(NodeId(str(number))) for number in range(8)]
    taken = set()
    for seed in range(40):
        made = HomeRelays(random.Random(seed))
        made.known(publics, now=0.0)
        taken |= {effect.relay for effect in made.wanted(True, now=0.0)}

    assert len(taken) == 8


@given(st.integers(0, 2**32))
def test_what_is_kept_is_what_was_asked_for_and_not_released(seed: int) -> None:
    dice = random.Random(seed)
    made = HomeRelays(random.Random(seed))
    nodes = [NodeId(str(number)) for number in range(5)]
    kept: set[NodeId] = set()
    now = 0.0
    for _ in range(60):
        now += dice.expovariate(0.2)
        relay = dice.choice(nodes)
        told = [public(node, dice.uniform(1, 99)) for node in nodes if dice.random() < 0.8]
        match dice.randint(0, 5):
            case 0:
                effects = made.wanted(dice.random() < 0.9, now)
            case 1:
                effects = made.known(told, now)
            case 2:
                effects = made.reserved(relay, now)
            case 3:
                kept.discard(relay)
                effects = made.failed(relay, now)
            case 4:
                effects = made.measured(relay, dice.uniform(0.001, 0.1), now)
            case _:
                now = max(now, made.deadline or now)
                effects = made.tick(now)
                assert made.deadline is None or made.deadline > now
        for effect in effects:
            if isinstance(effect, Reserve):
                assert effect.relay not in kept
                kept.add(effect.relay)
            else:
                kept.remove(effect.relay)
        assert set(made.homes) <= kept
        assert len(kept) <= HOMES + 1
