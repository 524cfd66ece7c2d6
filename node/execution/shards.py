"""How a product is laid out: what each node needs of X, and where its partial outputs belong in Y.

Pure arithmetic on the block grid. For X W a block takes its rows' columns of X and gives its columns of Y; for
Y W^T it is the other way round.
"""

from dataclasses import dataclass

from compute.partition import Block, BlockGrid
from node.work import PartOutput, ShardBlock
from protocol.messages import ManifestHead

VALUE_BYTES = 4
PIECE_MACS_MIN = 2 * 1024 * 1024
"""Two blocks for one row of X, about a millisecond: with less, waking a second thread costs what it saves."""


def is_analog(head: ManifestHead, *, exact: bool = False) -> bool:
    """Whether products by these weights are done on simulated arrays, whose speed is not that of plain arithmetic."""
    return head.backend != "digital" and not exact


def threads_worth(outputs: int, macs: int, workers: int) -> int:
    """On how many of a node's workers a shard runs: no two of them add to the same output."""
    return max(1, min(workers, outputs, macs // PIECE_MACS_MIN))


@dataclass(frozen=True, slots=True)
class Sides:
    """The grid as one product sees it."""

    grid: BlockGrid
    transpose: bool

    @property
    def width_in(self) -> int:
        return self.grid.columns if self.transpose else self.grid.rows

    @property
    def width_out(self) -> int:
        return self.grid.rows if self.transpose else self.grid.columns

    def inputs(self, block: Block) -> tuple[int, int]:
        """[start, stop) of the columns of X that the block takes."""
        if self.transpose:
            return self.grid.column_span(block.column)
        return self.grid.row_span(block.row)

    def outputs(self, block: Block) -> tuple[int, int]:
        """[start, stop) of the columns of the answer that the block adds to."""
        if self.transpose:
            return self.grid.row_span(block.row)
        return self.grid.column_span(block.column)

    def macs(self, block: Block, m: int) -> int:
        rows, columns = self.grid.shape(block)
        return m * rows * columns


@dataclass(frozen=True, slots=True)
class Layout:
    """One shard: its blocks, the packed input and the packed partial outputs, for m rows."""

    blocks: tuple[Block, ...]
    spans: tuple[tuple[int, int], ...]
    """Columns of X to pack, ascending."""
    packed_width: int
    shard_blocks: tuple[ShardBlock, ...]
    """Against the packed input."""
    outputs: tuple[PartOutput, ...]
    output_values: int

    @property
    def output_bytes(self) -> int:
        return self.output_values * VALUE_BYTES


def lay_out(sides: Sides, blocks: tuple[Block, ...], m: int, *, separate: bool) -> Layout:
    """Where everything lies. With `separate` each block keeps an output of its own, in the order given."""
    taken = [sides.inputs(block) for block in blocks]
    given = [sides.outputs(block) for block in blocks]
    spans = sorted(set(taken))
    input_at: dict[tuple[int, int], int] = {}
    packed = 0
    for start, stop in spans:
        input_at[start, stop] = packed
        packed += stop - start
    outputs = _in_a_row(given if separate else sorted(set(given)), m)
    by_start = {output.start: output for output in outputs}
    own = outputs if separate else [by_start[start] for start, _ in given]
    shard_blocks = [
        ShardBlock(
            block=(block.row, block.column),
            input_start=input_at[span],
            input_width=span[1] - span[0],
            output_offset=output.offset,
            output_width=output.width,
        )
        for block, span, output in zip(blocks, taken, own, strict=True)
    ]
    values = m * sum(output.width for output in outputs)
    return Layout(blocks, tuple(spans), packed, tuple(shard_blocks), tuple(outputs), values)


def _in_a_row(spans: list[tuple[int, int]], m: int) -> list[PartOutput]:
    """Partial outputs of m rows for these columns of the answer, one behind the other."""
    outputs: list[PartOutput] = []
    offset = 0
    for start, stop in spans:
        outputs.append(PartOutput(offset, start, stop - start))
        offset += m * (stop - start)
    return outputs
