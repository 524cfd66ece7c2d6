import pytest

from compute.partition import Block
from node.communication.choosing import choose, query
from node.communication.outstanding import Sent
from node.communication.scoring import Cost, completion_s, guessed
from node.deployment.ledger import MIB
from node.execution.fleet import FRESH_S
from node.memory.short_term import RttSeen, ShardServed
from protocol.digests import LoadDigest
from protocol.ids import NodeId
from protocol.paths import PathKind
from tests.node.execution.small_fleet import VERSION, A, B, C, SmallFleet, manifest, record


def fleet_of_three() -> SmallFleet:
    """One block, which each of the three holds by its manifest."""
    world = SmallFleet()
    world.stand(manifest((A, B, C)))
    return world


def ready(world: SmallFleet, now: float = 0.0) -> list[NodeId]:
    found = world.fleet.candidates(VERSION, now)
    return [NodeId(candidate.node) for candidate in found if not candidate.cold_s]


def test_who_is_linked_and_says_it_has_all_its_blocks_can_multiply() -> None:
    world = fleet_of_three()
    for peer in (B, C):
        world.link(peer)
    world.hear(record(B, ready=(VERSION,)))
    world.hear(record(C))

    assert ready(world) == [B]
    world.unlink(B)
    assert ready(world) == []


def test_this_node_counts_once_all_its_blocks_are_in_memory() -> None:
    world = fleet_of_three()
    held = manifest((A,), (A, B))
    first, second = world.holding.expect(held, 0.0)

    world.holding.adopted(first, 0.0)
    assert ready(world) == []
    world.holding.adopted(second, 0.0)
    assert ready(world) == [A]


def test_a_new_manifest_vouches_for_its_holders_for_a_moment() -> None:
    world = fleet_of_three()
    world.link(B)
    world.hear(record(B))
    world.fleet.learnt(VERSION, 1.0)

    assert ready(world, 1.0) == [B]
    assert ready(world, 1.0 + FRESH_S) == []


def test_it_does_not_vouch_for_who_was_linked_only_later() -> None:
    world = fleet_of_three()
    world.link(B)
    world.fleet.learnt(VERSION, 1.0)
    world.unlink(B, 2.0)
    world.link(B, 2.5)

    assert ready(world, 3.0) == []


def test_labels_decide_who_may_hold_new_weights() -> None:
    world = SmallFleet()
    for peer, labels in ((B, ("home", "fast")), (C, ("home",))):
        world.link(peer)
        world.hear(record(peer, labels=labels))

    def nodes(only: tuple[str, ...], avoid: tuple[str, ...] = ()) -> list[str]:
        return [capacity.node for capacity in world.fleet.capacities(only, avoid)]

    assert nodes(()) == [A, B, C]
    assert nodes(("home",)) == [B, C]
    assert nodes(("home", "fast")) == [B]
    assert nodes((), ("fast",)) == [A, C]


def test_what_is_free_is_what_was_told_last() -> None:
    world = SmallFleet()
    world.link(B)
    world.hear(record(B))
    world.load(B, LoadDigest(free=7 * MIB), 1.0)

    free = {capacity.node: capacity.free_bytes for capacity in world.fleet.capacities((), ())}

    assert free == {A: world.ledger.digest().free, B: 7 * MIB}


@pytest.mark.parametrize("told", [5e-324, 1e-300, 1.0])
def test_a_peer_that_tells_of_no_speed_at_all_spoils_nobody_s_estimate(told: float) -> None:
    world = fleet_of_three()
    for peer in (B, C):
        world.link(peer)
        world.hear(record(peer, ready=(VERSION,)))
    world.load(B, LoadDigest(speed_macs_s=told, analog_macs_s=told), 0.0)

    for analog in (False, True):
        found = guessed(world.fleet.candidates(VERSION, 0.0, analog=analog))
        took = {one.node: completion_s(one, Cost(1000, 1000, 10**9)).total_s for one in found}
        assert took[B] < 1e7 and took[C] < 1e7


def test_a_queue_is_what_was_told_less_the_time_since_and_what_we_sent() -> None:
    world = fleet_of_three()
    world.link(B)
    world.memory.record(RttSeen(B, 0.0), 0.0)
    world.hear(record(B, ready=(VERSION,)))
    world.load(B, LoadDigest(queue_s=3.0, speed_macs_s=1e9), 0.0)

    def queue_s(now: float) -> float:
        (candidate,) = world.fleet.candidates(VERSION, now)
        return candidate.queue_s

    assert queue_s(1.0) == pytest.approx(2.0)
    world.outstanding.started(B, 1, Sent(1.0, 0, work_s=5.0, due_at=9.0))
    assert queue_s(1.0) == pytest.approx(7.0)


def test_what_was_measured_counts_for_more_than_what_was_told() -> None:
    world = fleet_of_three()
    world.link(B)
    world.hear(record(B, ready=(VERSION,)))
    world.load(B, LoadDigest(speed_macs_s=1e9), 0.0)
    assert world.fleet.candidates(VERSION, 0.0)[0].speed_macs_s == 1e9

    world.memory.record(ShardServed(B, 4 * 10**9, 2.0, 0, 2.0), 0.0)

    assert world.fleet.candidates(VERSION, 0.0)[0].speed_macs_s == pytest.approx(2e9)


def test_a_product_goes_to_the_holder_whose_arrays_took_less_time_for_the_last_ones() -> None:
    world = fleet_of_three()
    macs = 10**9
    for peer, analog_s in ((B, 0.9), (C, 0.1)):
        world.link(peer)
        world.hear(record(peer, ready=(VERSION,)))
        for analog, service_s in ((True, analog_s), (False, 0.1)):
            served = ShardServed(peer, macs, service_s, 0, service_s, analog=analog)
            world.memory.record(served, 0.0)
    block = Block(0, 0)
    costs = {block: Cost(1024, 1024, macs)}

    def dealt_to(*, analog: bool) -> dict[str, list[Block]]:
        candidates = world.fleet.candidates(VERSION, 0.0, analog=analog)
        return choose(query({block: (B, C)}, candidates, costs, transpose=False)).hands

    assert dealt_to(analog=True) == {C: [block]}
    world.memory.record(ShardServed(C, macs, 0.9, 0, 0.9), 0.0)
    assert dealt_to(analog=False) == {B: [block]}


def test_a_peer_is_relayed_while_its_link_runs_by_way_of_a_relay() -> None:
    world = fleet_of_three()

    def relayed() -> bool:
        (one,) = [one for one in world.fleet.everybody(0.0) if one.node == B]
        return one.relayed

    world.link(B)
    assert not relayed()
    world.fleet.path_is(B, PathKind.RELAY)
    assert relayed()
    world.fleet.path_is(B, PathKind.PUNCHED)
    assert not relayed()
    world.fleet.path_is(B, PathKind.RELAY)
    world.unlink(B)
    world.link(B)
    assert not relayed(), "a new link has a path of its own"
