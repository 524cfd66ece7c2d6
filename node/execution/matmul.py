"""One product in flight: Y = X W, or Y = X W^T, panel by panel of X's rows.

    sketches -> panel: memory -> rows -> norm estimate -> parts -> sum and check -> rows out -> next panel
                                                            ^            |
                                                            +- what is --+  where the check fails: with a
                                                               wrong        stronger plan, at last digitally

Every task ends: with an answer and its certificate, or with an error that says why. Who does which part stands in
`dealing`, what becomes of the parts in `parts`, whether their sum stands in `judging`, what it all took in `account`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from node.communication.desk import OnlyWork
from node.deployment.ledger import Lease, Purpose
from node.effects import Allocate, CancelWork, Done, Effect, Failed, Free, Work
from node.execution.account import Account
from node.execution.attempts import PanelRows
from node.execution.dealing import PROBE_BYTES, Dealer, Decision, Hand, Surroundings
from node.execution.judging import Judge
from node.execution.parts import Parts
from node.execution.reasons import Reasons, kept
from node.execution.shards import VALUE_BYTES
from node.execution.sketches import Sums
from node.work import (
    BufferRef,
    Combine,
    Combined,
    GiveRows,
    Outcome,
    Project,
    Projected,
    RowsTaken,
    TakeRows,
)
from protocol.client import MatmulRequest
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import TaskId
from protocol.messages import Manifest
from protocol.tasks import CertificateView, TaskView

PANEL_BYTES = 6 * 1024 * 1024
"""What one panel takes at its coordinator: half of the least activation reserve, so that any two nodes can serve
each other."""


@dataclass(slots=True)
class _Panel:
    m: int
    lease: Lease
    x: BufferRef
    y: BufferRef
    xs: BufferRef
    hands: list[Hand]
    """For whom the lease was cut."""
    more: Lease | None = None
    """Where the parts took more memory than that."""
    x_key: int = 0
    norm: float = 0.0
    parts: Parts | None = None
    judge: Judge | None = None


class Matmul(OnlyWork):
    """Told what became of calls and work; `over` once the client has its answer or its error."""

    def __init__(
        self,
        task: TaskId,
        request: MatmulRequest,
        rows: int,
        manifest: Manifest,
        around: Surroundings,
        now: float,
        finished: Callable[[bool], None],
    ) -> None:
        self.task = task
        self.over = False
        self._ends_at = now + request.deadline_s
        self._request = request
        self._manifest = manifest
        self._around = around
        self._finished = finished
        self._dealer = Dealer(manifest, request, around)
        self._account = Account(now)
        self._reasons = Reasons(around.own, now)
        self._state = "running"
        self._certificate: CertificateView | None = None
        self._rows_left = rows
        self._sums: Sums | None = None
        self._panel: _Panel | None = None
        self._step = 0
        self._probed = False
        self._error = ""

    @property
    def deadline(self) -> float | None:
        if self.over:
            return None
        parts = None if self._panel is None else self._panel.parts
        if parts is None or parts.deadline is None:
            return self._ends_at
        return min(parts.deadline, self._ends_at)

    def view(self, now: float) -> TaskView:
        """What it took so far, and how exact it is once its last rows stand."""
        return TaskView(
            id=self.task,
            name=self._request.name,
            state=self._state,
            certificate=self._certificate,
            account=self._account.view(now),
            error=self._error,
            explain=self._reasons.view(),
        )

    # -- the way through -----------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        return self._guard(
            lambda: self._around.sketches.want(
                self._manifest, self._have_sketches, self._fail, now
            ),
            now,
        )

    def _have_sketches(self, sums: Sums, now: float) -> list[Effect]:
        if self.over:
            return self._around.sketches.done(self._manifest.head.version)
        self._sums = sums
        return self._guard(lambda: self._next_panel(now), now)

    def _next_panel(self, now: float) -> list[Effect]:
        """As many rows as the panel's memory takes, given who would do them."""
        dealer = self._dealer
        decision = dealer.decide(dealer.blocks, self._rows_left, now)
        m = min(self._rows_left, max(1, PANEL_BYTES // dealer.row_bytes(decision.hands)))
        if m < self._rows_left:
            # Fewer rows may be dealt otherwise, and then take more memory each.
            decision = dealer.decide(dealer.blocks, m, now)
            m = min(m, max(1, PANEL_BYTES // dealer.row_bytes(decision.hands)))
        hands = decision.hands
        # By the time the rows are here the answers have come, mostly: it is then that holders are chosen.
        probes = self._probe(decision, now)

        def granted(lease: Lease, at: float) -> list[Effect]:
            return self._guard(lambda: self._begin(m, hands, lease, at), at)

        need = m * dealer.row_bytes(hands)
        return probes + self._around.room.ask(self.task, Purpose.ACTIVATIONS, need, now, granted)

    def _probe(self, decision: Decision, now: float) -> list[Effect]:
        """Once for a product; later panels know the loads from answers."""
        if self._probed:
            return []
        self._probed = True
        effects = self._dealer.probe(decision, now)
        self._reasons.counted("probed", len(effects))
        return effects

    def _begin(self, m: int, hands: list[Hand], lease: Lease, now: float) -> list[Effect]:
        if self.over:
            return self._around.room.give_back(lease, now)
        desk, sides = self._around.desk, self._dealer.sides
        x = desk.buffer(m * sides.width_in * VALUE_BYTES)
        y = desk.buffer(m * sides.width_out * VALUE_BYTES)
        self._panel = _Panel(m, lease, x, y, desk.buffer(m * PROBE_BYTES), hands)
        self._rows_left -= m
        self._step = desk.number(self)
        return [Allocate(x), Work(self._step, TakeRows(self.task, m, x))]

    def _project(self, panel: _Panel) -> list[Effect]:
        assert self._sums is not None
        sides = self._dealer.sides
        sketch = self._sums.columns if sides.transpose else self._sums.rows
        self._step = self._around.desk.number(self)
        work = Project(panel.x, panel.m, sides.width_in, sketch, panel.xs)
        return [Allocate(panel.xs), Work(self._step, work)]

    def _spread(self, panel: _Panel, now: float) -> list[Effect]:
        dealer, m = self._dealer, panel.m
        hands, spare_bytes = self._deal_anew(panel, now)
        rows = PanelRows(
            self.task,
            self._request,
            self._manifest.head,
            m,
            panel.x,
            panel.x_key,
            self._ends_at,
        )
        panel.parts = Parts(
            rows,
            spare_bytes,
            dealer,
            self._around,
            self._account,
            self._reasons,
            lambda at: self._combine(panel),
            self._fail,
        )
        panel.judge = Judge(
            rows,
            panel.y,
            panel.norm,
            panel.parts,
            self._manifest,
            dealer.sides,
            self._around,
            lambda bound: self._pass_on(panel, bound),
            self._fail,
            now,
        )
        return panel.parts.spread(hands, dealer.shares(hands, m, panel.norm), now)

    def _deal_anew(self, panel: _Panel, now: float) -> tuple[list[Hand], int]:
        """While the rows came, queues have changed: who shall do it now, if there is memory, and how much there is."""
        dealer, m = self._dealer, panel.m
        spare_bytes = panel.lease.nbytes - dealer.fixed_bytes(m)
        decision = dealer.decide(dealer.blocks, m, now)
        self._reasons.decided(decision, self._ends_at - now)
        dealer.require_hope(decision, self._ends_at - now)
        hands = decision.hands
        missing = sum(dealer.part_bytes(hand, m) for hand in hands) - spare_bytes
        if missing <= 0:
            return hands, spare_bytes
        panel.more = self._around.room.take_now(self.task, missing, now)
        if panel.more is None:
            return panel.hands, spare_bytes
        return hands, spare_bytes + missing

    def _combine(self, panel: _Panel) -> list[Effect]:
        """All parts are here: one per block, whoever was first with it."""
        assert panel.parts is not None and panel.judge is not None
        self._step = self._around.desk.number(self)
        sides = self._dealer.sides
        work = Combine(
            panel.parts.outputs(),
            panel.y,
            panel.m,
            sides.width_out,
            sides.width_in + sides.width_out,
            panel.xs,
            self._manifest.head.sketch_seed,
            sides.transpose,
        )
        place: list[Effect] = [] if panel.judge.redone else [Allocate(panel.y)]
        return [*place, Work(self._step, work)]

    def _pass_on(self, panel: _Panel, bound: float) -> list[Effect]:
        """The answer stands its check."""
        assert panel.parts is not None
        facts = [part.facts for part in panel.parts.answered_parts if part.facts is not None]
        self._account.stands(facts, bound)
        self._step = self._around.desk.number(self)
        last = self._rows_left == 0
        if last:
            self._certificate = self._account.certificate()
        return [Work(self._step, GiveRows(self.task, panel.y, last, self._certificate))]

    def _panel_given(self, panel: _Panel, now: float) -> list[Effect]:
        effects = self._close_panel(panel, now)
        if self._rows_left:
            return effects + self._guard(lambda: self._next_panel(now), now)
        return [*effects, *self._end(now, ok=True), Done(self.task)]

    # -- what happens --------------------------------------------------------------------------------

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        panel = self._panel
        assert panel is not None and job == self._step
        match outcome:
            case RowsTaken():
                panel.x_key = outcome.x_key
                return self._project(panel)
            case Projected():
                panel.norm = outcome.norm_estimate
                return self._guard(lambda: self._spread(panel, now), now)
            case Combined():
                assert panel.judge is not None
                return panel.judge.judge(outcome, now)
            case _:
                return self._panel_given(panel, now)

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        return self._fail(TaskError.of(error), now)

    def tick(self, now: float) -> list[Effect]:
        if self.over:
            return []
        if now >= self._ends_at:
            return self._fail(TaskError(ErrorCode.DEADLINE, self._too_late()), now)
        parts = None if self._panel is None else self._panel.parts
        return [] if parts is None else parts.tick(now)

    def cancel(self, reason: str, now: float) -> list[Effect]:
        """The client has gone."""
        return self._fail(TaskError(ErrorCode.CANCELLED, reason), now)

    # -- ends ----------------------------------------------------------------------------------------

    def _guard(self, step: Callable[[], list[Effect]], now: float) -> list[Effect]:
        """A step that finds the task impossible ends it with the reason."""
        try:
            return step()
        except TaskError as error:
            return self._fail(error, now)

    def _too_late(self) -> str:
        reason = f"not done within its {self._request.deadline_s:g} s"
        parts = None if self._panel is None else self._panel.parts
        if self._sums is None:
            reason += ", for not all of its weights' sketches have come"
        elif parts is not None and (awaited := parts.awaited()):
            reason += f", for there was no answer for {awaited}"
        return f"{reason}; ask for a later deadline"

    def _fail(self, error: TaskError, now: float) -> list[Effect]:
        if self.over:
            return []
        effects: list[Effect] = []
        self._error = kept(error.info.reason)
        if error.code is ErrorCode.OVERLOADED:
            self._reasons.step("shed", self._around.own, self._error, now)
        self._around.room.withdraw(self.task)
        if self._step:
            self._around.desk.forget(self._step)
            effects.append(CancelWork(self._step))
        if self._panel is not None:
            effects += self._close_panel(self._panel, now)
        effects += self._end(now, ok=False)
        info = msgspec.structs.replace(error.info, trace=self.task, node=self._around.own)
        return [*effects, Failed(self.task, info)]

    def _close_panel(self, panel: _Panel, now: float) -> list[Effect]:
        effects = [] if panel.judge is None else panel.judge.close(now)
        effects += [] if panel.parts is None else panel.parts.close(now)
        self._account.panel_over()
        effects += [Free(panel.x), Free(panel.y), Free(panel.xs)]
        self._panel = None
        for lease in (panel.lease, panel.more):
            if lease is not None:
                effects += self._around.room.give_back(lease, now)
        return effects

    def _end(self, now: float, *, ok: bool) -> list[Effect]:
        self.over = True
        self._state = "done" if ok else "failed"
        self._account.over(now)
        self._finished(ok)
        if self._sums is None:
            return []
        return self._around.sketches.done(self._manifest.head.version)
