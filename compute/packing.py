"""Where the parts of blocks that fill no array of their own lie: they share arrays.

A block is cut at multiples of the array's side. What is left at its bottom and right is laid into shared arrays side
by side and one below the other, the high pieces first, each into the lowest gap that is high enough. All gaps reach
down to the last row of their array, so that the filled part of an array has a skyline.

A piece may be cut further. Between columns that costs no conversion: each column is still summed in one array. Between
rows it does, as both partial sums pass the ADC, so rows are cut only when the arrays that may be taken are all open.
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from compute.partition import spans

FILL = 0.99
"""Share of cells used below which rows are cut to save an array."""


class Piece(NamedTuple):
    """Part of a block; the largest come first in a heap's order."""

    height_negative: int
    width_negative: int
    block: int
    row: int
    column: int

    @property
    def height(self) -> int:
        return -self.height_negative

    @property
    def width(self) -> int:
        return -self.width_negative


class Placement(NamedTuple):
    """Part of a block and where it lies."""

    block: int
    row: int
    column: int
    height: int
    width: int
    array: int
    top: int
    left: int

    @property
    def in_block(self) -> tuple[slice, slice]:
        return slice(self.row, self.row + self.height), slice(self.column, self.column + self.width)

    @property
    def in_array(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True, slots=True)
class Packing:
    """All cells of all blocks, each in one place."""

    side: int
    arrays: int
    placements: tuple[Placement, ...]

    @property
    def utilisation(self) -> float:
        """Cells used over cells of the arrays."""
        used = sum(part.height * part.width for part in self.placements)
        return used / (self.arrays * self.side**2) if self.arrays else 1.0

    @property
    def conversions(self) -> int:
        """Column sums to convert when every block is read once."""
        return sum(part.width for part in self.placements)


class Gap(NamedTuple):
    """Free columns of an array, from some row down to its last."""

    array: int
    left: int
    width: int


def pack(shapes: Sequence[tuple[int, int]], side: int, fill: float = FILL) -> Packing:
    """Place blocks of these (rows, columns) on arrays of `side` x `side` cells.

    Takes the least number of arrays, or as many as leave `fill` of their cells used where those are more; with `fill`
    0 no row is ever cut. The same shapes give the same packing.
    """
    assert side >= 1 and 0.0 <= fill <= 1.0
    assert all(rows >= 1 and columns >= 1 for rows, columns in shapes)
    whole: list[Piece] = []
    shared: list[Piece] = []
    for piece in _cut(shapes, side):
        (whole if piece.height == piece.width == side else shared).append(piece)
    placements = [_placed(piece, side, side, array, 0, 0) for array, piece in enumerate(whole)]
    skyline = Skyline(side, len(whole), _arrays_max(shapes, side, fill))
    heapq.heapify(shared)
    while shared:
        placement, rest = skyline.place(heapq.heappop(shared))
        placements.append(placement)
        for piece in rest:
            heapq.heappush(shared, piece)
    return Packing(side, skyline.arrays, tuple(placements))


def conversions_min(shapes: Sequence[tuple[int, int]], side: int) -> int:
    """Column sums to convert when no row is cut but at multiples of the side."""
    return sum(-(-rows // side) * columns for rows, columns in shapes)


def _cut(shapes: Sequence[tuple[int, int]], side: int) -> Iterator[Piece]:
    for block, (rows, columns) in enumerate(shapes):
        for row, below in spans(rows, side):
            for column, right in spans(columns, side):
                yield Piece(row - below, column - right, block, row, column)


def _arrays_max(shapes: Sequence[tuple[int, int]], side: int, fill: float) -> float:
    cells = sum(rows * columns for rows, columns in shapes)
    if fill == 0.0:
        return math.inf
    return max(-(-cells // side**2), math.floor(cells / (fill * side**2)))


def _placed(piece: Piece, height: int, width: int, array: int, top: int, left: int) -> Placement:
    return Placement(piece.block, piece.row, piece.column, height, width, array, top, left)


@dataclass(slots=True)
class Skyline:
    """The gaps of all shared arrays, by height."""

    side: int
    arrays: int
    """Taken so far."""
    arrays_max: float
    gaps: defaultdict[int, list[Gap]] = field(default_factory=lambda: defaultdict(list))

    def place(self, piece: Piece) -> tuple[Placement, list[Piece]]:
        """As much of it as goes into the best gap, and what is left of it."""
        depth, gap = self._find(piece)
        self._remove(depth, gap)
        height, width = min(piece.height, depth), min(piece.width, gap.width)
        if width < gap.width:
            self._add(depth, Gap(gap.array, gap.left + width, gap.width - width))
        if height < depth:
            self._add(depth - height, Gap(gap.array, gap.left, width))
        top = self.side - depth
        return _placed(piece, height, width, gap.array, top, gap.left), _rest(piece, height, width)

    def _find(self, piece: Piece) -> tuple[int, Gap]:
        """The lowest and narrowest that takes it whole; else one as high; else a new array; else the highest."""
        depths = sorted(self.gaps)
        high_enough = [depth for depth in depths if depth >= piece.height]
        for depth in high_enough:
            wide_enough = [gap for gap in self.gaps[depth] if gap.width >= piece.width]
            if wide_enough:
                return depth, min(wide_enough, key=lambda gap: gap.width)
        if not high_enough and self.arrays < self.arrays_max:
            self.arrays += 1
            self.gaps[self.side].append(Gap(self.arrays - 1, 0, self.side))
            return self.side, self.gaps[self.side][-1]
        depth = high_enough[0] if high_enough else depths[-1]
        return depth, max(self.gaps[depth], key=lambda gap: gap.width)

    def _remove(self, depth: int, gap: Gap) -> None:
        self.gaps[depth].remove(gap)
        if not self.gaps[depth]:
            del self.gaps[depth]

    def _add(self, depth: int, gap: Gap) -> None:
        """Joined with its neighbours on either side, where they are as high."""
        for other in list(self.gaps[depth]):
            if other.array != gap.array:
                continue
            if other.left + other.width == gap.left or gap.left + gap.width == other.left:
                self.gaps[depth].remove(other)
                gap = Gap(gap.array, min(gap.left, other.left), gap.width + other.width)
        self.gaps[depth].append(gap)


def _rest(piece: Piece, height: int, width: int) -> list[Piece]:
    """What lies to the right of the first columns at full height, and below their first rows."""
    right = Piece(-piece.height, width - piece.width, piece.block, piece.row, piece.column + width)
    below = Piece(height - piece.height, -width, piece.block, piece.row + height, piece.column)
    return [part for part in (right, below) if part.height and part.width]
