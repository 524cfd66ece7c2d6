"""A shop without a number: where a machine keeps values, a buffer names what it would hold.

Contents are named by what they are of, rows by whose they are, products by the version of the weights. An order that
makes no sense breaks at once: a product of rows that never came, a block that is programmed twice.
"""

from compute.verify import SKETCH_WIDTH
from node.runtime.virtual.costs import macs
from node.runtime.virtual.disk import Disk, block_content, sketch_content
from node.runtime.virtual.shop import Body, Client, Cut
from node.work import (
    AddSketch,
    Adopt,
    Adopted,
    BlockArrays,
    BufferRef,
    Combine,
    Combined,
    Discard,
    GiveRows,
    Job,
    KeepManifest,
    LoadBlock,
    Outcome,
    PackColumns,
    Project,
    Projected,
    ReadContent,
    Relay,
    Route,
    RowsTaken,
    RunShard,
    ShardDone,
    SpoolContent,
    TakeRows,
    WriteContent,
    Written,
)
from protocol.digests import WeightsVersion
from protocol.errors import ErrorCode, TaskError
from protocol.ids import ContentId
from protocol.messages import BlockIndex, Manifest, StoreBlock

ROWS = ContentId("rows of a client")
X_KEY = 7
SKETCH_VALUE_BYTES = 8


class ChargedShop:
    """Memory, disk and work of one machine, all of it names."""

    def __init__(self, disk: Disk) -> None:
        self.resident: set[tuple[WeightsVersion, BlockIndex]] = set()
        self._disk = disk
        self._buffers: dict[int, Body] = {}

    # -- buffers -------------------------------------------------------------------------------------

    @property
    def buffers(self) -> int:
        return len(self._buffers)

    def allocate(self, buffer: BufferRef) -> None:
        assert buffer.id not in self._buffers
        self._buffers[buffer.id] = None

    def free(self, buffer: BufferRef) -> None:
        self._buffers.pop(buffer.id, None)

    def body(self, buffer: BufferRef) -> Body:
        return self._buffers[buffer.id]

    def fill(self, buffer: BufferRef, body: Body) -> None:
        if buffer.id in self._buffers:
            self._buffers[buffer.id] = body

    # -- clients -------------------------------------------------------------------------------------

    def take(self, what: TakeRows, client: Client) -> Outcome:
        self._buffers[what.into.id] = ROWS
        return RowsTaken(X_KEY)

    def give(self, what: GiveRows, client: Client) -> None:
        client.give_rows(self._buffers[what.rows.id], what.certificate)

    def cut(self, what: Relay, client: Client) -> list[Cut]:
        return [self._cut(route) for route in what.routes]

    def keep(self, store: StoreBlock, cut: Cut) -> BlockArrays | None:
        self._program(store)
        self._disk.contents.add(cut.sketch)
        return None

    def _cut(self, route: Route) -> Cut:
        store = route.store
        block, sketch = block_content(store), sketch_content(store)
        nbytes = (store.rows + store.columns) * SKETCH_WIDTH * SKETCH_VALUE_BYTES
        return Cut(route, block, sketch, block, sketch, nbytes)

    # -- work ----------------------------------------------------------------------------------------

    def manifests(self) -> list[Manifest]:
        return list(self._disk.manifests.values())

    def do(self, what: Job, busy_s: float) -> Outcome:
        match what:
            case KeepManifest():
                self._keep_manifest(what.manifest)
            case Discard():
                self.resident.difference_update((what.version, block) for block in what.blocks)
                self._disk.contents.difference_update(what.contents)
            case Adopt():
                assert self._buffers.pop(what.buffer.id) == block_content(what.store)
                return Adopted(self._program(what.store))
            case LoadBlock():
                self._find(what.content)
                return Adopted(self._program(what.store))
            case WriteContent():
                return Written(self._write(self._buffers[what.buffer.id]))
            case ReadContent():
                self._find(what.content)
                self._buffers[what.into.id] = what.content
            case SpoolContent():
                if self._buffers[what.buffer.id] != what.content:
                    raise _missing(what.content)
            case _:
                return self._multiply(what, busy_s)
        return None

    def _multiply(self, what: Job, busy_s: float) -> Outcome:
        match what:
            case Project():
                assert self._buffers[what.x.id] == ROWS
                return Projected(1.0)
            case PackColumns():
                self._buffers[what.into.id] = self._buffers[what.x.id]
            case AddSketch():
                assert self._buffers[what.source.id] == what.content
            case RunShard():
                return self._run(what, busy_s)
            case Combine():
                (version,) = {self._buffers[part.buffer.id] for part in what.parts}
                self._buffers[what.y.id] = version
                return Combined(norm=1.0, error_bound=0.0)
            case _:
                raise AssertionError(f"not for a worker: {what}")
        return None

    def _run(self, what: RunShard, busy_s: float) -> ShardDone:
        for placed in what.blocks:
            if (what.version, placed.block) not in self.resident:
                reason = f"block {placed.block} of version {what.version} is not in memory here"
                raise TaskError(ErrorCode.UNAVAILABLE, reason)
        assert self._buffers[what.x.id] == ROWS
        self._buffers[what.out.id] = ContentId(str(what.version))
        return ShardDone(digital_macs=macs(what), busy_s=busy_s)

    # -- disk ----------------------------------------------------------------------------------------

    def _keep_manifest(self, manifest: Manifest) -> None:
        if self._disk.full:
            raise TaskError(ErrorCode.NO_ROOM, "this disk is full")
        self._disk.manifests[manifest.head.name] = manifest

    def _program(self, store: StoreBlock) -> ContentId:
        """The block is in memory and on disk."""
        assert (store.version, store.block) not in self.resident
        self.resident.add((store.version, store.block))
        return self._write(block_content(store))

    def _write(self, body: Body) -> ContentId:
        assert isinstance(body, str)
        self._disk.contents.add(body)
        return body

    def _find(self, content: ContentId) -> None:
        if content not in self._disk.contents:
            raise _missing(content)


def _missing(content: ContentId) -> TaskError:
    return TaskError(ErrorCode.NOT_FOUND, f"content {content[:12]} is not on this node's disk")
