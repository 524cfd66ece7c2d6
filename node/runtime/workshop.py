"""What worker threads do with buffers, blocks and disk: one method for each kind of work that the core orders."""

import math
import threading
import time
from collections.abc import Iterator

import numpy as np

from compute import verify
from compute.backend import Product
from compute.partition import Matrix, Matrix64
from node.runtime.arena import Arena
from node.runtime.chips import Chips, Programmed, in_fewer
from node.runtime.pieces import Piece, cut
from node.runtime.store import Store, content_id
from node.work import (
    AddSketch,
    Adopt,
    Adopted,
    BufferRef,
    Combine,
    Combined,
    Discard,
    KeepManifest,
    LoadBlock,
    MoreSlices,
    Outcome,
    PackColumns,
    Project,
    Projected,
    ReadContent,
    Reprogram,
    Reprogrammed,
    RowsTaken,
    RunShard,
    ShardBlock,
    ShardDone,
    WriteContent,
    Written,
)
from protocol.digests import WeightsVersion
from protocol.errors import ErrorCode, TaskError
from protocol.ids import ContentId
from protocol.messages import BlockIndex, StoreBlock

DIGITAL_ROWS = 128
"""Rows of a block read from disk at once for digital arithmetic: half a MiB."""

X_KEY_DIGITS = 15
"""Of the hash of X, in hexadecimal: 60 bits, which every field of a message can carry."""

Blocking = (
    PackColumns
    | RunShard
    | Project
    | Combine
    | AddSketch
    | Adopt
    | LoadBlock
    | Reprogram
    | WriteContent
    | ReadContent
    | KeepManifest
)


class _Held:
    """A block in memory, and where it lies on disk."""

    def __init__(self, store: StoreBlock, content: ContentId, programmed: Programmed) -> None:
        self.columns = store.columns
        self.content = content
        self.backend = programmed.backend
        self.resident = programmed.resident
        self.arrays = programmed.arrays
        self.products = 0
        """Under a tolerance, so far."""

    def slices_for(self, x: Matrix, share: float, transpose: bool) -> int:
        """In which a product would take the least energy."""
        # Loaded by now: the block stands in arrays.
        from compute.programmed import ProgrammedBlock
        from compute.rram import Rram

        assert isinstance(self.backend, Rram) and isinstance(self.resident, ProgrammedBlock)
        return self.backend.wanted(self.resident, x, share, transpose).slices

    def in_fewer(self, work: Reprogram) -> Programmed | None:
        """The same arrays without the last of them; None if all of those that are asked for have to be written."""
        if self.arrays is None or work.anew or work.slices >= self.arrays.slices:
            return None
        return in_fewer(Programmed(self.backend, self.resident, self.arrays), work.slices)


