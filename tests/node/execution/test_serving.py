from hypothesis import given, settings
from hypothesis import strategies as st

from node.communication.scoring import SPEED_UNKNOWN_MACS_S
from node.deployment.ledger import ACTIVATION_RESERVE_MIN
from node.effects import Adopt, Discard, KeepManifest, RunShard
from node.execution.serving import OPEN_PER_PEER_MAX
from protocol.errors import ErrorCode
from protocol.ids import NodeId
from protocol.messages import (
    FetchBlock,
    Manifest,
    ManifestHead,
    Multiplied,
    Multiply,
    Release,
    Reserve,
    Reserved,
    StoreBlock,
    Stored,
    StoreSketch,
    Taken,
)
from tests.node.execution.holder import (
    BLOCK_BYTES,
    BLOCKS,
    CONTENT,
    GRID,
    OWN,
    Holder,
    manifest,
    multiply,
    store,
    version,
    x_bytes,
)

HELD = len(BLOCKS) * BLOCK_BYTES
MACS = GRID.rows * GRID.columns
"""Of one row of X."""


def serving(workers: int = 1) -> Holder:
    """A holder of one matrix."""
    holder = Holder(workers)
    holder.hold(0)
    return holder


def ask_product(holder: Holder, m: int = 1, deadline_ms: int = 10_000) -> int:
    return holder.ask(multiply(0, m), x_bytes(m), deadline_ms=deadline_ms)


def test_a_product_takes_its_memory_before_its_body_and_gives_it_back_when_its_answer_has_left() -> (
    None
):
    holder = serving()
    request = ask_product(holder)
    answer_bytes = 4 * GRID.columns
    assert holder.coming == [request]
    assert holder.leased == HELD + x_bytes(1) + answer_bytes

    holder.body(request)
    holder.finish(holder.job(RunShard))
    assert isinstance(holder.answers[request], Multiplied)
    assert [buffer.nbytes for buffer in holder.buffers.values()] == [answer_bytes]
    assert holder.leased == HELD + x_bytes(1) + answer_bytes

    holder.left(request)
    assert holder.buffers == {}
    assert holder.leased == HELD


def test_workers_are_shared_out_in_the_order_in_which_bodies_are_whole() -> None:
    holder = serving(workers=1)
    early, late = ask_product(holder), ask_product(holder)
    holder.body(late)
    holder.body(early)

    holder.wait(2.0)
    holder.finish(holder.job(RunShard))
    holder.wait(1.0)
    holder.finish(holder.job(RunShard))

    assert list(holder.answers) == [late, early]
    waited = [holder.answers[request] for request in (late, early)]
    assert [one.queued_s for one in waited if isinstance(one, Multiplied)] == [0.0, 2.0]


def test_a_product_whose_peer_has_gone_keeps_its_buffers_until_its_work_ends() -> None:
    holder = serving()
    request = ask_product(holder)
    holder.body(request)
    holder.leave(request)
    assert len(holder.buffers) == 2

    holder.finish(holder.job(RunShard))

    assert holder.answers == {}
    assert holder.buffers == {}
    assert holder.leased == HELD


def test_who_waits_for_memory_gets_it_when_another_is_through() -> None:
    holder = serving()
    rows = ACTIVATION_RESERVE_MIN // (4 * (GRID.rows + GRID.columns))
    first, second = ask_product(holder, rows), ask_product(holder, rows)
    assert holder.coming == [first]

    holder.leave(first)

    assert holder.coming == [second]


def test_a_request_whose_time_is_up_while_it_waits_for_memory_is_refused() -> None:
    holder = serving()
    rows = ACTIVATION_RESERVE_MIN // (4 * (GRID.rows + GRID.columns))
    ask_product(holder, rows)
    late = ask_product(holder, rows, deadline_ms=1_000)
    assert holder.serving.deadline == 1.0

    holder.wait(1.0)

    assert holder.reason(late).code is ErrorCode.DEADLINE
    assert "waited for memory" in holder.reason(late).reason
    assert holder.room.waiting == 0


def test_a_request_whose_time_is_up_while_it_waits_for_its_body_is_refused() -> None:
    holder = serving()
    late = ask_product(holder, deadline_ms=1_000)

    holder.wait(1.0)

    assert "waited for its body" in holder.reason(late).reason
    assert holder.buffers == {}
    assert holder.leased == HELD


def test_a_request_whose_time_is_up_while_it_waits_for_a_worker_is_refused() -> None:
    holder = serving()
    busy, late = ask_product(holder), ask_product(holder, deadline_ms=1_000)
    holder.body(busy)
    holder.body(late)

    holder.wait(1.0)
    holder.finish(holder.job(RunShard))

    assert "waited for a free worker" in holder.reason(late).reason
    assert isinstance(holder.answers[busy], Multiplied)
    assert holder.jobs == {}


def test_work_that_has_begun_is_not_given_up_for_the_time() -> None:
    holder = serving()
    request = ask_product(holder, deadline_ms=1_000)
    holder.body(request)

    assert holder.serving.deadline is None
    holder.wait(5.0)
    holder.finish(holder.job(RunShard))

    assert isinstance(holder.answers[request], Multiplied)


