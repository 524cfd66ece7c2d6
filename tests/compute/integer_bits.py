"""Integer products bit by bit: each cell, plane and conversion by itself. Slow; the law that `integer` has to keep.

Every cell of every slice is written once, with an error of its own that stays; each reading has new noise; the sum of
each group of driven lines is snapped, with the ends of the ADC cutting off what lies beyond.
"""

import numpy as np

from compute import chance
from compute.chance import Words, rows_of, stream_key
from compute.integer import input_codes
from compute.integer_law import IntegerPlan, adc_limit, largest
from compute.partition import Matrix, Matrix64


def multiply_bit_by_bit(
    x: Matrix,
    codes: Matrix,
    unit: Matrix64,
    plan: IntegerPlan,
    key: int,
    rows: Words,
    out: Matrix | Matrix64,
) -> None:
    """As `integer.multiply`. The same `key` means the same cells."""
    pairs = written_pairs(codes, plan, stream_key(key, "cells"))
    read_bit_by_bit(x, pairs, unit, plan, key, rows, out)


def read_bit_by_bit(
    x: Matrix,
    pairs: Matrix64,
    unit: Matrix64,
    plan: IntegerPlan,
    key: int,
    rows: Words,
    out: Matrix | Matrix64,
) -> None:
    """out += x times what (slices * copies, h, n) pairs hold, in steps of a digit."""
    inputs, step = input_codes(x, plan.input_bits)
    read_key = stream_key(key, "readings")
    value = np.zeros((len(x), pairs.shape[2]))
    for row in range(len(x)):
        for plane in range(plan.input_bits):
            driven = np.flatnonzero(np.abs(inputs[row]).astype(np.int64) >> plane & 1)
            if not driven.size:
                continue
            voltages = np.sign(inputs[row, driven])
            for array, cells in enumerate(pairs):
                significance = array // plan.copies * plan.cell_bits + plane
                currents = voltages[:, None] * cells[driven]
                dice = stream_key(read_key, array, plane)
                sums = _converted(currents, plan, significance, dice, rows[row : row + 1])
                value[row] += 2.0**significance * sums
    value *= step[:, None]
    value *= unit
    out += value


def digits(codes: Matrix, slices: int, cell_bits: int) -> Matrix64:
    """(slices, h, n), least significant first; each has the sign of its weight."""
    magnitudes = np.abs(codes).astype(np.int64)
    shifts = cell_bits * np.arange(slices)[:, None, None]
    return np.sign(codes) * (magnitudes >> shifts & largest(cell_bits)).astype(np.float64)


def written_pairs(codes: Matrix, plan: IntegerPlan, key: int) -> Matrix64:
    """(slices * copies, h, n), what each pair holds in steps of a digit, with the errors of writing both its cells.

    Of the copies of a digit one holds it, any of them, and the others hold zero.
    """
    wanted = digits(codes, plan.slices, plan.cell_bits).repeat(plan.copies, axis=0)
    arrays, inputs, outputs = wanted.shape
    rows = rows_of(0, plan.slices * inputs)
    place = plan.copies * chance.uniform(stream_key(key, "copies"), rows, outputs)
    copy = np.arange(arrays)[:, None, None] % plan.copies
    wanted[place.astype(np.intp).reshape(-1, inputs, outputs).repeat(plan.copies, 0) != copy] = 0.0
    errors = normal(key, rows_of(0, arrays * inputs), 2 * outputs)
    pairs = (errors[:, :outputs] - errors[:, outputs:]).reshape(wanted.shape)
    return wanted + largest(plan.cell_bits) * plan.noise.write * pairs


def normal(key: int, rows: Words, columns: int) -> Matrix64:
    """(rows, columns) standard normal values in float64 (Box and Muller), whose tails do not end at 4.3."""
    radius = np.sqrt(-2.0 * np.log(chance.uniform(stream_key(key, "radius"), rows, columns)))
    angle = chance.uniform(stream_key(key, "angle"), rows, columns)
    values: Matrix64 = radius * np.cos(2.0 * np.pi * angle)
    return values


def _converted(
    currents: Matrix64, plan: IntegerPlan, significance: int, key: int, row: Words
) -> Matrix64:
    """(n,), the sum over the groups of driven lines of (lines, n) currents, each snapped to a whole number."""
    rows_active, reads = plan.rows_active[significance], plan.reads[significance]
    starts = np.arange(0, len(currents), rows_active)
    sums = np.add.reduceat(currents, starts, axis=0)
    lines = np.diff(starts, append=len(currents))
    sd = largest(plan.cell_bits) * plan.noise.read * np.sqrt(2.0 * lines / reads)
    sums += sd[:, None] * normal(key, row, sums.size).reshape(sums.shape)
    limit = adc_limit(rows_active, plan.cell_bits)
    snapped: Matrix64 = np.clip(np.rint(sums), -limit, limit).sum(axis=0)
    return snapped
