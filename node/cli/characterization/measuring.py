"""Writes random weights into arrays of a kind of cell, multiplies by them under ever closer tolerances, and measures.

The exact product is taken in float64.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compute.analog import AnalogMatrix
from compute.answer import AnalogResult
from compute.device import DeviceModel
from compute.partition import Matrix, Matrix64
from compute.programmed import ProgrammedBlock
from compute.rram import Rram
from compute.strips import StripCells
from node.cli.characterization import law
from node.cli.characterization.findings import Certified, Findings, Raw, Wired, Written
from node.cli.characterization.law import Histogram
from node.cli.characterization.tile import Tile, first_strip, first_tile, seen
from node.cli.normal import normal_inputs, normal_weights

RTOLS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
REACH = 5.0
"""Standard deviations to which histograms go."""

SOUND, SPOILT, SEEN = (
    "sound pairs, as written",
    "pairs with a stuck cell",
    "all, as products see them",
)
RAW = "outputs"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Chip:
    """Which arrays are looked at, and with what."""

    device: DeviceModel
    seed: int
    shape: tuple[int, int]
    tile_side: int
    rows: int
    age_s: float


@dataclass(frozen=True, slots=True)
class Characterization:
    findings: Findings
    tile: Tile | None
    """None where weights stand in the arrays as they are: an exact device has no window to fit them into."""
    off: Matrix | None
    """What the first tile's pairs are off by at the edge of the arrays, in shares of the window, by weight."""
    pairs: Histogram | None
    """Errors of the first tile's pairs, in uS."""
    outputs: Histogram
    """Errors of the raw product's outputs, in units of a typical output."""


def characterize(chip: Chip, tell: Tell) -> Characterization:
    """`tell` is told what is done next."""
    weights = normal_weights(chip.seed, chip.shape)
    x = normal_inputs(chip.seed, chip.rows, chip.shape[0])
    exact = x.astype(np.float64) @ weights.astype(np.float64)
    tell("writing the arrays")
    matrix = AnalogMatrix(weights, chip.device, tile=chip.tile_side, seed=chip.seed)
    (fresh,) = matrix.blocks.values()
    if chip.age_s:
        matrix.age(chip.age_s)
    (block,) = matrix.blocks.values()
    strip = (
        None if chip.device.is_exact else first_strip(weights, chip.device, block.key, block.arrays)
    )
    tile = None if strip is None else first_tile(strip, chip.device)
    tell("the raw product")
    raw, outputs = _raw(chip, matrix, block, x, exact)
    products = []
    for rtol in RTOLS:
        tell(f"the product within {rtol:g}")
        products.append(_certified(matrix, x, exact, rtol))
    window = chip.device.window
    findings = Findings(
        device=chip.device.name,
        seed=chip.seed,
        shape=chip.shape,
        tile_side=chip.tile_side,
        rows=chip.rows,
        age_s=chip.age_s,
        window_us=(window.g_min_us, window.g_max_us),
        written=_written(fresh, block),
        wires=_wired(tile),
        raw=raw,
        products=tuple(products),
        costs=chip.device.costs.source,
    )
    off = None if strip is None else _off(strip, chip.device, block)
    pairs = None if strip is None or off is None else _pairs(strip, off, chip)
    return Characterization(findings, tile, off, pairs, outputs)


def _written(fresh: ProgrammedBlock, block: ProgrammedBlock) -> Written:
    """What writing took is told of the fresh arrays; how well they are, at their age."""
    took, health = fresh.written, block.health
    cells, stuck = int(health.cells.sum()), int(health.stuck.sum())
    pulsed = max(cells - stuck, 1)
    verified = block.device.writing.acceptance_us is not None and stuck < cells
    sigma = np.sqrt(np.average(np.square(health.write_sigma), weights=health.cells))
    return Written(
        cells=cells,
        pulses_per_cell=took.pulses / pulsed,
        accepted_share=1.0 - took.unwritten / pulsed if verified else None,
        stuck_share=stuck / cells,
        sigma_share=float(sigma),
        tiles=health.healthy.size,
        healthy_tiles=int(np.count_nonzero(health.healthy)),
        digital_share=block.digital_share(1),
        energy_uj=took.energy_pj * 1e-6,
        time_ms=took.time_ns * 1e-6,
    )


