"""One holder without a network: what it orders is checked and noted, and is done when a test says so."""

from compute.partition import BlockGrid
from node.communication.desk import Desk
from node.communication.outstanding import Outstanding
from node.communication.policies import Chooser, Ours
from node.deployment.catalogue import Catalogue
from node.deployment.holding import Holding
from node.deployment.ledger import ACTIVATION_RESERVE_MIN, OVERHEAD_BYTES, Ledger
from node.deployment.stores import stores_of
from node.effects import Allocate, Effect, Free, Grant, Note, Refuse, Reply, Work
from node.execution.room import Room
from node.execution.serving import Serving
from node.memory.short_term import ShortTerm
from node.work import (
    Adopt,
    Adopted,
    BufferRef,
    Discard,
    Job,
    KeepManifest,
    Outcome,
    ReadContent,
    RunShard,
    ShardDone,
    WriteContent,
    Written,
)
from protocol.digests import WeightsVersion
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import ContentId, NodeId
from protocol.messages import (
    BlockEntry,
    BlockIndex,
    Manifest,
    ManifestHead,
    Multiply,
    Request,
    RequestHeader,
    Response,
    StoreBlock,
)

OWN = NodeId("h" * 52)
PEER = NodeId("p" * 52)
GRID = BlockGrid(16, 2048)
"""Of all weights here: two blocks of 16 x 1024."""
BLOCKS: tuple[BlockIndex, ...] = ((0, 0), (0, 1))
BLOCK_BYTES = 4 * 16 * 1024
BUDGET_BYTES = OVERHEAD_BYTES + ACTIVATION_RESERVE_MIN + 5 * BLOCK_BYTES
CONTENT = ContentId("c" * 64)
BROKEN = ErrorInfo(code=ErrorCode.NOT_FOUND, reason="it broke")


def version(of: int) -> WeightsVersion:
    return WeightsVersion(of, 0, "writer")


def manifest(of: int) -> Manifest:
    """Weights whose two blocks lie here."""
    head = ManifestHead(
        name=f"w{of}",
        version=version(of),
        rows=GRID.rows,
        columns=GRID.columns,
        backend="digital",
        holders=(OWN,),
        blocks=GRID.count,
    )
    return Manifest(head, (BlockEntry(CONTENT, ContentId("d" * 64), (0,)),) * GRID.count)


def store(of: int, block: BlockIndex = (0, 0)) -> StoreBlock:
    return stores_of(manifest(of), OWN, f"put{of}")[block]


def multiply(of: int, m: int, blocks: tuple[BlockIndex, ...] = BLOCKS) -> Multiply:
    return Multiply(
        name=f"w{of}",
        version=version(of),
        blocks=blocks,
        transpose=False,
        m=m,
        share=None,
        x_key=7,
    )


def x_bytes(m: int) -> int:
    return 4 * m * GRID.rows


