"""Programs blocks into simulated arrays, which stay the same arrays from one writing and from one start to the next.

The seed makes the cells; how often they were written and when is remembered (`array_store`). So a block that is
brought back from disk, or looked at again, stands in the cells that it was written to, at their present age.
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from compute.backend import Backend, Resident, backend
from compute.partition import Matrix
from node.runtime.array_store import ArrayStore, Cells, Written
from node.work import BlockArrays
from protocol.ids import ContentId
from protocol.messages import StoreBlock

if TYPE_CHECKING:
    from compute.programmed import ProgrammedBlock


GROWN_MIN = 1.1
"""A block whose error has grown by less costs what it did."""


@dataclass(frozen=True, slots=True)
class Programmed:
    """A block that can be multiplied by; `arrays` where it stands in any."""

    backend: Backend
    resident: Resident
    arrays: BlockArrays | None


class Chips:
    """The simulated chips of one node. `wall`: seconds since 1970. Safe to use from several threads."""

    def __init__(self, store: ArrayStore, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall
        self._counting = threading.Lock()

    def write(
        self, store: StoreBlock, content: ContentId, matrix: Matrix, slices: int = 1
    ) -> Programmed:
        """A new writing of the block's cells. The matrix's memory is used up or kept."""
        return self._program(store, content, matrix, slices, anew=True)

    def stand(
        self, store: StoreBlock, content: ContentId, matrix: Matrix, slices: int = 1
    ) -> Programmed:
        """The block as it stands in its arrays now; written anew where something else stands there."""
        return self._program(store, content, matrix, slices, anew=False)

    def hold(self, store: StoreBlock, content: ContentId) -> bool:
        """Whether it is this that was written last to the block's cells."""
        found = self._store.find(_cells(store))
        return found is not None and found.content == content

    # -- within --------------------------------------------------------------------------------------

    def _program(
        self, store: StoreBlock, content: ContentId, matrix: Matrix, slices: int, *, anew: bool
    ) -> Programmed:
        behind = backend(store.backend, store.device or None, store.seed)
        if store.backend == "digital":
            return Programmed(behind, behind.program("", matrix, overwrite=True), None)
        # Loaded when first asked for: a digital node has no use for crossbars.
        from compute.programmed import Arrays
        from compute.rram import Rram
        from node.runtime.aged import dearer

        assert isinstance(behind, Rram)
        name, cells = block_id(store), _cells(store)
        written = self._writing(cells, content, anew=anew)
        age_s = 0.0 if anew else max(self._wall() - written.at_wall, 0.0)
        arrays = Arrays(slices=slices, writes=written.writes, age_s=age_s)
        resident = behind.program(name, matrix, overwrite=True, arrays=arrays)
        error = error_of(resident)
        seen = written.seen(age_s, slices, error)
        self._keep(cells, seen)
        fresh_error = seen.fresh_error(slices)
        grown = error / fresh_error if fresh_error else 1.0
        drift = behind.device.drift
        moves = drift.exponent or drift.exponent_sigma or drift.mean_us or drift.sigma_us
        told = BlockArrays(
            health=resident.health.summary(),
            slices=slices,
            slices_written=seen.slices,
            replicas=arrays.replicas,
            error=error,
            dearer=dearer(resident, grown) if grown > GROWN_MIN else 1.0,
            drift_t0_s=drift.t0_s if moves else None,
        )
        return Programmed(behind, resident, told)

    def _writing(self, cells: Cells, content: ContentId, *, anew: bool) -> Written:
        """The one that stands, or one more, which counts from here on: its pulses cannot be taken back."""
        with self._counting:
            found = self._store.find(cells)
            if found is not None and found.content == content and not anew:
                return found
            writes = 1 if found is None else found.writes + 1
            written = Written(writes, self._wall(), content, errors=())
            self._store.keep(cells, written)
            return written

    def _keep(self, cells: Cells, seen: Written) -> None:
        with self._counting:
            standing = self._store.find(cells)
            # Whoever has written them meanwhile knows better.
            if standing is not None and standing.writes == seen.writes:
                self._store.keep(cells, replace(standing, errors=seen.errors))


def error_of(block: "ProgrammedBlock") -> float:
    """||E||_F / ||W||_F, by the probes that were taken when it was read back."""
    from compute.programmed import PROBE_WIDTH

    wrong = np.square(block.errors[-1].rows, dtype=np.float64).sum() / PROBE_WIDTH
    size = block.mean_square * math.prod(block.shape)
    return math.sqrt(wrong / size) if size > 0.0 else 0.0


def in_fewer(programmed: Programmed, slices: int) -> Programmed:
    """The same arrays without the last of them; what the others hold stays as it was."""
    from compute.programmed import ProgrammedBlock

    assert isinstance(programmed.resident, ProgrammedBlock) and programmed.arrays is not None
    block = programmed.resident.first(slices)
    error = error_of(block)
    arrays = replace(programmed.arrays, slices=slices, error=error, dearer=1.0)
    return Programmed(programmed.backend, block, arrays)


def _cells(store: StoreBlock) -> Cells:
    from compute.presets import DEFAULT_DEVICE

    return Cells(store.device or DEFAULT_DEVICE, store.seed, block_id(store))


def block_id(store: StoreBlock) -> str:
    """Names the block's arrays: a new version of weights is written to those of the old one."""
    return f"{store.name}/{store.block[0]}/{store.block[1]}"
