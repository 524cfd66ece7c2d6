from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.communication.exchange import ANSWER_S
from node.deployment.holding import stores_of
from node.deployment.ledger import LEASE_S
from protocol.errors import ErrorCode
from protocol.ids import TaskId
from tests.node.member import Member
from tests.node.world import World

NAMES = ("a", "b", "c", "d", "e")
BLOCK_BYTES = 4 * 1024 * 1024
SEEDS = st.integers(0, 2**32)

few = settings(max_examples=10)
"""A world of five takes some tens of milliseconds for each second of its time."""


def mesh(seed: int = 0, names: tuple[str, ...] = NAMES, budget_mib: int = 256) -> World:
    """All know the address of the first, and each other after a moment."""
    world = World(seed)
    for name in names:
        world.add(name, *names[:1], budget_mib=budget_mib)
    world.run_until(lambda: all_know_all(world), 10.0)
    return world


def living(world: World) -> list[Member]:
    return [member for member in world.members.values() if member.up]


def all_know_all(world: World) -> bool:
    """Everybody has the latest record of everybody, and a link to it."""
    members = living(world)
    return all(
        one.node.exchange.records.get(other.id) == other.node.exchange.own
        and world.linked(one, other)
        for one in members
        for other in members
        if one is not other
    )


def all_agree(world: World) -> bool:
    return len({member.node.catalogue.digest for member in living(world)}) == 1


def at_rest(world: World) -> bool:
    return all_agree(world) and all(member.idle for member in living(world))


def ended(world: World, member: Member, task: TaskId, within_s: float = 30.0) -> ErrorCode | None:
    """How a client's task ended: None is well."""
    world.run_until(lambda: task in member.outcomes, within_s)
    error = member.outcomes[task]
    return None if error is None else error.code


def check_accounts(world: World) -> None:
    """Each ledger has leased exactly what is in memory, and that is what the list names."""
    for member in living(world):
        expected = {
            (manifest.head.version, block): 4 * store.rows * store.columns
            for manifest in member.node.catalogue.living()
            for block, store in stores_of(manifest, member.id, "").items()
        }
        assert member.resident == set(expected), member.name
        assert member.leased == sum(expected.values()), member.name


def missing(member: Member, world: World) -> int:
    """Blocks of all weights of which this node knows no live holder."""
    return sum(view.missing for view in member.node.weights(world.now))


# -- who is there ------------------------------------------------------------------------------------


@few
@given(SEEDS)
def test_nodes_that_know_one_address_all_learn_each_other_and_what_each_can_hold(seed: int) -> None:
    world = mesh(seed)

    world.run(3.0)

    assert all_know_all(world)
    for member in living(world):
        views = {view.name: view for view in member.node.peers(world.now)}
        for other in living(world):
            if other is not member:
                assert views[other.name].state == "connected"
                assert views[other.name].free_bytes == other.node.ledger.digest().free


def test_nodes_start_in_any_order_the_address_that_all_know_last() -> None:
    world = World()
    for name in reversed(NAMES):
        world.add(name, "a")
        world.run(7.0)

    world.run_until(lambda: all_know_all(world), 15.0)


@few
@given(SEEDS)
def test_two_halves_merge_once_one_link_between_them_comes_up(seed: int) -> None:
    world = World(seed)
    for name in "abc":
        world.add(name, "a")
    for name in "def":
        world.add(name, "d")
    world.run(5.0)
    assert not all_know_all(world)
    first, other = living(world)[1].put("left", 1024, 1024), living(world)[4].put("right", 8, 8)

    world.run(5.0)
    assert not all_agree(world)
    world.members["c"].hear(lambda: world.members["c"].node.seek(("f:1",), None, world.now))
    world.run_until(lambda: all_know_all(world) and at_rest(world), 10.0)

    assert world.members["b"].outcomes[first] is world.members["e"].outcomes[other] is None
    assert [view.name for view in living(world)[0].node.weights(world.now)] == ["left", "right"]
    check_accounts(world)


