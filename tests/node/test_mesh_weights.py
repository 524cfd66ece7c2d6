from hypothesis import given
from hypothesis import strategies as st

from node.deployment.ledger import LEASE_S
from protocol.errors import ErrorCode
from tests.node.meshes import (
    NAMES,
    SEEDS,
    all_know_all,
    at_rest,
    check_accounts,
    ended,
    few,
    join,
    mesh,
    missing,
    resident,
)


@few
@given(SEEDS, st.sampled_from(NAMES), st.integers(1, 3))
def test_a_put_is_known_to_all_and_held_by_whom_its_manifest_names(
    seed: int, name: str, replicas: int
) -> None:
    world = mesh(seed)
    member = world.machines[name]

    assert ended(world, member.put("w", 3000, 2000, replicas)) is None

    world.run_until(lambda: at_rest(world), 10.0)
    assert [missing(one) for one in world.living()] == [0] * 5
    assert sum(one.leased_bytes for one in world.living()) == replicas * 4 * 3000 * 2000
    check_accounts(world)


@few
@given(SEEDS)
def test_who_joins_later_learns_of_all_weights_and_of_all_that_were_removed(seed: int) -> None:
    world = mesh(seed, ("a", "b", "c"))
    a, b = world.machines["a"], world.machines["b"]
    assert ended(world, a.put("one", 100, 100)) is None
    assert ended(world, b.put("two", 1024, 4096)) is None
    world.run(5.0)
    assert ended(world, b.remove("one")) is None

    late = join(world, "late", "c")
    world.run_until(lambda: all_know_all(world) and at_rest(world), 10.0)

    assert [view.name for view in late.node.views.weights(world.now)] == ["two"]
    assert late.node.catalogue.manifests["one"].head.deleted
    assert missing(late) == 0
    assert set(late.disk.manifests) == {"one", "two"}


@few
@given(SEEDS, st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_a_removal_reaches_all_and_gives_all_memory_back(
    seed: int, putter: str, remover: str
) -> None:
    world = mesh(seed)
    member = world.machines[putter]
    assert ended(world, member.put("w", 5000, 2000)) is None
    world.run(3.0)

    assert ended(world, world.machines[remover].remove("w")) is None

    world.run_until(lambda: at_rest(world), 10.0)
    assert all(one.node.views.weights(world.now) == [] for one in world.living())
    assert all(one.leased_bytes == 0 and not resident(one) for one in world.living())
    assert all(not one.disk.contents for one in world.living())


def test_a_removal_that_a_holder_missed_reaches_it_when_it_comes_back() -> None:
    world = mesh()
    a = world.machines["a"]
    assert ended(world, a.put("w", 5000, 2000)) is None
    world.run(3.0)
    world.kill("b")
    assert ended(world, a.remove("w")) is None
    world.run(30.0)

    b = world.restart("b")
    world.run_until(lambda: all_know_all(world) and at_rest(world), 10.0)

    assert b.leased_bytes == 0 and not resident(b) and not b.disk.contents


@few
@given(SEEDS)
def test_of_two_puts_under_one_name_one_stands_and_the_other_leaves_nothing(seed: int) -> None:
    world = mesh(seed)
    a, b = world.machines["a"], world.machines["b"]

    tasks = [a.put("w", 2000, 3000), b.put("w", 4000, 1000)]
    outcomes = [ended(world, task) for task in tasks]

    assert None in outcomes
    assert set(outcomes) <= {None, ErrorCode.CONFLICT}
    world.run(LEASE_S + 5.0)
    assert at_rest(world)
    check_accounts(world)


def test_a_slow_client_does_not_let_the_promises_lapse() -> None:
    world = mesh()
    a = world.machines["a"]
    a.row_s = 1.5 * LEASE_S

    assert ended(world, a.put("w", 3 * 1024, 1024), within_s=600.0) is None

    world.run(LEASE_S + 5.0)
    assert at_rest(world)
    check_accounts(world)


def test_a_matrix_that_fits_nowhere_is_refused_and_nothing_changes() -> None:
    world = mesh(budget_mib=96)
    a = world.machines["a"]

    task = a.put("w", 8192, 2048)

    assert ended(world, task) is ErrorCode.NO_ROOM
    world.run(3.0)
    assert all(member.leased_bytes == 0 for member in world.living())


@few
@given(SEEDS)
def test_puts_that_compete_for_the_last_memory_all_end_and_give_back_what_they_did_not_get(
    seed: int,
) -> None:
    world = mesh(seed, budget_mib=96)

    tasks = [member.put(f"of-{member.name}", 3072, 1024) for member in world.living()]
    outcomes = {ended(world, task) for task in tasks}

    assert outcomes <= {None, ErrorCode.NO_ROOM} and ErrorCode.NO_ROOM in outcomes
    world.run(LEASE_S + 5.0)
    assert at_rest(world)
    check_accounts(world)
