"""Many memberships together, on bad networks; `bench/membership.py` has the figures over more seeds and time."""

import pytest

from node.communication.roster import Change
from protocol.members import Cause
from tests.node.communication.swarm import MESH, Seen, Swarm


def dead(swarm: Swarm) -> set[int]:
    return {one.node for one in swarm.seen if one.change is Change.DIED}


def seen(swarm: Swarm, node: int, *changes: Change) -> list[Seen]:
    return [one for one in swarm.seen if one.node == node and one.change in changes]


def agree(swarm: Swarm) -> bool:
    up = {peer.id: peer.membership.own for peer in swarm.peers if peer.up}
    return all(
        {**peer.membership.members, peer.id: peer.membership.own} == up
        for peer in swarm.peers
        if peer.up
    )


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
def test_nobody_healthy_dies_of_lost_packets(loss: float) -> None:
    swarm = Swarm(64, seed=1, loss=loss)
    swarm.run(60.0)

    assert dead(swarm) == set()


def test_a_quiet_mesh_says_two_packets_a_second_and_node() -> None:
    swarm = Swarm(64, seed=1, count_bytes=True)
    swarm.run(60.0)

    assert swarm.packets / 64 / 60 == pytest.approx(2.0, rel=0.02)
    assert swarm.packet_bytes / 64 / 60 < 160
    assert swarm.calls == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_vanished_node_is_found_and_all_hear_of_it(seed: int) -> None:
    swarm = Swarm(100, seed, loss=0.1)
    swarm.at(5.0, swarm.vanish, 42)
    swarm.run(35.0)

    died = seen(swarm, 42, Change.DIED)
    assert len(died) == 99
    assert min(one.at for one in died) < 5.0 + 25.0
    assert max(one.at for one in died) - min(one.at for one in died) <= 2.2
    assert dead(swarm) == {42}


def test_those_that_do_not_run_for_long_kill_nobody() -> None:
    swarm = Swarm(32, seed=1)

    def block_again(number: int) -> None:
        swarm.block(number, 16.0)
        swarm.at(swarm.now + 16.004, block_again, number)

    for number in range(3):
        block_again(number)
    swarm.run(70.0)

    assert dead(swarm) <= set(range(3))


@pytest.mark.parametrize(("nodes", "seed"), [(2, 1), (2, 2), (5, 1), (40, 1)])
def test_two_halves_that_have_buried_each_other_are_one_mesh_within_30_s_of_healing(
    nodes: int, seed: int
) -> None:
    swarm = Swarm(nodes, seed, loss=0.1)
    swarm.apart = lambda one, other: (one < nodes // 2) != (other < nodes // 2)
    swarm.run(200.0)
    assert all(
        len(peer.membership.members) in (nodes // 2 - 1, nodes - nodes // 2 - 1)
        for peer in swarm.peers
    )

    swarm.apart = None
    swarm.run(230.0)

    assert agree(swarm)


def test_a_goodbye_reaches_all_within_a_second() -> None:
    swarm = Swarm(200, seed=1, loss=0.1)
    swarm.run(3.0)
    leaver = swarm.peers[7]
    swarm.feed(leaver, leaver.membership.leave(Cause.LEFT, swarm.now))
    swarm.run(4.0)

    assert len(seen(swarm, 7, Change.LEFT)) == 199
    assert dead(swarm) == set()


def test_where_udp_passes_nowhere_links_carry_it_all() -> None:
    swarm = Swarm(30, seed=1, loss=0.05, udp=False)
    swarm.at(60.0, swarm.vanish, 3)
    swarm.run(120.0)

    assert dead(swarm) == {3}
    assert len(seen(swarm, 3, Change.DIED)) == 29


def test_newcomers_are_known_to_all_by_one_link_each() -> None:
    swarm = Swarm(30, seed=1, loss=0.1, converged=False)
    for number in range(1, 30):
        swarm.at(0.1 * number, swarm.link, number, number // 2)
    swarm.run(15.0)

    assert agree(swarm)
    assert dead(swarm) == set()


def test_gossip_ends_when_all_have_heard() -> None:
    swarm = Swarm(40, seed=1)
    swarm.run(5.0)
    moved = swarm.peers[7]
    swarm.feed(moved, moved.membership.introduce(MESH, ("198.51.100.7:7879",), swarm.now))
    swarm.run(10.0)
    before = swarm.packets
    swarm.run(20.0)

    assert len(seen(swarm, 7, Change.MOVED)) == 39
    assert (swarm.packets - before) / 40 / 10 == pytest.approx(2.0, rel=0.05)


def test_the_same_seed_is_the_same_run() -> None:
    def story(seed: int) -> list[Seen]:
        swarm = Swarm(40, seed, loss=0.2)
        swarm.at(5.0, swarm.vanish, 3)
        swarm.run(20.0)
        return swarm.seen

    assert story(5) == story(5) != story(6)


def test_incarnations_only_grow_and_are_kept() -> None:
    swarm = Swarm(40, seed=1, loss=0.3)
    swarm.run(60.0)

    for peer in swarm.peers:
        assert swarm.kept.get(peer.number, 1) == peer.membership.own.incarnation
