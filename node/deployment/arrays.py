"""The simulated arrays that this node's blocks stand in: how many, how well they are, how fast they turned out to be.

Told of each block when it is written or looked at; makes of it what a node tells others of its devices. Speeds wander
with what else a machine does, cells drift, and what is told goes to every node: so either is told again only when it
has changed by much.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, inf

import msgspec

from compute.packing import pack
from compute.partition import TILE_SIDE
from node.work import BlockArrays
from protocol.digests import DeviceProfile, RegimeCosts, WeightsVersion
from protocol.messages import BlockIndex, StoreBlock

POLARITIES = 2
"""A weight is a pair of cells, in two arrays."""

REMNANTS_MAX = 64
"""Blocks of odd shapes whose remnants are laid out one by one; with more, shared arrays count as 97 % full, which is
what packing reaches."""
PACKED_SHARE = 0.97

COST_MOVED = 2.0
"""A regime's cost is told again when it has changed by this factor."""
COSTS_KEPT_S = 60.0
"""What was told stands for so long: a record that lists hundreds of weights goes to every node."""
COST_MAX_S = 1.0
HEALTH_DIGITS = 2
"""What is told of health; more is noise of the measurement."""
SIGMA_MOVED = 0.125
"""Cells are told to be worse, or better, when they are so by this share of what was told: they drift from their first
second on, and each look at a block would be news to all nodes."""
SIGMA_MOVED_MIN = 1e-3
"""And by so much of the window: an array that is off by less is as good as any."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One block in its arrays."""

    store: StoreBlock
    arrays: BlockArrays
    written_at: float
    """Monotonic; before the process began where the arrays are older than it."""
    seen_age_s: float
    """How old they were when they were looked at last."""
    put_off_to: float = -inf
    """It is left alone until then."""
    is_displaced: bool = False
    """Others were written to its cells: a put that failed, or one that takes its place."""


class Inventory:
    """All blocks of this node that stand in arrays."""

    def __init__(self) -> None:
        self.changes = 0
        """Grows with everything that is recorded or forgotten."""
        self._standing: dict[tuple[WeightsVersion, BlockIndex], Standing] = {}
        self._soonest: tuple[float, Standing] | None = None
        self._soonest_changes = 0
        self._told = DeviceProfile()
        self._told_changes = 0
        self._costs = RegimeCosts()
        self._costs_at = -inf

    @property
    def blocks(self) -> list[Standing]:
        return list(self._standing.values())

    def of(self, version: WeightsVersion, block: BlockIndex) -> Standing | None:
        return self._standing.get((version, block))

    def record(self, store: StoreBlock, arrays: BlockArrays, now: float) -> None:
        """The block was written, or looked at."""
        age_s = arrays.health.age_s
        self._standing[store.version, store.block] = Standing(store, arrays, now - age_s, age_s)
        self.changes += 1

    def put_off(self, one: Standing, moment: float, *, is_displaced: bool = False) -> None:
        """It could not be looked at, and is left alone for a while."""
        key = one.store.version, one.store.block
        if self._standing.get(key) is one:
            self._standing[key] = replace(one, put_off_to=moment, is_displaced=is_displaced)
            self.changes += 1

    def soonest(self, due_at: Callable[[Standing], float | None]) -> tuple[float, Standing] | None:
        """The block that wants something first, and when. Always asked with the same rule."""
        if self._soonest_changes != self.changes:
            wishes = [(due_at(one), one) for one in self._standing.values()]
            moments = [(max(at, one.put_off_to), one) for at, one in wishes if at is not None]
            self._soonest = min(moments, key=lambda wish: wish[0], default=None)
            self._soonest_changes = self.changes
        return self._soonest

    def forget(self, version: WeightsVersion) -> None:
        """Its blocks are not here any more."""
        gone = [key for key in self._standing if key[0] == version]
        for key in gone:
            del self._standing[key]
        self.changes += bool(gone)

    def profile(self, own: DeviceProfile, costs: Mapping[str, float], now: float) -> DeviceProfile:
        """What to tell of it; `costs`: measured seconds for each multiply-accumulate, by regime."""
        if self._told_changes != self.changes:
            measured, self._told_changes = self._measured(), self.changes
            if _is_news(measured, self._told):
                self._told = measured
        moved = _moved(self._costs, costs)
        is_new = any(not getattr(self._costs, regime) for regime in moved)
        if moved and (is_new or now >= self._costs_at + COSTS_KEPT_S):
            self._costs, self._costs_at = msgspec.structs.replace(self._costs, **moved), now
        return msgspec.structs.replace(
            self._told,
            backend=own.backend,
            device=own.device,
            workers=own.workers,
            costs=self._costs,
        )

    # -- within --------------------------------------------------------------------------------------

    def _measured(self) -> DeviceProfile:
        told = [one.arrays.health for one in self._standing.values()]
        tiles = sum(health.tiles for health in told)
        if not tiles:
            return DeviceProfile()

        def mean(values: list[float]) -> float:
            weighed = zip(values, told, strict=True)
            return _rounded(sum(value * one.tiles for value, one in weighed) / tiles)

        return DeviceProfile(
            arrays=self._arrays(),
            healthy=_rounded(sum(health.healthy for health in told) / tiles),
            sigma=(
                mean([one.sigma[0] for one in told]),
                mean([one.sigma[1] for one in told]),
                mean([one.sigma[2] for one in told]),
            ),
            stuck=mean([one.stuck_share for one in told]),
            writes=max(health.writes for health in told),
        )

    def _arrays(self) -> int:
        """Of 128 x 128 cells, both polarities; what fills none of its own shares one."""
        whole, odd = 0, list[tuple[int, int]]()
        for one in self._standing.values():
            times = one.arrays.slices * one.arrays.replicas
            rows, columns = one.store.rows, one.store.columns
            full_rows, full_columns = rows // TILE_SIDE, columns // TILE_SIDE
            whole += times * full_rows * full_columns
            below, right = rows % TILE_SIDE, columns % TILE_SIDE
            remnants = [(below, columns), (full_rows * TILE_SIDE, right)]
            odd += times * [shape for shape in remnants if all(shape)]
        if len(odd) <= REMNANTS_MAX:
            return POLARITIES * (whole + _packed(tuple(sorted(odd))))
        cells = sum(rows * columns for rows, columns in odd)
        return POLARITIES * (whole + ceil(cells / (PACKED_SHARE * TILE_SIDE**2)))


@lru_cache(maxsize=16)
def _packed(shapes: tuple[tuple[int, int], ...]) -> int:
    """Milliseconds for the largest number; health changes more often than shapes do."""
    return pack(shapes, TILE_SIDE).arrays


def _is_news(measured: DeviceProfile, told: DeviceProfile) -> bool:
    if msgspec.structs.replace(measured, sigma=told.sigma) != told:
        return True
    pairs = zip(measured.sigma, told.sigma, strict=True)
    return any(
        abs(seen - before) > max(SIGMA_MOVED * before, SIGMA_MOVED_MIN) for seen, before in pairs
    )


def _moved(told: RegimeCosts, measured: Mapping[str, float]) -> dict[str, float]:
    """Those that are not about what was told."""
    return {
        regime: min(cost, COST_MAX_S)
        for regime, cost in measured.items()
        if not getattr(told, regime) / COST_MOVED < cost < getattr(told, regime) * COST_MOVED
    }


def _rounded(share: float) -> float:
    return float(f"{share:.{HEALTH_DIGITS}g}")
