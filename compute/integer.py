"""Integer products from noisy arrays: exact unless an error event strikes, and then off by one known step.

A weight is a whole number of sign and magnitude, cut into *slices* of `cell_bits`; each slice is an array of pairs
of its own, its digits on the plus cell or the minus cell by the weight's sign. Inputs are whole numbers too, and
are streamed one bit of their magnitude after the other (*planes*). Word lines can be driven both ways, so a bit
carries its input's sign: a second pass for negative inputs would double the readings, and nothing else would be
gained, for the sums of pairs have two signs anyway. Word lines whose bit is zero are skipped, and of the others
`rows_active` at once are driven. Then the current of a column is a whole number of steps, and the ADC snaps it.

Simulating each conversion would take one matrix product for each slice, plane and group of lines, thousands in all.
`multiply` takes one, exact in float64 as |sum| < 2^7 2^23 2^23 = 2^53 for 128 lines (sums of more are rounded once they
pass that, to 53 bits), and adds what the conversions would have got wrong (`compute/integer_law.py`).
"""

import math

import numpy as np
import numpy.typing as npt

from compute import chance
from compute.chance import Words, stream_key
from compute.integer_law import IntegerPlan, error_law, largest
from compute.partition import TILE_SIDE, Matrix, Matrix64, spans

ARRIVALS_MAX = 64.0
"""Up to so many events to be expected are counted one by one."""

EXACT_LINES = 128
"""So many are added up at once: their sums are exact, and the counts of their bits fit into bytes."""

PANEL_ROWS = 64
"""Rows worked at once: their outputs and errors stay in the cache."""

NEVER = 1e100
"""Steps of a weight where the scale is zero: too many for any weight but zero."""

Indices = npt.NDArray[np.intp]

Lines = npt.NDArray[np.intp]
"""(M, planes), how many word lines have a bit in each plane of each row of inputs; least significant plane first."""

Driven = Matrix64
"""(planes, tile side + 1), in how many rows of inputs so many word lines have a bit in this plane."""


def weight_codes(weights: Matrix, scale: Matrix, bits: int) -> tuple[Matrix, Matrix64]:
    """Whole numbers (h, n), as float32, which holds them exactly, and what one step is worth (n,).

    `scale` is the weight that the largest number stands for, not below any weight of its column.
    """
    unit = scale.astype(np.float64) / largest(bits)
    steps = np.divide(1.0, unit, out=np.full(len(unit), NEVER), where=unit > 0.0)
    codes = np.empty(weights.shape, np.float32)
    for start, stop in spans(len(weights), PANEL_ROWS):
        exact = weights[start:stop] * steps
        np.rint(exact, out=exact)
        if exact.size and max(exact.max(), -exact.min()) > largest(bits):
            row, column = np.argwhere(np.abs(exact) > largest(bits))[0]
            raise ValueError(
                f"weight {weights[start + row, column]:g} at row {start + row}, column {column} "
                f"lies beyond the column's scale of {scale[column]:g}"
            )
        codes[start:stop] = exact
    return codes, unit


def input_codes(x: Matrix, bits: int) -> tuple[Matrix64, Matrix64]:
    """Whole numbers (M, h), and what one step is worth (M,): each row has its largest magnitude as scale."""
    peak = np.maximum(x.max(axis=1), -x.min(axis=1)).astype(np.float64)
    step = np.where(peak > 0.0, peak / largest(bits), 1.0)
    codes = x / step[:, None]
    return np.rint(codes, out=codes), step


def lines_of(codes: Matrix64, bits: int) -> Lines:
    """Word lines with a bit in each plane, for each row of codes (M, h).

    Eight passes, not one for each plane: the bits j, j + 8, j + 16 of all lines add up side by side in the bytes
    of one word.
    """
    magnitudes = np.abs(codes).astype(np.uint32)
    lines = np.zeros((len(codes), 4, 8), np.intp)
    for start, stop in spans(codes.shape[1], EXACT_LINES):
        for shift in range(8):
            in_bytes = (magnitudes[:, start:stop] >> np.uint32(shift)) & np.uint32(0x01010101)
            counts = in_bytes.sum(axis=1, dtype=np.uint32)
            lines[:, :, shift] += counts.view(np.uint8).reshape(-1, 4)
    return lines.reshape(len(codes), 32)[:, :bits]


def driven_of(lines: Lines, weights: Matrix64 | None = None, tile_side: int = TILE_SIDE) -> Driven:
    """How often each plane has each number of lines; or the sum of `weights` (M,) over the rows that have it."""
    planes, counts_each = lines.shape[1], tile_side + 1
    places = lines + np.arange(planes) * counts_each
    each = None if weights is None else np.repeat(weights, planes)
    counts = np.bincount(places.ravel(), each, planes * counts_each).astype(np.float64)
    return counts.reshape(planes, counts_each)


