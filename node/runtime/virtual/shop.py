"""What a simulated machine needs of whoever does its work.

Two stand behind this door: `ChargedShop` keeps names where a machine keeps bytes and charges time alone; `RealShop` has
memory, disk and arithmetic. Time is charged by the same table for both (`costs`), so a run is the same run every time.
"""

from dataclasses import dataclass
from typing import Protocol

from compute.partition import Matrix
from node.work import BlockArrays, BufferRef, GiveRows, Job, Outcome, Relay, Route, TakeRows
from protocol.ids import ContentId
from protocol.messages import Manifest, StoreBlock
from protocol.tasks import CertificateView

Body = ContentId | bytes | None
"""What lies in a buffer and travels: a name for it, or the bytes. None: nothing has been put there yet."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One block of a block row of a put, and its sketch."""

    route: Route
    content: ContentId
    sketch: ContentId
    body: Body
    sketch_body: Body
    sketch_bytes: int


class Client(Protocol):
    """Where rows come from, and where the answer's rows go."""

    width: int
    """Of the answer."""

    def take_rows(self, count: int) -> Matrix: ...

    def give_rows(self, rows: Body | Matrix, certificate: CertificateView | None) -> None: ...


class Shop(Protocol):
    """Memory, disk and arithmetic of one machine, for as long as one process of it lives."""

    def allocate(self, buffer: BufferRef) -> None: ...

    def free(self, buffer: BufferRef) -> None: ...

    def body(self, buffer: BufferRef) -> Body:
        """What lies there, to be sent."""

    def fill(self, buffer: BufferRef, body: Body) -> None:
        """It has arrived; nothing happens if the buffer is gone."""

    @property
    def buffers(self) -> int:
        """How many are allocated."""

    def do(self, what: Job, busy_s: float) -> Outcome:
        """Carry it out, which took a worker so long; TaskError if it cannot be done."""

    def take(self, what: TakeRows, client: Client) -> Outcome: ...

    def give(self, what: GiveRows, client: Client) -> None: ...

    def cut(self, what: Relay, client: Client) -> list[Cut]:
        """Cut a block row and sketch it."""

    def keep(self, store: StoreBlock, cut: Cut) -> BlockArrays | None:
        """A block of a put, and its sketch, stay here; the arrays that the block stands in, if any."""

    def manifests(self) -> list[Manifest]:
        """What the disk remembers."""
