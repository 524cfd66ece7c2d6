"""How many chips are in the mesh at once."""

from node.cli.sweeping.crowd import TRIES_MAX, Crowd


def test_a_refusal_makes_the_crowd_as_large_as_what_had_room() -> None:
    crowd = Crowd(4)
    for _ in range(4):
        assert crowd.has_place
        crowd.began()
    assert not crowd.has_place

    assert crowd.refused() == 0.0
    assert (crowd.limit, crowd.has_place) == (3, False)
    crowd.ended()
    assert crowd.has_place


def test_one_chip_alone_tries_again_for_a_while() -> None:
    crowd = Crowd(4)
    waits = []
    for _ in range(TRIES_MAX):
        crowd.began()
        waits.append(crowd.refused())

    assert waits[:3] == [0.5, 1.0, 2.0]
    assert waits[-1] is None and None not in waits[:-1]


def test_a_chip_that_found_room_begins_the_count_anew() -> None:
    crowd = Crowd(1)
    crowd.began()
    crowd.refused()
    crowd.began()
    crowd.ended()
    crowd.began()

    assert crowd.refused() == 0.5