def multiply(
    x: Matrix,
    codes: Matrix,
    unit: Matrix64,
    plan: IntegerPlan,
    key: int,
    rows: Words,
    out: Matrix | Matrix64,
) -> Driven:
    """out (M, n) += x (M, h) codes (h, n) unit (n,) as read from the arrays of one tile row, h at most plan.tile_side.

    `rows` (M,) names the rows of x for `key`: the same names give the same bits however a batch is cut. What was
    driven is returned, for `integer_plan.spent_on`. The other side of the same arrays is driven by
    `multiply(x * unit, codes.T, ones, ...)`.
    """
    wide = codes.astype(np.float64)
    driven = np.zeros((plan.input_bits, plan.tile_side + 1))
    for start, stop in spans(len(x), PANEL_ROWS):
        at = slice(start, stop)
        inputs, step = input_codes(x[at], plan.input_bits)
        value = _summed(inputs, wide)
        lines = lines_of(inputs, plan.input_bits)
        add_errors(value, lines, plan, key, rows[at])
        value *= step[:, None]
        value *= unit
        out[at] += value
        driven += driven_of(lines, tile_side=plan.tile_side)
    return driven


def _summed(inputs: Matrix64, codes: Matrix64) -> Matrix64:
    """inputs @ codes, with the same bits for any kernel and cut of the rows."""
    value = inputs[:, :EXACT_LINES] @ codes[:EXACT_LINES]
    for start, stop in spans(len(codes), EXACT_LINES):
        if start:
            value += inputs[:, start:stop] @ codes[start:stop]
    return value


def add_errors(value: Matrix64, lines: Lines, plan: IntegerPlan, key: int, rows: Words) -> None:
    """What wrong conversions add to exact whole numbers (M, n).

    Many small errors are one normal value with their variance, few large ones strike one by one. Their number is
    binomial in truth, and Poisson's here: the laws differ by at most the largest chance of an error.
    """
    law = error_law(plan)
    planes = np.arange(plan.input_bits)
    variance = law.many[planes, lines].sum(axis=1)
    if variance.any():
        normal = chance.normal(stream_key(key, "many"), rows, value.shape[1])
        value += normal * np.sqrt(variance)[:, None]
    if law.steps.size:
        rates = value.shape[1] * law.few[planes, lines].sum(axis=1)
        _add_strikes(value, rates, law.steps, stream_key(key, "few"), rows)


def _add_strikes(value: Matrix64, rates: Matrix64, steps: Matrix64, key: int, rows: Words) -> None:
    """Single errors strike a row of outputs with rates (M, steps): any output, up or down.

    A word tells each: 40 bits which step, 23 bits where, one bit the sign.
    """
    outputs = value.shape[1]
    ends = np.cumsum(rates, axis=1)
    counts = poisson(ends[:, -1], stream_key(key, "count"), rows)
    most = int(counts.max(initial=0))
    if most == 0:
        return
    words = chance.words(stream_key(key, "where"), rows, most)
    place = (words >> np.uint64(24)) * (ends[:, -1:] * 2.0**-40)
    which = np.zeros(place.shape, np.uint8)
    for end in ends.T[:-1]:
        beyond = place >= end[:, None]
        if not beyond.any():
            break
        which += beyond
    struck = np.arange(most) < counts[:, None]
    which += (words & np.uint64(1)).astype(np.uint8) * np.uint8(len(steps))
    step = np.concatenate((steps, -steps))[which[struck]]
    columns = (words >> np.uint64(1) & np.uint64(0x7FFFFF)) * np.uint64(outputs) >> np.uint64(23)
    places = np.arange(len(value))[:, None] * outputs + columns.astype(np.intp)
    np.add.at(value.reshape(-1), places[struck], step)


def poisson(rates: Matrix64, key: int, rows: Words) -> Indices:
    """(M,) numbers of events, as Poisson's law has them with rates (M,).

    Few are counted as they arrive. Many are a normal value bent as the law is bent (Cornish and Fisher): to the
    fourth moment nobody tells the two apart.
    """
    counts = np.zeros(len(rates), np.intp)
    few = rates <= ARRIVALS_MAX
    if few.any():
        counts[few] = _arrivals(rates[few], key, rows[few])
    if not few.all():
        many = rates[~few]
        z = chance.normal(stream_key(key, "normal"), rows[~few], 1)[:, 0]
        counts[~few] = np.rint(many + np.sqrt(many) * z + (z * z - 1.0) / 6.0)
    return counts


def _arrivals(rates: Matrix64, key: int, rows: Words) -> Indices:
    """How many events of a process of rate one come before (M,) `rates`."""
    most = float(rates.max(initial=0.0))
    count = int(most + 6.0 * math.sqrt(most)) + 2
    while True:
        times = np.cumsum(-np.log(chance.uniform(key, rows, count)), axis=1)
        if (times[:, -1] >= rates).all():
            counted: Indices = (times < rates[:, None]).sum(axis=1)
            return counted
        count *= 2
