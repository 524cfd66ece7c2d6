"""Chooses how a tile row is read as whole numbers: the cheapest way whose squared error stays within what is allowed.

The squared error that is to be expected has three parts, for scales c_j of the columns, peaks p_m of the rows of
inputs, and the largest codes q_w = 2^bits - 1 and q_x:

    weights rounded     ||X||^2 sum c_j^2 / (12 q_w^2)
    inputs rounded      sum p_m^2 ||W||^2 / (12 q_x^2), and more where they are rounded alike
    wrong conversions   sum_m p_m^2 sum_j c_j^2 / (q_w q_x)^2  sum_s 4^s N_ms

with N_ms wrong conversions of significance s to be expected for each output. A low significance may go wrong often:
for each one the lines driven at once and the readings integrated are chosen, by Lagrange's rule: the least of
energy + price x variance, at the lowest price at which all variances together fit.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from compute.device import DeviceModel
from compute.energy import Spent
from compute.integer import Driven, driven_of, input_codes, lines_of
from compute.integer_law import (
    CELL_BITS_MAX,
    MAGNITUDE_BITS_MAX,
    CellNoise,
    IntegerPlan,
    largest,
    slices_of,
)
from compute.integer_ways import Options, group_cost, groups_of, options_of
from compute.partition import TILE_SIDE, Matrix, Matrix64

STEADY_PART = 0.6
"""Of what rounding leaves, so much is planned for wrong conversions, where that will do: a few large ones make single
products vary."""

SPARE_BITS = 2
"""So many bits more than rounding alone would ask for are tried, of weights and of inputs."""

COMMON_MIN = 4.0
"""Times what chance gives: with less of the weights in their columns' means, inputs' rounding is as good as random."""

IN_STEP_ROWS = 8
"""Rows of X that are looked at for it."""

PRICES = (1e-6, 1e15)
"""Between these the price of the whole variance allowed is sought, in multiples of the least energy of any plan."""

PRICE_STEPS = 15

LEAST_PJ = 1e-30
"""In place of no energy at all, where no line is driven."""


Chosen = tuple[npt.NDArray[np.intp], float]
"""(significances,), which of the ways of Options is taken; how much of the variance they use."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is known of inputs and weights before they are multiplied; adds up over tile rows."""

    outputs: int
    rows: int
    rounded_weights: float
    """||X||^2 sum c_j^2"""
    rounded_inputs: float
    """sum p_m^2 ||W||^2"""
    driven: Driven
    """Of all MAGNITUDE_BITS_MAX planes: how often so many lines are driven."""
    weighed: Driven
    """The same, each row of inputs counted p_m^2 sum c_j^2 times."""
    in_step: Matrix64
    """(MAGNITUDE_BITS_MAX + 1,), by bits of the inputs: what their rounding adds beyond chance."""

    @property
    def tile_side(self) -> int:
        lines: int = self.driven.shape[1] - 1
        return lines

    def __add__(self, other: Self) -> "Load":
        """Of two tile rows of one block."""
        assert (self.outputs, self.rows) == (other.outputs, other.rows)
        return Load(
            self.outputs,
            self.rows,
            self.rounded_weights + other.rounded_weights,
            self.rounded_inputs + other.rounded_inputs,
            self.driven + other.driven,
            self.weighed + other.weighed,
            self.in_step + other.in_step,
        )


def load_of(
    x: Matrix,
    weight_energy: float,
    scale: Matrix,
    tile_side: int = TILE_SIDE,
    common: float = 0.0,
) -> Load:
    """Of x (M, h) on the h <= tile side lines of a tile row with ||W||^2 and column scales (n,).

    `common`: the share of ||W||^2 that is in the means of its columns (`Response.common`).
    """
    lines = lines_of(input_codes(x, MAGNITUDE_BITS_MAX)[0], MAGNITUDE_BITS_MAX)
    peaks = np.abs(x).max(axis=1).astype(np.float64) ** 2
    scales = float(np.sum(scale.astype(np.float64) ** 2))
    return Load(
        outputs=len(scale),
        rows=len(x),
        rounded_weights=float(np.einsum("ij,ij->", x, x, dtype=np.float64)) * scales,
        rounded_inputs=float(peaks.sum()) * weight_energy,
        driven=driven_of(lines, tile_side=tile_side),
        weighed=driven_of(lines, peaks * scales, tile_side),
        in_step=_in_step(x, weight_energy, common),
    )


