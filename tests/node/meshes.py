"""Meshes of a few nodes on virtual time, and what must hold of them."""

from hypothesis import settings
from hypothesis import strategies as st

from node.deployment.stores import stores_of
from node.effects import Note
from node.runtime.virtual.charged import ChargedShop
from node.runtime.virtual.clients import ClientTask
from node.runtime.virtual.costs import Costs
from node.runtime.virtual.machine import Machine
from node.runtime.virtual.spec import MachineSpec, address_of
from node.runtime.virtual.world import World
from protocol.digests import WeightsVersion
from protocol.errors import ErrorCode
from protocol.messages import BlockIndex

NAMES = ("a", "b", "c", "d", "e")
SEEDS = st.integers(0, 2**32)
MIB = 1024 * 1024
MACS_S = 1e12
"""So fast that a product takes no time but what the costs say."""

few = settings(max_examples=10)
"""A world of five takes some tens of milliseconds for each second of its time."""


def join(world: World, name: str, *seeds: str, budget_mib: int = 256) -> Machine:
    """One more machine, which knows the addresses of these."""
    spec = MachineSpec(name, memory_bytes=budget_mib * MIB, macs_s=MACS_S)
    return world.add(spec, [address_of(seed) for seed in seeds])


def mesh(
    seed: int = 0,
    names: tuple[str, ...] = NAMES,
    budget_mib: int = 256,
    costs: Costs | None = None,
) -> World:
    """All know the address of the first, and each other after a moment."""
    world = World(seed, costs=costs)
    for name in names:
        join(world, name, *names[:1], budget_mib=budget_mib)
    world.run_until(lambda: all_know_all(world), 10.0)
    return world


def linked(one: Machine, other: Machine) -> bool:
    return other.id in one.links and one.id in other.links


def all_know_all(world: World) -> bool:
    """Everybody has what everybody told last, believes it alive, and has a link to it."""
    members = world.living()
    return all(
        one.node.mesh.record(other.id) == other.node.mesh.gossip.told
        and other.node.mesh.gossip.told.ready == other.node.mesh.own.ready
        and one.node.mesh.incarnation_of(other.id) == other.node.mesh.membership.own.incarnation
        and linked(one, other)
        for one in members
        for other in members
        if one is not other
    )


def all_agree(world: World) -> bool:
    return len({member.node.catalogue.digest for member in world.living()}) == 1


def at_rest(world: World) -> bool:
    return all_agree(world) and all(member.idle for member in world.living())


def ended(world: World, task: ClientTask, within_s: float = 30.0) -> ErrorCode | None:
    """How a client's task ended: None is well."""
    world.run_until(lambda: task.over, within_s)
    return task.code


def told(member: Machine, event: str) -> list[Note]:
    """What the node said of this."""
    return [note for note in member.notes if note.event == event]


def resident(member: Machine) -> set[tuple[WeightsVersion, BlockIndex]]:
    """Blocks in its memory."""
    assert isinstance(member.shop, ChargedShop)
    return member.shop.resident


def check_accounts(world: World) -> None:
    """Each ledger has leased exactly what is in memory, and that is what the list names."""
    for member in world.living():
        expected = {
            (manifest.head.version, block): 4 * store.rows * store.columns
            for manifest in member.node.catalogue.living()
            for block, store in stores_of(manifest, member.id, "").items()
        }
        assert resident(member) == set(expected), member.name
        assert member.leased_bytes == sum(expected.values()), member.name


def missing(member: Machine) -> int:
    """Blocks of all weights of which this node knows no live holder."""
    return sum(view.missing for view in member.node.views.weights(member.now))
