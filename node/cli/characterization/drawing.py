"""A canvas whose places are pixels, and what is drawn on several of its parts.

A page has 100 dots per inch, so that a cell of a map is a whole number of them; a higher resolution multiplies all
alike.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from node.pages import pictures
from node.pages.pictures import GREY, INK

DOTS = 100
"""Of an inch."""

STYLE: dict[Any, Any] = pictures.STYLE | {
    "font.size": 8.0,
    "axes.titlesize": 9.0,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.fontsize": 7.5,
}


@dataclass(frozen=True, slots=True)
class Canvas:
    """A part of a figure, addressed in pixels from its upper left corner."""

    figure: Figure
    left: int
    top: int

    def axes(self, left: int, top: int, width: int, height: int) -> Axes:
        across, down = (float(side) * DOTS for side in self.figure.get_size_inches())
        bottom = down - self.top - top - height
        place = ((self.left + left) / across, bottom / down, width / across, height / down)
        return self.figure.add_axes(place)

    def text(self, left: int, top: int, words: str, **style: Any) -> None:
        across, down = (float(side) * DOTS for side in self.figure.get_size_inches())
        x, y = (self.left + left) / across, 1.0 - (self.top + top) / down
        self.figure.text(x, y, words, va="top", **style)

    def at(self, left: int, top: int) -> "Canvas":
        return Canvas(self.figure, self.left + left, self.top + top)


Draw = Callable[[Canvas], None]


def png(width: int, height: int, draw: Draw, scale: int, colours: int | None = None) -> bytes:
    """A picture of so many pixels times `scale`; with `colours` of a palette, which takes a third of the bytes."""
    with rc_context(STYLE):
        figure = Figure(figsize=(width / DOTS, height / DOTS), dpi=DOTS * scale)
        draw(Canvas(figure, 0, 0))
        picture = pictures.png(figure)
    return picture if colours is None else _with_palette(picture, colours)


def _with_palette(content: bytes, colours: int) -> bytes:
    from PIL import Image  # comes with matplotlib

    with Image.open(io.BytesIO(content)) as picture:
        few = picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    few.save(packed, format="png", optimize=True)
    return packed.getvalue()


def legend_line(axes: Axes, labels: Sequence[tuple[str, str]]) -> None:
    """Coloured squares with their meaning, beneath a map."""
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=colour, label=label) for colour, label in labels]
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.0, -0.02),
        ncols=len(labels),
        handlelength=0.8,
        columnspacing=1.0,
        borderpad=0.0,
    )


def centres(edges: np.typing.NDArray[np.float64]) -> np.typing.NDArray[np.float64]:
    middle: np.typing.NDArray[np.float64] = (edges[1:] + edges[:-1]) / 2.0
    return middle