def test_what_a_cut_parted_comes_together_again_by_itself() -> None:
    world = mesh()
    world.cut("ab", "cde")
    world.run(60.0)
    assert len(world.members["a"].node.linked()) == 1

    for one in "ab":
        for other in "cde":
            world.mend(one, other)

    world.run_until(lambda: all_know_all(world), 25.0)


def test_one_that_no_longer_answers_is_hung_up_on_by_all() -> None:
    world = mesh()

    world.members["b"].frozen = True
    world.run(2 * ANSWER_S)

    for member in living(world):
        assert world.members["b"].id not in member.node.linked()
        (view,) = [view for view in member.node.peers(world.now) if view.name == "b"]
        assert view.state == "lost" and view.why


@few
@given(SEEDS, st.sampled_from(NAMES))
def test_a_node_that_restarts_finds_the_others_from_its_disk_alone(seed: int, name: str) -> None:
    world = mesh(seed)
    world.kill(name)
    world.run(3.0)

    world.restart(name)

    world.run_until(lambda: all_know_all(world), 10.0)
    assert not any(member.told("identity.duplicated") for member in living(world))


def test_a_link_lost_before_a_word_was_said_is_sought_again() -> None:
    world = World()
    world.add("a")
    member = world.add("b", "a")
    world.run_until(lambda: world.linked(world.members["a"], member), 1.0)

    world.hang(member, world.members["a"].id, "bad luck")

    world.run_until(lambda: all_know_all(world), 5.0)


def test_a_mesh_at_rest_says_little() -> None:
    world = mesh()
    world.run(10.0)
    before = world.sent

    world.run(60.0)

    # Each of 20 directed pairs tells something every 2 s, and is answered.
    assert world.sent - before <= 20 * 30 * 2 * 1.1


# -- what it holds -----------------------------------------------------------------------------------


@few
@given(SEEDS, st.sampled_from(NAMES), st.integers(1, 3))
def test_a_put_is_known_to_all_and_held_by_whom_its_manifest_names(
    seed: int, name: str, replicas: int
) -> None:
    world = mesh(seed)
    member = world.members[name]

    assert ended(world, member, member.put("w", 3000, 2000, replicas)) is None

    world.run_until(lambda: at_rest(world), 10.0)
    assert [missing(one, world) for one in living(world)] == [0] * 5
    assert sum(one.leased for one in living(world)) == replicas * 4 * 3000 * 2000
    check_accounts(world)


@few
@given(SEEDS)
def test_who_joins_later_learns_of_all_weights_and_of_all_that_were_removed(seed: int) -> None:
    world = mesh(seed, ("a", "b", "c"))
    a, b = world.members["a"], world.members["b"]
    assert ended(world, a, a.put("one", 100, 100)) is None
    assert ended(world, b, b.put("two", 1024, 4096)) is None
    world.run(5.0)
    assert ended(world, b, b.remove("one")) is None

    late = world.add("late", "c")
    world.run_until(lambda: all_know_all(world) and at_rest(world), 10.0)

    assert [view.name for view in late.node.weights(world.now)] == ["two"]
    assert late.node.catalogue.manifests["one"].head.deleted
    assert missing(late, world) == 0
    assert set(late.disk.manifests) == {"one", "two"}


