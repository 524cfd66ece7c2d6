"""What all pictures by matplotlib have in common. Figures are made without pyplot, which keeps global state."""

import io
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, RED, GREEN, PURPLE, GREY, ORANGE = (
    "#0072b2", "#d55e00", "#009e73", "#aa4499", "#8a8a8a", "#e69f00",
)  # fmt: skip
"""Told apart by colour-blind eyes too (after Okabe and Ito 2008)."""

INK, RULE = "#1a1a1a", "#e4e4e4"

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def png(figure: Figure) -> bytes:
    """The same bytes for the same figure: without the name and version of the program that wrote them."""
    file = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def grid(axes: Axes) -> None:
    axes.grid(True, color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
