"""Shows the picture while it sharpens: coloured half-blocks on a terminal, one line of text elsewhere.

The character ▀ has two colours, so one line of text carries two rows of pixels. Each frame is drawn over the
one before by moving the cursor up.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from typing import Protocol, TextIO

import numpy as np
import numpy.typing as npt

from compute.partition import Matrix

Levels = npt.NDArray[np.uint8]

TEXT_LINES = 3
"""Kept free on a terminal below the picture."""

SCALES = (1, 2, 3, 4)
"""Pixels of the picture along a pixel of the screen; the smallest that fits is taken."""


class Screen(Protocol):
    """Where the demo tells what happens."""

    def say(self, line: str) -> None: ...

    def frame(self, picture: Matrix, caption: str) -> None:
        """The picture (3, pixels) as it stands now; it takes the place of the frame before."""
        ...


class PlainScreen:
    """Lines only: for logs, pipes and those who asked for it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def frame(self, picture: Matrix, caption: str) -> None:
        self.say(caption)


class PictureScreen:
    """Half-blocks, redrawn in place."""

    def __init__(self, stream: TextIO, scale: int, truecolour: bool) -> None:
        self._stream = stream
        self._scale = scale
        self._truecolour = truecolour
        self._drawn = 0
        """Lines of the frame that stands above the cursor."""

    def say(self, line: str) -> None:
        self._drawn = 0
        print(line, file=self._stream, flush=True)

    def frame(self, picture: Matrix, caption: str) -> None:
        lines = half_blocks(levels(picture, self._scale), self._truecolour)
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        text = "\n".join([*lines, f"\x1b[2K{caption}"])
        print(f"{up}\r{text}", file=self._stream, flush=True)
        self._drawn = len(lines) + 1


def choose_screen(
    side: int, plain: bool, stream: TextIO = sys.stdout, environment: Mapping[str, str] = os.environ
) -> Screen:
    """A picture where the stream is a terminal that is large enough and may show colours."""
    bare = environment.get("NO_COLOR") or environment.get("TERM", "dumb") == "dumb"
    if plain or bare or not stream.isatty():
        return PlainScreen(stream)
    size = shutil.get_terminal_size()
    for scale in SCALES:
        if side // scale <= size.columns and side // scale // 2 + TEXT_LINES <= size.lines:
            truecolour = environment.get("COLORTERM", "") in ("truecolor", "24bit")
            return PictureScreen(stream, scale, truecolour)
    return PlainScreen(stream)


def levels(picture: Matrix, scale: int) -> Levels:
    """(3, pixels) in 0..1 to (side / scale, side / scale, 3) in 0..255, each pixel the mean of a square."""
    side = int(np.sqrt(picture.shape[1]))
    small = side // scale
    whole = np.clip(picture, 0.0, 1.0).reshape(3, small, scale, small, scale)
    mean = whole.mean(axis=(2, 4)).transpose(1, 2, 0)
    shown: Levels = np.rint(mean * 255.0).astype(np.uint8)
    return shown


def half_blocks(pixels: Levels, truecolour: bool) -> list[str]:
    """Lines of text for (rows, columns, 3); an even number of rows."""
    assert pixels.shape[0] % 2 == 0
    pairs = zip(pixels[0::2].tolist(), pixels[1::2].tolist(), strict=True)
    return [_line(top, bottom, truecolour) for top, bottom in pairs]


def _line(top: list[list[int]], bottom: list[list[int]], truecolour: bool) -> str:
    cells = (_cell(*pair, truecolour) for pair in zip(top, bottom, strict=True))
    return "".join(cells) + "\x1b[0m"


def _cell(top: list[int], bottom: list[int], truecolour: bool) -> str:
    return f"\x1b[38;{_colour(top, truecolour)};48;{_colour(bottom, truecolour)}m▀"


def _colour(rgb: list[int], truecolour: bool) -> str:
    if truecolour:
        return "2;{};{};{}".format(*rgb)
    red, green, blue = (round(level * 5 / 255) for level in rgb)
    return f"5;{16 + 36 * red + 6 * green + blue}"
