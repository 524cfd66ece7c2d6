import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.effects import Effect, KeepIncarnation, Note, SendPacket, note
from node.runtime.virtual.costs import Costs
from node.runtime.virtual.machine import Machine
from node.runtime.virtual.spec import MachineSpec
from protocol.errors import ErrorCode
from protocol.members import Ping
from tests.node.meshes import at_rest, check_accounts, ended, join, mesh
from tests.node.runtime.scripted import script, scripted


def nothing() -> list[Effect]:
    return []


def wish(machine: Machine, deadline: float) -> None:
    """Its node wants a tick then."""
    script(machine).deadline = deadline
    machine.hear(lambda now: nothing())


# -- the timer ---------------------------------------------------------------------------------------


def test_a_tick_comes_at_the_deadline_also_when_that_has_moved() -> None:
    world, (a,) = scripted("a")

    wish(a, 5.0)
    world.run(1.0)
    wish(a, 3.0)
    world.run(3.0)
    wish(a, 8.0)
    world.run(10.0)

    assert script(a).when("tick") == [3.0, 8.0]


def test_a_deadline_that_moves_away_is_not_ticked_early() -> None:
    world, (a,) = scripted("a")

    wish(a, 1.0)
    wish(a, 2.0)
    world.run(5.0)

    assert script(a).when("tick") == [2.0]


def test_a_node_that_wants_tick_after_tick_is_found_out() -> None:
    world, (a,) = scripted("a")
    script(a).on_tick = lambda now: []

    wish(a, 1.0)

    with pytest.raises(AssertionError, match="a wants tick after tick at 1"):
        world.run(2.0)


@given(st.floats(0.0, 1e6), st.floats(0.5, 2.0), st.floats(0.0, 1e4))
def test_a_clock_that_is_off_shows_a_deadline_when_its_tick_comes(
    offset_s: float, rate: float, own: float
) -> None:
    spec = MachineSpec("a", clock_offset_s=offset_s, clock_rate=rate)

    at = spec.world_time(offset_s + own)

    assert spec.own_time(at) >= offset_s + own
    assert spec.own_time(at) == pytest.approx(offset_s + own, abs=1e-6)


def test_clocks_that_run_apart_tick_apart() -> None:
    world, (a, b) = scripted("a", MachineSpec("b", clock_offset_s=1000.0, clock_rate=0.5))

    wish(a, 10.0)
    wish(b, 1010.0)
    world.run(19.0)
    assert script(a).when("tick") == [10.0] and not script(b).when("tick")
    world.run(2.0)

    (at,) = script(b).when("tick")
    assert at >= 1010.0 and at == pytest.approx(1010.0, abs=1e-6)


# -- frozen ------------------------------------------------------------------------------------------


def test_what_came_while_it_was_frozen_is_handled_before_its_late_timer() -> None:
    world, (a, b) = scripted("a", "b")
    wish(b, 2.0)
    world.after(1.0, b.freeze)
    for at in (1.5, 2.5):
        world.after(at, a.feed, [SendPacket(b.id, (), Ping(1))])

    world.run(9.0)
    heard_before = len(script(b).heard)
    b.thaw()
    world.run(1.0)

    assert [name for name, _, _ in script(b).heard[heard_before:]] == ["packet", "packet", "tick"]
    assert {now for _, _, now in script(b).heard[heard_before:]} == {9.0}


def test_a_freeze_of_some_seconds_ends_by_itself_and_not_in_another_life() -> None:
    world, (a, b) = scripted("a", "b")
    world.freeze("a", 2.0)
    world.freeze("b", 2.0)
    b.kill()
    b.start()
    b.freeze()

    world.run(5.0)

    assert a.up and b.frozen


def test_a_client_of_a_frozen_machine_waits() -> None:
    world = mesh(names=("a",))
    a = world.machines["a"]
    world.freeze("a", 3.0)
    began = world.now

    assert ended(world, a.put("w", 100, 100, replicas=1)) is None

    assert world.now > began + 3.0