def test_a_request_without_any_time_left_is_refused_at_once() -> None:
    holder = serving()

    assert holder.reason(ask_product(holder, deadline_ms=0)).code is ErrorCode.DEADLINE


def test_a_peer_with_too_many_requests_under_way_is_told_to_come_back() -> None:
    holder = serving()
    fetch = FetchBlock(content=CONTENT, nbytes=8)
    for _ in range(OPEN_PER_PEER_MAX):
        holder.ask(fetch)

    refused = holder.reason(holder.ask(fetch))

    assert refused.code is ErrorCode.OVERLOADED
    assert refused.retry_after_s == 1.0
    assert holder.ask(fetch, peer=NodeId("q" * 52)) not in holder.answers
    holder.finish(next(iter(holder.jobs)))
    holder.left(1)
    assert holder.ask(fetch) not in holder.answers


def test_work_that_fails_refuses_the_request_and_says_where() -> None:
    holder = serving()
    request = ask_product(holder)
    holder.body(request)

    holder.finish(holder.job(RunShard), well=False)

    assert (holder.reason(request).node, holder.reason(request).trace) == (OWN, "trace")
    assert holder.buffers == {}
    assert holder.leased == HELD


def test_its_load_is_the_products_let_in_and_not_yet_done() -> None:
    holder = serving(workers=2)
    rows = 1_000
    each_s = rows * MACS / SPEED_UNKNOWN_MACS_S
    first, second = ask_product(holder, rows), ask_product(holder, 2)
    assert holder.serving.load(0.0).queue_s == (rows + 2) * MACS / SPEED_UNKNOWN_MACS_S / 2
    holder.leave(second)
    holder.body(first)

    assert holder.serving.load(each_s / 4).queue_s == each_s * 3 / 4 / 2
    assert holder.serving.load(2 * each_s).queue_s == 0.0
    assert holder.serving.load(0.0).in_flight == 1


def test_its_speed_is_what_it_has_measured_of_itself() -> None:
    holder = serving()
    assert holder.serving.load(0.0).speed_macs_s == 0.0
    request = ask_product(holder, 1_000)
    holder.body(request)
    holder.finish(holder.job(RunShard))

    assert holder.serving.load(0.0).speed_macs_s == 1_000 * MACS / 0.5


def test_a_put_reserves_brings_its_blocks_and_may_let_go_again() -> None:
    holder = Holder()
    reserved = holder.ask(Reserve(put="put1", nbytes=HELD))
    stored = holder.ask(store(1), BLOCK_BYTES)
    holder.body(stored)
    holder.finish(holder.job(Adopt))
    released = holder.ask(Release(put="put1"))

    assert holder.answers == {reserved: Reserved(), stored: Stored(CONTENT), released: Taken()}
    assert holder.leased == 0
    holder.finish(holder.job(Discard))
    assert holder.programmed == set()


def test_a_reservation_that_does_not_fit_is_refused_with_what_would() -> None:
    holder = serving()

    refused = holder.reason(holder.ask(Reserve(put="put1", nbytes=4 * BLOCK_BYTES)))

    assert refused.code is ErrorCode.NO_ROOM
    assert (refused.need, refused.free) == (4 * BLOCK_BYTES, 3 * BLOCK_BYTES)


def test_a_reservation_of_nothing_or_with_a_body_is_refused() -> None:
    holder = Holder()

    for nbytes, body in ((0, 0), (BLOCK_BYTES, 8)):
        refused = holder.reason(holder.ask(Reserve(put="put1", nbytes=nbytes), body))
        assert refused.code is ErrorCode.BAD_REQUEST


# -- anything at any time ----------------------------------------------------------------------------

WEIGHTS = 4
ROWS = (1, 1_000, 1_200, 4_000)
"""Of X: a few bytes, more than half of what there is for requests in flight, and more than all of it."""
STEPS = (
    "reserve",
    "store",
    "store",
    "body",
    "body",
    "body",
    "finish",
    "finish",
    "finish",
    "multiply",
    "multiply",
    "fetch",
    "sketch",
    "left",
    "left",
    "publish",
    "fail",
    "leave",
    "release",
    "delete",
    "wait",
)


