from node.communication.roster import Change
from node.effects import Effect
from protocol.members import Cause, Dead, Gossip
from tests.node.communication.memberships import (
    carried,
    membership,
    node,
    notes,
    pings,
    run,
    sends,
    suspect,
)


def test_whoever_hears_of_a_suspect_may_see_after_it_at_once() -> None:
    made = membership(2)

    made.heard(node(2), Gossip((suspect(1, accuser=2),)), 0.0)

    (_, ping), *_ = pings(run(made, 0.0), to=node(1))
    assert ping.news[0] == suspect(1, accuser=2)


def test_of_many_that_hear_of_a_suspect_a_few_see_after_it() -> None:
    asked = 0
    for seed in range(200):
        made = membership(199, seed=seed)
        made.heard(node(2), Gossip((suspect(1, accuser=2),)), 0.0)
        asked += bool(pings(run(made, 0.0), to=node(1)))

    assert 0 < asked < 12


def test_a_suspect_that_udp_never_reached_hears_of_it_by_the_link() -> None:
    made = membership(1)

    effects: list[Effect] = []
    while not made.is_suspect(node(1)):
        assert made.deadline is not None
        effects = made.tick(made.deadline)

    assert [(peer, packet.news[0]) for peer, packet in carried(effects)] == [
        (node(1), suspect(1, accuser=0))
    ]


def test_a_suspect_that_says_nothing_dies_with_a_cause_and_hears_of_it() -> None:
    made = membership(1)
    made.heard(node(1), Gossip((suspect(1),)), 0.0)

    done = run(made, 3.0)

    assert "peer.died" in notes(effect for _, effect in done)
    assert made.graves[node(1)].cause is Cause.SILENT
    assert (node(1), Change.DIED) in made.drain()
    assert Dead(node(1), 1) in [news for _, _, packet in sends(done) for news in packet.news]


def test_nobody_dies_of_time_in_which_we_did_not_run() -> None:
    made = membership(5)
    made.heard(node(2), Gossip((suspect(1),)), 0.0)
    start = made.deadline
    assert start is not None

    effects = made.tick(start + 600.0)

    assert "peer.died" not in notes(effects)
    assert made.is_suspect(node(1))
    assert made.doubt == 1
    done = run(made, start + 600.5)
    assert "peer.died" not in notes(effect for _, effect in done)
