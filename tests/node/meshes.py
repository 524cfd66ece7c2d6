"""Meshes of a few nodes in memory, and what must hold of them."""

from hypothesis import settings
from hypothesis import strategies as st

from node.deployment.holding import stores_of
from protocol.errors import ErrorCode
from protocol.ids import TaskId
from tests.node.member import Member
from tests.node.world import World

NAMES = ("a", "b", "c", "d", "e")
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
