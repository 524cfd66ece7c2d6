"""A node that holds some blocks in arrays, for what looks after them: with its orders and notes so far."""

from compute.health import HealthSummary
from node.deployment.holding import Holding
from node.deployment.ledger import MIB, Ledger
from node.effects import Effect, Note, Work
from node.execution.room import Room
from node.work import BlockArrays, Reprogram
from protocol.digests import WeightsVersion
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import ContentId, NodeId
from protocol.messages import BlockEntry, Manifest, ManifestHead

OWN = NodeId("a" * 64)
VERSION = WeightsVersion(1, 0, "w")
FRESH = BlockArrays(
    HealthSummary(1, 1, (0.01, 0.01, 0.01), 0.0, writes=1, age_s=0.0),
    slices=1,
    slices_written=1,
    replicas=1,
    error=0.1,
    dearer=1.0,
    drift_t0_s=1.0,
)
LOST = ErrorInfo(code=ErrorCode.NOT_FOUND, reason="not on this disk")


def manifest(blocks: int, columns: int) -> Manifest:
    """Of 1024 rows each."""
    head = ManifestHead(
        name="w",
        version=VERSION,
        rows=1024 * blocks,
        columns=columns,
        backend="rram",
        device="rram-wan2022",
        holders=(OWN,),
        blocks=blocks,
    )
    entry = BlockEntry(ContentId("c" * 64), ContentId("d" * 64), (0,))
    return Manifest(head, (entry,) * blocks)


class Keeper:
    """`idle`: nobody waits for a product."""

    def __init__(
        self,
        arrays: BlockArrays | None = FRESH,
        blocks: int = 1,
        mib: int = 200,
        columns: int = 128,
    ) -> None:
        self.arrays = arrays
        self.ledger = Ledger(mib * MIB)
        self.holding = Holding(OWN, self.ledger)
        self.room = Room(self.ledger)
        self.idle = True
        self.jobs: dict[int, Reprogram] = {}
        """That are not done yet, the first ordered first."""
        self.notes: list[Note] = []
        stores = self.holding.expect(manifest(blocks, columns), 0.0)
        for store in stores:
            self.holding.adopted(store, 0.0, arrays)
        self.store = stores[0]
        self.leased = self.ledger.accounted_bytes

    @property
    def noted(self) -> list[str]:
        return [note.event for note in self.notes]

    def feed(self, effects: list[Effect]) -> list[Reprogram]:
        """What is ordered."""
        orders = []
        for effect in effects:
            match effect:
                case Work(job, Reprogram() as what):
                    self.jobs[job] = what
                    orders.append(what)
                case Note():
                    self.notes.append(effect)
                case _:
                    raise AssertionError(effect)
        return orders

    def first_job(self) -> tuple[int, Reprogram]:
        """It is over."""
        job = next(iter(self.jobs))
        return job, self.jobs.pop(job)
