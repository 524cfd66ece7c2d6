import msgspec
import pytest

from compute.partition import BLOCK_SIDE
from node.deployment.ledger import LEASE_S
from node.execution.errands import FETCH_BYTES_MAX, SKETCH_BYTES_MAX
from node.work import Adopt, ReadContent, RunShard, WriteContent
from protocol.errors import ErrorCode
from protocol.messages import (
    BlockIndex,
    FetchBlock,
    Fetched,
    Manifest,
    Multiplied,
    Release,
    Reserve,
    Stored,
    StoreSketch,
)
from tests.node.execution.holder import (
    BLOCK_BYTES,
    BLOCKS,
    CONTENT,
    GRID,
    Holder,
    manifest,
    multiply,
    store,
    version,
    x_bytes,
)

HELD = len(BLOCKS) * BLOCK_BYTES


def promising() -> Holder:
    """A holder that has promised room for two blocks."""
    holder = Holder()
    holder.ask(Reserve(put="put1", nbytes=HELD))
    return holder


def serving() -> Holder:
    """A holder of one matrix."""
    holder = Holder()
    holder.hold(0)
    return holder


# -- storing -----------------------------------------------------------------------------------------


def test_a_block_comes_into_memory_that_becomes_the_resident_block() -> None:
    holder = promising()
    request = holder.ask(store(1), BLOCK_BYTES)
    assert [buffer.nbytes for buffer in holder.buffers.values()] == [BLOCK_BYTES]

    holder.body(request)
    holder.finish(holder.job(Adopt))

    assert holder.answers[request] == Stored(CONTENT)
    assert holder.holding.has(version(1), ((0, 0),))
    assert holder.holding.unpublished == {CONTENT}
    assert holder.leased == HELD


def test_a_block_with_another_number_of_bytes_is_refused_with_both_numbers() -> None:
    holder = promising()

    refused = holder.reason(holder.ask(store(1), BLOCK_BYTES - 4))

    assert refused.code is ErrorCode.BAD_REQUEST
    assert str(BLOCK_BYTES) in refused.reason and str(BLOCK_BYTES - 4) in refused.reason


def test_a_block_larger_than_any_is_refused() -> None:
    holder = promising()

    request = holder.ask(msgspec.structs.replace(store(1), rows=BLOCK_SIDE + 1), BLOCK_BYTES)

    assert holder.reason(request).code is ErrorCode.BAD_REQUEST
    assert f"at most {BLOCK_SIDE} rows" in holder.reason(request).reason


def test_a_block_that_nothing_was_promised_for_is_refused() -> None:
    holder = Holder()

    assert holder.reason(holder.ask(store(1), BLOCK_BYTES)).code is ErrorCode.NO_ROOM
    assert holder.buffers == {}


def test_a_block_on_an_unknown_backend_is_refused() -> None:
    holder = promising()

    request = holder.ask(msgspec.structs.replace(store(1), backend="abacus"), BLOCK_BYTES)

    assert holder.reason(request).code is ErrorCode.BAD_REQUEST


def test_a_block_that_did_not_come_or_was_not_programmed_may_be_sent_again() -> None:
    holder = promising()
    holder.leave(holder.ask(store(1), BLOCK_BYTES))
    assert holder.buffers == {}
    assert holder.leased == HELD
    broken = holder.ask(store(1), BLOCK_BYTES)
    holder.body(broken)
    holder.finish(holder.job(Adopt), well=False)
    assert holder.reason(broken).code is ErrorCode.NOT_FOUND

    again = holder.ask(store(1), BLOCK_BYTES)
    holder.body(again)
    holder.finish(holder.job(Adopt))

    assert holder.answers[again] == Stored(CONTENT)


def test_a_block_whose_put_is_released_while_it_comes_is_not_programmed() -> None:
    holder = promising()
    request = holder.ask(store(1), BLOCK_BYTES)
    holder.ask(Release(put="put1"))
    holder.finish_all()

    holder.body(request)

    assert holder.reason(request).code is ErrorCode.NO_ROOM
    assert holder.jobs == {}
    assert holder.buffers == {}


