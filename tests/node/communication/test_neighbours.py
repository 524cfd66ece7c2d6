"""To whom a node keeps links, in a small mesh and in a large one."""

import random

from node.communication.graveyard import KEPT_S
from node.communication.linking import LINKS_KEPT_MAX, NEIGHBOURS, Linking
from node.communication.neighbours import Neighbours
from node.effects import Grave
from protocol.members import Cause, Gossip, News
from tests.node.communication.memberships import alive, membership, node, run, signed, suspect

LARGE = LINKS_KEPT_MAX + 10


class Place:
    """Node 0, which knows as many others."""

    def __init__(self, others: int, graves: tuple[Grave, ...] = (), seed: int = 1) -> None:
        self.membership = membership(others)
        self.membership.restore(dict(self.membership.members), graves, now=0.0)
        self.linking = Linking(node(0), random.Random(seed), 30.0)
        self.neighbours = Neighbours(self.membership, self.linking, random.Random(seed))
        self.neighbours.choose(now=0.0)

    def hears(self, *news: News) -> None:
        self.membership.heard(node(1), Gossip(news), 0.0)
        self._consider()

    def waits(self, until: float) -> None:
        run(self.membership, until)
        self._consider()

    def _consider(self) -> None:
        for peer, _ in self.membership.drain():
            self.neighbours.consider(peer, now=0.0)


def test_in_a_small_mesh_a_link_to_every_other_is_wanted() -> None:
    place = Place(LINKS_KEPT_MAX)

    assert set(place.linking.wanted) == set(place.membership.members)


def test_in_a_large_mesh_a_few_are_drawn() -> None:
    place = Place(LARGE)

    assert len(place.linking.wanted) == NEIGHBOURS
    assert list(place.linking.wanted) != list(Place(LARGE, seed=2).linking.wanted)


def test_who_joins_a_small_mesh_is_wanted_and_who_leaves_it_is_not() -> None:
    place = Place(3)

    place.hears(alive(4))
    assert node(4) in place.linking.wanted
    place.hears(alive(4, 2, Cause.LEFT))
    assert node(4) not in place.linking.wanted


def test_who_was_stopped_may_come_back_and_is_still_wanted() -> None:
    place = Place(3)

    place.hears(alive(2, 2, Cause.STOPPED))

    assert node(2) in place.linking.wanted


def test_a_neighbour_that_is_gone_is_replaced_and_the_others_stay() -> None:
    place = Place(LARGE)
    before = list(place.linking.wanted)
    gone = next(one for one in range(2, LARGE) if node(one) in before)

    place.hears(alive(gone, 2, Cause.STOPPED))

    after = list(place.linking.wanted)
    assert len(after) == NEIGHBOURS
    assert set(before) - set(after) == {node(gone)}


def test_a_mesh_that_grows_large_keeps_a_few_links_alone() -> None:
    place = Place(LINKS_KEPT_MAX)

    place.hears(alive(LINKS_KEPT_MAX + 1))

    assert len(place.linking.wanted) == NEIGHBOURS


def test_once_a_large_mesh_is_small_again_all_are_wanted_again() -> None:
    grave = Grave(signed(LARGE), Cause.STOPPED, KEPT_S - 1.0)
    place = Place(LINKS_KEPT_MAX, (grave,))
    assert len(place.linking.wanted) == NEIGHBOURS

    place.waits(60.0)

    assert len(place.linking.wanted) == LINKS_KEPT_MAX


def test_in_a_small_mesh_only_who_is_linked_can_be_asked() -> None:
    place = Place(3)
    assert place.neighbours.reachable() == []

    place.linking.link_up(node(2), 0.0)

    assert place.neighbours.reachable() == [node(2)]
    assert not place.neighbours.within_reach(node(1))


def test_in_a_large_mesh_all_can_be_asked_but_suspects_and_those_not_reached() -> None:
    place = Place(LARGE)
    at = signed(2).addresses
    place.linking.seek(at, node(2), 0.0)
    place.linking.dial_failed(at, node(2), "connection refused", 0.0)
    place.hears(suspect(3))

    asked = place.neighbours.reachable()

    assert set(place.membership.members) - set(asked) == {node(2), node(3)}
    place.linking.link_up(node(3), 0.0)
    assert place.neighbours.within_reach(node(3))
