"""Simulated arrays in a mesh on virtual time: they age, are looked after, and outlive their process."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compute.partition import Matrix
from node.deployment.arrays import Standing
from node.deployment.ledger import Purpose
from node.runtime.pieces import Piece
from node.runtime.virtual.machine import Machine
from node.runtime.virtual.world import World
from node.runtime.workshop import Workshop
from node.work import ShardDone
from protocol.client import PutRequest
from tests.node.meshes import ended, join, told

DICE = np.random.default_rng(3)
W = DICE.standard_normal((200, 140), np.float32)
X = DICE.standard_normal((5, 200), np.float32)


def alone(folder: Path, device: str) -> tuple[World, Machine]:
    """One node that has just been given W."""
    world = World(folder=folder)
    node = join(world, "a", budget_mib=120)
    world.run(1.0)
    put(world, node, W, device)
    return world, node


def put(world: World, machine: Machine, values: Matrix, device: str) -> None:
    request = PutRequest(name="w", backend="rram", device=device, seed=5)
    assert ended(world, machine.put("w", values=values, request=request)) is None


def standing(machine: Machine) -> Standing:
    (one,) = machine.node.holding.inventory.blocks
    return one


def product(world: World, machine: Machine) -> Matrix:
    """The raw one."""
    task = machine.matmul("w", x=X, rtol=None)
    assert ended(world, task) is None
    return task.value


@pytest.mark.parametrize("end", [World.kill, World.vanish])
def test_a_restarted_node_multiplies_by_the_same_arrays(
    tmp_path: Path, end: Callable[[World, str], None]
) -> None:
    world, node = alone(tmp_path, "rram-milo2021")
    before = product(world, node)
    end(world, "a")
    world.run(100.0)
    world.restart("a")
    world.run(1.0)

    assert product(world, node).tobytes() == before.tobytes()
    health = standing(node).arrays.health
    assert health.writes == 1
    assert health.age_s > 100.0


def test_drift_is_seen_within_a_minute_and_written_away_where_tolerances_suffer(
    tmp_path: Path,
) -> None:
    world, node = alone(tmp_path, "rram-wan2022")
    fresh = standing(node)
    assert fresh.arrays.dearer == 1.0
    raw = product(world, node)

    world.run(60.0)
    aged = standing(node)
    assert aged.seen_age_s > 10.0
    assert aged.arrays.error > 1.05 * fresh.arrays.error
    assert np.linalg.norm(product(world, node) - X @ W) > np.linalg.norm(raw - X @ W)

    world.run_until(lambda: bool(told(node, "arrays.rewritten")), 5 * 86_400.0)
    rewritten = standing(node).arrays
    assert rewritten.health.writes == 2
    assert rewritten.error == pytest.approx(fresh.arrays.error, rel=0.1)
    (note,) = told(node, "arrays.rewritten")
    before = note.fields["error_before"]
    assert isinstance(before, float) and before > 1.5 * fresh.arrays.error


def test_drift_that_costs_no_tolerance_anything_is_never_written_away(tmp_path: Path) -> None:
    world, node = alone(tmp_path, "rram-cmo-hfox-2025")
    fresh = standing(node).arrays

    world.run(3 * 86_400.0)

    aged = standing(node).arrays
    assert aged.error > 10.0 * fresh.error
    assert (aged.health.writes, told(node, "arrays.rewritten")) == (1, [])


def test_weights_that_take_the_place_of_others_are_written_to_the_same_cells(
    tmp_path: Path,
) -> None:
    world, node = alone(tmp_path, "rram-milo2021")
    put(world, node, -W, "rram-milo2021")
    world.run(10.0)

    assert standing(node).arrays.health.writes == 2


def regime(world: World, machine: Machine, rtol: float) -> str:
    task = machine.matmul("w", x=X, rtol=rtol)
    assert ended(world, task) is None
    assert np.linalg.norm(task.value - X @ W) < rtol * np.linalg.norm(X @ W)
    assert task.certificate is not None
    return task.certificate.regime


def test_a_tolerance_that_one_slice_does_not_keep_is_kept_by_more_from_the_next_product_on(
    tmp_path: Path,
) -> None:
    world, node = alone(tmp_path, "rram-milo2021")
    before = node.leased_bytes

    assert "sliced" not in regime(world, node, 0.2)
    world.run(1.0)
    assert told(node, "arrays.added")
    assert "sliced" in regime(world, node, 0.2)
    assert standing(node).arrays.slices > 1
    assert node.leased_bytes > before

    rows = node.node.ledger.free_for(Purpose.WEIGHTS) // (4 * 1024)
    large = PutRequest(name="large", backend="digital")
    values = np.zeros((rows, 1024), np.float32)
    assert ended(world, node.put("large", values=values, request=large)) is None
    assert ended(world, node.remove("large")) is None
    assert standing(node).arrays.slices == 1
    assert "sliced" not in regime(world, node, 0.2)


def test_without_memory_for_more_slices_the_product_goes_on_and_the_node_says_so(
    tmp_path: Path,
) -> None:
    world, node = alone(tmp_path, "rram-milo2021")
    ledger = node.node.ledger
    left = 200 * 1024
    ledger.reserve("others", Purpose.WEIGHTS, ledger.free_for(Purpose.WEIGHTS) - left, node.now)

    assert "sliced" not in regime(world, node, 0.2)
    world.run(1.0)

    assert told(node, "regime.refused")
    assert "sliced" not in regime(world, node, 0.2)


def test_a_node_tells_others_of_its_arrays(tmp_path: Path) -> None:
    world, node = alone(tmp_path, "rram-harsh")
    other = join(world, "b", "a")
    world.run(5.0)

    record = other.node.mesh.record(node.id)
    assert record is not None
    assert record.device.arrays == 2 * 2
    assert record.device.healthy == 0.0
    assert record.device.stuck == pytest.approx(0.108, abs=0.01)
    assert 0.0 < record.device.sigma[0] < record.device.sigma[2]


def test_a_product_that_fails_its_check_once_is_done_again_on_the_arrays_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, node = alone(tmp_path, "rram-wan2022")
    honest, pieces = Workshop.run_piece, list[Piece]()

    def wrong_once(shop: Workshop, piece: Piece) -> ShardDone:
        pieces.append(piece)
        done = honest(shop, piece)
        if len(pieces) == 1:
            out = piece.work.out
            shop._arena.matrix(out, 1, out.nbytes // 4)[:] *= -1.0
        return done

    monkeypatch.setattr(Workshop, "run_piece", wrong_once)
    task = node.matmul("w", x=X, rtol=1e-2)

    assert ended(world, task) is None
    assert task.certificate is not None and task.certificate.analog_fraction == 1.0
    assert len(pieces) == 2
    assert node.node.tasks.redone == {"stronger": 1, "digital": 0}
    assert told(node, "parts.redone")
