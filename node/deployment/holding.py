"""What this node holds: promises to puts, blocks in memory, and which weights it is ready to serve.

A put reserves memory before a byte moves and names itself with each block. When its manifest comes, the promise
becomes a holding for good; when none comes, the promise lapses and what came is dropped.
"""

from dataclasses import dataclass

from compute.backend import backend
from compute.device import DeviceError
from compute.partition import BlockGrid
from node.deployment.ledger import LEASE_S, Lease, Ledger, Purpose
from node.effects import Effect, note
from protocol.digests import WeightsVersion
from protocol.errors import ErrorCode, TaskError
from protocol.ids import NodeId
from protocol.messages import BlockIndex, Manifest, StoreBlock


def resident_bytes(store: StoreBlock) -> int:
    """What a block will cost in memory on its backend; TaskError if there is no such backend or device."""
    try:
        return backend(store.backend, store.device or None, store.seed).resident_bytes(
            (store.rows, store.columns)
        )
    except (DeviceError, ValueError) as wrong:
        raise TaskError(ErrorCode.BAD_REQUEST, str(wrong)) from wrong


def stores_of(manifest: Manifest, own: NodeId, put: str) -> dict[BlockIndex, StoreBlock]:
    """The blocks of a manifest that a node holds, as they were stored there."""
    head = manifest.head
    grid = BlockGrid(head.rows, head.columns)
    mine = {}
    for block, entry in zip(grid.blocks(), manifest.entries, strict=True):
        if own in (head.holders[h] for h in entry.holders):
            rows, columns = grid.shape(block)
            mine[(block.row, block.column)] = StoreBlock(
                put=put,
                name=head.name,
                version=head.version,
                block=(block.row, block.column),
                rows=rows,
                columns=columns,
                backend=head.backend,
                device=head.device,
                seed=head.seed,
            )
    return mine


@dataclass(slots=True)
class _Promise:
    """Memory promised to one put, or taken by one version of weights."""

    lease: Lease
    left: int
    """Bytes of the promise that no block has claimed yet."""
    version: WeightsVersion | None = None


class Holding:
    """Told of puts, blocks and manifests; knows what is resident and what may be dropped."""

    def __init__(self, own: NodeId, ledger: Ledger) -> None:
        self._own = own
        self._ledger = ledger
        self._promises: dict[str, _Promise] = {}
        self._resident: dict[WeightsVersion, set[BlockIndex]] = {}
        self._wanted: dict[WeightsVersion, set[BlockIndex]] = {}
        self._owners: dict[WeightsVersion, str] = {}

    @property
    def ready(self) -> tuple[WeightsVersion, ...]:
        """Versions of which all our blocks are in memory."""
        return tuple(
            version
            for version, wanted in sorted(self._wanted.items())
            if wanted <= self._resident.get(version, set())
        )

    def has(self, version: WeightsVersion, blocks: tuple[BlockIndex, ...]) -> bool:
        return set(blocks) <= self._resident.get(version, set())

    def reserve(self, put: str, nbytes: int, now: float) -> None:
        """Promise memory to a put, or raise NoRoom; asking twice for one put replaces the promise."""
        self.release(put)
        lease = self._ledger.reserve(put, Purpose.WEIGHTS, nbytes, now, expires_s=LEASE_S)
        self._promises[put] = _Promise(lease, nbytes)

    def claim(self, store: StoreBlock, now: float) -> None:
        """A block is about to come: it takes its part of the promise."""
        promise = self._promises.get(store.put)
        need = resident_bytes(store)
        if promise is None or promise.left < need:
            left = 0 if promise is None else promise.left
            reason = (
                "nothing, or too little, is reserved for this put; it may have lapsed: put again"
            )
            raise TaskError(ErrorCode.NO_ROOM, reason, need=need, free=left)
        promise.left -= need
        promise.version = store.version
        self._owners[store.version] = store.put
        self.renew(store.put, now)

    def renew(self, put: str, now: float) -> None:
        if (promise := self._promises.get(put)) is not None:
            promise.lease = self._ledger.renew(promise.lease.id, now)

    def adopted(self, store: StoreBlock, now: float) -> None:
        """The block is in memory."""
        promise = self._promises.get(store.put)
        if promise is not None and self._ledger.holds(promise.lease.id):
            self._ledger.touched(promise.lease.id, resident_bytes(store))
        self._resident.setdefault(store.version, set()).add(store.block)

    def publish(self, manifest: Manifest) -> list[Effect]:
        """A manifest has come: what it names of ours stays."""
        version = manifest.head.version
        mine = set(stores_of(manifest, self._own, ""))
        if mine:
            self._wanted[version] = mine
            return [note("weights.held", name=manifest.head.name, blocks=len(mine))]
        return []

    def expect(self, manifest: Manifest, now: float) -> list[StoreBlock]:
        """After a restart: reserve what a manifest gives us to hold; the blocks to load from disk.

        Raises NoRoom when the budget has become too small for them.
        """
        put = f"restart {manifest.head.version}"
        stores = list(stores_of(manifest, self._own, put).values())
        if not stores:
            return []
        need = sum(resident_bytes(store) for store in stores)
        lease = self._ledger.reserve(put, Purpose.WEIGHTS, need, now)
        self._promises[put] = _Promise(lease, 0, manifest.head.version)
        self._owners[manifest.head.version] = put
        self._wanted[manifest.head.version] = {store.block for store in stores}
        return stores

    def release(self, put: str) -> tuple[WeightsVersion, tuple[BlockIndex, ...]] | None:
        """The put has failed or lapsed; the version and blocks that came of it are to be discarded."""
        promise = self._promises.pop(put, None)
        if promise is None:
            return None
        if self._ledger.holds(promise.lease.id):
            self._ledger.release(promise.lease.id)
        if promise.version is None:
            return None
        return promise.version, self._forget(promise.version)

    def drop(self, version: WeightsVersion) -> tuple[BlockIndex, ...]:
        """The weights are deleted or replaced; the blocks to discard."""
        put = self._owners.get(version)
        if put is None:
            return ()
        released = self.release(put)
        return () if released is None else released[1]

    def lapsed(self, lease: Lease) -> tuple[WeightsVersion, tuple[BlockIndex, ...]] | None:
        """The ledger took a promise back."""
        return self.release(lease.owner)

    def _forget(self, version: WeightsVersion) -> tuple[BlockIndex, ...]:
        self._wanted.pop(version, None)
        self._owners.pop(version, None)
        return tuple(sorted(self._resident.pop(version, set())))
