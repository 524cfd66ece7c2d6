"""What the HTTP side asks of the daemon: the one door between them.

`node/runtime/front.py` stands behind it. Bodies pass as async iterators of bytes, so neither side ever holds a
tensor whole on behalf of the other.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from protocol.client import (
    LeaveRequest,
    LeftView,
    MatmulRequest,
    PeerView,
    PlanRequest,
    PlanView,
    PutRequest,
    StatusView,
    TicketRequest,
    TicketView,
    WeightsView,
)
from protocol.errors import ErrorCode
from protocol.npy import NpyHeader
from protocol.tasks import CertificateView, TaskView


@dataclass(frozen=True, slots=True)
class MatrixBody:
    """A .npy body whose header has been read and checked; `chunks` brings the bytes behind it."""

    header: NpyHeader
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class MatrixAnswer:
    """A float32 matrix on its way out, row by row.

    `chunks` is read to its end or closed (as an async generator it learns of that). What a chunk points to may be
    reused as soon as the next one is asked for: by then the kernel has all of it.
    """

    shape: tuple[int, ...]
    chunks: AsyncIterator[memoryview]
    task: str = ""
    certificate: CertificateView | None = None
    converted: tuple[str, ...] = ()


Kind = Literal["counter", "gauge", "summary"]


@dataclass(frozen=True, slots=True)
class Sample:
    labels: dict[str, str]
    value: float
    suffix: str = ""
    """Of the family's name: `_sum` and `_count` in a summary."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric, named as Prometheus has it; its samples differ by their labels."""

    name: str
    kind: Kind
    about: str
    samples: tuple[Sample, ...]


class Service(Protocol):
    """Every call may raise TaskError."""

    @property
    def ready(self) -> bool: ...

    def status(self) -> StatusView: ...

    def peers(self) -> list[PeerView]: ...

    def weights(self) -> list[WeightsView]: ...

    def metrics(self) -> Iterable[Family]: ...

    def refused(self, code: ErrorCode) -> None:
        """A client was told no, with this code; whoever counts such things may."""

    def plan(self, request: PlanRequest) -> PlanView: ...

    async def put(self, request: PutRequest, body: MatrixBody) -> WeightsView: ...

    async def download(self, name: str) -> MatrixAnswer: ...

    async def remove(self, name: str, if_match: str | None) -> None: ...

    async def matmul(self, request: MatmulRequest, body: MatrixBody) -> MatrixAnswer: ...

    def task(self, task: str) -> TaskView:
        """One of the last products that this node led."""

    async def ticket(self, request: TicketRequest) -> TicketView: ...

    async def leave(self, request: LeaveRequest) -> LeftView:
        """The daemon ends soon after."""
