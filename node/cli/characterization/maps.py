"""Maps of the two arrays of a tile: what cells should hold, what they hold, and what the wires leave of it.

Conductances are grey, stuck cells coloured: what stands out is what no pulse moves.
"""

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from compute.partition import Matrix
from node.cli.characterization.drawing import Canvas, legend_line
from node.cli.characterization.findings import Findings
from node.cli.characterization.measuring import Characterization
from node.cli.characterization.tile import Tile
from node.pages.pictures import BLUE, INK, RED
from protocol.quantities import duration_text

SIDE = 264
"""Of a map, in pixels: two for a cell of 128 and up to four spare lines; cells of 512 share them."""
PITCH = SIDE + 52
LEFT, TOP = 34, 42
BETWEEN = 44
"""Pixels between the upper map and the lower, for the legend of the upper."""

WIDTH = LEFT + 4 * PITCH - 30
HEIGHT = TOP + 2 * SIDE + BETWEEN + 58

STEPS = 9
"""Colours of a map."""

LOWER = TOP + SIDE + BETWEEN
FAR = 3.0
"""Times their root mean square: errors of pairs from there on have the darkest colours."""


def draw(canvas: Canvas, found: Characterization) -> None:
    """Nothing where a device has no window to fit weights into."""
    tile, off = found.tile, found.off
    if tile is None or off is None:
        return
    for row, name in enumerate(("plus", "minus")):
        y = TOP if row == 0 else LOWER
        canvas.text(4, y + SIDE // 2, f"{name} array", rotation=90, color=INK, fontweight="bold")
    _conductances(canvas, tile, found.findings)
    _wires(canvas.at(2 * PITCH, 0), tile)
    width = tile.held_us.shape[2]
    _pairs(canvas.at(3 * PITCH, 0), off[:, :width])


def _conductances(canvas: Canvas, tile: Tile, findings: Findings) -> None:
    age = f", {duration_text(findings.age_s)} after writing" if findings.age_s else " after writing"
    high = findings.window_us[1]
    for column, (title, maps) in enumerate(
        (("target", tile.targets_us), (f"held{age}", tile.held_us))
    ):
        for polarity in range(2):
            axes = _map(canvas.at(column * PITCH, 0), polarity, maps[polarity])
            image = _image(axes, maps[polarity], "Greys", 0.0, high)
            if column == 1:
                _mark(axes, tile.stuck[polarity])
            if polarity == 0:
                axes.set_title(title)
        _bar(canvas.at(column * PITCH, 0), image, "conductance, µS")
        if column == 1 and tile.stuck.any():
            legend_line(_upper(canvas, axes), [(RED, "stuck at g_max"), (BLUE, "stuck at g_min")])


def _upper(canvas: Canvas, lower: Axes) -> Axes:
    """The map above the one that was drawn last."""
    axes = canvas.figure.axes
    return axes[axes.index(lower) - 1]


def _wires(canvas: Canvas, tile: Tile) -> None:
    if tile.left is None:
        canvas.text(LEFT, TOP + SIDE // 2, "wires without resistance:\nnothing is lost on the way")
        return
    least = float(tile.left.min())
    for polarity in range(2):
        axes = _map(canvas, polarity, tile.left[polarity])
        image = _image(axes, tile.left[polarity], "cividis", least, 1.0)
        if polarity == 0:
            axes.set_title("left by the wires")
            axes.set_xlabel("driven from the left, read at the bottom", labelpad=3)
    _bar(canvas, image, "share of the current, mean of 9 x 9 cells")


def _pairs(canvas: Canvas, off: Matrix) -> None:
    tile = off * 100.0
    far = FAR * float(np.sqrt(np.mean(np.square(tile)))) or 1.0
    axes = _map(canvas, 0, tile)
    image = _image(axes, tile, "PuOr", -far, far)
    axes.set_title("pairs, as products see them")
    _bar(canvas, image, "off by, % of the window", y=TOP + SIDE + 8)


def _map(canvas: Canvas, polarity: int, cells: Matrix) -> Axes:
    """Axes in which each cell is the same whole number of pixels, or part of one."""
    lines, columns = cells.shape
    cell = SIDE // max(lines, columns) or SIDE / max(lines, columns)
    width, height = round(cell * columns), round(cell * lines)
    axes = canvas.axes(LEFT, LOWER if polarity else TOP, width, height)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, color="#c8c8c8", linewidth=0.5)
    return axes


def _image(axes: Axes, cells: Matrix, colours: str, low: float, high: float) -> AxesImage:
    """Few colours are easier to name, and a picture of noise then takes a third of the bytes."""
    few = colormaps[colours].resampled(STEPS)
    return axes.imshow(
        cells,
        cmap=few,
        vmin=low,
        vmax=high,
        aspect="auto",
        interpolation=_interpolation(cells.shape),
        interpolation_stage="data",
    )


def _mark(axes: Axes, stuck: npt.NDArray[np.int8]) -> None:
    colours = np.zeros((*stuck.shape, 4))
    for sign, colour in ((1, RED), (-1, BLUE)):
        parts = [int(colour[at : at + 2], 16) / 255.0 for at in (1, 3, 5)]
        colours[stuck == sign] = (*parts, 1.0)
    axes.imshow(colours, aspect="auto", interpolation=_interpolation(stuck.shape))


def _interpolation(shape: tuple[int, ...]) -> str:
    """Cells that share a pixel are averaged: one of them alone would hide the others."""
    return "nearest" if max(shape) <= SIDE else "antialiased"


def _bar(canvas: Canvas, image: AxesImage, meaning: str, y: int = LOWER + SIDE + 8) -> None:
    axes = canvas.axes(LEFT, y, SIDE - 8, 8)
    bar = canvas.figure.colorbar(image, cax=axes, orientation="horizontal")
    bar.outline.set_visible(False)
    bar.set_label(meaning, labelpad=2)
    bar.locator = MaxNLocator(6)
    bar.update_ticks()
    axes.tick_params(length=2, pad=2)
