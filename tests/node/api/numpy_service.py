"""The counterpart of the HTTP side in its tests: a service that multiplies with numpy, and a log that keeps."""

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from node.service import Family, MatrixAnswer, MatrixBody, Sample
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
from protocol.errors import ErrorCode, TaskError
from protocol.npy import require_2d
from protocol.tasks import AccountView, CertificateView, TaskView

Matrix = npt.NDArray[np.float32]
TOKEN = "0123456789abcdef"
CERTIFICATE = CertificateView(
    bound=1e-6, confidence=0.999999, regime="digital", analog_fraction=0.0
)


def npy(array: npt.NDArray[np.generic]) -> bytes:
    """The array as a .npy body."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@dataclass
class Log:
    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def debug(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))

    info = debug
    warning = debug
    exception = debug

    @property
    def names(self) -> list[str]:
        return [event for event, _ in self.events]


class NumpyService:
    """Holds matrices in a dict; `room_bytes` is all it takes, and `act` stands in for what takes time or fails."""

    def __init__(self) -> None:
        self.ready = True
        self.room_bytes = 1 << 30
        self.held: dict[str, Matrix] = {}
        self.asked: list[PutRequest | MatmulRequest] = []
        self.act: Callable[[], Awaitable[object]] | None = None
        self.rows_before_failing: int | None = None
        self.failure: Exception = TaskError(ErrorCode.UNAVAILABLE, "the holder was lost")
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.closed = asyncio.Event()
        self.refusals: Counter[ErrorCode] = Counter()

    def status(self) -> StatusView:
        return StatusView(
            id="n1",
            name="one",
            version="0.1.0",
            mesh="m",
            state="ready" if self.ready else "joining",
            budget_bytes=self.room_bytes,
            rss_bytes=1,
            free_bytes=1,
            pinned_bytes=0,
            leased_bytes=0,
            disk_budget_bytes=1,
            disk_used_bytes=0,
            peers=0,
            weights=len(self.held),
            tasks_in_flight=0,
            tasks_done=0,
            tasks_failed=0,
            listen=(),
            api="",
            data_dir="",
            can_invite=True,
            uptime_s=1.0,
            joining="" if self.ready else "no answer from 192.0.2.1:7879",
        )

    def peers(self) -> list[PeerView]:
        return []

    def weights(self) -> list[WeightsView]:
        return [self._entry(name, ()) for name in sorted(self.held)]

    def metrics(self) -> list[Family]:
        held = (Sample({"name": name}, matrix.nbytes) for name, matrix in self.held.items())
        return [Family("held_bytes", "gauge", "Of all matrices.", tuple(held))]

    def refused(self, code: ErrorCode) -> None:
        self.refusals[code] += 1

    def plan(self, request: PlanRequest) -> PlanView:
        shape = (request.rows or 1, request.columns or 1)
        need = 4 * shape[0] * shape[1]
        return PlanView(
            fits=need <= self.room_bytes,
            reason="",
            shape=shape,
            replicas=request.replicas,
            need=need,
            free=self.room_bytes,
            nearest_fit=self.room_bytes,
            shares=(),
        )

    async def put(self, request: PutRequest, body: MatrixBody) -> WeightsView:
        self.asked.append(request)
        shape = require_2d(body.header, "weights")
        if body.header.values_bytes > self.room_bytes:
            raise TaskError(
                ErrorCode.NO_ROOM,
                "the mesh has no room for these weights",
                need=body.header.values_bytes,
                free=self.room_bytes,
                nearest_fit=self.room_bytes,
            )
        self.held[request.name] = (await self._read(body)).reshape(shape)
        return self._entry(request.name, body.header.converted)

    async def download(self, name: str) -> MatrixAnswer:
        matrix = self._named(name)
        return MatrixAnswer(shape=matrix.shape, chunks=self._chunks(matrix))

    async def remove(self, name: str, if_match: str | None) -> None:
        self._named(name)
        if if_match not in (None, "1"):
            raise TaskError(ErrorCode.CONFLICT, "version 1 stands there")
        del self.held[name]

    async def matmul(self, request: MatmulRequest, body: MatrixBody) -> MatrixAnswer:
        self.asked.append(request)
        weights = self._named(request.name)
        x = (await self._read(body)).reshape(body.header.shape)
        y = x @ (weights.T if request.transpose else weights)
        return MatrixAnswer(y.shape, self._chunks(y), "t1", CERTIFICATE)

    def task(self, task: str) -> TaskView:
        if task != "t1":
            raise TaskError(ErrorCode.NOT_FOUND, f"this node has led no product {task} of late")
        account = AccountView(energy_j=0.0, latency_s=0.0, bytes=0, seconds=0.1, work=())
        return TaskView(id=task, name="w", state="done", certificate=CERTIFICATE, account=account)

    async def leave(self, request: LeaveRequest) -> LeftView:
        if not request.force:
            raise TaskError(ErrorCode.CONFLICT, "w is on this node alone")
        return LeftView(mesh="m", lost=("w",))

    async def ticket(self, request: TicketRequest) -> TicketView:
        return TicketView(ticket="sedma1", expires_at=1.0, uses=request.uses, addresses=())

    async def _read(self, body: MatrixBody) -> Matrix:
        self.begun.set()
        try:
            came = b"".join([chunk async for chunk in body.chunks])
            if self.act is not None:
                await self.act()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        header = body.header
        values = np.frombuffer(came, f"{'>' if header.big_endian else '<'}f{header.itemsize}")
        if header.fortran and len(header.shape) == 2:
            values = values.reshape(header.shape[::-1]).T
        return np.ascontiguousarray(values, np.float32)

    async def _chunks(self, matrix: Matrix) -> AsyncIterator[memoryview]:
        """All rows leave through one buffer, written anew for each chunk, as an arena would."""
        rows = matrix.reshape(-1, matrix.shape[-1])
        step = max(1, (1 << 20) // rows[0].nbytes)
        buffer = np.empty_like(rows[:step])
        try:
            for begin in range(0, len(rows), step):
                if self.rows_before_failing is not None and begin >= self.rows_before_failing:
                    raise self.failure
                part = rows[begin : begin + step]
                buffer[: len(part)] = part
                yield buffer[: len(part)].data
        finally:
            buffer[:] = np.nan
            self.closed.set()

    def _named(self, name: str) -> Matrix:
        if name not in self.held:
            raise TaskError(ErrorCode.NOT_FOUND, f"no weights are named {name}")
        return self.held[name]

    def _entry(self, name: str, converted: tuple[str, ...]) -> WeightsView:
        matrix = self.held[name]
        return WeightsView(
            name=name,
            version="1",
            shape=(matrix.shape[0], matrix.shape[1]),
            dtype="<f4",
            backend="digital",
            device="",
            seed=0,
            replicas=1,
            blocks=1,
            nbytes=matrix.nbytes,
            holders={"n1": 1},
            converted=converted,
        )