def _wired(tile: Tile | None) -> Wired | None:
    if tile is None or tile.left is None:
        return None
    return Wired(median_share=float(np.median(tile.left)), least_share=float(tile.left.min()))


def _raw(
    chip: Chip, matrix: AnalogMatrix, block: ProgrammedBlock, x: Matrix, exact: Matrix64
) -> tuple[Raw, Histogram]:
    """Every array read once, and the errors in units of a typical output."""
    result = matrix.matmul(x, draw=0)
    certificate, norm = result.certificate, float(np.linalg.norm(exact))
    planned = Rram(chip.device, chip.seed).multiply(
        block, x, transpose=False, share=None, x_key=0, digital=tuple
    )
    predicted = planned.error_rms_estimate / norm
    errors = (result.value - exact).ravel() * (math.sqrt(exact.size) / norm)
    edges = law.bins_over(errors, REACH)
    moments = law.Moments(np.zeros(1), np.full(1, predicted))
    raw = Raw(
        error=_relative(result, exact),
        predicted_error=predicted,
        bound=certificate.bound,
        pj_per_mac=result.report.arrays_j * 1e12 / result.report.analog_macs,
        latency_us_per_row=certificate.latency_s * 1e6 / len(x),
    )
    # An exact device has no law: what is left is float32's rounding.
    predicted_shares = law.normal_shares(moments, edges) if predicted else np.zeros(law.BINS)
    drawn = Histogram(edges, {RAW: law.shares(errors, edges)}, predicted_shares)
    return raw, drawn


def _certified(matrix: AnalogMatrix, x: Matrix, exact: Matrix64, rtol: float) -> Certified:
    result: AnalogResult = matrix.matmul(x, rtol)
    certificate, report = result.certificate, result.report
    macs = report.analog_macs
    (block,) = matrix.blocks.values()
    return Certified(
        rtol=rtol,
        error=_relative(result, exact),
        bound=certificate.bound,
        within=report.within,
        regime=certificate.regime,
        analog_fraction=certificate.analog_fraction,
        slices=block.arrays.slices,
        pj_per_mac=report.arrays_j * 1e12 / macs if macs else None,
        latency_us_per_row=certificate.latency_s * 1e6 / len(x) if macs else None,
        rows_redone=report.rows_redone,
        rows_digital=report.rows_digital,
    )


def _relative(result: AnalogResult, exact: Matrix64) -> float:
    return float(np.linalg.norm(result.value - exact) / np.linalg.norm(exact))


def _off(strip: StripCells, device: DeviceModel, block: ProgrammedBlock) -> Matrix:
    """(h, n) in shares of the window, once the column's gain has taken out what its errors have in common."""
    gain = block.slices[0][0].scale / strip.scale
    return seen(strip, device) * gain - strip.wanted


def _pairs(strip: StripCells, off: Matrix, chip: Chip) -> Histogram:
    """Of the first tile, in uS."""
    tile = (slice(None), slice(0, chip.tile_side))
    width_us = np.float64(chip.device.window.width_us)
    held = (strip.held[0] - strip.held[1] - strip.wanted)[tile] * width_us
    spoilt = np.zeros(held.shape, np.bool_)
    if strip.found is not None:
        spoilt = (strip.found != 0).any(axis=0)[tile]
    at_edge = off[tile].ravel() * width_us
    sound = held[~spoilt]
    edges = law.bins_over(at_edge if not len(sound) else sound, REACH)
    named = {SOUND: law.shares(sound, edges)}
    if spoilt.any():
        named[SPOILT] = law.shares(held[spoilt], edges)
    named[SEEN] = law.shares(at_edge, edges)
    targets = strip.targets[:, *tile][:, ~spoilt]
    moments = law.pair_errors(targets, strip.wanted[tile][~spoilt], chip.device, chip.age_s)
    return Histogram(edges, named, law.normal_shares(moments, edges))
