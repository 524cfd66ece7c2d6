from node.simulation.truth import EXCUSED_S, Truth


def started(*names: str) -> Truth:
    truth = Truth(names)
    for name in names:
        truth.started(name, 0.0)
    return truth


def test_a_healthy_machine_is_wronged_by_whoever_takes_it_for_dead() -> None:
    assert started("a", "b").wronged("a", "b", now=1.0)


def test_a_machine_that_stopped_is_not_wronged_and_soon_after_its_return_neither() -> None:
    truth = started("a", "b")
    truth.stopped("b", 5.0)

    assert not truth.wronged("a", "b", now=6.0)
    assert truth.living == ["a"]
    assert truth.stops == {("b", 5.0)}

    truth.started("b", 20.0)
    assert not truth.wronged("a", "b", now=20.0 + EXCUSED_S - 0.1)
    assert truth.wronged("a", "b", now=20.0 + EXCUSED_S)


def test_a_machine_in_trouble_is_not_wronged_until_it_has_recovered() -> None:
    truth = started("a", "b")
    truth.troubled("b")

    assert not truth.wronged("a", "b", now=100.0)
    assert truth.wronged("b", "a", now=100.0)

    truth.relieved("b", 100.0)
    assert not truth.wronged("a", "b", now=101.0)
    assert truth.wronged("a", "b", now=100.0 + EXCUSED_S)


def test_across_a_split_nobody_is_wronged_but_within_a_side_one_may_be() -> None:
    truth = started("a", "b", "c")
    truth.split(["a", "b"])

    assert not truth.wronged("a", "c", now=1.0)
    assert truth.wronged("a", "b", now=1.0)
    assert truth.together("a", "b") and not truth.together("a", "c")

    truth.healed(30.0)
    assert not truth.wronged("a", "c", now=31.0)
    assert truth.wronged("a", "c", now=30.0 + EXCUSED_S)
