"""What this node holds: promises to puts, blocks in memory, and which weights it is ready to serve.

A put reserves memory before a byte moves and names itself with each block. When its manifest comes, the promise
becomes a holding for good; when none comes, the promise lapses and what came is dropped. Weights that were replaced
linger: they are served until they are dropped, or until somebody needs their memory.
"""

from collections import deque
from dataclasses import dataclass, field

from node.deployment.arrays import Inventory
from node.deployment.ledger import LEASE_S, Lease, Ledger, NoRoom, Purpose
from node.deployment.stores import resident_bytes, stores_of
from node.effects import Effect, note
from node.work import BlockArrays
from protocol.digests import WeightsVersion
from protocol.errors import ErrorCode, TaskError
from protocol.ids import ContentId, NodeId
from protocol.limits import HELD_MAX
from protocol.messages import BlockIndex, Manifest, StoreBlock
from protocol.quantities import size_text

NOTHING_PROMISED = "nothing, or too little, is reserved for this put; it may have lapsed: put again"
HELD_ENOUGH = f"this node holds blocks of {HELD_MAX} weights already: remove some"
UNMEASURED = 1 << 62
ENDED_MAX = 1024
"""Puts remembered that have lost blocks here."""


@dataclass(slots=True)
class _Promise:
    """Memory promised to one put, or taken by one version of weights."""

    lease: Lease
    left: int
    """Bytes of the promise that no block has claimed yet."""
    version: WeightsVersion | None = None
    claimed: set[BlockIndex] = field(default_factory=set)
    """Blocks that are resident or on their way."""
    contents: set[ContentId] = field(default_factory=set)
    """What came for the put and lies on disk."""
    resident: int = 0
    """Bytes."""
    told: int = 0
    """Of which the ledger has heard."""
    lasting: bool = False
    """The manifest has come."""


