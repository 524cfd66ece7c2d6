"""The shelf keeps the newest manifest of each name, and sets aside what it cannot read."""

from itertools import permutations
from pathlib import Path

import pytest

from node.runtime.manifests import ManifestShelf
from protocol.digests import WeightsVersion
from protocol.ids import ContentId, NodeId
from protocol.messages import BlockEntry, Manifest, ManifestHead

ENTRY = BlockEntry(ContentId("a" * 64), ContentId("b" * 64), (0,))


def manifest(name: str, wall_ms: int, deleted: bool = False) -> Manifest:
    version = WeightsVersion(wall_ms, 0, "writer")
    if deleted:
        return Manifest(ManifestHead(name=name, version=version, deleted=True))
    head = ManifestHead(
        name=name, version=version, rows=1, columns=1, holders=(NodeId("n"),), blocks=1
    )
    return Manifest(head, (ENTRY,))


def test_manifests_and_tombstones_survive_a_restart(tmp_path: Path) -> None:
    kept = [manifest("a", 1), manifest("b.c-d_e", 2, deleted=True)]
    for one in kept:
        ManifestShelf(tmp_path).keep(one)

    assert ManifestShelf(tmp_path).read() == (kept, [])


def test_manifests_of_a_mesh_that_was_left_are_set_aside(tmp_path: Path) -> None:
    ManifestShelf(tmp_path).keep(manifest("a", 1))

    assert ManifestShelf(tmp_path).leave_behind() == ["a.manifest.left"]

    assert ManifestShelf(tmp_path).read() == ([], [])
    assert ManifestShelf(tmp_path).leave_behind() == []


@pytest.mark.parametrize("order", list(permutations((1, 2, 3))))
def test_the_newest_stays_in_whatever_order_they_come(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    shelf = ManifestShelf(tmp_path)
    for wall_ms in order:
        shelf.keep(manifest("w", wall_ms, deleted=wall_ms == 3))

    assert shelf.read() == ([manifest("w", 3, deleted=True)], [])


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 100])
def test_a_damaged_file_is_set_aside_and_named(tmp_path: Path, damage: bytes) -> None:
    shelf = ManifestShelf(tmp_path)
    shelf.keep(manifest("good", 1))
    shelf.keep(manifest("bad", 1))
    (tmp_path / "bad.manifest").write_bytes(damage)

    assert shelf.read() == ([manifest("good", 1)], [str(tmp_path / "bad.manifest.damaged")])
    assert shelf.read() == ([manifest("good", 1)], [])


def test_one_changed_bit_is_noticed(tmp_path: Path) -> None:
    shelf = ManifestShelf(tmp_path)
    shelf.keep(manifest("w", 1))
    data = bytearray((tmp_path / "w.manifest").read_bytes())
    data[-10] ^= 1
    (tmp_path / "w.manifest").write_bytes(data)

    assert len(shelf.read()[1]) == 1


def test_a_new_manifest_takes_the_place_of_a_damaged_one(tmp_path: Path) -> None:
    shelf = ManifestShelf(tmp_path)
    (tmp_path / "w.manifest").write_bytes(b"damaged")
    shelf.keep(manifest("w", 1))

    assert shelf.read() == ([manifest("w", 1)], [])
