"""Which paths are looked for, when, and how often in vain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat.pathfinder import (
    PAUSES_S,
    PROVEN_PAUSES_S,
    STEADY_S,
    Means,
    Pathfinder,
    Seek,
)
from protocol.paths import PathKind

LAN, IPV6, IPV4 = PathKind.LAN, PathKind.IPV6, PathKind.IPV4
PUNCHED, RELAY = PathKind.PUNCHED, PathKind.RELAY
ALL = Means(relay=True, punch=True, dial=True)
NONE = Means(relay=False, punch=False, dial=False)


def sought(effects: list[Seek]) -> set[PathKind]:
    return {effect.kind for effect in effects}


def on_relay(means: Means = ALL) -> Pathfinder:
    """A link that runs over a relay; what it looks for then is under way."""
    finder = Pathfinder(means, 0.0)
    finder.has([RELAY], 0.0)
    return finder


def test_a_relayed_link_looks_for_a_hole_and_dials_at_once() -> None:
    assert sought(Pathfinder(ALL, 0.0).has([RELAY], 0.0)) == {PUNCHED, IPV4}


def test_a_punched_link_wants_a_relay_beside_it_and_is_dialled_on() -> None:
    assert sought(Pathfinder(ALL, 0.0).has([PUNCHED], 0.0)) == {RELAY, IPV4}


@pytest.mark.parametrize("direct", [LAN, IPV6, IPV4])
def test_a_direct_link_wants_only_a_relay_beside_it(direct: PathKind) -> None:
    finder = Pathfinder(ALL, 0.0)

    assert sought(finder.has([direct], 0.0)) == {RELAY}
    assert finder.has([direct, RELAY], 1.0) == []
    assert finder.deadline is None


def test_what_cannot_be_is_not_tried() -> None:
    finder = Pathfinder(NONE, 0.0)

    assert finder.has([RELAY], 0.0) == finder.has([IPV4], 1.0) == finder.network_changed(2.0) == []
    assert finder.deadline is None
    assert sought(finder.means_are(ALL, 3.0)) == {RELAY}


def test_the_same_is_not_tried_twice_at_once() -> None:
    finder = on_relay()

    assert (
        finder.has([RELAY], 1.0) == finder.network_changed(2.0) == finder.means_are(ALL, 3.0) == []
    )


@pytest.mark.parametrize(("kind", "pauses_s"), PAUSES_S.items())
def test_after_each_failure_the_pause_is_longer_up_to_the_last(
    kind: PathKind, pauses_s: tuple[float, ...]
) -> None:
    finder = Pathfinder(ALL, 0.0)
    finder.has([PUNCHED] if kind is RELAY else [RELAY], 0.0)
    now = 0.0
    for pause_s in (*pauses_s, pauses_s[-1], pauses_s[-1]):
        assert finder.tried(kind, "no way", now) == []
        assert finder.deadline == now + pause_s
        assert finder.tick(now + pause_s - 0.01) == []
        now += pause_s
        assert sought(finder.tick(now)) == {kind}
    assert finder.why_not(kind) == "no way"


def test_in_another_network_everything_is_tried_at_once_again() -> None:
    finder = on_relay()
    for kind in (PUNCHED, IPV4):
        for _ in range(3):
            finder.tried(kind, "no way", 0.0)
    assert sought(finder.network_changed(1.0)) == {PUNCHED, IPV4}

    finder.tried(PUNCHED, "no way", 2.0)
    assert finder.deadline == 2.0 + PAUSES_S[PUNCHED][0]


def test_a_path_that_came_up_and_lived_is_looked_for_at_once_when_it_is_lost() -> None:
    finder = on_relay()
    finder.tried(PUNCHED, "no way", 0.0)
    finder.tick(PAUSES_S[PUNCHED][0])
    finder.has([PUNCHED, RELAY], 4.0)
    finder.tried(PUNCHED, "", 4.0)

    assert finder.why_not(PUNCHED) == ""
    assert sought(finder.has([RELAY], 4.0 + STEADY_S)) == {PUNCHED}
    finder.tried(PUNCHED, "no way", 50.0)
    assert finder.deadline == 50.0 + PROVEN_PAUSES_S[0]


def test_a_hole_that_was_there_is_looked_for_every_few_seconds_for_a_minute() -> None:
    finder = on_relay()
    finder.has([PUNCHED, RELAY], 0.1)
    finder.tried(PUNCHED, "", 0.1)
    began = now = 0.1 + STEADY_S
    effects = finder.has([RELAY], now)
    for pause_s in PROVEN_PAUSES_S:
        assert sought(effects) == {PUNCHED}
        now += 3.0
        finder.tried(PUNCHED, "no way", now)
        assert finder.tick(now + pause_s - 0.01) == []
        now += pause_s
        effects = finder.tick(now)

    assert now - began >= 60.0
    finder.tried(PUNCHED, "no way", now)
    assert finder.deadline == now + PAUSES_S[PUNCHED][0]
    # In another network it has yet to be shown.
    finder.network_changed(now)
    finder.tried(PUNCHED, "no way", now)
    finder.tried(IPV4, "no way", now)
    assert sought(finder.tick(now + PAUSES_S[PUNCHED][0])) == {PUNCHED}
    finder.tried(PUNCHED, "no way", now + 3.0)
    assert finder.tick(now + 3.0 + PAUSES_S[PUNCHED][0]) == []


def test_a_relayed_path_that_a_router_forgets_every_few_seconds_is_there_again_at_once() -> None:
    finder = Pathfinder(ALL, 0.0)
    seeks = finder.has([PUNCHED], 0.0)
    for turn in range(20):
        assert RELAY in sought(seeks)
        now = turn * 2 * STEADY_S
        finder.has([PUNCHED, RELAY], now)
        finder.tried(RELAY, "", now)
        seeks = finder.has([PUNCHED], now + STEADY_S)


def test_a_path_that_answers_again_by_itself_is_looked_for_at_once_when_it_is_lost() -> None:
    finder = on_relay(Means(relay=True, punch=True, dial=False))
    for now in (0.0, 10.0, 30.0):
        finder.tried(PUNCHED, "no way", now)
        finder.tick(now + 15.0)
    finder.tried(PUNCHED, "no way", 50.0)
    finder.has([PUNCHED, RELAY], 51.0)

    assert sought(finder.has([RELAY], 51.0 + STEADY_S)) == {PUNCHED}


def test_a_hole_that_two_misfortunes_in_a_row_have_cost_is_looked_for_at_once_each_time() -> None:
    """UDP is cut for some seconds; soon after it is back the router maps anew."""
    finder = on_relay()
    finder.has([PUNCHED, RELAY], 0.1)
    finder.tried(PUNCHED, "", 0.1)
    assert sought(finder.has([RELAY], 8.0)) == {PUNCHED}
    finder.tried(PUNCHED, "no way", 10.5)
    finder.has([PUNCHED, RELAY], 10.9)

    assert sought(finder.has([RELAY], 12.4)) == {PUNCHED}


@pytest.mark.parametrize("kind", PAUSES_S)
def test_a_path_that_comes_up_and_dies_again_and_again_is_not_looked_for_without_end(
    kind: PathKind,
) -> None:
    """As where a relay lets every channel begin, and cuts it at once."""
    other = PUNCHED if kind is RELAY else RELAY
    finder = Pathfinder(ALL, 0.0)
    seeks = finder.has([other], 0.0)
    now, tries = 0.0, 0
    while now < 600.0:
        if kind in sought(seeks):
            tries += 1
            finder.has([other, kind], now + 0.01)
            finder.tried(kind, "", now + 0.01)
            now += 0.02
            seeks = finder.has([other], now)
        else:
            assert finder.deadline is not None
            assert finder.deadline > now
            now = finder.deadline
            seeks = finder.tick(now)

    assert tries <= 2 + len(PAUSES_S[kind]) + 600.0 / PAUSES_S[kind][-1]


ACTIONS = st.one_of(
    st.tuples(st.just("has"), st.sets(st.sampled_from(PathKind))),
    st.tuples(st.just("tried"), st.sampled_from(sorted(PAUSES_S)), st.sampled_from(["", "no way"])),
    st.tuples(st.just("means"), st.builds(Means, st.booleans(), st.booleans(), st.booleans())),
    st.tuples(st.just("changed")),
    st.tuples(st.just("tick")),
)


@given(st.lists(st.tuples(st.floats(0.0, 100.0, allow_nan=False), ACTIONS), max_size=40))
def test_whatever_happens_nothing_is_sought_that_is_there_or_under_way(
    story: list[tuple[float, tuple[object, ...]]],
) -> None:
    finder = Pathfinder(ALL, 0.0)
    now, has, trying = 0.0, set[PathKind](), set[PathKind]()
    for wait_s, action in story:
        now += wait_s
        match action:
            case ("has", set() as kinds):
                has = kinds
                effects = finder.has(sorted(kinds), now)
            case ("tried", PathKind() as kind, str() as failure):
                if kind not in trying:
                    continue
                trying.discard(kind)
                effects = finder.tried(kind, failure, now)
            case ("means", Means() as means):
                effects = finder.means_are(means, now)
            case ("changed",):
                effects = finder.network_changed(now)
            case _:
                effects = finder.tick(now)
        assert not sought(effects) & (has | trying)
        trying |= sought(effects)
        assert finder.deadline is None or finder.deadline > now