class Holding:
    """Told of puts, blocks and manifests; knows what is resident and what may be dropped."""

    def __init__(self, own: NodeId, ledger: Ledger) -> None:
        self.changes = 0
        """Grows when what is promised here, or what this node is ready to serve, changes."""
        self.disk_free_bytes = UNMEASURED
        self.inventory = Inventory()
        self._own = own
        self._ledger = ledger
        self._promises: dict[str, _Promise] = {}
        self._resident: dict[WeightsVersion, set[BlockIndex]] = {}
        self._wanted: dict[WeightsVersion, set[BlockIndex]] = {}
        self._owners: dict[WeightsVersion, str] = {}
        self._ended: deque[str] = deque(maxlen=ENDED_MAX)
        self._unclaimed = 0
        """Bytes of all promises that no block has claimed yet."""
        self._ready: tuple[WeightsVersion, ...] | None = ()
        """None: to be found anew."""

    @property
    def ready(self) -> tuple[WeightsVersion, ...]:
        """Versions of which all our blocks are in memory."""
        if self._ready is None:
            self._ready = tuple(one for one in sorted(self._wanted) if self.is_ready(one))
        return self._ready

    def is_ready(self, version: WeightsVersion) -> bool:
        """Whether all our blocks of this version are in memory."""
        wanted = self._wanted.get(version)
        return wanted is not None and wanted <= self._resident.get(version, set())

    @property
    def room_bytes(self) -> int:
        """What a new put may take here: of memory, and of the disk less what is promised and has not come."""
        disk = self.disk_free_bytes - self._unclaimed
        return max(min(self._ledger.free_for(Purpose.WEIGHTS), disk), 0)

    @property
    def unpublished(self) -> set[ContentId]:
        """Content on disk that no manifest names yet: it came for a put that is under way."""
        return {
            content
            for promise in self._promises.values()
            if not promise.lasting
            for content in promise.contents
        }

    def has(self, version: WeightsVersion, blocks: tuple[BlockIndex, ...]) -> bool:
        return set(blocks) <= self._resident.get(version, set())

    def stands(self, put: str, lease: int) -> bool:
        """Whether the promise that was made to the put under this lease still stands."""
        promise = self._promises.get(put)
        return promise is not None and promise.lease.id == lease

    def expects(self, version: WeightsVersion, block: BlockIndex) -> bool:
        """Whether a promise that stands covers this block, resident or on its way."""
        promise = self._promise_of(version)
        return promise is not None and block in promise.claimed

    def brought(self, version: WeightsVersion) -> str | None:
        """The put that has brought blocks of this version, as long as no manifest here names them."""
        promise = self._promise_of(version)
        return None if promise is None or promise.lasting else promise.lease.owner

    # -- promises ------------------------------------------------------------------------------------

    def reserve(self, put: str, nbytes: int, now: float) -> None:
        """Promise memory to a put, or raise NoRoom.

        Asked again for as much, the promise is renewed with all that came of it; asked for another amount it is
        replaced, as long as no block has claimed any of it (CONFLICT). A put that has lost blocks here cannot go
        on, or its manifest would name what is not here any more (CONFLICT).
        """
        if put in self._ended:
            reason = (
                f"the promise to put {put} lapsed or was released here, with its blocks; put again"
            )
            raise TaskError(ErrorCode.CONFLICT, reason)
        standing = self._promises.get(put)
        if standing is not None:
            if standing.lease.nbytes == nbytes:
                self.renew(put, now)
                return
            self._replaceable(standing, nbytes)
        else:
            self._make_place()
        self._fits_disk(nbytes)
        self.release(put)
        lease = self._ledger.reserve(put, Purpose.WEIGHTS, nbytes, now, expires_s=LEASE_S)
        self._promises[put] = _Promise(lease, nbytes)
        self._unclaimed += nbytes
        self.changes += 1

    def claim(self, store: StoreBlock, now: float) -> int:
        """A block is about to come: it takes its part of the promise. Answers the promise's lease."""
        promise = self._promises.get(store.put)
        need = resident_bytes(store)
        if promise is not None:
            self._fitting(promise, store)
        if promise is None or promise.left < need:
            left = 0 if promise is None else promise.left
            raise TaskError(ErrorCode.NO_ROOM, NOTHING_PROMISED, need=need, free=left)
        promise.left -= need
        self._unclaimed -= need
        promise.version = store.version
        promise.claimed.add(store.block)
        self._owners[store.version] = store.put
        self.renew(store.put, now)
        return promise.lease.id

    def unclaim(self, store: StoreBlock, lease: int) -> None:
        """The block did not come: its part of the promise is free for another try."""
        if self.stands(store.put, lease):
            promise = self._promises[store.put]
            promise.left += resident_bytes(store)
            self._unclaimed += resident_bytes(store)
            promise.claimed.remove(store.block)

    def renew(self, put: str, now: float) -> bool:
        """Something was heard of the put; False if nothing is promised to it."""
        promise = self._promises.get(put)
        if promise is not None:
            promise.lease = self._ledger.renew(promise.lease.id, now)
        return promise is not None

    def adopted(self, store: StoreBlock, now: float, arrays: BlockArrays | None = None) -> bool:
        """The block is in memory, in these arrays; False if nothing is promised for it any more: it is to be
        discarded."""
        promise = self._promises.get(store.put)
        if promise is None:
            return False
        was_ready = self.is_ready(store.version)
        promise.resident += resident_bytes(store)
        self._tell_ledger(promise)
        self._resident.setdefault(store.version, set()).add(store.block)
        if arrays is not None:
            self.inventory.record(store, arrays, now)
        self._ready = None
        self.changes += self.is_ready(store.version) != was_ready
        return True

    def wrote(self, put: str, *contents: ContentId) -> None:
        """This came for the put and lies on disk."""
        if (promise := self._promises.get(put)) is not None:
            promise.contents.update(contents)

    # -- manifests -----------------------------------------------------------------------------------

    def publish(self, manifest: Manifest) -> list[Effect]:
        """A manifest has come: what it names of ours stays."""
        version = manifest.head.version
        mine = set(stores_of(manifest, self._own, ""))
        if not mine:
            return []
        self._wanted[version] = mine
        self._ready = None
        self.changes += 1
        promise = self._promise_of(version)
        if promise is not None:
            promise.lasting = True
            promise.resident = promise.lease.nbytes
            promise.contents.clear()
            self._tell_ledger(promise)
        return [note("weights.held", name=manifest.head.name, blocks=len(mine))]

    def expect(self, manifest: Manifest, now: float) -> list[StoreBlock]:
        """After a restart: reserve what a manifest gives us to hold; the blocks to load from disk.

        Raises NoRoom when the budget has become too small for them.
        """
        put = f"restart {manifest.head.version}"
        stores = list(stores_of(manifest, self._own, put).values())
        if not stores:
            return []
        self._make_place()
        need = sum(resident_bytes(store) for store in stores)
        lease = self._ledger.reserve(put, Purpose.WEIGHTS, need, now)
        blocks = {store.block for store in stores}
        self._promises[put] = _Promise(
            lease, 0, manifest.head.version, claimed=blocks, lasting=True
        )
        self._owners[manifest.head.version] = put
        self._wanted[manifest.head.version] = set(blocks)
        self._ready = None
        self.changes += 1
        return stores

    def linger(self, version: WeightsVersion) -> None:
        """The weights were replaced: from now on their memory is there for whoever needs it."""
        if (promise := self._promise_of(version)) is not None:
            self._ledger.give_way(promise.lease.id)
            self.changes += 1

    def ousted_slices(self) -> list[Lease]:
        """Leases of further slices that somebody has needed since the last call."""
        leases, self._ledger.evicted = self._ledger.evicted, []
        return leases

    def ousted(self) -> list[WeightsVersion]:
        """Versions whose memory somebody has needed since the last call: to be dropped at once."""
        leases = [one for one in self._ledger.evicted if self.stands(one.owner, one.id)]
        self._ledger.evicted = [one for one in self._ledger.evicted if one not in leases]
        promises = [self._promises[one.owner] for one in leases]
        return [promise.version for promise in promises if promise.version is not None]

    # -- ends ----------------------------------------------------------------------------------------

    def release(self, put: str) -> tuple[WeightsVersion, tuple[BlockIndex, ...]] | None:
        """The put has failed; the version and blocks that came of it are to be discarded.

        Nothing is, once its manifest has come: then the mesh counts on the blocks, and only a tombstone or a newer
        version lets them go.
        """
        promise = self._promises.get(put)
        return None if promise is None or promise.lasting else self._let_go(put)

    def drop(self, version: WeightsVersion) -> tuple[BlockIndex, ...]:
        """The weights are deleted or replaced; the blocks to discard."""
        owner = self._owners.get(version)
        released = None if owner is None else self._let_go(owner)
        return self._forget(version) if released is None else released[1]

    def lapsed(self, lease: Lease) -> tuple[WeightsVersion, tuple[BlockIndex, ...]] | None:
        """The ledger took a promise back."""
        return self._let_go(lease.owner) if self.stands(lease.owner, lease.id) else None

    # -- within --------------------------------------------------------------------------------------

    def _promise_of(self, version: WeightsVersion) -> _Promise | None:
        owner = self._owners.get(version)
        return None if owner is None else self._promises.get(owner)

    def _make_place(self) -> None:
        """For one more promise; what lingers gives way."""
        if len(self._promises) >= HELD_MAX and not self._ledger.evict_oldest():
            raise TaskError(ErrorCode.NO_ROOM, HELD_ENOUGH)

    def _fits_disk(self, nbytes: int) -> None:
        if nbytes <= self.disk_free_bytes:
            return
        free = max(self.disk_free_bytes, 0)
        raise TaskError(
            ErrorCode.NO_ROOM,
            f"{size_text(nbytes)} of blocks do not fit on this node's disk: {size_text(free)} are free of"
            " what share.disk allows; remove weights, or raise it",
            need=nbytes,
            free=free,
            nearest_fit=free,
        )

    def _replaceable(self, standing: _Promise, nbytes: int) -> None:
        """No block counts on the standing promise, and there is room for what the other one takes beyond it."""
        put, promised = standing.lease.owner, standing.lease.nbytes
        if standing.version is not None:
            reason = (
                f"put {put} has a promise of {promised} bytes here and blocks have come for it;"
                f" release it before asking for {nbytes} bytes instead"
            )
            raise TaskError(ErrorCode.CONFLICT, reason)
        free = self._ledger.free_for(Purpose.WEIGHTS)
        if nbytes - promised > free:
            raise NoRoom(Purpose.WEIGHTS, nbytes, free + promised)

    def _fitting(self, promise: _Promise, store: StoreBlock) -> None:
        """A put brings each block of one version once."""
        owner = self._owners.get(store.version, store.put)
        if promise.version not in (None, store.version) or owner != store.put:
            reason = (
                f"put {store.put} cannot bring blocks of version {store.version}: one put brings"
                " one version, and a version comes by one put"
            )
            raise TaskError(ErrorCode.BAD_REQUEST, reason)
        if store.block in promise.claimed:
            reason = f"block {store.block} of put {store.put} is here already, or on its way"
            raise TaskError(ErrorCode.CONFLICT, reason)

    def _tell_ledger(self, promise: _Promise) -> None:
        """The ledger keeps for good what is wholly resident. A put whose coordinator has died must lapse even if
        all its blocks have come, so one byte is held back until the manifest is here."""
        most = promise.lease.nbytes if promise.lasting else promise.lease.nbytes - 1
        told = min(promise.resident, most)
        self._ledger.touched(promise.lease.id, told - promise.told)
        promise.told = told

    def _let_go(self, put: str) -> tuple[WeightsVersion, tuple[BlockIndex, ...]] | None:
        promise = self._promises.pop(put, None)
        if promise is None:
            return None
        self._unclaimed -= promise.left
        if self._ledger.holds(promise.lease.id):
            self._ledger.release(promise.lease.id)
        self.changes += 1
        if promise.version is None:
            return None
        self._ended.append(put)
        return promise.version, self._forget(promise.version)

    def _forget(self, version: WeightsVersion) -> tuple[BlockIndex, ...]:
        self._wanted.pop(version, None)
        self._ready = None
        self._owners.pop(version, None)
        self.inventory.forget(version)
        return tuple(sorted(self._resident.pop(version, set())))
