"""Whatever befalls machines and network, each node is told a story that holds together."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from node.effects import Call, Dial, Hang
from node.runtime.virtual.machine import Machine
from node.runtime.virtual.network import Conditions, spread
from node.runtime.virtual.spec import MachineSpec
from node.runtime.virtual.world import World
from protocol.messages import Probe
from tests.node.runtime.scripted import Heard, Scripted, script, scripted

NAMES = ("a", "b", "c", "d")
CALL_S = 4.0
Trouble = Callable[[World, Machine, Machine], None]


def dial(world: World, one: Machine, other: Machine) -> None:
    if one.up and other.id not in one.links:
        one.feed([Dial((other.address,), other.id)])


def hang(world: World, one: Machine, other: Machine) -> None:
    if one.up:
        one.feed([Hang(other.id, "no reason")])


def ask(world: World, one: Machine, other: Machine) -> None:
    if one.up:
        number = world.next_task()
        script(one).called.append(number)
        one.feed([Call(number, other.id, Probe(), CALL_S)])


def come_and_go(world: World, one: Machine, other: Machine) -> None:
    if not one.alive:
        one.start()
    elif world.dice.random() < 0.5:
        one.kill()
    else:
        one.vanish()


def stand_still(world: World, one: Machine, other: Machine) -> None:
    if one.frozen:
        one.thaw()
    elif one.alive:
        one.freeze()


def cut(world: World, one: Machine, other: Machine) -> None:
    world.cut([one.name], [other.name], one_way=world.dice.random() < 0.5)


def mend(world: World, one: Machine, other: Machine) -> None:
    world.mend([one.name], [other.name])


TROUBLES = (dial, dial, ask, ask, ask, hang, come_and_go, stand_still, cut, mend)


def check_story(heard: list[Heard], others: list[Machine]) -> None:
    """Links go up and down in turn, and time never goes back."""
    times = [now for name, _, now in heard if name != "reached"]
    assert times == sorted(times)
    for other in others:
        words = [name for name, args, _ in heard if args[:1] == (other.id,)]
        turns = [name for name in words if name in ("link_up", "link_down")]
        assert turns == ["link_up", "link_down"] * (len(turns) // 2) + ["link_up"] * (
            len(turns) % 2
        )


def check_ends(node: Scripted) -> None:
    """Each call has ended once."""
    ended = [args[0] for name, args, _ in node.heard if name in ("answered", "call_failed")]
    assert sorted(ended, key=str) == sorted(node.called, key=str)


@settings(max_examples=150)
@given(
    st.integers(0, 2**32),
    st.lists(
        st.tuples(
            st.sampled_from(TROUBLES),
            st.permutations(NAMES),
            st.sampled_from([0.0, 0.003, 0.02, 0.1, 1.0, 5.0]),
        ),
        max_size=60,
    ),
)
def test_links_go_up_and_down_in_turn_and_every_call_ends_once(
    seed: int, troubles: list[tuple[Trouble, list[str], float]]
) -> None:
    specs = [MachineSpec(name, up_bytes_s=1e5) for name in NAMES]
    conditions = Conditions(spread(0.005, 0.05, seed), loss=0.1)
    world, machines = scripted(*specs, seed=seed, conditions=conditions)
    for trouble, (one, other, *_), pause_s in troubles:
        trouble(world, world.machines[one], world.machines[other])
        world.run(pause_s)

    world.heal()
    for machine in machines:
        if machine.frozen:
            machine.thaw()
    world.run(200.0)

    for machine in machines:
        check_story(script(machine).heard, [other for other in machines if other is not machine])
        if machine.alive:
            check_ends(script(machine))
            for peer, end in machine.links.items():
                assert end.open and end.machine is machine and end.other.machine.id == peer