class Holder:
    """Serving and all around it. Breaks at once if a buffer or a request is not treated as it must be."""

    def __init__(self, workers: int = 1) -> None:
        self.own = OWN
        self.now = 0.0
        self.desk = Desk()
        self.ledger = Ledger(BUDGET_BYTES)
        self.room = Room(self.ledger)
        self.holding = Holding(OWN, self.ledger)
        self.catalogue = Catalogue(self.desk)
        self.memory = ShortTerm()
        self.outstanding = Outstanding()
        self.chooser: Chooser = Ours(None)
        self.serving = Serving(self, workers)
        self.asked: dict[int, Request] = {}
        self.answers: dict[int, Response | ErrorInfo] = {}
        self.gone: set[int] = set()
        self.buffers: dict[int, BufferRef] = {}
        """Allocated."""
        self.granted: dict[int, BufferRef] = {}
        """Where a request's body comes or has come to."""
        self.coming: list[int] = []
        """Requests whose body may come now."""
        self.leaving: dict[int, BufferRef] = {}
        """Bodies of answers that have not left yet."""
        self.jobs: dict[int, Job] = {}
        self.programmed: set[tuple[WeightsVersion, BlockIndex]] = set()

    # -- what happens --------------------------------------------------------------------------------

    def ask(
        self, request: Request, body: int = 0, *, peer: NodeId = PEER, deadline_ms: int = 10_000
    ) -> int:
        """A peer asks; the number of its request."""
        number = len(self.asked) + 1
        self.asked[number] = request
        header = RequestHeader(
            request=request, deadline_ms=deadline_ms, trace="trace", body_bytes=body
        )
        self.feed(self.serving.asked(number, peer, header, self.now))
        return number

    def body(self, request: int) -> None:
        """The whole body of a request has come."""
        self.coming.remove(request)
        self.feed(self.serving.body_received(request, self.now))

    def leave(self, request: int) -> None:
        assert request not in self.answers
        self.gone.add(request)
        if request in self.coming:
            self.coming.remove(request)
        self.feed(self.serving.request_gone(request, self.now))

    def left(self, request: int) -> None:
        """The body of an answer has left."""
        del self.leaving[request]
        self.feed(self.serving.replied(request, self.now))

    def finish(self, job: int, *, well: bool = True) -> None:
        what = self.jobs.pop(job)
        waiter = self.desk.settle(job)
        assert waiter is not None
        if well:
            self.feed(waiter.job_done(job, self._do(what), self.now))
        else:
            self.feed(waiter.job_failed(job, BROKEN, self.now))

    def finish_all(self) -> None:
        while self.jobs:
            self.finish(next(iter(self.jobs)))

    def wait(self, seconds: float) -> list[str]:
        """Time passes; the puts whose promises have lapsed."""
        self.now += seconds
        lapsed = []
        for lease in self.ledger.expire(self.now):
            released = self.holding.lapsed(lease)
            lapsed.append(lease.owner)
            if released is not None:
                self._discard(*released)
        self.feed(self.serving.tick(self.now))
        return lapsed

    def adopt(self, manifest: Manifest) -> None:
        """A manifest or a tombstone has come."""
        self.feed(self.catalogue.adopt(manifest))
        news, self.catalogue.news = self.catalogue.news, []
        for before, now in news:
            if not now.head.deleted:
                self.feed(self.holding.publish(now))
            if before is not None and (blocks := self.holding.drop(before.head.version)):
                self._discard(before.head.version, blocks)

    def hold(self, of: int) -> None:
        """These weights lie here, as after a put."""
        self.holding.reserve(f"put{of}", len(BLOCKS) * BLOCK_BYTES, self.now)
        for block in BLOCKS:
            self.holding.claim(store(of, block), self.now)
            self.holding.adopted(store(of, block), self.now)
            self.programmed.add((version(of), block))
        self.adopt(manifest(of))
        self.finish_all()

    # -- what is to be seen --------------------------------------------------------------------------

    @property
    def leased(self) -> int:
        """Bytes."""
        return self.ledger.accounted_bytes - self.ledger.overhead_bytes

    def job(self, kind: type[Job]) -> int:
        """The one piece of work of this kind that is under way."""
        (number,) = (number for number, what in self.jobs.items() if isinstance(what, kind))
        return number

    def reason(self, request: int) -> ErrorInfo:
        """Why a request was refused."""
        answer = self.answers[request]
        assert isinstance(answer, ErrorInfo)
        return answer

    # -- effects -------------------------------------------------------------------------------------

    def feed(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Allocate(buffer):
                    assert buffer.id not in self.buffers
                    self.buffers[buffer.id] = buffer
                case Free(buffer):
                    assert buffer not in self._in_use()
                    del self.buffers[buffer.id]
                case Grant(request, into):
                    assert self._is_open(request) and request not in self.granted
                    assert self.buffers[into.id] == into
                    self.granted[request] = into
                    self.coming.append(request)
                case Work(job, what):
                    self._begin(job, what)
                case Reply(request, response, body):
                    self._end(request, response)
                    if body is not None:
                        assert body.id in self.buffers
                        self.leaving[request] = body
                case Refuse(request, error):
                    self._end(request, error)
                case Note():
                    pass
                case _:
                    raise AssertionError(f"a holder does not order {effect}")

    def _is_open(self, request: int) -> bool:
        return request in self.asked and request not in self.answers and request not in self.gone

    def _end(self, request: int, answer: Response | ErrorInfo) -> None:
        assert self._is_open(request)
        self.answers[request] = answer
        if request in self.coming:
            self.coming.remove(request)

    def _begin(self, job: int, what: Job) -> None:
        self.jobs[job] = what
        assert all(self.buffers[buffer.id] == buffer for buffer in _buffers(what))
        if isinstance(what, Adopt):
            del self.buffers[what.buffer.id]

    def _in_use(self) -> list[BufferRef]:
        used = [self.granted[request] for request in self.coming]
        used += self.leaving.values()
        for what in self.jobs.values():
            used += _buffers(what)
        return used

    def _do(self, what: Job) -> Outcome:
        match what:
            case Adopt():
                self.programmed.add((what.store.version, what.store.block))
                return Adopted(CONTENT)
            case WriteContent():
                return Written(CONTENT)
            case RunShard():
                macs = sum(what.m * b.input_width * b.output_width for b in what.blocks)
                return ShardDone(digital_macs=macs, busy_s=0.5)
            case Discard():
                self.programmed -= {(what.version, block) for block in what.blocks}
            case ReadContent() | KeepManifest():
                pass
            case _:
                raise AssertionError(f"a holder does not order {what}")
        return None

    def _discard(self, of: WeightsVersion, blocks: tuple[BlockIndex, ...]) -> None:
        number = self.desk.number(self.catalogue)
        self.feed([Work(number, Discard(of, blocks, contents=()))])


def _buffers(what: Job) -> list[BufferRef]:
    match what:
        case Adopt(buffer=buffer) | WriteContent(buffer=buffer):
            return [buffer]
        case ReadContent(into=into):
            return [into]
        case RunShard(x=x, out=out):
            return [x, out]
        case _:
            return []
