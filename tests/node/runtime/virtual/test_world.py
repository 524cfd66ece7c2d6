import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from node.config import Settings
from node.effects import SendPacket
from node.runtime.virtual.disk import stocked
from node.runtime.virtual.events import Event
from node.runtime.virtual.machine import Machine
from node.runtime.virtual.network import Conditions, spread
from node.runtime.virtual.spec import MachineSpec, address_of, id_of
from node.runtime.virtual.world import POLICY, World
from protocol.errors import ErrorCode
from protocol.members import Ping
from tests.node.meshes import all_know_all, check_accounts, ended, join, mesh, missing
from tests.node.runtime.scripted import scripted

ROOT = Path(__file__).parents[4]

TROUBLED = """
import hashlib
from node.runtime.virtual.world import World
from node.runtime.virtual.network import Conditions, spread
from node.runtime.virtual.spec import MachineSpec

conditions = Conditions(spread(0.005, 0.05, 3), loss=0.05, doubled=0.05, held=0.1)
world = World(11, conditions)
seen = hashlib.sha256()
world.watch(lambda event: seen.update(repr(event).encode()), packets=True)
world.after_step(lambda machine: seen.update(f"{machine.name} {machine.now}".encode()))
first = world.add(MachineSpec("n0"))
for number in range(1, 8):
    rate = 1.0 + number / 1e4
    spec = MachineSpec(f"n{number}", clock_rate=rate, up_bytes_s=3e6, labels=("x", "y"))
    world.add(spec, [first.address])
world.run(3.0)
for number in range(4):
    world.machines[f"n{number}"].put(f"w{number}", 2100, 1100)
world.run(1.0)
world.kill("n3")
world.freeze("n4", 2.0)
world.cut(["n1", "n2"], ["n5", "n6"])
world.run(5.0)
world.restart("n3")
world.heal()
for machine in world.living():
    machine.matmul("w0", 10)
world.run(20.0)
tasks = [(task.code, task.took_s) for machine in world.machines.values() for task in machine.tasks]
sent = [sorted(machine.traffic.kinds.items()) for machine in world.machines.values()]
print(seen.hexdigest(), world.steps, tasks, sent)
"""


