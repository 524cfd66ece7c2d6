"""Dice that have no order: each throw is a function of what it is for, so nothing depends on who throws first.

A throw is named by a key (the seed, the block, what is being done), a row and a column. The bits are those of
SplitMix64 (Steele, Lea, Flood 2014): a 64-bit state for each row, one further step and one finaliser for each
word. So the same seed gives the same bits for any number of threads and any cut of the rows, in numpy and numba.

Normal values come from a table of 65,536 quantiles, each met by one 16-bit word: a few times faster than numpy's
generator. The tail ends at 4.32 standard deviations, and the variance is exactly one.
"""

import hashlib
import statistics
import sys
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from compute.partition import Matrix, Matrix64

Words = npt.NDArray[np.uint64]

GOLDEN = 0x9E3779B97F4A7C15
"""2^64 over the golden ratio: the step from word to word."""

MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB

QUANTILES = 1 << 16
LANES = 4
"""Throws of 16 bits in a word of 64."""

PANEL = 1 << 16
"""So many values are made at once: their words stay in the second cache."""

assert sys.byteorder == "little", "the lanes of a word are read in little-endian order"


def stream_key(*what: object) -> int:
    """64 bits that name a source of chance by what is being done: (seed, block, "program"), say."""
    text = "\x1f".join(str(part) for part in what)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def rows_of(first: int, count: int) -> Words:
    """Names of `count` rows from `first` on."""
    return np.arange(first, first + count, dtype=np.uint64)


def row_states(key: int | Words, rows: Words) -> Words:
    """(rows,), where the words of each row begin; several keys broadcast against the rows."""
    return _mixed(rows * np.uint64(GOLDEN) + np.asarray(key, np.uint64))


def words(key: int, rows: Words, count: int) -> Words:
    """(rows, count) independent 64-bit words."""
    mixed = np.empty((len(rows), count), np.uint64)
    _fill_words(row_states(key, rows), mixed, np.empty_like(mixed))
    return mixed


def lanes(key: int, rows: Words, columns: int) -> npt.NDArray[np.uint16]:
    """(rows, columns) independent 16-bit words."""
    return words(key, rows, -(-columns // LANES)).view(np.uint16)[:, :columns]


def normal(key: int, rows: Words, columns: int, out: Matrix | None = None) -> Matrix:
    """(rows, columns) standard normal values, float32; into `out`, if it is given."""
    values = np.empty((len(rows), columns), np.float32) if out is None else out
    fill_normal(row_states(key, rows), values)
    return values


def fill_normal(states: Words, out: Matrix) -> None:
    """Fill out (rows, columns) with the standard normal values of the rows that begin at `states` (rows,)."""
    rows, columns = out.shape
    panel = max(1, PANEL // max(1, columns))
    mixed, spare = np.empty((2, min(panel, rows), -(-columns // LANES)), np.uint64)
    table = normal_table()
    for start in range(0, rows, panel):
        part = out[start : start + panel]
        _fill_words(states[start : start + panel], mixed[: len(part)], spare[: len(part)])
        lanes = mixed.view(np.uint16)[: len(part), :columns]
        # wrap: every index is valid, so nothing is checked, and numpy makes no copy of the output
        table.take(lanes, out=part, mode="wrap")


def uniform(key: int, rows: Words, columns: int) -> Matrix64:
    """(rows, columns) values in (0, 1) with 52 bits, float64; neither end is ever met."""
    scaled = (words(key, rows, columns) >> np.uint64(12)).astype(np.float64)
    scaled += 0.5
    scaled *= 2.0**-52
    return scaled


@lru_cache(maxsize=1)
def normal_table() -> Matrix:
    """The middle of each 65,536th part of a standard normal law, scaled to variance one."""
    quantile = statistics.NormalDist().inv_cdf
    half = QUANTILES // 2
    upper = np.array([quantile(0.5 + (at + 0.5) / QUANTILES) for at in range(half)])
    table = np.concatenate((-upper[::-1], upper))
    scaled: Matrix = (table / np.sqrt(np.mean(table**2))).astype(np.float32)
    scaled.flags.writeable = False
    return scaled


def _fill_words(states: Words, mixed: Words, spare: Words) -> None:
    """mixed (..., count) becomes the words of the rows that begin at `states` (...)."""
    steps = rows_of(1, mixed.shape[-1]) * np.uint64(GOLDEN)
    np.add(states[..., None], steps, out=mixed)
    _mix(mixed, spare)


def _mixed(state: Words) -> Words:
    _mix(state, np.empty_like(state))
    return state


def _mix(state: Words, spare: Words) -> None:
    """SplitMix64's finaliser; in place."""
    for shift, factor in ((30, MIX_1), (27, MIX_2), (31, None)):
        np.right_shift(state, np.uint64(shift), out=spare)
        np.bitwise_xor(state, spare, out=state)
        if factor is not None:
            np.multiply(state, np.uint64(factor), out=state)
