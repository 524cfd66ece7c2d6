from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.deployment.ledger import LEASE_S
from node.deployment.stores import stores_of
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
    missing,
    resident,
    told,
)


@settings(max_examples=25)
@given(SEEDS, st.sampled_from(NAMES[1:]), st.floats(0.0, 0.2))
def test_a_put_in_which_a_holder_dies_leaves_no_promise_behind(
    seed: int, victim: str, after_s: float
) -> None:
    world = mesh(seed)
    a = world.machines["a"]
    task = a.put("w", 5000, 2000)
    world.run(after_s)

    world.kill(victim)
    outcome = ended(world, task)

    assert outcome in (None, ErrorCode.UNAVAILABLE)
    world.run(LEASE_S + 5.0)
    assert at_rest(world)
    assert (outcome is None) == (a.node.catalogue.get("w") is not None)
    check_accounts(world)


@settings(max_examples=25)
@given(SEEDS, st.floats(0.0, 0.2))
def test_a_put_whose_coordinator_dies_is_whole_or_nothing(seed: int, after_s: float) -> None:
    world = mesh(seed)
    world.machines["a"].put("w", 5000, 2000)
    world.run(after_s)

    world.kill("a")
    world.run(LEASE_S + 5.0)

    assert at_rest(world)
    check_accounts(world)


@few
@given(SEEDS)
def test_blocks_whose_holders_have_left_are_missing_until_they_return(seed: int) -> None:
    world = mesh(seed)
    a = world.machines["a"]
    assert ended(world, a.put("w", 5000, 2000, replicas=2)) is None
    world.run(6.0)

    head, entries = a.node.catalogue.find("w").head, a.node.catalogue.find("w").entries
    pairs = ([head.holders[index] for index in entry.holders] for entry in entries)
    first, other = next(pair for pair in pairs if a.id not in pair)

    world.by_id[first].kill()
    world.run(1.0)
    assert missing(a) == 0
    world.by_id[other].kill()
    world.run(1.0)
    assert missing(a) > 0
    world.by_id[first].start()
    world.by_id[other].start()
    world.run_until(lambda: all_know_all(world) and at_rest(world), 10.0)

    assert [missing(one) for one in world.living()] == [0] * 5
    check_accounts(world)


def test_a_holder_that_missed_the_manifest_takes_its_blocks_up_from_disk() -> None:
    world = mesh()
    a = world.machines["a"]
    task = a.put("w", 5000, 2000)
    world.run_until(lambda: a.node.catalogue.get("w") is not None, 5.0)

    world.cut("b", "acde")
    assert ended(world, task) is None
    world.run(LEASE_S + 5.0)
    b = world.machines["b"]
    assert told(b, "put.lapsed") and b.leased_bytes == 0
    for other in "acde":
        world.mend("b", other)
    world.run_until(lambda: all_know_all(world) and at_rest(world), 30.0)

    assert missing(a) == 0
    check_accounts(world)


def test_a_holder_whose_disk_has_lost_a_block_frees_the_rest_and_counts_as_missing() -> None:
    world = mesh()
    a, b = world.machines["a"], world.machines["b"]
    assert ended(world, a.put("w", 5000, 5000, replicas=1)) is None
    world.run(3.0)
    held = a.node.views.weights(world.now)[0].holders[b.id]
    assert held >= 2
    world.kill("b")
    block = next(iter(stores_of(a.node.catalogue.find("w"), b.id, "")))
    entries = a.node.catalogue.find("w").entries
    b.disk.contents.discard(entries[block[0] + 5 * block[1]].content)

    b = world.restart("b")
    world.run_until(lambda: all_know_all(world) and at_rest(world), 10.0)
    world.run(1.0)

    assert len(told(b, "block.lost")) == 1
    assert b.leased_bytes == 0 and not resident(b)
    assert missing(a) == held


def put_something(world: World, member: Machine) -> None:
    if member.up:
        member.put(f"w{world.dice.randrange(3)}", 2500, 1500)


def remove_something(world: World, member: Machine) -> None:
    names = [view.name for view in member.node.views.weights(world.now)]
    if member.up and names:
        member.remove(world.dice.choice(names))


def come_and_go(world: World, member: Machine) -> None:
    if member.alive:
        world.kill(member.name)
    else:
        world.restart(member.name)


def cut_off(world: World, member: Machine) -> None:
    """From some of the others."""
    world.cut([member.name], world.dice.sample(NAMES, 2))


def mend(world: World, member: Machine) -> None:
    for name in NAMES:
        world.mend(member.name, name)


TROUBLE = (put_something, remove_something, come_and_go, cut_off, mend)


@settings(max_examples=20)
@given(
    SEEDS,
    st.lists(
        st.tuples(st.sampled_from(TROUBLE), st.sampled_from(NAMES), st.floats(0.0, 3.0)),
        max_size=20,
    ),
)
def test_whatever_happened_all_agree_in_the_end_and_every_byte_is_accounted_for(
    seed: int, troubles: list[tuple[Callable[[World, Machine], None], str, float]]
) -> None:
    world = mesh(seed)
    for trouble, name, pause_s in troubles:
        trouble(world, world.machines[name])
        world.run(pause_s)

    for name in NAMES:
        mend(world, world.machines[name])
        if not world.machines[name].alive:
            world.restart(name)
    world.run(LEASE_S + 30.0)

    assert all_know_all(world) and at_rest(world)
    assert [missing(member) for member in world.living()] == [0] * 5
    check_accounts(world)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_seed_gives_the_same_run(seed: int) -> None:
    def run() -> tuple[int, list[str]]:
        world = mesh(seed)
        a = world.machines["a"]
        a.put("w", 5000, 2000)
        world.run(0.05)
        world.kill("b")
        world.run(20.0)
        said = [note.event for member in world.living() for note in member.notes]
        return world.steps, said

    assert run() == run()
