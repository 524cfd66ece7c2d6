from node.communication.awareness import SCORE_MAX, Awareness


def test_who_doubts_himself_waits_longer_and_recovers_step_by_step() -> None:
    awareness = Awareness()
    assert awareness.factor == 1.0

    awareness.worse(by=2)
    assert awareness.factor == 3.0

    awareness.better()
    awareness.better()
    awareness.better()
    assert (awareness.score, awareness.factor) == (0, 1.0)


def test_doubt_has_a_limit() -> None:
    awareness = Awareness()
    for _ in range(5):
        awareness.worse(by=3)

    assert awareness.score == SCORE_MAX