@few
@given(SEEDS, st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_a_removal_reaches_all_and_gives_all_memory_back(
    seed: int, putter: str, remover: str
) -> None:
    world = mesh(seed)
    member = world.members[putter]
    assert ended(world, member, member.put("w", 5000, 2000)) is None
    world.run(3.0)

    assert ended(world, world.members[remover], world.members[remover].remove("w")) is None

    world.run_until(lambda: at_rest(world), 10.0)
    assert all(one.node.weights(world.now) == [] for one in living(world))
    assert all(one.leased == 0 and not one.resident for one in living(world))
    assert all(not one.disk.contents for one in living(world))


def test_a_removal_that_a_holder_missed_reaches_it_when_it_comes_back() -> None:
    world = mesh()
    a = world.members["a"]
    assert ended(world, a, a.put("w", 5000, 2000)) is None
    world.run(3.0)
    world.kill("b")
    assert ended(world, a, a.remove("w")) is None
    world.run(30.0)

    b = world.restart("b")
    world.run_until(lambda: all_know_all(world) and at_rest(world), 10.0)

    assert b.leased == 0 and not b.resident and not b.disk.contents


@few
@given(SEEDS)
def test_of_two_puts_under_one_name_one_stands_and_the_other_leaves_nothing(seed: int) -> None:
    world = mesh(seed)
    a, b = world.members["a"], world.members["b"]

    tasks = [(a, a.put("w", 2000, 3000)), (b, b.put("w", 4000, 1000))]
    outcomes = [ended(world, member, task) for member, task in tasks]

    assert None in outcomes
    assert set(outcomes) <= {None, ErrorCode.CONFLICT}
    world.run(LEASE_S + 5.0)
    assert at_rest(world)
    check_accounts(world)


def test_a_slow_client_does_not_let_the_promises_lapse() -> None:
    world = mesh()
    a = world.members["a"]
    a.client_s = 1.5 * LEASE_S

    assert ended(world, a, a.put("w", 3 * 1024, 1024), within_s=600.0) is None

    world.run(LEASE_S + 5.0)
    assert at_rest(world)
    check_accounts(world)


def test_a_matrix_that_fits_nowhere_is_refused_and_nothing_changes() -> None:
    world = mesh(budget_mib=96)
    a = world.members["a"]

    task = a.put("w", 8192, 2048)

    assert ended(world, a, task) is ErrorCode.NO_ROOM
    world.run(3.0)
    assert all(member.leased == 0 for member in living(world))


@few
@given(SEEDS)
def test_puts_that_compete_for_the_last_memory_all_end_and_give_back_what_they_did_not_get(
    seed: int,
) -> None:
    world = mesh(seed, budget_mib=96)

    tasks = [(member, member.put(f"of-{member.name}", 3072, 1024)) for member in living(world)]
    outcomes = {ended(world, member, task) for member, task in tasks}

    assert outcomes <= {None, ErrorCode.NO_ROOM} and ErrorCode.NO_ROOM in outcomes
    world.run(LEASE_S + 5.0)
    assert at_rest(world)
    check_accounts(world)


# -- holders that fail -------------------------------------------------------------------------------


@settings(max_examples=25)
@given(SEEDS, st.sampled_from(NAMES[1:]), st.floats(0.0, 0.2))
def test_a_put_in_which_a_holder_dies_leaves_no_promise_behind(
    seed: int, victim: str, after_s: float
) -> None:
    world = mesh(seed)
    a = world.members["a"]
    task = a.put("w", 5000, 2000)
    world.run(after_s)

    world.kill(victim)
    outcome = ended(world, a, task)

    assert outcome in (None, ErrorCode.UNAVAILABLE)
    world.run(LEASE_S + 5.0)
    assert at_rest(world)
    assert (outcome is None) == (a.node.catalogue.get("w") is not None)
    check_accounts(world)


@settings(max_examples=25)
@given(SEEDS, st.floats(0.0, 0.2))
def test_a_put_whose_coordinator_dies_is_whole_or_nothing(seed: int, after_s: float) -> None:
    world = mesh(seed)
    world.members["a"].put("w", 5000, 2000)
    world.run(after_s)

    world.kill("a")
    world.run(LEASE_S + 5.0)

    assert at_rest(world)
    check_accounts(world)


@few
@given(SEEDS)
def test_blocks_whose_holders_have_left_are_missing_until_they_return(seed: int) -> None:
    world = mesh(seed)
    a = world.members["a"]
    assert ended(world, a, a.put("w", 5000, 2000, replicas=2)) is None
    world.run(6.0)

    head, entries = a.node.catalogue.find("w").head, a.node.catalogue.find("w").entries
    pairs = ([head.holders[index] for index in entry.holders] for entry in entries)
    first, other = next([node[0] for node in pair] for pair in pairs if a.id not in pair)

    world.kill(first)
    world.run(1.0)
    assert missing(a, world) == 0
    world.kill(other)
    world.run(1.0)
    assert missing(a, world) > 0
    world.restart(first)
    world.restart(other)
    world.run_until(lambda: all_know_all(world) and at_rest(world), 10.0)

    assert [missing(one, world) for one in living(world)] == [0] * 5
    check_accounts(world)


def test_a_holder_that_missed_the_manifest_takes_its_blocks_up_from_disk() -> None:
    world = mesh()
    a = world.members["a"]
    task = a.put("w", 5000, 2000)
    world.run_until(lambda: a.node.catalogue.get("w") is not None, 5.0)

    world.cut("b", "acde")
    assert ended(world, a, task) is None
    world.run(LEASE_S + 5.0)
    b = world.members["b"]
    assert b.told("put.lapsed") and b.leased == 0
    for other in "acde":
        world.mend("b", other)
    world.run_until(lambda: all_know_all(world) and at_rest(world), 30.0)

    assert missing(a, world) == 0
    check_accounts(world)


def test_a_holder_whose_disk_has_lost_a_block_frees_the_rest_and_counts_as_missing() -> None:
    world = mesh()
    a, b = world.members["a"], world.members["b"]
    assert ended(world, a, a.put("w", 5000, 5000, replicas=1)) is None
    world.run(3.0)
    held = a.node.weights(world.now)[0].holders[b.id]
    assert held >= 2
    world.kill("b")
    block = next(iter(stores_of(a.node.catalogue.find("w"), b.id, "")))
    entries = a.node.catalogue.find("w").entries
    b.disk.contents.discard(entries[block[0] + 5 * block[1]].content)

    b = world.restart("b")
    world.run_until(lambda: all_know_all(world) and at_rest(world), 10.0)
    world.run(1.0)

    assert len(b.told("block.lost")) == 1
    assert b.leased == 0 and not b.resident
    assert missing(a, world) == held


def put_something(world: World, member: Member) -> None:
    if member.up:
        member.put(f"w{world.dice.randrange(3)}", 2500, 1500)


def remove_something(world: World, member: Member) -> None:
    names = [view.name for view in member.node.weights(world.now)]
    if member.up and names:
        member.remove(world.dice.choice(names))


def come_and_go(world: World, member: Member) -> None:
    if member.alive:
        world.kill(member.name)
    else:
        world.restart(member.name)


def cut_off(world: World, member: Member) -> None:
    """From some of the others."""
    world.cut([member.name], world.dice.sample(NAMES, 2))


def mend(world: World, member: Member) -> None:
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
    seed: int, troubles: list[tuple[Callable[[World, Member], None], str, float]]
) -> None:
    world = mesh(seed)
    for trouble, name, pause_s in troubles:
        trouble(world, world.members[name])
        world.run(pause_s)

    for name in NAMES:
        mend(world, world.members[name])
        if not world.members[name].alive:
            world.restart(name)
    world.run(LEASE_S + 30.0)

    assert all_know_all(world) and at_rest(world)
    assert [missing(member, world) for member in living(world)] == [0] * 5
    check_accounts(world)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_seed_gives_the_same_run(seed: int) -> None:
    def run() -> tuple[int, list[str]]:
        world = mesh(seed)
        a = world.members["a"]
        a.put("w", 5000, 2000)
        world.run(0.05)
        world.kill("b")
        world.run(20.0)
        told = [note.event for member in living(world) for note in member.notes]
        return world.sent, told

    assert run() == run()