def test_a_block_whose_put_lapses_while_it_is_programmed_is_discarded() -> None:
    holder = promising()
    request = holder.ask(store(1), BLOCK_BYTES)
    holder.body(request)
    holder.wait(LEASE_S)
    holder.finish(holder.job(Adopt))

    assert holder.reason(request).code is ErrorCode.NO_ROOM
    holder.finish_all()
    assert holder.programmed == set()
    assert holder.leased == 0


def test_a_block_whose_sender_has_gone_is_kept_once_it_is_whole() -> None:
    holder = promising()
    request = holder.ask(store(1), BLOCK_BYTES)
    holder.body(request)
    holder.leave(request)

    holder.finish(holder.job(Adopt))

    assert request not in holder.answers
    assert holder.holding.has(version(1), ((0, 0),))


# -- sketches ----------------------------------------------------------------------------------------


def test_a_sketch_is_kept_on_disk_and_keeps_its_put_alive() -> None:
    holder = promising()
    holder.wait(LEASE_S - 1.0)
    request = holder.ask(StoreSketch(put="put1", nbytes=1_024), 1_024)
    holder.body(request)
    holder.finish(holder.job(WriteContent))

    assert holder.answers[request] == Stored(CONTENT)
    assert holder.wait(2.0) == []
    assert holder.buffers == {}
    assert holder.leased == HELD


@pytest.mark.parametrize(
    ("nbytes", "body", "code"),
    [
        (1_024, 1_000, ErrorCode.BAD_REQUEST),
        (0, 0, ErrorCode.BAD_REQUEST),
        (SKETCH_BYTES_MAX + 1, SKETCH_BYTES_MAX + 1, ErrorCode.BAD_REQUEST),
    ],
)
def test_a_sketch_of_a_wrong_size_is_refused(nbytes: int, body: int, code: ErrorCode) -> None:
    holder = promising()

    assert holder.reason(holder.ask(StoreSketch(put="put1", nbytes=nbytes), body)).code is code


def test_a_sketch_for_a_put_that_has_lapsed_is_refused() -> None:
    holder = promising()
    holder.wait(LEASE_S)

    request = holder.ask(StoreSketch(put="put1", nbytes=1_024), 1_024)

    assert holder.reason(request).code is ErrorCode.NO_ROOM


# -- fetching ----------------------------------------------------------------------------------------


def test_content_is_read_into_the_body_of_the_answer() -> None:
    holder = Holder()
    request = holder.ask(FetchBlock(content=CONTENT, nbytes=100))
    assert holder.leased == 100

    holder.finish(holder.job(ReadContent))

    assert holder.answers[request] == Fetched(nbytes=100)
    assert holder.leaving[request].nbytes == 100
    holder.left(request)
    assert holder.buffers == {}
    assert holder.leased == 0


def test_content_that_cannot_be_read_is_refused_with_the_disk_s_own_reason() -> None:
    holder = Holder()
    request = holder.ask(FetchBlock(content=CONTENT, nbytes=100))

    holder.finish(holder.job(ReadContent), well=False)

    assert holder.reason(request).code is ErrorCode.NOT_FOUND
    assert holder.leased == 0


@pytest.mark.parametrize(
    ("nbytes", "body"),
    [(0, 0), (FETCH_BYTES_MAX + 1, 0), (100, 100)],
)
def test_content_of_an_impossible_size_is_refused(nbytes: int, body: int) -> None:
    holder = Holder()

    request = holder.ask(FetchBlock(content=CONTENT, nbytes=nbytes), body)

    assert holder.reason(request).code is ErrorCode.BAD_REQUEST
    assert holder.leased == 0


# -- multiplying -------------------------------------------------------------------------------------


def test_a_product_names_its_blocks_where_they_lie_in_the_bodies() -> None:
    holder = serving()
    product = msgspec.structs.replace(multiply(0, 3), share=0.25, exact=True)
    request = holder.ask(product, x_bytes(3))
    holder.body(request)

    run = holder.jobs[holder.job(RunShard)]
    assert isinstance(run, RunShard)
    assert (run.m, run.x_width, run.x_key, run.share, run.exact) == (3, 16, 7, 0.25, True)
    assert [(b.block, b.input_start, b.output_offset) for b in run.blocks] == [
        ((0, 0), 0, 0),
        ((0, 1), 0, 3 * 1024),
    ]
    holder.finish(holder.job(RunShard))

    answer = holder.answers[request]
    assert isinstance(answer, Multiplied)
    assert answer.nbytes == holder.leaving[request].nbytes == 4 * 3 * GRID.columns
    assert (answer.digital_macs, answer.busy_s) == (3 * GRID.rows * GRID.columns, 0.5)


