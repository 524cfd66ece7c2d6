import io

import numpy as np
import pytest

from compute.partition import Matrix
from node.cli.demo.screen import PictureScreen, PlainScreen, choose_screen, half_blocks, levels


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def picture(side: int = 4) -> Matrix:
    """Red grows to the right, the rest is black."""
    red = np.tile(np.linspace(0.0, 1.0, side, dtype=np.float32), side)
    return np.stack([red, np.zeros_like(red), np.zeros_like(red)])


def test_a_line_of_text_carries_two_rows_of_pixels() -> None:
    lines = half_blocks(levels(picture(), 1), truecolour=True)

    assert len(lines) == 2
    assert lines[0].count("▀") == 4
    assert lines[0].startswith("\x1b[38;2;0;0;0;48;2;0;0;0m▀\x1b[38;2;85;0;0;48;2;85;0;0m▀")
    assert lines[0].endswith("\x1b[38;2;255;0;0;48;2;255;0;0m▀\x1b[0m")


def test_a_terminal_of_256_colours_gets_the_nearest_of_its_cube() -> None:
    lines = half_blocks(np.full((2, 1, 3), 255, np.uint8), truecolour=False)

    assert lines == ["\x1b[38;5;231;48;5;231m▀\x1b[0m"]


def test_a_smaller_frame_shows_the_mean_of_a_square_and_cuts_what_is_too_bright() -> None:
    pixels = levels(picture() * np.float32(3.0), scale=2)

    assert pixels.shape == (2, 2, 3)
    assert pixels[0, :, 0].tolist() == [128, 255]


def test_the_second_frame_is_drawn_over_the_first() -> None:
    stream = io.StringIO()
    screen = PictureScreen(stream, scale=1, truecolour=True)

    screen.frame(picture(), "one")
    first = stream.getvalue()
    screen.frame(picture(), "two")
    second = stream.getvalue()[len(first) :]

    assert first.count("\n") == 3 and "\x1b[3A" not in first
    assert second.startswith("\x1b[3A\r") and second.endswith("two\n")


def test_after_a_sentence_the_next_picture_begins_below_it() -> None:
    stream = io.StringIO()
    screen = PictureScreen(stream, scale=1, truecolour=True)

    screen.frame(picture(), "one")
    screen.say("a holder is killed")
    screen.frame(picture(), "two")

    assert "A\r" not in stream.getvalue()


def test_without_a_terminal_there_are_lines_only() -> None:
    stream = io.StringIO()
    screen = choose_screen(96, plain=False, stream=stream, environment={"TERM": "xterm"})

    screen.frame(picture(), "iteration 1")

    assert stream.getvalue() == "iteration 1\n"


@pytest.mark.parametrize(
    ("plain", "environment"),
    [(True, {"TERM": "xterm"}), (False, {"TERM": "xterm", "NO_COLOR": "1"}), (False, {})],
)
def test_who_asks_for_plain_lines_gets_them(plain: bool, environment: dict[str, str]) -> None:
    assert isinstance(choose_screen(96, plain, Terminal(), environment), PlainScreen)


@pytest.mark.parametrize(
    ("columns", "lines", "wide"), [(120, 60, 96), (80, 30, 48), (40, 20, 32), (20, 10, 0)]
)
def test_the_picture_is_as_large_as_the_terminal_allows(
    columns: int, lines: int, wide: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(lines))
    stream = Terminal()

    choose_screen(96, False, stream, {"TERM": "xterm"}).frame(picture(96), "caption")

    assert stream.getvalue().split("\n")[0].count("▀") == wide
