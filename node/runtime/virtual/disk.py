"""What outlives the process of a simulated machine, and weights that lie there from the beginning.

A matrix that is stocked was never put: its manifest and its blocks are on the disks of its holders when these start, so
a world of thousands of matrices begins with its first request.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from compute.partition import BlockGrid
from node.effects import Grave, KeepIncarnation, KeepMembers
from protocol.digests import WeightsVersion
from protocol.ids import ContentId, NodeId
from protocol.members import MemberRecord
from protocol.messages import BlockEntry, BlockIndex, Manifest, ManifestHead, StoreBlock

STOCK_WRITER = "stock"


@dataclass(slots=True)
class Disk:
    """Of one machine. Contents stand here by name; in a world with real numbers they lie in files instead."""

    incarnation: int = 0
    members: tuple[MemberRecord, ...] = ()
    graves: tuple[Grave, ...] = ()
    manifests: dict[str, Manifest] = field(default_factory=dict)
    contents: set[ContentId] = field(default_factory=set)
    keep_s: float = 0.0
    """What keeping a manifest takes beyond its cost."""
    full: bool = False
    """It takes no manifest any more."""
    _kept_at: float = 0.0

    def keep(self, effect: KeepMembers | KeepIncarnation, now: float) -> None:
        """What the node wants to know at its next start."""
        match effect:
            case KeepMembers():
                self.members, self.graves, self._kept_at = effect.members, effect.graves, now
            case KeepIncarnation():
                self.incarnation = max(self.incarnation, effect.incarnation)

    def aged_graves(self, now: float) -> tuple[Grave, ...]:
        """Graves go on ageing while the machine is off."""
        passed_s = now - self._kept_at
        return tuple(replace(grave, age_s=grave.age_s + passed_s) for grave in self.graves)


def content_of(name: str, version: WeightsVersion, block: BlockIndex, kind: str) -> ContentId:
    """A content's name, by what it is of: every machine finds the same one without a byte."""
    text = f"{kind} {name} {version} {block[0]} {block[1]}"
    return ContentId(hashlib.sha256(text.encode()).hexdigest())


def block_content(store: StoreBlock) -> ContentId:
    return content_of(store.name, store.version, store.block, "block")


def sketch_content(store: StoreBlock) -> ContentId:
    return content_of(store.name, store.version, store.block, "sketch")


def stocked(
    name: str,
    rows: int,
    columns: int,
    holders: Sequence[Sequence[NodeId]],
    *,
    backend: str = "digital",
    device: str = "",
    seed: int = 0,
) -> Manifest:
    """The manifest of a matrix that nobody put; `holders` of each block, in the grid's column-major order."""
    grid = BlockGrid(rows, columns)
    assert len(holders) == grid.count, f"{name} has {grid.count} blocks, not {len(holders)}"
    nodes = sorted({node for block in holders for node in block})
    number = {node: index for index, node in enumerate(nodes)}
    # No two weights share a version, so its count comes from the name.
    number_of_name = int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")
    version = WeightsVersion(1, number_of_name, STOCK_WRITER)
    entries = tuple(
        BlockEntry(
            content_of(name, version, (block.row, block.column), "block"),
            content_of(name, version, (block.row, block.column), "sketch"),
            tuple(number[node] for node in held),
        )
        for block, held in zip(grid.blocks(), holders, strict=True)
    )
    head = ManifestHead(
        name=name,
        version=version,
        rows=rows,
        columns=columns,
        backend=backend,
        device=device,
        seed=seed,
        replicas=min(len(held) for held in holders),
        holders=tuple(nodes),
        blocks=grid.count,
    )
    return Manifest(head, entries)


def stock(disk: Disk, own: NodeId, manifest: Manifest) -> None:
    """This machine knows these weights, and has what of them is its own."""
    disk.manifests[manifest.head.name] = manifest
    if own not in manifest.head.holders:
        return
    mine = manifest.head.holders.index(own)
    for entry in manifest.entries:
        if mine in entry.holders:
            disk.contents |= {entry.content, entry.sketch}