class Workshop:
    """Carries out work; safe to call from several threads at once."""

    def __init__(self, arena: Arena, store: Store, chips: Chips) -> None:
        self._arena = arena
        self._store = store
        self._chips = chips
        self._held: dict[tuple[WeightsVersion, BlockIndex], _Held] = {}
        self._lock = threading.Lock()

    def do(self, work: Blocking) -> Outcome:
        match work:
            case PackColumns():
                self._pack(work)
                return None
            case RunShard():
                return self.run_whole(work)
            case Project():
                return self._project(work)
            case Combine():
                return self._combine(work)
            case AddSketch():
                self._add_sketch(work)
                return None
            case Adopt():
                matrix = self._arena.take(work.buffer, work.store.rows, work.store.columns)
                return self.adopt(work.store, matrix)
            case LoadBlock():
                return self._load(work)
            case Reprogram():
                return self._reprogram(work)
            case WriteContent():
                return Written(self._store.write(self._arena.bytes(work.buffer)))
            case ReadContent():
                self._store.read_into(work.content, self._arena.bytes(work.into))
                return None
            case KeepManifest():
                self._store.keep_manifest(work.manifest)
                return None

    def adopt(self, store: StoreBlock, matrix: Matrix) -> Adopted:
        """Keep a block on disk and program it; the matrix's memory becomes the resident block."""
        content = self._store.write(matrix.data.cast("B"))
        return self._hold(store, content, self._chips.write(store, content, matrix))

    def taken(self, x: BufferRef) -> RowsTaken:
        """Rows of a client lie there whole: what noise in their product is keyed by."""
        return RowsTaken(int(content_id(self._arena.bytes(x))[:X_KEY_DIGITS], 16))

    def discard(self, work: Discard, before: int) -> None:
        """Contents that have been written again since this stamp of the store stay."""
        with self._lock:
            for block in work.blocks:
                self._held.pop((work.version, block), None)
        for content in work.contents:
            self._store.delete(content, before)

    def _load(self, work: LoadBlock) -> Adopted:
        matrix = np.empty((work.store.rows, work.store.columns), np.float32)
        self._store.read_into(work.content, matrix.data.cast("B"))
        standing = self._chips.stand(work.store, work.content, matrix)
        return self._hold(work.store, work.content, standing)

    def _reprogram(self, work: Reprogram) -> Reprogrammed:
        """What products have begun with they end with."""
        key = (work.store.version, work.store.block)
        with self._lock:
            held = self._held.get(key)
        if held is None:
            return Reprogrammed(None)
        programmed = held.in_fewer(work)
        if programmed is None:
            if not (work.anew or self._chips.hold(work.store, held.content)):
                return Reprogrammed(None)
            matrix = np.empty((work.store.rows, work.store.columns), np.float32)
            self._store.read_into(held.content, matrix.data.cast("B"))
            program = self._chips.write if work.anew else self._chips.stand
            programmed = program(work.store, held.content, matrix, work.slices)
        with self._lock:
            if self._held.get(key) is not held:
                return Reprogrammed(None)
            self._held[key] = _Held(work.store, held.content, programmed)
        return Reprogrammed(programmed.arrays)

    def _hold(self, store: StoreBlock, content: ContentId, programmed: Programmed) -> Adopted:
        with self._lock:
            self._held[(store.version, store.block)] = _Held(store, content, programmed)
        return Adopted(content, programmed.arrays)

    def _pack(self, work: PackColumns) -> None:
        x = self._arena.matrix(work.x, work.m, work.width)
        width = sum(stop - start for start, stop in work.spans)
        packed = self._arena.matrix(work.into, work.m, width)
        at = 0
        for start, stop in work.spans:
            packed[:, at : at + stop - start] = x[:, start:stop]
            at += stop - start

    def run_whole(self, work: RunShard) -> ShardDone:
        """A shard on this thread alone."""
        (piece,) = self.split(work, 1)
        return self.run_piece(piece)

    def split(self, work: RunShard, workers: int) -> list[Piece]:
        """At most `workers` pieces that may run side by side; the error is shared out over the whole shard."""
        x = self._arena.matrix(work.x, work.m, work.x_width)
        return cut(work, _shares(work, x), workers)

    def run_piece(self, piece: Piece) -> ShardDone:
        """Multiply by the piece's blocks; its outputs are zeroed first, and no others."""
        began = time.perf_counter()
        work = piece.work
        x = self._arena.matrix(work.x, work.m, work.x_width)
        out = self._arena.matrix(work.out, 1, work.out.nbytes // 4)[0]
        for offset, width in {(one.output_offset, one.output_width) for one, _ in piece.blocks}:
            out[offset : offset + work.m * width] = 0.0
        products = [self._multiply(work, block, share, x, out) for block, share in piece.blocks]
        regimes = sorted(frozenset().union(*(product.regimes for product in products)))
        return ShardDone(
            analog_macs=sum(product.analog_macs for product in products),
            digital_macs=sum(product.digital_macs for product in products),
            busy_s=time.perf_counter() - began,
            energy_j=sum(product.energy_j for product in products),
            latency_s=max(product.latency_s for product in products),
            reads=sum(product.reads for product in products),
            regime="+".join(regimes),
            wanted=tuple(self._wanted(work, piece, x)),
        )

    def _wanted(self, work: RunShard, piece: Piece, x: Matrix) -> Iterator[MoreSlices]:
        """Blocks that would do such products with less energy in more slices.

        Asked at the first product of a block, the second, the fourth and so on: it takes as long as planning one.
        """
        for placed, share in piece.blocks:
            with self._lock:
                held = self._held.get((work.version, placed.block))
                if held is None or not share or held.arrays is None:
                    continue
                held.products += 1
                is_asked = held.products.bit_count() == 1
            if is_asked:
                columns = x[:, placed.input_start : placed.input_start + placed.input_width]
                slices = held.slices_for(columns, share, work.transpose)
                if slices > held.arrays.slices:
                    yield MoreSlices(work.version, placed.block, slices)

    def _multiply(
        self, work: RunShard, placed: ShardBlock, share: float | None, x: Matrix, out: Matrix
    ) -> Product:
        with self._lock:
            held = self._held.get((work.version, placed.block))
        if held is None:
            reason = f"block {placed.block} of version {work.version} is not in memory here"
            raise TaskError(ErrorCode.UNAVAILABLE, reason)
        stop = placed.output_offset + work.m * placed.output_width
        target = out[placed.output_offset : stop].reshape(work.m, placed.output_width)
        columns = x[:, placed.input_start : placed.input_start + placed.input_width]

        def digital() -> Iterator[tuple[int, Matrix]]:
            return self._store.panels(held.content, held.columns, DIGITAL_ROWS)

        return held.backend.multiply(
            held.resident,
            columns,
            transpose=work.transpose,
            share=share,
            x_key=work.x_key,
            digital=digital,
            out=target,
        )

    def _project(self, work: Project) -> Projected:
        x = self._arena.matrix(work.x, work.m, work.width)
        sketch = self._arena.matrix64(work.sketch, work.width, verify.SKETCH_WIDTH)
        xs = self._arena.matrix64(work.into, work.m, verify.SKETCH_WIDTH)
        xs[:] = verify.apply_sketch(x, sketch)
        return Projected(verify.norm_for_shares(x, sketch, xs))

    def _combine(self, work: Combine) -> Combined:
        # A wrong part may hold anything; what is not finite has an infinite bound.
        with np.errstate(invalid="ignore", over="ignore"):
            return self._sum(work)

    def _sum(self, work: Combine) -> Combined:
        y = self._arena.matrix(work.y, work.m, work.width)
        y[:] = 0.0
        for part in work.parts:
            values = self._arena.matrix(part.buffer, 1, part.buffer.nbytes // 4)[0]
            for output in part.outputs:
                stop = output.offset + work.m * output.width
                partial = values[output.offset : stop].reshape(work.m, output.width)
                y[:, output.start : output.start + output.width] += partial
        xs = self._arena.matrix64(work.xs, work.m, verify.SKETCH_WIDTH)
        probe = verify.project(y, work.sketch_seed, "rows" if work.transpose else "columns")
        norm = verify.norm_of(y)
        bound = verify.residual_bound(probe, xs, verify.round_off(work.depth, norm))
        return Combined(norm, bound if math.isfinite(bound) else math.inf)

    def _add_sketch(self, work: AddSketch) -> None:
        source = self._arena.bytes(work.source)
        if content_id(source) != work.content:
            raise TaskError(ErrorCode.NOT_FOUND, f"sketch {work.content[:12]} came damaged")
        width = verify.SKETCH_WIDTH
        rows = work.rows[1] - work.rows[0]
        columns = work.columns[1] - work.columns[0]
        both = self._arena.matrix64(work.source, rows + columns, width)
        with self._lock:
            _add(
                self._arena.matrix64(work.into_rows, work.into_rows.nbytes // 8 // width, width),
                work.rows,
                both[:rows],
            )
            _add(
                self._arena.matrix64(
                    work.into_columns, work.into_columns.nbytes // 8 // width, width
                ),
                work.columns,
                both[rows:],
            )


def _add(total: Matrix64, span: tuple[int, int], part: Matrix64) -> None:
    total[span[0] : span[1]] += part


def _shares(work: RunShard, x: Matrix) -> list[float | None]:
    """The shard's share of the error, cut among its blocks by how much each adds to the answer."""
    if work.share is None:
        return [None] * len(work.blocks)
    if work.exact or work.share == 0.0:
        return [0.0] * len(work.blocks)
    norms: dict[int, float] = {}
    for block in work.blocks:
        if block.input_start not in norms:
            columns = x[:, block.input_start : block.input_start + block.input_width]
            norms[block.input_start] = verify.norm_of(columns)
    weights = [norms[b.input_start] * float(np.sqrt(b.output_width)) for b in work.blocks]
    if not any(weights):
        return [0.0] * len(work.blocks)
    return list(verify.split_share(work.share, weights))