def run_apart(hash_seed: str) -> str:
    """What that world comes to in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", TROUBLED],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout


def test_one_seed_is_one_run_in_every_process_whatever_its_hashes() -> None:
    assert run_apart("1") == run_apart("2")


def test_another_seed_is_another_run() -> None:
    assert len({mesh(seed).now for seed in range(4)}) == 4


def test_nodes_decide_by_the_settings_as_they_are_where_nothing_is_said() -> None:
    settings = Settings()

    assert POLICY.hedge_share == settings.compute.hedge_share
    assert POLICY.interval_s == settings.gossip.interval_ms / 1e3
    assert POLICY.redial_s == settings.gossip.redial_s


# -- time --------------------------------------------------------------------------------------------


def test_a_world_stops_where_it_was_asked_to() -> None:
    world = World()
    seen: list[float] = []
    for at in (1.0, 2.0, 3.0):
        world.after(at, lambda: seen.append(world.now))

    world.run(2.0)
    assert seen == [1.0, 2.0] and world.now == 2.0
    world.run_until(lambda: len(seen) == 3, 5.0)
    assert world.now == 3.0
    with pytest.raises(AssertionError, match="has not happened within 5 s"):
        world.run_until(lambda: False, 5.0)


# -- who looks on ------------------------------------------------------------------------------------


def test_single_packets_are_told_only_to_who_asks() -> None:
    world, (a, b) = scripted("a", "b")
    some: list[Event] = []
    everything: list[Event] = []
    world.watch(some.append)
    a.feed([SendPacket(b.id, (), Ping(1))])
    world.watch(everything.append, packets=True)

    a.feed([SendPacket(b.id, (), Ping(2))])
    world.kill("b")
    world.run(1.0)

    assert [event.kind for event in some] == ["machine.killed"]
    assert [event.kind for event in everything] == ["packet.sent", "machine.killed"]
    assert everything[0].fields["packet"] == Ping(2) and everything[0].fields["other"] == "b"


def test_after_each_step_who_asked_is_called_with_the_machine() -> None:
    world, (a, b) = scripted("a", "b")
    stepped: list[Machine] = []
    world.after_step(stepped.append)

    a.feed([SendPacket(b.id, (), Ping(1))])
    world.run(1.0)

    assert stepped == [a, b]


def test_tasks_are_told_when_they_begin_and_end() -> None:
    world = mesh()
    seen: list[Event] = []
    world.watch(seen.append)

    task = world.machines["b"].matmul("nothing")

    began, over = (event for event in seen if event.kind.startswith("task."))
    assert (began.node, began.fields["task"]) == ("b", task.number)
    assert over.fields["code"] == "not_found" == task.code


# -- faults ------------------------------------------------------------------------------------------


def test_a_partition_heals() -> None:
    world = mesh()

    world.part(["a", "b"], ["c"])
    world.run(30.0)
    assert [len(machine.links) for machine in world.machines.values()] == [1, 1, 0, 1, 1]
    world.heal()

    world.run_until(lambda: all_know_all(world), 30.0)


def test_the_network_may_change_while_the_world_runs() -> None:
    world = mesh()
    slow = Conditions(spread(0.2, 0.4, seed=1), loss=0.1)

    world.change(slow)

    task = world.machines["a"].put("w", 100, 100)
    assert ended(world, task) is None
    assert task.took_s is not None and task.took_s > 0.8
    assert world.network.conditions == slow


# -- weights that were always there ------------------------------------------------------------------


def test_weights_that_are_stocked_can_be_multiplied_by_at_once() -> None:
    world = World()
    for name in "abc":
        world.add(MachineSpec(name), [address_of("a")], started=False)
    pairs = [[id_of("a"), id_of("b")], [id_of("b"), id_of("c")]]
    world.stock([stocked("w", 1024, 2048, pairs), stocked("v", 10, 10, [[id_of("c")]])])

    world.start()
    a = world.machines["a"]
    a.hear(a.node.seek, (world.machines["b"].address,), None)
    a.hear(a.node.seek, (world.machines["c"].address,), None)
    world.run(5.0)

    check_accounts(world)
    assert [missing(machine) for machine in world.living()] == [0, 0, 0]
    for name in ("w", "v"):
        assert ended(world, a.matmul(name, 5)) is None


# -- real numbers ------------------------------------------------------------------------------------


def test_in_a_world_with_real_numbers_answers_are_true_and_outlive_a_restart(
    tmp_path: Path,
) -> None:
    dice = np.random.default_rng(1)
    w = dice.standard_normal((1500, 1100), np.float32)
    x = dice.standard_normal((7, 1500), np.float32)
    world = World(folder=tmp_path)
    a, b, c = join(world, "a"), join(world, "b", "a"), join(world, "c", "a")
    world.run_until(lambda: all_know_all(world), 10.0)

    assert ended(world, b.put("w", values=w, replicas=2)) is None
    world.kill("a")
    world.run(1.0)
    task = c.matmul("w", x=x)
    assert ended(world, task) is None
    world.restart("a")
    world.run(5.0)
    again = a.matmul("w", x=x, rtol=1e-3)
    assert ended(world, again) is None

    for one in (task, again):
        assert np.linalg.norm(one.value - x @ w) < 1e-5 * np.linalg.norm(x @ w)
        assert one.certificate is not None and one.certificate.bound is not None
    assert ended(world, a.matmul("w", x=x[:, 1:])) is ErrorCode.BAD_REQUEST


def test_in_a_world_with_real_numbers_a_run_is_the_same_run_too(tmp_path: Path) -> None:
    def run(folder: Path) -> list[float | None]:
        world = World(folder=folder)
        a = join(world, "a")
        join(world, "b", "a")
        world.run(3.0)
        tasks = [a.put("w", values=np.ones((1100, 1100), np.float32))]
        assert ended(world, tasks[0]) is None
        for _ in range(5):
            tasks.append(a.matmul("w", x=np.ones((3, 1100), np.float32)))
            assert ended(world, tasks[-1]) is None
        return [task.took_s for task in tasks]

    assert run(tmp_path / "one") == run(tmp_path / "other")
