from nat.path_keeper import DEAD_S, PathDead, PathKeeper, SendCheck


def test_the_end_that_asks_speaks_once_an_interval_while_nothing_is_said() -> None:
    keeper = PathKeeper(asks=True, now=0.0)

    assert keeper.deadline == 20.0
    assert keeper.tick(now=20.0) == [SendCheck()]
    assert keeper.heard(now=20.1) == []
    assert keeper.deadline == 40.0
    assert keeper.tick(now=40.0) == [SendCheck()]


def test_the_end_that_answers_says_nothing_by_itself_while_it_is_asked() -> None:
    keeper = PathKeeper(asks=False, now=0.0)
    for moment in (20.0, 40.0, 60.0):
        keeper.heard(now=moment)

    assert keeper.deadline == 60.0 + 30.0
    assert keeper.tick(now=89.9) == []
    assert keeper.tick(now=90.0) == [SendCheck()]


def test_a_path_that_carries_data_both_ways_is_not_asked() -> None:
    keeper = PathKeeper(asks=True, now=0.0)
    for second in range(1, 100):
        keeper.sent(now=second)
        keeper.heard(now=second + 0.1)
        assert keeper.tick(now=second + 0.5) == []


def test_data_in_one_direction_alone_does_not_keep_both_mappings() -> None:
    keeper = PathKeeper(asks=True, now=0.0)
    keeper.heard(now=19.0)

    assert keeper.tick(now=20.0) == [SendCheck()]


def test_a_shorter_life_of_a_mapping_is_heeded_at_once() -> None:
    keeper = PathKeeper(asks=True, now=0.0)

    assert keeper.keepalive(8.0, now=9.0) == [SendCheck()]
    keeper.heard(now=9.1)
    assert keeper.deadline == 17.0


def test_a_path_that_answers_nothing_is_asked_each_second_and_given_up_in_the_end() -> None:
    keeper = PathKeeper(asks=True, now=0.0)
    checks, now = 0, 20.0
    while (effects := keeper.tick(now)) == [SendCheck()]:
        checks += 1
        assert keeper.deadline == now + 1.0
        now = keeper.deadline

    assert effects == [PathDead(silent_s=20.0 + DEAD_S)]
    assert checks == DEAD_S
    assert keeper.deadline is None
    assert keeper.tick(now=now + 100.0) == []


def test_one_answer_in_the_middle_of_a_silence_ends_it() -> None:
    keeper = PathKeeper(asks=True, now=0.0)
    for moment in (20.0, 21.0, 22.0):
        assert keeper.tick(moment) == [SendCheck()]

    keeper.heard(now=22.2)

    assert keeper.deadline == 22.0 + 20.0


def test_a_machine_that_has_slept_asks_before_it_gives_up() -> None:
    keeper = PathKeeper(asks=True, now=0.0)

    assert keeper.tick(now=10_000.0) == [SendCheck()]
