"""One machine of the world: a real Node, and trivial hands that carry out what it orders.

It keeps names where a machine keeps bytes: of blocks in memory, of contents on disk, of what lies in a buffer.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from node.core import Node, Policy
from node.deployment.ledger import Ledger
from node.effects import (
    Allocate,
    Call,
    CancelCall,
    CancelWork,
    Dial,
    Done,
    Effect,
    Failed,
    Free,
    Grant,
    Hang,
    KeepPeers,
    Note,
    Refuse,
    Reply,
    Work,
)
from node.work import (
    Adopt,
    Adopted,
    Discard,
    Job,
    KeepManifest,
    LoadBlock,
    Outcome,
    ReadContent,
    Relay,
    Relayed,
    RunShard,
    SpoolContent,
    WriteContent,
    Written,
)
from protocol.client import MatmulRequest, PutRequest
from protocol.digests import LoadDigest, NodeRecord, WeightsVersion
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import ContentId, MeshId, NodeId, TaskId
from protocol.messages import (
    BlockIndex,
    ErrorHeader,
    Manifest,
    RequestHeader,
    Response,
    ResponseHeader,
    StoreBlock,
)
from tests.node.multiplying import multiply
from tests.node.relaying import Relaying, content_of

if TYPE_CHECKING:
    from tests.node.world import Calling, Link, World

MESH = MeshId("m" * 64)
POLICY = Policy(
    backend="digital", device="", workers=2, hedge_share=0.05, interval_s=0.5, redial_s=10.0
)
WORK_S = 0.001


def node_id(name: str) -> NodeId:
    return NodeId(name.ljust(52, "x"))


@dataclass
class Disk:
    """What outlives a process."""

    incarnation: int = 0
    peers: tuple[tuple[NodeId, tuple[str, ...]], ...] = ()
    manifests: dict[str, Manifest] = field(default_factory=dict)
    contents: set[ContentId] = field(default_factory=set)
    keep_s: float = WORK_S
    """How long it takes to keep a manifest."""
    full: bool = False
    """It takes no manifest any more."""


class Member:
    """Feeds its node, and breaks at once where an order makes no sense."""

    def __init__(self, name: str, world: "World", budget: int, disk: Disk | None = None) -> None:
        self.name = name
        self.id = node_id(name)
        self.alive = True
        self.frozen = False
        self.client_s = 0.005
        """How long a client of this node takes to bring one block row."""
        self.shard_s = WORK_S
        """How long a worker takes for its part of a product."""
        self.disk = disk or Disk()
        self.disk.incarnation += 1
        self.resident: set[tuple[WeightsVersion, BlockIndex]] = set()
        self.spool: set[ContentId] = set()
        self.outcomes: dict[str, ErrorInfo | None] = {}
        self.products: dict[str, set[str]] = {}
        """By task: the versions of weights that its rows were multiplied by."""
        self.notes: list[Note] = []
        self._world = world
        self._budget = budget
        self._buffers: dict[int, ContentId | None] = {}
        self._requests: dict[int, Calling] = {}
        self._calls: dict[int, Calling] = {}
        self._jobs: dict[int, list[Calling]] = {}
        self._last_request = 0
        record = NodeRecord(
            id=self.id, mesh=MESH, incarnation=self.disk.incarnation, version=0, name=name
        )
        dice = random.Random(world.dice.getrandbits(64))
        self.node = Node(record, Ledger(budget), POLICY, dice)

    @property
    def up(self) -> bool:
        return self.alive and not self.frozen

    @property
    def leased(self) -> int:
        """Bytes under any lease."""
        return self.node.ledger.accounted_bytes - self.node.ledger.overhead_bytes

    @property
    def idle(self) -> bool:
        """Nothing is under way here but the talk among neighbours."""
        return not (self._buffers or self._requests or self._jobs or self.node.tasks)

    # -- what tests do -------------------------------------------------------------------------------

    def start(self, seeds: tuple[tuple[str, ...], ...]) -> None:
        node, now = self.node, self._world.now
        self.hear(lambda: node.restore(list(self.disk.manifests.values()), now))
        self.hear(lambda: node.introduce(MESH, (f"{self.name}:1",), now))
        for peer, addresses in self.disk.peers:
            self.hear(partial(node.seek, addresses, peer, now))
        for addresses in seeds:
            self.hear(partial(node.seek, addresses, None, now))

    def reborn(self) -> "Member":
        return Member(self.name, self._world, self._budget, self.disk)

    def put(self, name: str, rows: int, columns: int, replicas: int = 2) -> TaskId:
        request = PutRequest(name=name, replicas=replicas)
        wall_ms = int(self._world.now * 1000)
        task, effects = self.node.put(request, (rows, columns), wall_ms, self._world.now)
        self._feed(effects)
        return task

    def matmul(self, name: str, rows: int) -> TaskId:
        width = self.node.catalogue.find(name).head.rows
        task, _, effects = self.node.matmul(MatmulRequest(name=name), rows, width, self._world.now)
        self.products[task] = set()
        self._feed(effects)
        return task

    def remove(self, name: str) -> TaskId:
        wall_ms = int(self._world.now * 1000)
        task, effects = self.node.remove(name, None, wall_ms, self._world.now)
        self._feed(effects)
        return task

    def told(self, event: str) -> list[Note]:
        return [note for note in self.notes if note.event == event]

    # -- what the world tells ------------------------------------------------------------------------

    def hear(self, tell: Callable[[], list[Effect]]) -> None:
        if self.up:
            self._feed(tell())

    def take(self, calling: "Calling", header: RequestHeader) -> int:
        self._last_request += 1
        number = self._last_request
        self._requests[number] = calling
        self.hear(lambda: self.node.asked(number, calling.caller.id, header, self._world.now))
        return number

    def lose(self, calling: "Calling") -> None:
        """The peer has given up."""
        self._gone([number for number, one in self._requests.items() if one is calling])

    def lose_all(self, link: "Link") -> None:
        """The link is lost, and with it all that was asked over it."""
        self._gone([number for number, one in self._requests.items() if one.link is link])

    def _gone(self, numbers: list[int]) -> None:
        for number in numbers:
            del self._requests[number]
            self.hear(partial(self.node.request_gone, number, self._world.now))

    # -- effects -------------------------------------------------------------------------------------

    def _feed(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Dial():
                    self._world.dial(self, effect.addresses, effect.peer)
                case Hang():
                    self._world.hang(self, effect.peer, effect.reason)
                case Call():
                    self._call(effect)
                case CancelCall():
                    if (calling := self._calls.pop(effect.call, None)) is not None:
                        self._world.cancel(calling)
                case Grant() | Reply() | Refuse():
                    self._serve(effect)
                case Allocate():
                    assert effect.buffer.id not in self._buffers
                    self._buffers[effect.buffer.id] = None
                case Free():
                    self._buffers.pop(effect.buffer.id, None)
                case Work():
                    self._begin(effect.job, effect.what)
                case CancelWork():
                    for calling in self._jobs.pop(effect.job, []):
                        self._world.cancel(calling)
                case Done():
                    self._ended(effect.task, None)
                case Failed():
                    self._ended(effect.task, effect.error)
                case KeepPeers():
                    self.disk.peers = effect.peers
                case Note():
                    self.notes.append(effect)

    def _ended(self, task: str, error: ErrorInfo | None) -> None:
        assert task not in self.outcomes, "a client is answered once"
        self.outcomes[task] = error

    def _call(self, effect: Call) -> None:
        number, peer, into = effect.call, effect.peer, effect.into

        def answered(response: Response, load: LoadDigest, body: ContentId | None) -> None:
            self._calls.pop(number, None)
            if into is not None:
                self._buffers[into.id] = body
            self.hear(lambda: self.node.answered(number, peer, response, load, self._world.now))

        def failed(error: ErrorInfo) -> None:
            self._calls.pop(number, None)
            self.hear(lambda: self.node.call_failed(number, error, self._world.now))

        sent = effect.body
        self._calls[number] = self._world.call(
            self,
            peer,
            effect.request,
            effect.deadline_s,
            answered,
            failed,
            body_bytes=0 if sent is None else sent.nbytes,
            body=None if sent is None else self._buffers[sent.id],
            trace=effect.trace,
        )

    def _serve(self, effect: Grant | Reply | Refuse) -> None:
        number = effect.request
        if isinstance(effect, Grant):
            calling, into = self._requests[number], effect.into
            assert into.id in self._buffers

            def come() -> None:
                self._buffers[into.id] = calling.body
                self.hear(lambda: self.node.body_received(number, self._world.now))

            self._world.grant(calling, come)
            return
        served = self._requests.pop(number, None)
        load = self.node.load(self._world.now)
        if isinstance(effect, Refuse):
            if served is not None:
                self._world.refuse(served, ErrorHeader(error=effect.error, load=load))
            return
        body = None if effect.body is None else self._buffers[effect.body.id]
        if served is not None:
            self._world.answer(served, ResponseHeader(response=effect.response, load=load), body)
        if effect.body is not None:
            self._world.after(
                WORK_S, lambda: self.hear(lambda: self.node.replied(number, self._world.now))
            )

    # -- work ----------------------------------------------------------------------------------------

    def _begin(self, job: int, what: Job) -> None:
        self._jobs[job] = []
        if isinstance(what, Relay):
            Relaying(self, self._world, job, what, self._jobs[job])
            return

        def end() -> None:
            if job not in self._jobs or not self.up:
                return
            del self._jobs[job]
            found, outcome = self._do(what)
            if found:
                self.hear(lambda: self.node.job_done(job, outcome, self._world.now))
            else:
                error = ErrorInfo(code=ErrorCode.NOT_FOUND, reason="not on this disk")
                self.hear(lambda: self.node.job_failed(job, error, self._world.now))

        takes_s = {RunShard: self.shard_s, KeepManifest: self.disk.keep_s}
        self._world.after(takes_s.get(type(what), WORK_S), end)

    def _do(self, what: Job) -> tuple[bool, Outcome]:
        """Whether it went well, and what came of it."""
        match what:
            case KeepManifest():
                if self.disk.full:
                    return False, None
                self.disk.manifests[what.manifest.head.name] = what.manifest
            case Discard():
                self.resident -= {(what.version, block) for block in what.blocks}
                self.disk.contents -= set(what.contents)
            case Adopt():
                assert self._buffers.pop(what.buffer.id) == content_of(what.store, "block")
                return True, Adopted(self.keep(what.store))
            case LoadBlock():
                if what.content not in self.disk.contents:
                    return False, None
                return True, Adopted(self.keep(what.store))
            case WriteContent():
                content = self._buffers[what.buffer.id]
                assert content is not None
                self.disk.contents.add(content)
                return True, Written(content)
            case ReadContent():
                self._buffers[what.into.id] = what.content
                return what.content in self.disk.contents, None
            case SpoolContent():
                found = self._buffers[what.buffer.id] == what.content
                self.spool |= {what.content} if found else set()
                return found, None
            case Relay():
                raise AssertionError("it takes its time")
            case _:
                return multiply(what, self._buffers, self.resident, self.products)
        return True, None

    def keep(self, store: StoreBlock) -> ContentId:
        """The block is in memory and on disk."""
        assert (store.version, store.block) not in self.resident
        self.resident.add((store.version, store.block))
        content = content_of(store, "block")
        self.disk.contents.add(content)
        return content

    def finish(self, job: int, outcome: Relayed | ErrorInfo) -> None:
        """A relay has ended."""
        if self._jobs.pop(job, None) is None:
            return
        if isinstance(outcome, Relayed):
            self.hear(lambda: self.node.job_done(job, outcome, self._world.now))
        else:
            self.hear(lambda: self.node.job_failed(job, outcome, self._world.now))
