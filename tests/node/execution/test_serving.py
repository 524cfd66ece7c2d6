import msgspec
import pytest

from node.communication.policies import Ours
from node.communication.scoring import SPEED_UNKNOWN_MACS_S
from node.deployment.ledger import ACTIVATION_RESERVE_MIN
from node.execution.serving import ENDS_SPARE, OPEN_PER_PEER_MAX
from node.work import Adopt, Discard, RunShard
from protocol.errors import ErrorCode
from protocol.ids import NodeId
from protocol.messages import (
    FetchBlock,
    Multiplied,
    Release,
    Reserve,
    Reserved,
    Stored,
    Taken,
)
from tests.node.execution.holder import (
    BLOCK_BYTES,
    BLOCKS,
    CONTENT,
    GRID,
    OWN,
    Holder,
    multiply,
    store,
    x_bytes,
)
from tests.node.execution.walk import STEPS, Walk

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


def test_of_those_that_wait_the_one_whose_time_is_up_first_goes_first() -> None:
    holder = serving(workers=1)
    first = ask_product(holder)
    patient, hasty = ask_product(holder, deadline_ms=9_000), ask_product(holder, deadline_ms=5_000)
    for request in (first, patient, hasty):
        holder.body(request)

    for _ in range(3):
        holder.finish(holder.job(RunShard))

    assert list(holder.answers) == [first, hasty, patient]


def test_who_is_there_first_does_not_wait_for_who_may_come() -> None:
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
    holder = serving()
    rows = 1_000
    each_s = rows * MACS / SPEED_UNKNOWN_MACS_S
    first, second = ask_product(holder, rows), ask_product(holder, 2)
    expected_s = (rows + 2) * MACS / SPEED_UNKNOWN_MACS_S
    assert holder.serving.load(0.0).queue_s == pytest.approx(expected_s)
    holder.leave(second)
    holder.body(first)

    assert holder.serving.load(each_s / 4).queue_s == pytest.approx(each_s * 3 / 4)
    assert holder.serving.load(2 * each_s).queue_s == 0.0
    assert holder.serving.load(0.0).in_flight == 1


def test_small_products_wait_less_where_several_are_done_side_by_side() -> None:
    alone, shared = serving(workers=1), serving(workers=4)
    for holder in (alone, shared):
        ask_product(holder)

    assert shared.serving.load(0.0).queue_s == alone.serving.load(0.0).queue_s / 4


def test_its_speed_is_what_it_has_measured_of_itself() -> None:
    holder = serving()
    assert holder.serving.load(0.0).speed_macs_s == 0.0
    request = ask_product(holder, 1_000)
    holder.body(request)
    holder.finish(holder.job(RunShard))

    assert holder.serving.load(0.0).speed_macs_s == 1_000 * MACS / 0.5


# -- products that would come too late ---------------------------------------------------------------


def busy(speed_known: bool = True) -> Holder:
    """A holder at work for half a second."""
    holder = serving()
    if speed_known:
        product = ask_product(holder, 100)
        holder.body(product)
        holder.finish(holder.job(RunShard))
        holder.left(product)
    holder.body(ask_product(holder, 100))
    return holder


def test_what_would_come_too_late_is_refused_before_its_body_comes() -> None:
    holder = busy()

    late = ask_product(holder, 100, deadline_ms=900)
    fitting = ask_product(holder, 100, deadline_ms=1_100)

    refused = holder.reason(late)
    assert refused.code is ErrorCode.OVERLOADED
    assert refused.retry_after_s == pytest.approx(0.5)
    assert "500 ms ahead" in refused.reason and "900 ms are left" in refused.reason
    assert holder.coming == [fitting]


def test_what_the_way_back_takes_counts_as_gone() -> None:
    """An answer that leaves when time is up comes too late."""
    holder = busy()
    request = multiply(0, 100)

    kept = holder.ask(request, x_bytes(100), deadline_ms=1_100)
    far = msgspec.structs.replace(request, back_ms=200)
    refused = holder.reason(holder.ask(far, x_bytes(100), deadline_ms=1_100))

    assert kept in holder.coming
    assert refused.code is ErrorCode.OVERLOADED and "900 ms are left" in refused.reason


def test_who_has_measured_nothing_refuses_nothing() -> None:
    holder = busy(speed_known=False)

    assert ask_product(holder, 100, deadline_ms=1) in holder.coming


def test_an_idle_holder_refuses_nothing_however_long_it_takes() -> None:
    holder = busy()
    holder.finish(holder.job(RunShard))

    assert ask_product(holder, 100, deadline_ms=1) in holder.coming


def test_a_holder_that_does_not_shed_refuses_nothing() -> None:
    holder = busy()
    holder.chooser = Ours(None, sheds=False)

    assert ask_product(holder, 100, deadline_ms=1) in holder.coming


def test_what_has_become_too_late_while_it_waited_is_not_begun() -> None:
    holder = busy()
    late = ask_product(holder, 100, deadline_ms=1_100)
    holder.body(late)

    holder.wait(0.7)
    holder.finish(holder.job(RunShard))

    assert holder.reason(late).code is ErrorCode.OVERLOADED
    assert holder.jobs == {} and holder.coming == []


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


@pytest.mark.parametrize("seed", range(100))
def test_whatever_happens_every_request_ends_once_and_all_memory_is_accounted_for(
    seed: int,
) -> None:
    walk = Walk(seed)
    holder = walk.holder
    for _ in range(STEPS):
        walk.step()
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


def test_what_is_done_leaves_nothing_behind_though_it_had_hours() -> None:
    holder = Holder()
    for _ in range(500):
        request = holder.ask(FetchBlock(content=CONTENT, nbytes=100), deadline_ms=3_600_000)
        holder.finish_all()
        holder.left(request)

    assert len(holder.serving._ends) <= ENDS_SPARE + 1
