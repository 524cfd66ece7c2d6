import msgspec
import numpy as np

from compute.device import Faults
from compute.partition import Matrix
from compute.presets import PRESETS
from compute.programmed import Arrays
from compute.strips import write_strip
from tests.compute.matrices import normal

WAN = PRESETS["rram-wan2022"]
FAULTY = msgspec.structs.replace(WAN, faults=Faults(stuck_low=0.0175, stuck_high=0.0904))


def third(rows: int, columns: int) -> Matrix:
    """Three standard deviations to the window."""
    return normal(rows, columns) / np.float32(3.0)


def test_a_tile_row_is_rounded_to_a_power_of_two_grid() -> None:
    strip = write_strip(third(128, 60), np.ones(60, np.float32), 0, WAN, Arrays(), life=9)
    steps = strip.difference * np.float32(2.0**18)

    assert np.array_equal(steps, np.rint(steps))
    assert strip.squares is None and strip.written.cells == 2 * 128 * 60


def test_the_second_tile_row_lies_on_other_cells_than_the_first() -> None:
    wanted, scale = third(128, 60), np.ones(60, np.float32)
    strips = [
        write_strip(wanted.copy(), scale, first, FAULTY, Arrays(), life=9) for first in (0, 128)
    ]

    assert not np.array_equal(strips[0].stuck, strips[1].stuck)