# -- lives -------------------------------------------------------------------------------------------


def test_a_client_whose_node_dies_or_is_not_there_is_told_so() -> None:
    world = mesh()
    a = world.machines["a"]
    running = a.put("w", 5000, 2000)

    world.run(0.01)
    world.kill("a")
    late = a.matmul("w")

    assert running.code is late.code is ErrorCode.UNAVAILABLE
    assert running.error is not None and running.error.reason == (
        "the node that was asked, a, is gone"
    )
    world.run(60.0)


def test_a_start_goes_on_above_the_incarnation_that_its_node_told() -> None:
    _, (a,) = scripted("a")
    assert a.disk.incarnation == 1

    a.feed([KeepIncarnation(7)])
    a.kill()
    a.start()

    assert a.disk.incarnation == 8


def test_a_whole_mesh_comes_back_from_its_disks() -> None:
    world = mesh()
    a = world.machines["a"]
    assert ended(world, a.put("w", 3000, 2000)) is None
    for machine in world.living():
        machine.vanish()

    world.run(100.0)
    for machine in world.machines.values():
        machine.start()
    world.run_until(lambda: at_rest(world), 30.0)
    world.run(5.0)

    check_accounts(world)
    assert ended(world, world.machines["b"].matmul("w", 3)) is None


def test_events_of_a_former_life_do_not_reach_the_next() -> None:
    world, (a,) = scripted("a")
    wish(a, 1.0)
    a.kill()
    a.start()

    world.run(5.0)

    assert not script(a).named("tick")


# -- work --------------------------------------------------------------------------------------------


def test_a_product_takes_as_long_as_its_macs_on_what_others_leave() -> None:
    world = mesh(names=())
    a = world.add(MachineSpec("a", macs_s=1e9, workers=1))
    assert ended(world, a.put("w", 1000, 1000, replicas=1)) is None

    took = []
    for pace in (1.0, 0.25):
        world.slow("a", pace)
        task = a.matmul("w", 1000)
        assert ended(world, task) is None and task.took_s is not None
        took.append(task.took_s)

    # 1000^3 multiply-accumulates, and some for the check.
    assert took[0] == pytest.approx(1.0, rel=0.1)
    assert took[1] == pytest.approx(4.0, rel=0.1)


def test_what_a_product_cost_is_what_a_node_learns_of_its_speed() -> None:
    world = mesh(names=("a",), costs=Costs(job_s=0.0))
    b = world.add(MachineSpec("b", macs_s=2e8, workers=1), [world.machines["a"].address])
    world.run(2.0)
    assert ended(world, b.put("w", 1000, 1000, replicas=2)) is None
    world.run(1.0)
    world.kill("a")

    for _ in range(5):
        assert ended(world, b.matmul("w", 100)) is None

    speed = b.node.memory.forecast_speed_macs_s(b.id, b.now)
    assert speed == pytest.approx(2e8, rel=0.05)


def test_bodies_take_their_time_on_the_wire() -> None:
    world = mesh(names=())
    slow = MachineSpec("a", up_bytes_s=1e6, macs_s=1e12)
    a = world.add(slow)
    join(world, "b", "a")
    world.run(3.0)
    began = world.now

    assert ended(world, a.put("w", 1000, 1000, replicas=2)) is None

    # 4 MB of a block go to b.
    assert world.now - began == pytest.approx(4.0, rel=0.1)
    assert a.traffic.body_bytes == pytest.approx(4e6 + 2000 * 16 * 8)


# -- notes -------------------------------------------------------------------------------------------


def test_what_a_node_says_is_kept_and_told() -> None:
    world, (a,) = scripted("a")
    seen: list[tuple[str, str, dict[str, object]]] = []
    world.watch(lambda event: seen.append((event.node, event.kind, event.fields)))

    a.feed([note("peer.suspected", node="b", kind="late")])

    assert list(a.notes) == [Note("peer.suspected", {"node": "b", "kind": "late"})]
    assert seen == [("a", "peer.suspected", {"node": "b", "kind": "late"})]
