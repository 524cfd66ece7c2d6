"""One product of one programmed block: planned from what its arrays were measured to be, then read, then completed."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from compute import rest
from compute.backend import Panels, Product
from compute.chance import stream_key
from compute.crossbar import energy_of, read_tile_row
from compute.energy import Spent, digital_pj, outliers_pj, reading
from compute.foresight import Foreseen, foresee
from compute.magnitude import exponent_of, scaled
from compute.partition import Matrix, Matrix64, spans
from compute.planner import VarianceBudget
from compute.programmed import Arrays, ProgrammedBlock
from compute.raw import read_all_once
from compute.regimes import AnalogPlan, Depths, plan_analog
from compute.rest import Item, Source

ROWS_AT_ONCE = 64
"""Rows of X driven in one pass: keeps what stands beside a block to about 4 MiB."""

FLOAT32_ROUNDING = 2.0**-21
"""An error that is allowed to be this part of the product, or less, takes digital sums in float64."""

WORTH_SLICING = 0.5
"""A slice that did not halve the squared error is followed by none: drift or the read-back is what is left."""

FEW_READINGS = 4.0
"""Where this many readings on average will do, nothing else is looked for."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How each tile row is worked."""

    analog: AnalogPlan | None
    items: tuple[Item, ...]
    """What is not read."""
    cost_pj: float
    """Energy, that of digital arithmetic included."""


@dataclass(slots=True)
class _Done:
    """What reading has come to."""

    spent: Spent = field(default_factory=Spent)
    variance: float = 0.0
    unread: list[Item] = field(default_factory=list)
    """Rows of X whose currents were such that no number of readings would do."""