def _in_step(x: Matrix, weight_energy: float, common: float) -> Matrix64:
    """Inputs that are rounded alike add up on weights of one sign: with r_i what is left of an input, in steps,
    (sum r)^2 common + (sum r^2 - (sum r)^2 / h) (1 - common), in place of h / 12, each times ||W||^2 / h.
    """
    lines = x.shape[1]
    beyond = np.zeros(MAGNITUDE_BITS_MAX + 1)
    rows = x[:: -(-len(x) // IN_STEP_ROWS)].astype(np.float64)
    peaks = np.abs(rows).max(axis=1, keepdims=True)
    if common * lines < COMMON_MIN or not peaks.any():
        return beyond
    bits = np.arange(1, MAGNITUDE_BITS_MAX + 1)
    levels = (2.0**bits - 1.0)[:, None, None]
    codes = np.divide(rows, peaks, out=np.zeros_like(rows), where=peaks > 0.0) * levels
    rest = codes - np.rint(codes)
    sums, energies = rest.sum(axis=2) ** 2, np.einsum("bmi,bmi->bm", rest, rest)
    expected = sums * common + np.maximum(energies - sums / lines, 0.0) * (1.0 - common)
    squares = np.square(peaks[:, 0])
    whole = float(np.sum(np.square(np.abs(x).max(axis=1), dtype=np.float64)))
    more = (expected - lines / 12.0) @ squares * (whole / float(squares.sum()))
    beyond[1:] = np.maximum(more, 0.0) / levels[:, 0, 0] ** 2 * (weight_energy / lines)
    return beyond


def plan(
    load: Load,
    noise: CellNoise,
    device: DeviceModel,
    allowed: float,
    weight_bits: int | None = None,
    cell_bits: int | None = None,
    copies: int = 1,
) -> IntegerPlan | None:
    """The least energy, then the least latency, within `allowed` ||error||_F^2; None where nothing keeps it.

    Weights that are written already come with their `weight_bits` and `cell_bits`. With `copies` each digit is in so
    many arrays, all of which are read, and err.
    """
    for part in (STEADY_PART, 1.0):
        found = _plan(load, noise, device, allowed, weight_bits, cell_bits, copies, part)
        if found is not None:
            return found
    return None


def _plan(
    load: Load,
    noise: CellNoise,
    device: DeviceModel,
    allowed: float,
    weight_bits: int | None,
    cell_bits: int | None,
    copies: int,
    part: float,
) -> IntegerPlan | None:
    """`part` of what rounding leaves may go to wrong conversions."""
    best: IntegerPlan | None = None
    for cells in (cell_bits,) if cell_bits else range(1, CELL_BITS_MAX + 1):
        options = options_of(noise, device, cells, load.outputs, load.tile_side)
        if options is None:
            continue
        energy = copies * (load.driven @ options.energy_pj)
        errors = copies * (load.weighed @ options.errors)
        for weights, inputs in _bits(load, allowed, weight_bits):
            left = part * (allowed - _rounding(load, weights, inputs))
            job = _Job(weights, inputs, copies, energy, errors, left)
            chosen = _cheapest(job, options, math.inf if best is None else best.spent.energy_pj)
            if chosen is not None:
                found = _planned(job, options, chosen, load, device)
                if best is None or _cost(found) < _cost(best):
                    best = found
    return best


def spent_on(plan: IntegerPlan, driven: Driven, device: DeviceModel, outputs: int) -> Spent:
    """What a product took that drove so many lines so often.

    Slices and copies are arrays of their own and go side by side; the planes of a slice follow each other.
    """
    ways = list(zip(plan.rows_active, plan.reads, strict=True))
    once = [group_cost(device, outputs, plan.cell_bits, *way, plan.tile_side) for way in ways]
    groups = driven @ np.stack([groups_of(rows, plan.tile_side) for rows, _ in ways], axis=1)
    planes = np.arange(len(driven))
    at = planes + plan.cell_bits * np.arange(plan.slices)[:, None]
    settled = groups[planes, at]
    return Spent(
        reads=plan.copies
        * round(float(np.sum(settled * np.array([each.reads for each in once])[at]))),
        energy_pj=plan.copies
        * float(np.sum(settled * np.array([each.energy_pj for each in once])[at])),
        latency_ns=float(
            np.sum(settled * np.array([each.latency_ns for each in once])[at], axis=1).max()
        ),
    )


def _cost(plan: IntegerPlan) -> tuple[float, float]:
    return plan.spent.energy_pj, plan.spent.latency_ns


def _bits(load: Load, allowed: float, weight_bits: int | None) -> Iterator[tuple[int, int]]:
    """Bits of weights and of inputs at which rounding alone stays within what is allowed."""
    first_weights = weight_bits or _bits_for(load.rounded_weights, allowed)
    last_weights = weight_bits or min(first_weights + SPARE_BITS, MAGNITUDE_BITS_MAX)
    first_inputs = _bits_for(load.rounded_inputs, allowed)
    while first_inputs <= MAGNITUDE_BITS_MAX and _inputs_rounded(load, first_inputs) >= allowed:
        first_inputs += 1
    last_inputs = min(first_inputs + SPARE_BITS, MAGNITUDE_BITS_MAX)
    for weights in range(first_weights, last_weights + 1):
        for inputs in range(first_inputs, last_inputs + 1):
            if _rounding(load, weights, inputs) < allowed:
                yield weights, inputs


def _bits_for(energy: float, allowed: float) -> int:
    """The fewest bits with energy / (12 (2^bits - 1)^2) < allowed; more than the most where none suffice."""
    if not energy > 0.0:
        return 1
    if not allowed > 0.0:
        return MAGNITUDE_BITS_MAX + 1
    return max(1, math.ceil(math.log2(math.sqrt(energy / (12.0 * allowed)) + 1.0)))


def _rounding(load: Load, weight_bits: int, input_bits: int) -> float:
    weights = load.rounded_weights / largest(weight_bits) ** 2 / 12.0
    return weights + _inputs_rounded(load, input_bits)


def _inputs_rounded(load: Load, bits: int) -> float:
    return float(load.rounded_inputs / largest(bits) ** 2 / 12.0 + load.in_step[bits])


class _Job(NamedTuple):
    """What is to be read with so many bits."""

    weight_bits: int
    input_bits: int
    copies: int
    energy_pj: Matrix64
    """(MAGNITUDE_BITS_MAX planes, ways), of one slice."""
    errors: Matrix64
    """(MAGNITUDE_BITS_MAX planes, ways), of one slice: wrong conversions, weighed like Load.weighed."""
    allowed: float
    """Variance for wrong conversions."""


def _cheapest(job: _Job, options: Options, below_pj: float) -> Chosen | None:
    """How each significance is read at least energy; None where nothing is good enough, or all take more."""
    top = slice(MAGNITUDE_BITS_MAX - job.input_bits, None)
    slices = slices_of(job.weight_bits, options.cell_bits)
    energy = _by_significance(job.energy_pj[top], slices, options.cell_bits)
    if float(energy.min(axis=1).sum()) > below_pj:
        return None
    errors = _by_significance(job.errors[top], slices, options.cell_bits)
    step = 1.0 / (largest(job.weight_bits) * largest(job.input_bits))
    share = errors * (step * 2.0 ** np.arange(len(errors)))[:, None] ** 2 / job.allowed
    chosen = _least(energy, share)
    if chosen is None or float(energy[np.arange(len(energy)), chosen[0]].sum()) > below_pj:
        return None
    return chosen


def _planned(
    job: _Job, options: Options, chosen: Chosen, load: Load, device: DeviceModel
) -> IntegerPlan:
    ways, used = chosen
    read = [options.ways[way] for way in ways]
    found = IntegerPlan(
        job.weight_bits,
        job.input_bits,
        options.cell_bits,
        rows_active=tuple(rows for rows, _ in read),
        reads=tuple(reads for _, reads in read),
        noise=options.noise,
        copies=job.copies,
        tile_side=load.tile_side,
    )
    driven = load.driven[MAGNITUDE_BITS_MAX - job.input_bits :]
    spent = spent_on(found, driven, device, load.outputs)
    rounding = _rounding(load, job.weight_bits, job.input_bits)
    return replace(found, variance=rounding + used * job.allowed, spent=spent)


def _by_significance(by_plane: Matrix64, slices: int, cell_bits: int) -> Matrix64:
    """(planes, ways) of each slice, added up where slice and plane have the same significance."""
    added: Matrix64 = _meeting(len(by_plane), slices, cell_bits) @ by_plane
    return added


@lru_cache(maxsize=256)
def _meeting(planes: int, slices: int, cell_bits: int) -> Matrix64:
    """(significances, planes), 1 where a slice and this plane have this significance."""
    met = np.zeros(((slices - 1) * cell_bits + planes, planes))
    plane = np.arange(planes)
    for slice_ in range(slices):
        met[slice_ * cell_bits + plane, plane] = 1.0
    return met


def _least(energy: Matrix64, share: Matrix64) -> Chosen | None:
    """Ways of the least energy whose shares of the variance add up to 1 at most; None where the best go beyond."""
    each = np.arange(len(energy))
    chosen: Chosen | None = None
    low, high = (math.log(edge * float(energy.min(axis=1).sum()) + LEAST_PJ) for edge in PRICES)
    for _ in range(PRICE_STEPS):
        price = high if chosen is None else (low + high) / 2.0
        ways = np.argmin(energy + math.exp(price) * share, axis=1)
        used = float(share[each, ways].sum())
        if used <= 1.0:
            chosen, high = (ways, used), price
        elif chosen is None:
            return None
        else:
            low = price
    return chosen
