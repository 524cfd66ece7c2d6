"""What has been answered lies on disk."""

import pytest
from hypothesis import given

from protocol.errors import ErrorCode
from protocol.ids import short
from tests.node.meshes import NAMES, SEEDS, all_know_all, at_rest, ended, few, mesh, missing, told


@few
@given(SEEDS)
def test_a_put_has_ended_when_its_manifest_is_on_all_disks_and_a_removal_when_its_tombstone_is(
    seed: int,
) -> None:
    world = mesh(seed)
    for name, keep_s in zip(NAMES, (0.0, 0.5, 1.0, 0.3, 0.001), strict=True):
        world.machines[name].disk.keep_s = keep_s

    for member in world.living():
        assert ended(world, member.put("w", 100, 100)) is None
        version = member.node.catalogue.find("w").head.version
        assert {one.disk.manifests["w"].head.version for one in world.living()} == {version}
        assert ended(world, member.remove("w")) is None
        assert all(one.disk.manifests["w"].head.deleted for one in world.living())


def test_a_mesh_that_loses_its_power_right_after_a_put_has_the_weights_when_it_starts() -> None:
    world = mesh()
    for member in world.living():
        member.disk.keep_s = 0.2
    a = world.machines["a"]

    assert ended(world, a.put("w", 5000, 2000)) is None
    for name in NAMES:
        world.kill(name)
    for name in NAMES:
        world.restart(name)
    world.run_until(lambda: all_know_all(world) and at_rest(world), 30.0)

    assert [missing(member) for member in world.living()] == [0] * 5


def test_who_cannot_keep_what_it_published_says_that_it_stands_and_is_not_on_its_disk() -> None:
    world = mesh()
    a, b = world.machines["a"], world.machines["b"]
    a.disk.full = True

    put = a.put("w", 100, 100)
    assert ended(world, put) is ErrorCode.NO_ROOM
    error = put.error
    assert error is not None
    assert error.reason.startswith("w stands at version")
    assert "not on the disk of this node" in error.reason and "this disk is full" in error.reason
    assert b.node.catalogue.get("w") is not None

    removal = a.remove("w")
    assert ended(world, removal) is ErrorCode.NO_ROOM
    error = removal.error
    assert error is not None and error.reason.startswith("w is removed")
    assert b.node.catalogue.get("w") is None


def test_a_peer_that_cannot_keep_a_manifest_says_so_and_does_not_hold_up_the_put() -> None:
    world = mesh()
    a, b = world.machines["a"], world.machines["b"]
    b.disk.full = True

    assert ended(world, a.put("w", 100, 100)) is None

    (missed,) = told(a, "weights.not_announced")
    assert missed.fields["peer"] == short(b.id) and missed.fields["reason"] == "this disk is full"
    assert b.node.catalogue.get("w") is not None


def test_a_put_whose_client_goes_away_while_it_is_announced_ends_when_it_is_on_disk() -> None:
    world = mesh()
    a, b = world.machines["a"], world.machines["b"]
    a.disk.keep_s = 2.0
    b.disk.keep_s = 4.0
    task = a.put("w", 100, 100)
    world.run_until(lambda: a.node.catalogue.get("w") is not None, 5.0)
    published_at = world.now

    assert task.id is not None
    a.hear(a.node.cancel, task.id)

    assert ended(world, task) is None
    assert world.now == pytest.approx(published_at + 2.0, abs=0.01) and "w" in a.disk.manifests
