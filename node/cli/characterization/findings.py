"""What is found out about a kind of cell, as it is told: text, JSON and figures are made of it."""

from msgspec import Struct


class Written(Struct, frozen=True, kw_only=True):
    """What writing the matrix once took, and how well it stands there."""

    cells: int
    pulses_per_cell: float
    """Of the cells that are not known to be stuck."""
    accepted_share: float | None
    """Of the same: the yield. None where nothing is read back while writing, or nothing is sound."""
    stuck_share: float
    """Of all cells, as a test of the arrays found them."""
    sigma_share: float
    """What a cell is off its target, seen through the wires, as a share of the window; root mean square."""
    tiles: int
    healthy_tiles: int
    digital_share: float
    """Of the weights: those that the arrays hold too badly, and are added digitally."""
    energy_uj: float
    """Of one slice; 0 where the device does not tell what a pulse takes."""
    time_ms: float


class Wired(Struct, frozen=True, kw_only=True):
    """What wires leave of the current of cells, in the first tile: by place, each with the cells near it."""

    median_share: float
    least_share: float


class Raw(Struct, frozen=True, kw_only=True):
    """The product as the arrays give it, every array read once."""

    error: float
    predicted_error: float
    """From what the arrays were measured to be when they were written."""
    bound: float
    pj_per_mac: float
    latency_us_per_row: float


class Certified(Struct, frozen=True, kw_only=True):
    """The product under a tolerance. Errors are relative: ||Y' - X W||_F / ||X W||_F."""

    rtol: float
    error: float
    bound: float
    within: bool
    regime: str
    analog_fraction: float
    slices: int
    """Programmed by then: a tolerance may ask for more."""
    pj_per_mac: float | None
    """Of the arrays, for each multiply-accumulate that they do; None where they do none."""
    latency_us_per_row: float | None
    """Of the arrays, for one row of X."""
    rows_redone: int
    rows_digital: int


class Findings(Struct, frozen=True, kw_only=True):
    """Of one chip: the seed names it."""

    device: str
    seed: int
    shape: tuple[int, int]
    tile_side: int
    """Cells along each array."""
    rows: int
    """Of X."""
    age_s: float
    window_us: tuple[float, float]
    written: Written
    wires: Wired | None
    """None where wires are perfect."""
    raw: Raw
    products: tuple[Certified, ...]
    costs: str
    """Where the unit costs are from."""