class Walk:
    """Feeds a holder whatever may happen next, with a model of who has been promised what."""

    def __init__(self, workers: int) -> None:
        self.holder = serving(workers)
        self.promised = {"put0": HELD}
        self.deleted = 0

    def step(self, name: str, dice: int) -> None:
        of, dice = dice % WEIGHTS, dice // WEIGHTS
        block, dice = BLOCKS[dice % 2], dice // 2
        deadline_ms, dice = (0, 1_000, 10_000, 60_000)[dice % 4], dice // 4
        holder = self.holder
        match name:
            case "reserve":
                nbytes = (1 + dice % 2) * BLOCK_BYTES
                number = holder.ask(Reserve(put=f"put{of}", nbytes=nbytes))
                if holder.answers[number] == Reserved():
                    self.promised[f"put{of}"] = nbytes
            case "store":
                wrong = dice % 8 == 0
                holder.ask(store(of, block), BLOCK_BYTES - 4 * wrong, deadline_ms=deadline_ms)
            case "sketch":
                sketch = StoreSketch(put=f"put{of}", nbytes=1_024)
                holder.ask(sketch, 1_024, deadline_ms=deadline_ms)
            case "fetch":
                nbytes = (8, BLOCK_BYTES, 4 * 1024 * 1024, 5 * 1024 * 1024)[dice % 4]
                holder.ask(FetchBlock(content=CONTENT, nbytes=nbytes), deadline_ms=deadline_ms)
            case "multiply":
                m = ROWS[dice % 4]
                holder.ask(multiply(of % 2, m), x_bytes(m), deadline_ms=deadline_ms)
            case "wait":
                for put in holder.wait((0.1, 1.0, 11.0, 31.0)[dice % 4]):
                    del self.promised[put]
            case "release":
                self._release(of)
            case "publish":
                self._publish(of)
            case "delete":
                self._delete(of)
            case _:
                self._go_on(name, dice)

    def _go_on(self, name: str, dice: int) -> None:
        holder = self.holder
        still_open = [n for n in holder.asked if n not in holder.answers and n not in holder.gone]
        match name:
            case "body" if holder.coming:
                holder.body(holder.coming[dice % len(holder.coming)])
            case "left" if holder.leaving:
                holder.left(list(holder.leaving)[dice % len(holder.leaving)])
            case "leave" if still_open:
                holder.leave(still_open[dice % len(still_open)])
            case "finish" | "fail" if holder.jobs:
                job = list(holder.jobs)[dice % len(holder.jobs)]
                sure = isinstance(holder.jobs[job], Discard | KeepManifest)
                holder.finish(job, well=sure or name == "finish")

    def _release(self, of: int) -> None:
        number = self.holder.ask(Release(put=f"put{of}"))
        assert self.holder.answers[number] == Taken()
        if self.holder.catalogue.get(f"w{of}") is None:
            self.promised.pop(f"put{of}", None)

    def _publish(self, of: int) -> None:
        """As its coordinator does once all blocks are stored."""
        fresh = f"w{of}" not in self.holder.catalogue.manifests
        if fresh and self.holder.holding.has(version(of), BLOCKS):
            self.holder.adopt(manifest(of))

    def _delete(self, of: int) -> None:
        if self.holder.catalogue.get(f"w{of}") is not None:
            head = ManifestHead(name=f"w{of}", version=version(100 + of), deleted=True)
            self.holder.adopt(Manifest(head))
            del self.promised[f"put{of}"]

    # -- what must hold ------------------------------------------------------------------------------

    def check(self) -> None:
        holder = self.holder
        assert holder.leased == sum(self.promised.values()) + self._streamed()
        assert len(holder.programmed) * BLOCK_BYTES <= sum(self.promised.values()) + HELD * sum(
            isinstance(what, Discard) for what in holder.jobs.values()
        )
        condemned = {
            (what.version, block)
            for what in holder.jobs.values()
            if isinstance(what, Discard)
            for block in what.blocks
        }
        for of in range(WEIGHTS):
            for block in BLOCKS:
                there = (version(of), block) in holder.programmed - condemned
                assert there == holder.holding.has(version(of), (block,))

    def _streamed(self) -> int:
        """Leases of requests that have been let in: what is allocated, and X that went before its answer has left."""
        holder = self.holder
        stored = {
            holder.granted[request].id
            for request, what in holder.asked.items()
            if isinstance(what, StoreBlock) and request in holder.granted
        }
        spent = [
            holder.granted[request].nbytes
            for request in holder.leaving
            if isinstance(holder.asked[request], Multiply)
        ]
        return sum(b.nbytes for b in holder.buffers.values() if b.id not in stored) + sum(spent)

    def end(self) -> None:
        """All goes its way; then nothing may be left."""
        holder = self.holder
        for request in list(holder.asked):
            if request not in holder.answers and request not in holder.gone:
                holder.leave(request)
        while holder.jobs or holder.leaving:
            holder.finish_all()
            for request in list(holder.leaving):
                holder.left(request)
        for of in range(WEIGHTS):
            self._delete(of)
        holder.wait(1_000.0)
        holder.finish_all()


@given(
    st.integers(1, 2),
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 4_095)), max_size=80),
)
@settings(max_examples=300, deadline=None)
def test_whatever_happens_every_request_ends_once_and_all_memory_is_accounted_for(
    workers: int, steps: list[tuple[str, int]]
) -> None:
    walk = Walk(workers)
    holder = walk.holder
    for name, dice in steps:
        walk.step(name, dice)
        walk.check()
    walk.end()

    assert holder.answers.keys() | holder.gone == holder.asked.keys()
    assert not holder.answers.keys() & holder.gone
    assert holder.buffers == {}
    assert holder.programmed == set()
    assert holder.leased == 0
    assert holder.room.waiting == 0
    assert holder.serving.deadline is None
    assert holder.serving.load(holder.now).in_flight == 0
    assert holder.serving.load(holder.now).queue_s == 0.0
    unused = holder.desk.buffer(0).id
    assert all(holder.desk.settle(number) is None for number in range(unused))