def test_blocks_of_a_transposed_product_may_keep_outputs_of_their_own() -> None:
    holder = serving()
    for separate, answer_bytes in ((False, 4 * GRID.rows), (True, 2 * 4 * GRID.rows)):
        product = msgspec.structs.replace(multiply(0, 1), transpose=True, separate=separate)
        request = holder.ask(product, 4 * GRID.columns)
        holder.body(request)
        holder.finish(holder.job(RunShard))

        answer = holder.answers[request]
        assert isinstance(answer, Multiplied) and answer.nbytes == answer_bytes


def test_weights_that_are_not_known_yet_are_unavailable() -> None:
    holder = serving()

    refused = holder.reason(holder.ask(multiply(5, 1), x_bytes(1)))

    assert refused.code is ErrorCode.UNAVAILABLE
    assert "does not know w5" in refused.reason
    assert "removed or replaced meanwhile" in refused.reason
    assert "`sedma-node weights`, then ask again" in refused.reason


def test_weights_at_another_version_are_unavailable() -> None:
    holder = serving()
    product = msgspec.structs.replace(multiply(0, 1), version=version(9))

    assert holder.reason(holder.ask(product, x_bytes(1))).code is ErrorCode.UNAVAILABLE


def test_weights_that_were_replaced_a_moment_ago_are_still_multiplied_by() -> None:
    holder = serving()
    head = msgspec.structs.replace(manifest(0).head, version=version(9))
    holder.feed(holder.catalogue.adopt(Manifest(head, manifest(0).entries)))

    request = holder.ask(multiply(0, 1), x_bytes(1))
    other = holder.ask(msgspec.structs.replace(multiply(0, 1), name="w9"), x_bytes(1))
    holder.body(request)
    holder.finish(holder.job(RunShard))

    assert isinstance(holder.answers[request], Multiplied)
    assert holder.reason(other).code is ErrorCode.UNAVAILABLE


def test_blocks_that_are_not_in_memory_are_unavailable() -> None:
    holder = serving()
    holder.holding.drop(version(0))

    refused = holder.reason(holder.ask(multiply(0, 1), x_bytes(1)))

    assert refused.code is ErrorCode.UNAVAILABLE
    assert "block (0, 0), (0, 1) of w0" in refused.reason


@pytest.mark.parametrize(
    ("blocks", "reason"),
    [
        (((0, 2),), "there is no block (0, 2)"),
        (((1, 0), (0, 0)), "there is no block (1, 0)"),
        (((0, 1), (0, 0), (0, 1)), "block (0, 1) stands there twice"),
    ],
)
def test_blocks_outside_of_the_grid_or_named_twice_are_refused(
    blocks: tuple[BlockIndex, ...], reason: str
) -> None:
    holder = serving()

    refused = holder.reason(holder.ask(multiply(0, 1, blocks), x_bytes(1)))

    assert refused.code is ErrorCode.BAD_REQUEST
    assert reason in refused.reason


def test_x_of_a_wrong_size_is_refused_with_both_numbers() -> None:
    holder = serving()

    refused = holder.reason(holder.ask(multiply(0, 2), x_bytes(1)))

    assert refused.code is ErrorCode.BAD_REQUEST
    assert "2 x 16" in refused.reason and "128 bytes, but 64" in refused.reason


def test_a_product_that_could_never_have_room_is_refused_with_what_could() -> None:
    holder = serving()

    refused = holder.reason(holder.ask(multiply(0, 4_000), x_bytes(4_000)))

    assert refused.code is ErrorCode.NO_ROOM
    assert refused.need == 4_000 * 4 * (GRID.rows + GRID.columns)
    assert refused.nearest_fit is not None and 0 < refused.nearest_fit < refused.need
    assert holder.room.waiting == 0
