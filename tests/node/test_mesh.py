from hypothesis import given
from hypothesis import strategies as st

from node.communication.gossip import ANSWER_S
from node.effects import Hang
from node.runtime.virtual.spec import address_of
from node.runtime.virtual.world import World
from tests.node.meshes import (
    NAMES,
    SEEDS,
    all_agree,
    all_know_all,
    at_rest,
    check_accounts,
    few,
    join,
    linked,
    mesh,
    told,
)


@few
@given(SEEDS)
def test_nodes_that_know_one_address_all_learn_each_other_and_what_each_can_hold(seed: int) -> None:
    world = mesh(seed)

    world.run(3.0)

    assert all_know_all(world)
    for member in world.living():
        views = {view.name: view for view in member.node.views.peers(world.now)}
        for other in world.living():
            if other is not member:
                assert views[other.name].state == "connected"
                assert views[other.name].free_bytes == other.node.ledger.digest().free


def test_nodes_start_in_any_order_the_address_that_all_know_last() -> None:
    world = World()
    for name in reversed(NAMES):
        join(world, name, "a")
        world.run(7.0)

    world.run_until(lambda: all_know_all(world), 15.0)


@few
@given(SEEDS)
def test_two_halves_merge_once_one_link_between_them_comes_up(seed: int) -> None:
    world = World(seed)
    for name in "abc":
        join(world, name, "a")
    for name in "def":
        join(world, name, "d")
    world.run(5.0)
    assert not all_know_all(world)
    first, other = world.living()[1].put("left", 1024, 1024), world.living()[4].put("right", 8, 8)

    world.run(5.0)
    assert not all_agree(world)
    c = world.machines["c"]
    c.hear(c.node.seek, (address_of("f"),), None)
    world.run_until(lambda: all_know_all(world) and at_rest(world), 10.0)

    assert first.over and other.over and first.error is other.error is None
    assert [view.name for view in world.living()[0].node.views.weights(world.now)] == [
        "left",
        "right",
    ]
    check_accounts(world)


def test_what_a_cut_parted_comes_together_again_by_itself() -> None:
    world = mesh()
    world.cut("ab", "cde")
    world.run(60.0)
    assert len(world.machines["a"].node.linked()) == 1

    for one in "ab":
        for other in "cde":
            world.mend(one, other)

    world.run_until(lambda: all_know_all(world), 25.0)


def test_one_that_no_longer_answers_is_hung_up_on_by_all() -> None:
    world = mesh()

    world.freeze("b")
    world.run(2 * ANSWER_S)

    for member in world.living():
        assert world.machines["b"].id not in member.node.linked()
        (view,) = [view for view in member.node.views.peers(world.now) if view.name == "b"]
        assert view.state == "lost" and view.why


@few
@given(SEEDS, st.sampled_from(NAMES))
def test_a_node_that_restarts_finds_the_others_from_its_disk_alone(seed: int, name: str) -> None:
    world = mesh(seed)
    world.kill(name)
    world.run(3.0)

    world.restart(name)

    world.run_until(lambda: all_know_all(world), 10.0)
    assert not any(told(member, "identity.duplicated") for member in world.living())


def test_a_link_lost_before_a_word_was_said_is_sought_again() -> None:
    world = World()
    join(world, "a")
    member = join(world, "b", "a")
    world.run_until(lambda: linked(world.machines["a"], member), 1.0)

    member.feed([Hang(world.machines["a"].id, "bad luck")])

    world.run_until(lambda: all_know_all(world), 5.0)


def messages(world: World) -> int:
    return sum(member.traffic.messages for member in world.machines.values())


def test_a_mesh_at_rest_says_little() -> None:
    world = mesh()
    world.run(10.0)
    before = messages(world)

    world.run(60.0)

    # Each of 20 directed pairs tells something every 2 s, and is answered.
    assert messages(world) - before <= 20 * 30 * 2 * 1.1