class BlockProduct:
    """x (M, inputs) times the block from one side, under a share of the error or raw."""

    def __init__(
        self,
        block: ProgrammedBlock,
        x: Matrix,
        transpose: bool,
        share: float | None,
        x_key: int,
        first_row: int,
    ) -> None:
        x_exponent = exponent_of(x)
        self._exponent = x_exponent + block.exponent
        x = scaled(x, -x_exponent)
        self._block, self._x, self._transpose = block, x, transpose
        self._first_row = first_row
        self._variance = None if share is None else math.ldexp(share, -self._exponent) ** 2
        self._key = stream_key(block.key, "product", transpose, x_key)
        self._inputs, self.outputs = block.shape[::-1] if transpose else block.shape
        assert x.shape[1] == self._inputs
        self._tiles = list(spans(self._inputs, block.arrays.tile_side))
        squares = np.einsum("mi,mi->i", x, x, dtype=np.float64)
        starts = [start for start, _ in self._tiles]
        self._energies = np.add.reduceat(squares, starts).tolist()
        # ||X W||^2, if the rows of W had nothing to do with each other.
        self._size = sum(self._energies) * block.mean_square * self.outputs
        precise = self._variance is not None and self._variance < FLOAT32_ROUNDING**2 * self._size
        self._choice: Choice | None = None
        self._source = Source(block, x, transpose, self._key, first_row, precise)

    def add_to(self, value: Matrix, digital: Panels) -> Product:
        """Add the product to `value` (M, outputs)."""
        if self._exponent == 0 and self._block.exponent == 0:
            return self._add_to(value, digital)
        ordinary = np.zeros_like(value)
        product = self._add_to(ordinary, self._ordinary(digital))
        with np.errstate(over="ignore", invalid="ignore"):
            value += scaled(ordinary, self._exponent)
        error = product.error_rms_estimate * 2.0**self._exponent
        return replace(product, value=value, error_rms_estimate=error)

    def _ordinary(self, digital: Panels) -> Panels:
        """The weights as they were programmed."""
        return lambda: ((first, scaled(panel, -self._block.exponent)) for first, panel in digital())

    def _add_to(self, value: Matrix, digital: Panels) -> Product:
        if self._variance is None:
            return self._raw(value)
        choice = self.choose()
        done = _Done() if choice.analog is None else self._read(choice.analog, value)
        items = [*done.unread, *choice.items]
        worked = rest.work(self._source, items, digital, value) if items else Spent()
        return self._product(value, choice.analog, done, items, worked)

    # -- planning ------------------------------------------------------------------------------------

    def wanted(self, slices_max: int) -> Arrays:
        """The arrays, of so many slices at most, in which this product would take the least energy."""
        there = self._block.arrays
        if self._choice is None:
            self._choice = self._chosen(max(slices_max, there.slices))
        analog = self._choice.analog
        if analog is None or analog.depth <= there.slices:
            return there
        self._choice = None
        return replace(there, slices=analog.depth)

    def choose(self) -> Choice:
        """The cheapest way to keep the share with the arrays that are there."""
        if self._choice is None:
            self._choice = self._chosen(self._block.arrays.slices)
        return self._choice

    def _chosen(self, slices_max: int) -> Choice:
        """Either tile rows are read and averaged, and what cannot be is left over, or all are worked as integers.

        Slices that are not there yet are foreseen.
        """
        assert self._variance is not None
        busy = [tile for tile, energy in enumerate(self._energies) if energy > 0.0]
        if not self._variance > 0.0 or not self._size > 0.0:
            return self._leaving(None, busy)
        plan = plan_analog(self._depths(slices_max), self._energies, self._variance)
        if plan is None:
            return self._leaving(None, busy)
        read = self._leaving(plan, [tile for tile in busy if tile not in plan.tiles])
        if plan.energy_pj + plan.digital_pj <= FEW_READINGS * float(self._reading_pj().sum()):
            return read
        return min(read, self._leaving(None, busy), key=lambda choice: choice.cost_pj)

    def _leaving(self, plan: AnalogPlan | None, tiles: list[int]) -> Choice:
        """These tile rows are left over: integers where a plan keeps their part of the variance, else digital."""
        read_pj = plan.energy_pj + plan.digital_pj if plan else 0.0
        if not tiles:
            return Choice(plan, (), read_pj)
        assert self._variance is not None
        part = sum(self._energies[tile] for tile in tiles) / sum(self._energies)
        integers = rest.plan_integer(self._source, tiles, self._variance * part)
        items = tuple(Item(tile, 0, len(self._x), integers) for tile in tiles)
        cost_pj = read_pj + (integers.spent.energy_pj if integers else 0.0)
        return Choice(plan, items, cost_pj + sum(self._digital_pj(item) for item in items))

    def _digital_pj(self, item: Item) -> float:
        """Digital arithmetic has to fetch its weights, an array has them."""
        macs = self._digital_macs(item)
        weights = macs / (item.stop - item.start)
        return digital_pj(self._block.device, macs, weights, doubles=self._source.precise)

    def _outliers_pj(self, macs: float) -> float:
        """Of multiplications with outliers, each by all rows of X."""
        return outliers_pj(self._block.device, macs, macs / len(self._x))

    def _depths(self, slices_max: int) -> Depths:
        """Measured for the slices that are there; each further one shrinks the error by the same factor again."""
        there = min(len(self._block.slices), slices_max)
        wrong = [self._wrong(depth) for depth in range(1, there + 1)]
        foreseen = [self._foreseen(index, averaged=True) for index in range(there)]
        roots = [np.sum([np.sqrt(one.reading) for one in each], axis=0) for each in foreseen]
        before = self._size if there == 1 else float(wrong[-2].sum())
        shrinking = float(wrong[-1].sum()) / before if before > 0.0 else 0.0
        while len(wrong) < slices_max and 0.0 < shrinking < WORTH_SLICING:
            wrong.append(wrong[-1] * shrinking)
            roots.append(roots[-1] * math.sqrt(shrinking))
        return Depths(
            np.stack(wrong),
            np.cumsum(roots, axis=0) ** 2 * self._reading_pj(),
            self._reading_pj(settlings=2) * self._block.arrays.replicas,
            self._further_digital_pj(there, len(wrong)),
        )

    def _further_digital_pj(self, there: int, depths: int) -> Matrix64:
        """(depths, tile rows), pJ, of the outliers of further slices: counted, then foreseen.

        A stuck cell is placed where it harms nothing, as a rule, unless there is a second one: about their share's
        square is spoilt. Normal weights on `rram-wan2022`, a hundredth, a tenth, a fifth stuck: 0.7, 1.5, 1.0 of that.
        """
        shares = np.array([self._block.digital_share(1 + min(d, there - 1)) for d in range(depths)])
        shares += self._block.health.stuck_share_of_all**2 * np.maximum(
            np.arange(depths) - there + 1, 0
        )
        macs = [len(self._x) * (stop - start) * self.outputs for start, stop in self._tiles]
        return np.outer(shares - shares[0], [self._outliers_pj(one) for one in macs])

    def _wrong(self, depth: int) -> Matrix64:
        """(tile rows,), variance that writing left after so many slices.

        Inputs of one sign meet errors that tile rows have in common (a column's gain, say), and these add up in step:
        then more is left of the whole than of its parts.
        """
        each = np.array(
            [
                self._block.programming_variance(
                    self._x[:, start:stop], depth, self._transpose, slice(start, stop)
                )
                for start, stop in self._tiles
            ]
        )
        parts = float(each.sum())
        return each * max(1.0, self._wrong_in_all(depth) / parts) if parts > 0.0 else each

    def _wrong_in_all(self, depth: int) -> float:
        everything = slice(0, self._inputs)
        return self._block.programming_variance(self._x, depth, self._transpose, everything)

    def _foreseen(self, index: int, *, averaged: bool) -> list[Foreseen]:
        """By replica of this slice: what one reading varies by."""
        face = self._block.face(index + 1, self._transpose)
        sides = self._block.sides(index, self._transpose)
        return [foresee(face, side, self._x, averaged=averaged) for side in sides]

    def _reading_pj(self, settlings: int = 1) -> Matrix64:
        """(tile rows,), of converting all rows of X once; two settlings: the peak is looked for first."""
        device, outputs = self._block.device, self.outputs
        once = [
            reading(
                device,
                inputs=stop - start,
                outputs=outputs,
                settlings=settlings,
                conversions=1,
                tile_side=self._block.arrays.tile_side,
            ).energy_pj
            for start, stop in self._tiles
        ]
        return np.array(once) * len(self._x)

    # -- reading -------------------------------------------------------------------------------------

    def _raw(self, value: Matrix) -> Product:
        """Every array of the first slice once."""
        face = self._block.face(1, self._transpose)
        once = read_all_once(face, self._x, self._key, self._first_row)
        value += once.value
        self._block.add_outliers(self._x, value, 1, self._transpose)
        macs = len(self._x) * self._inputs * self.outputs
        digital = round(self._block.digital_share(1) * macs)
        foreseen = self._foreseen(0, averaged=False)
        # Replicas are driven alike, so what the DAC leaves out adds up in step.
        left_out = np.sum([np.sqrt(one.left_out) for one in foreseen], axis=0) ** 2
        spread = float(np.sum([one.reading for one in foreseen]) + left_out.sum())
        arithmetic_pj = self._outliers_pj(digital) if once.spent.reads else 0.0
        return Product(
            value,
            analog_macs=macs - digital,
            digital_macs=digital,
            error_rms_estimate=math.sqrt(self._wrong_in_all(1) + spread),
            reads=once.spent.reads,
            energy_j=(once.spent.energy_pj + arithmetic_pj) * 1e-12,
            latency_s=once.spent.latency_ns * 1e-9,
            regimes=frozenset({"fast"}),
            digital_j=arithmetic_pj * 1e-12,
        )

    def _read(self, plan: AnalogPlan, value: Matrix) -> _Done:
        """Add what the plan's tile rows give; what one needs less of the slack, the others may use."""
        done = _Done()
        face = self._block.face(plan.depth, self._transpose)
        budget = VarianceBudget(plan.slack, 1.0)
        read_x = np.zeros_like(self._x)
        for tile, part in zip(plan.tiles, plan.parts, strict=True):
            start, stop = self._tiles[tile]
            x = self._x[:, start:stop]
            spent = Spent()
            for first, last in spans(len(x), ROWS_AT_ONCE):
                panel = x[first:last]
                weight = part * energy_of(panel) / self._energies[tile]
                if weight == 0.0:
                    continue
                got = read_tile_row(
                    face, tile, panel, budget.allowance(weight), self._key, self._first_row + first
                )
                if got is None:
                    done.unread.append(Item(tile, first, last))
                    continue
                budget.spend(weight, got.variance)
                value[first:last] += got.value
                read_x[first:last, start:stop] = panel
                done.variance += got.variance
                spent = spent.then(got.spent)
            done.spent = done.spent.beside(spent)
        self._block.add_outliers(read_x, value, plan.depth, self._transpose)
        return done

    # -- what came of it -----------------------------------------------------------------------------

    def _product(
        self, value: Matrix, plan: AnalogPlan | None, done: _Done, items: list[Item], worked: Spent
    ) -> Product:
        spent = done.spent.beside(worked)
        whole = len(self._x) * self._inputs * self.outputs
        digital = sum(self._digital_macs(item) for item in items)
        rest_macs = sum(self._macs(item) for item in items)
        share = 0.0 if plan is None else self._block.digital_share(plan.depth)
        outliers = round(share * (whole - rest_macs))
        digital += outliers
        arithmetic_pj = math.fsum(self._digital_pj(item) for item in items)
        arithmetic_pj += self._outliers_pj(outliers)
        return Product(
            value,
            analog_macs=whole - digital,
            digital_macs=digital,
            error_rms_estimate=math.sqrt(self._expected(plan, done, items)),
            reads=spent.reads,
            energy_j=(spent.energy_pj + arithmetic_pj) * 1e-12,
            latency_s=spent.latency_ns * 1e-9,
            regimes=self._regimes(plan, done, items),
            digital_j=arithmetic_pj * 1e-12,
            digits=frozenset(item.plan.digits for item in items if item.plan is not None),
        )

    def _macs(self, item: Item) -> int:
        start, stop = self._tiles[item.tile]
        return (item.stop - item.start) * (stop - start) * self.outputs

    def _digital_macs(self, item: Item) -> int:
        if item.plan is None:
            return self._macs(item)
        stuck = self._block.health.stuck_share(item.tile, self._transpose)
        spoilt = rest.spoilt_share(stuck, self._block.device.faults, item.plan)
        return round(spoilt * self._macs(item))

    def _expected(self, plan: AnalogPlan | None, done: _Done, items: list[Item]) -> float:
        """Predicted ||value - X W||_F^2; float32 rounding is not in it."""
        expected = done.variance
        if plan is not None:
            expected += float(self._wrong(plan.depth)[list(plan.tiles)].sum())
        integers = {item.plan for item in items if item.plan is not None}
        return expected + sum(one.variance for one in integers)

    def _regimes(self, plan: AnalogPlan | None, done: _Done, items: list[Item]) -> frozenset[str]:
        regimes = {"digital" if item.plan is None else "integer" for item in items}
        if done.spent.reads:
            assert plan is not None
            plain = plan.depth == 1 and self._block.arrays.replicas == 1
            regimes.add("fast" if plain else "sliced")
        return frozenset(regimes or {"digital"})
