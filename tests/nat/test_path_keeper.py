import itertools

import pytest

from nat.path_keeper import UNANSWERED_MAX, PathDead, PathKeeper, SendCheck, interval_s


def test_the_end_that_asks_speaks_once_an_interval_while_nothing_is_said() -> None:
    keeper = PathKeeper(asks=True, now=0.0)

    assert keeper.deadline == 18.0
    assert keeper.tick(now=18.0) == [SendCheck()]
    assert keeper.heard(now=18.1) == []
    assert keeper.deadline == 36.0
    assert keeper.tick(now=36.0) == [SendCheck()]


def test_the_end_that_answers_says_nothing_by_itself_while_it_is_asked() -> None:
    keeper = PathKeeper(asks=False, now=0.0)
    for moment in (18.0, 36.0, 54.0):
        keeper.asked(now=moment)

    assert keeper.deadline == 54.0 + 22.5
    assert keeper.tick(now=76.0) == []
    assert keeper.tick(now=76.5) == [SendCheck()]


@pytest.mark.parametrize(
    ("wished_s", "measured_s", "told_s"),
    [
        (None, None, 18.0),
        (None, 40.0, 18.0),
        (None, 8.0, 8.0),
        (None, 1.5, 5.0),
        (30.0, 8.0, 30.0),
        (2.0, None, 2.0),
    ],
)
def test_an_interval_is_as_wished_or_as_measured_and_never_longer_than_common_routers_bear(
    wished_s: float | None, measured_s: float | None, told_s: float
) -> None:
    assert interval_s(wished_s, measured_s) == told_s


def test_each_end_keeps_its_own_mapping_though_the_other_one_needs_it_less_often() -> None:
    asking, answering = PathKeeper(asks=True, now=0.0), PathKeeper(asks=False, now=0.0)
    answering.keepalive(8.0, now=0.0)
    sent: dict[str, list[float]] = {"asking": [], "answering": []}
    for step in range(1, 600):
        now = step / 10
        for one, other, name in ((asking, answering, "asking"), (answering, asking, "answering")):
            if one.tick(now):
                other.asked(now)
                one.heard(now)
                # The check, and the answer to it.
                for end in sent.values():
                    end.append(now)
                assert name == "answering"

    assert max(later - one for one, later in itertools.pairwise(sent["answering"])) <= 10.0
    assert len(sent["asking"]) <= 6


def test_a_path_that_carries_data_both_ways_is_not_asked() -> None:
    keeper = PathKeeper(asks=True, now=0.0)
    for second in range(1, 100):
        keeper.sent(now=second)
        keeper.heard(now=second + 0.1)
        assert keeper.tick(now=second + 0.5) == []


def test_data_in_one_direction_alone_does_not_keep_both_mappings() -> None:
    keeper = PathKeeper(asks=True, now=0.0)
    keeper.heard(now=14.0)

    assert keeper.tick(now=18.0) == [SendCheck()]


def test_a_shorter_life_of_a_mapping_is_heeded_at_once() -> None:
    keeper = PathKeeper(asks=True, now=0.0)

    assert keeper.keepalive(8.0, now=9.0) == [SendCheck()]
    keeper.heard(now=9.1)
    assert keeper.deadline == 17.0


def test_a_path_that_answers_nothing_is_asked_each_second_and_given_up_in_the_end() -> None:
    keeper = PathKeeper(asks=True, now=0.0)
    checks, now = 0, 18.0
    while (effects := keeper.tick(now)) == [SendCheck()]:
        checks += 1
        assert keeper.deadline == now + 1.0
        now = keeper.deadline

    assert effects == [PathDead(silent_s=18.0 + UNANSWERED_MAX)]
    assert checks == UNANSWERED_MAX
    assert keeper.deadline is None
    assert keeper.tick(now=now + 100.0) == []


def test_one_answer_in_the_middle_of_a_silence_ends_it() -> None:
    keeper = PathKeeper(asks=True, now=0.0)
    for moment in (18.0, 19.0, 20.0):
        assert keeper.tick(moment) == [SendCheck()]

    keeper.heard(now=20.2)

    assert keeper.deadline == 20.0 + 18.0


def test_a_machine_that_has_slept_asks_before_it_gives_up() -> None:
    keeper = PathKeeper(asks=True, now=0.0)

    assert keeper.tick(now=10_000.0) == [SendCheck()]
    # Then it was frozen before the answer came.
    assert keeper.tick(now=20_000.0) == [SendCheck()]
    assert keeper.heard(now=20_000.1) == []
    assert keeper.deadline == 20_000.0 + 18.0
