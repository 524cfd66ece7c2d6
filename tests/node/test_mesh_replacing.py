from hypothesis import given, settings
from hypothesis import strategies as st

from node.deployment.ledger import MIB, Purpose
from node.execution.upkeep import REPLACED_KEPT_S
from node.runtime.virtual.costs import Costs
from node.runtime.virtual.machine import Machine
from node.runtime.virtual.world import World
from protocol.errors import ErrorCode
from tests.node.meshes import (
    NAMES,
    SEEDS,
    all_know_all,
    at_rest,
    check_accounts,
    ended,
    few,
    mesh,
    resident,
)

ROWS = 300
"""Of X: some panels of a 5000 x 2000 matrix, one after another."""


def put(world: World, member: Machine, name: str = "w", rows: int = 5000) -> str:
    """These weights stand; their version."""
    assert ended(world, member.put(name, rows, 2000)) is None
    return str(member.node.catalogue.find(name).head.version)


def slow_mesh(seed: int, shard_s: float) -> World:
    """Each part of a product takes a worker so long."""
    return mesh(seed, costs=Costs(shard_s=shard_s))


@settings(max_examples=6)
@given(SEEDS, st.sampled_from(NAMES), st.floats(0.0, 1.0))
def test_products_under_way_end_on_the_version_with_which_they_began(
    seed: int, name: str, after_s: float
) -> None:
    world = slow_mesh(seed, 0.3)
    old = put(world, world.machines["a"])
    tasks = [member.matmul("w", ROWS) for member in world.living()]
    world.run(after_s)

    new = put(world, world.machines[name])
    later = [member.matmul("w", ROWS) for member in world.living()]

    assert old != new
    for expected, begun in ((old, tasks), (new, later)):
        for task in begun:
            assert ended(world, task) is None
            assert task.versions == [expected]


@settings(max_examples=4)
@given(SEEDS)
def test_weights_that_are_replaced_twice_in_a_moment_serve_three_generations(seed: int) -> None:
    world = slow_mesh(seed, 0.1)
    begun = []
    for name in "abc":
        version = put(world, world.machines[name])
        begun += [(member.matmul("w", ROWS), version) for member in world.living()]

    for task, version in begun:
        assert ended(world, task) is None
        assert task.versions == [version]


@few
@given(SEEDS)
def test_what_was_replaced_goes_by_itself_from_memory_and_from_disk(seed: int) -> None:
    world = mesh(seed)
    put(world, world.machines["a"])
    put(world, world.machines["b"])
    contents = set().union(*(member.disk.contents for member in world.living()))

    world.run(REPLACED_KEPT_S - 1.0)
    assert sum(len(resident(member)) for member in world.living()) == 2 * 2 * 10
    world.run(2.0)

    assert at_rest(world)
    check_accounts(world)
    kept = set().union(*(member.disk.contents for member in world.living()))
    assert kept == world.living()[0].node.catalogue.contents() < contents


def test_nothing_but_weights_that_are_removed_goes_at_once_with_what_they_replaced() -> None:
    world = mesh()
    a = world.machines["a"]
    put(world, a)
    put(world, a)
    put(world, a, "other", rows=100)

    assert ended(world, a.remove("w")) is None
    world.run_until(lambda: at_rest(world), 1.0)

    check_accounts(world)


# -- memory ------------------------------------------------------------------------------------------


def free(member: Machine) -> int:
    return member.node.ledger.free_for(Purpose.WEIGHTS)


def test_the_memory_of_what_was_replaced_counts_as_free_and_is_given_to_the_next_put() -> None:
    world = mesh(0, ("a",), budget_mib=84 + 40)
    a = world.machines["a"]
    assert ended(world, a.put("w", 5000, 1000, replicas=1)) is None
    before = free(a)
    assert ended(world, a.put("w", 5000, 1000, replicas=1)) is None

    assert free(a) == before == 40 * MIB - 4 * 5000 * 1000
    assert a.leased_bytes == 2 * 4 * 5000 * 1000
    assert ended(world, a.put("v", 5000, 1000, replicas=1)) is None

    world.run(0.1)
    check_accounts(world)
    assert a.disk.contents == a.node.catalogue.contents()
    assert ended(world, a.put("u", 1000, 1000, replicas=1)) is ErrorCode.NO_ROOM


@few
@given(SEEDS)
def test_a_peer_that_reserves_takes_the_memory_of_what_was_replaced(seed: int) -> None:
    world = mesh(seed, ("a", "b", "c"), budget_mib=84 + 40)
    a, b, c = world.living()
    for member in (a, b):
        assert ended(world, member.put("w", 4096, 3072, replicas=1)) is None
    assert sum(member.leased_bytes for member in world.living()) == 2 * 48 * MIB

    world.run(1.0)

    # Not everything has room beside what was replaced: 48 + 48 + 64 of 3 x 40 MiB.
    assert ended(world, c.put("v", 4096, 4096, replicas=1)) is None

    world.run(2 * REPLACED_KEPT_S)
    assert at_rest(world)
    check_accounts(world)


# -- starts ------------------------------------------------------------------------------------------


def test_a_node_that_starts_again_does_not_take_up_what_was_replaced() -> None:
    world = mesh()
    put(world, world.machines["a"])
    put(world, world.machines["a"])
    world.kill("b")

    b = world.restart("b")
    world.run_until(lambda: all_know_all(world) and not b.node.upkeep.loading, 5.0)

    assert {version for version, _ in resident(b)} == {b.node.catalogue.find("w").head.version}
    assert b.node.catalogue.former == {}
