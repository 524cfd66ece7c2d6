from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from node.communication.desk import Desk
from node.deployment.ledger import MIB, Ledger, Purpose
from node.effects import Allocate, Call, Done, Effect, Failed, Free, Work
from node.execution.fetch import Fetch
from node.execution.room import Room
from node.work import SpoolContent
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import ContentId, NodeId, TaskId
from protocol.messages import FetchBlock, Fetched

B, C, D = (NodeId(name * 52) for name in "bcd")
TASK = TaskId("7" * 32)
CONTENT = ContentId("c" * 64)
LOST = ErrorInfo(code=ErrorCode.UNAVAILABLE, reason="no connection")
DAMAGED = ErrorInfo(code=ErrorCode.NOT_FOUND, reason="came damaged")
FULL = ErrorInfo(code=ErrorCode.NO_ROOM, reason="the disk is full")


@dataclass
class Around:
    peers: tuple[NodeId, ...] = (B, C, D)
    ledger: Ledger = field(default_factory=lambda: Ledger(100 * MIB))

    def __post_init__(self) -> None:
        self.desk = Desk()
        self.room = Room(self.ledger)

    def linked(self) -> list[NodeId]:
        return list(self.peers)

    @property
    def leased(self) -> int:
        return self.ledger.accounted_bytes - self.ledger.overhead_bytes


def fetch(around: Around, *holders: NodeId) -> Fetch:
    return Fetch(TASK, CONTENT, MIB, holders, around)


def call(effects: list[Effect]) -> Call:
    (found,) = [effect for effect in effects if isinstance(effect, Call)]
    return found


def work(effects: list[Effect]) -> Work:
    (found,) = [effect for effect in effects if isinstance(effect, Work)]
    return found


def failure(effects: list[Effect]) -> ErrorInfo:
    (found,) = [effect for effect in effects if isinstance(effect, Failed)]
    return found.error


def answer(one: Fetch, asked: Call) -> list[Effect]:
    return one.answered(asked.call, asked.peer, Fetched(nbytes=MIB), LoadDigest(), 1.0)


def test_the_first_holder_that_has_the_block_gives_it() -> None:
    around = Around()
    one = fetch(around, B, C)

    asked = call(one.start(0.0))
    assert (asked.peer, asked.request) == (B, FetchBlock(content=CONTENT, nbytes=MIB))
    assert around.leased == MIB
    again = call(one.call_failed(asked.call, LOST, 1.0))
    assert again.peer == C and again.into is not None
    spooling = work(answer(one, again))
    assert spooling.what == SpoolContent(again.into, CONTENT)
    assert one.job_done(spooling.job, None, 2.0) == [Free(again.into), Done(TASK)]
    assert one.over and around.leased == 0


def test_a_block_that_came_damaged_is_asked_of_the_next_holder() -> None:
    one = fetch(Around(), B, C)
    spooling = work(answer(one, call(one.start(0.0))))

    assert call(one.job_failed(spooling.job, DAMAGED, 1.0)).peer == C


def test_a_full_disk_ends_it_whoever_else_has_the_block() -> None:
    around = Around()
    one = fetch(around, B, C)
    spooling = work(answer(one, call(one.start(0.0))))

    assert failure(one.job_failed(spooling.job, FULL, 1.0)).code is ErrorCode.NO_ROOM
    assert around.leased == 0


def test_when_no_holder_is_linked_they_are_named() -> None:
    around = Around(peers=())
    one = fetch(around, B, C)

    error = failure(one.start(0.0))

    assert error.code is ErrorCode.UNAVAILABLE
    assert "bbbbbbbb, cccccccc" in error.reason and error.trace == TASK
    assert around.leased == 0


def test_who_waits_for_memory_may_leave() -> None:
    around = Around()
    most = around.room.largest(Purpose.ACTIVATIONS)
    lease = around.room.take_now("other", most, 0.0)
    assert lease is not None
    one = fetch(around, B)
    assert one.start(0.0) == []

    assert failure(one.cancel("gone", 1.0)).code is ErrorCode.CANCELLED
    assert around.room.give_back(lease, 2.0) == []
    assert around.room.waiting == 0 and one.cancel("gone", 3.0) == []


@given(st.lists(st.sampled_from(["answer", "lose", "damage", "fill", "cancel"]), max_size=12))
def test_whatever_happens_it_ends_once_and_gives_all_back(events: list[str]) -> None:
    around = Around()
    one = fetch(around, B, C, D)
    told = effects = one.start(0.0)

    for event in [*events, "cancel"]:
        if one.over:
            break
        waiting = [e for e in effects if isinstance(e, Call | Work)][-1]
        if event == "cancel":
            effects = one.cancel("gone", 1.0)
        elif isinstance(waiting, Work):
            errors = {"damage": DAMAGED, "fill": FULL}
            if event in errors:
                effects = one.job_failed(waiting.job, errors[event], 1.0)
            else:
                effects = one.job_done(waiting.job, None, 1.0)
        elif event == "answer":
            effects = answer(one, waiting)
        else:
            effects = one.call_failed(waiting.call, LOST, 1.0)
        told = told + effects

    assert len([e for e in told if isinstance(e, Done | Failed)]) == 1
    allocated = [e.buffer for e in told if isinstance(e, Allocate)]
    assert allocated == [e.buffer for e in told if isinstance(e, Free)]
    assert around.leased == 0
