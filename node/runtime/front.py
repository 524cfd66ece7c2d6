"""What stands behind the HTTP side: each call becomes a task of the Node, its bodies become sessions."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from node.execution.views import arrays_view, held_here_alone, reach_findings
from node.runtime.awaited import Awaited
from node.runtime.download import download
from node.runtime.entry import Entry
from node.runtime.live import Live
from node.runtime.metrics import families, of_relay
from node.runtime.pathviews import with_path
from node.service import Family, MatrixAnswer, MatrixBody
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
from protocol.digests import Public
from protocol.errors import ErrorCode, TaskError
from protocol.ids import NodeId, short
from protocol.members import Cause
from protocol.npy import require_2d
from protocol.tasks import TaskView

NAMES_MAX = 8
"""Weights named in one sentence."""


@dataclass(frozen=True, slots=True)
class Face:
    """What `status` tells that the Node does not know."""

    name: str
    version: str
    data_dir: Path


BEHIND_A_NAT = (
    "this node is behind a router, and only machines of its own network can join by this ticket: mint one at a node"
    " that `sedma-node status` calls public, or forward a port to this one and start it with --advertise HOST:PORT"
)


class Front:
    """The Service of one daemon."""

    def __init__(self, live: Live, entry: Entry, face: Face) -> None:
        self.api_url = ""
        self.stop: Callable[[], None] = lambda: None
        """Ends the daemon; it says how once it runs."""
        self._left = False
        self._live = live
        self._node = live.node
        self._entry = entry
        self._face = face
        self._began_at = live.now

    @property
    def ready(self) -> bool:
        return self._state == "ready"

    def status(self) -> StatusView:
        node, ledger = self._node, self._node.ledger
        digest, reach = ledger.digest(), node.mesh.reach
        return StatusView(
            id=node.own,
            name=self._face.name,
            version=self._face.version,
            mesh=node.mesh.mesh,
            state=self._state,
            budget_bytes=digest.budget,
            rss_bytes=self._live.rss_bytes,
            free_bytes=digest.free,
            pinned_bytes=digest.pinned,
            leased_bytes=ledger.accounted_bytes - ledger.overhead_bytes,
            disk_budget_bytes=self._live.store.quota_bytes,
            disk_used_bytes=self._live.store.used_bytes,
            peers=len(node.linked()),
            weights=len(node.catalogue.living()),
            tasks_in_flight=len(node.tasks),
            tasks_done=node.tasks.done,
            tasks_failed=node.tasks.failed,
            parts_redone=dict(node.tasks.redone),
            listen=self._entry.listens,
            api=self.api_url,
            data_dir=str(self._face.data_dir),
            can_invite=self._entry.can_invite,
            uptime_s=self._live.now - self._began_at,
            joining=self._joining,
            packets=self._live.packets,
            duplicated=node.mesh.membership.twin,
            nat=reach.summary,
            findings=reach_findings(reach),
            public=reach.proven,
            home_relays=self._home_relays,
            forwards_for=self._forwards_for,
            arrays=arrays_view(node.mesh.own.device),
            backend=node.views.backend,
            device=node.views.device,
        )

    def peers(self) -> list[PeerView]:
        live, reach = self._live, self._node.mesh.reach
        views = self._node.views.peers(live.now)
        return [with_path(one, live.sight(NodeId(one.id)), reach, self._name) for one in views]

    def weights(self) -> list[WeightsView]:
        return self._node.views.weights(self._live.now)

    def metrics(self) -> Iterable[Family]:
        live = self._live
        told = families(self.status(), self.peers(), live.traffic, live.tally, live.lag)
        return told if live.relaying is None else (*told, *of_relay(live.relaying))

    def refused(self, code: ErrorCode) -> None:
        self._live.tally.refused("client", code.value)

    def plan(self, request: PlanRequest) -> PlanView:
        return self._node.views.plan(request, self._live.now)

    async def put(self, request: PutRequest, body: MatrixBody) -> WeightsView:
        self._require_mesh()
        shape = require_2d(body.header, "weights")
        session = self._live.session(body)
        task, effects = self._node.put(request, shape, _wall_ms(), self._live.now)
        await self._live.run(task, session, effects, session.ended)
        view = self._node.views.of(self._node.catalogue.find(request.name), self._live.now)
        return msgspec.structs.replace(view, converted=body.header.converted)

    async def matmul(self, request: MatmulRequest, body: MatrixBody) -> MatrixAnswer:
        session = self._live.session(body)
        rows, width = session.intake.rows, session.intake.columns
        task, gives, effects = self._node.matmul(request, rows, width, self._live.now)
        certificate = await self._live.run(task, session, effects, session.answer)
        return MatrixAnswer(
            shape=(gives,) if len(body.header.shape) == 1 else (rows, gives),
            chunks=session.chunks(),
            task=task,
            certificate=certificate,
            converted=body.header.converted,
        )

    def task(self, task: str) -> TaskView:
        return self._node.tasks.view(task, self._live.now)

    async def remove(self, name: str, if_match: str | None) -> None:
        self._require_mesh()
        removal = Awaited()
        task, effects = self._node.remove(name, if_match, _wall_ms(), self._live.now)
        await self._live.run(task, removal, effects, removal.ended)

    async def download(self, name: str) -> MatrixAnswer:
        manifest = self._node.catalogue.find(name)
        return MatrixAnswer(
            shape=(manifest.head.rows, manifest.head.columns),
            chunks=download(manifest, self._live),
        )

    async def ticket(self, request: TicketRequest) -> TicketView:
        self._require_mesh()
        view = await self._entry.mint(request, self._node.mesh.reach.proven)
        if view.warning or not self._node.mesh.relays.homes:
            return view
        # A stranger is no guest of a relay: only who can dial this node can show it the ticket.
        return msgspec.structs.replace(view, warning=BEHIND_A_NAT)

    async def leave(self, request: LeaveRequest) -> LeftView:
        self._require_mesh()
        if self._left:
            raise TaskError(ErrorCode.CONFLICT, "this node has left its mesh already")
        lost = held_here_alone(self._node.catalogue.living(), self._node.fleet)
        if not request.force and (reasons := self._reasons_to_stay(lost)):
            reason = f"{'; '.join(reasons)}; `sedma-node leave --force` leaves all the same"
            raise TaskError(ErrorCode.CONFLICT, reason)
        mesh = self._node.mesh.mesh
        try:
            self._entry.leave()
        except OSError as wrong:
            raise TaskError(ErrorCode.INTERNAL, f"this node cannot leave: {wrong}") from wrong
        self._left = True
        await self._live.farewell(Cause.LEFT)
        self.stop()
        return LeftView(mesh=mesh, lost=tuple(lost))

    # -- within --------------------------------------------------------------------------------------

    @property
    def _state(self) -> str:
        if self._live.stopping:
            return "stopping"
        if not self._entry.entered:
            return "joining"
        return "ready" if self._node.upkeep.loading == 0 else "starting"

    def _reasons_to_stay(self, lost: list[str]) -> list[str]:
        reasons = []
        if lost:
            more = f" and {len(lost) - NAMES_MAX} more" if len(lost) > NAMES_MAX else ""
            names = ", ".join(lost[:NAMES_MAX]) + more
            reasons.append(
                f"parts of {names} are on this node alone, and nobody could multiply by them without it:"
                " put them again with --replicas 2, or save them with `sedma-node get`"
            )
        if self._entry.holds_ca and self._node.linked():
            reasons.append(
                "this node founded the mesh, and without it nobody can let others in, but those who"
                " joined by a ticket with --may-invite"
            )
        return reasons

    def _name(self, node: NodeId) -> str:
        record = self._node.mesh.record(node)
        return short(node) if record is None or not record.name else record.name

    @property
    def _home_relays(self) -> tuple[str, ...]:
        """Those that forward to us now, where others may still be told of the last ones there were."""
        homes = self._live.inputs.homes
        return () if homes is None else tuple(map(self._name, homes.up))

    @property
    def _forwards_for(self) -> int | None:
        relaying = self._live.relaying
        is_public = self._node.mesh.reach.public is not Public.NO
        return relaying.guests if relaying is not None and is_public else None

    @property
    def _joining(self) -> str:
        """What stands in the way: of entering the mesh, or of finding anybody of it."""
        if self._entry.obstacle:
            return self._entry.obstacle
        return "; ".join(self._node.mesh.linking.obstacles())

    def _require_mesh(self) -> None:
        if not self._entry.entered:
            why = self._entry.obstacle or "it has only just started"
            raise TaskError(ErrorCode.UNAVAILABLE, f"this node has not joined its mesh yet: {why}")


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
