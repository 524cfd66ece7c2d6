from math import nan
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.pages.charts import HEIGHT, Axis, Curve, Mark, axis, curves, logarithmic, span

SECONDS = span(60.0, lambda value: f"{value:g} s")
SHARES = axis([0.0, 1.0], lambda value: f"{value:.0%}")


def drawn(*given: Curve, marks: tuple[Mark, ...] = ()) -> ET.Element:
    return ET.fromstring(curves(given, SECONDS, SHARES, "a test", marks))


@given(st.lists(st.floats(0.0, 1e9), min_size=1))
def test_an_axis_holds_all_values_between_round_ends(values: list[float]) -> None:
    for made in (axis(values, str), logarithmic(values, str)):
        assert made.low < made.high
        assert all(0.0 <= made.share(value) <= 1.0 for value in values)
        assert [at for at, _ in made.ticks] == sorted(at for at, _ in made.ticks)


def test_a_logarithmic_axis_gives_each_power_of_ten_the_same_room() -> None:
    made = logarithmic([0.002, 5.0], str)

    assert (made.low, made.high) == pytest.approx((0.001, 10.0))
    assert made.share(0.1) == pytest.approx(0.5)


def test_a_span_ends_where_it_is_told_to() -> None:
    made = span(130.0, str)

    assert (made.low, made.high) == (0.0, 130.0)
    assert [at for at, _ in made.ticks] == [0.0, 50.0, 100.0]


def test_a_curve_stands_with_its_name_and_has_gaps_where_there_is_no_number() -> None:
    picture = drawn(Curve("<loss>", [(0.0, 0.5), (10.0, 0.6), (20.0, nan), (30.0, 0.1)]))

    assert len(picture.findall("polyline")) == 1
    assert len(picture.findall("circle")) == 1
    assert "<loss>" in [text.text for text in picture.findall("text")]


def test_names_of_curves_are_not_written_over_each_other_or_below_the_drawing() -> None:
    picture = drawn(*(Curve(f"curve {n}", [(0.0, 0.0), (60.0, 0.001 * n)]) for n in range(5)))
    heights = [
        float(text.attrib["y"])
        for text in picture.findall("text")
        if text.text is not None and text.text.startswith("curve")
    ]

    assert len(heights) == 5 and max(heights) <= HEIGHT
    assert all(b - a >= 14.9 for a, b in zip(sorted(heights), sorted(heights)[1:], strict=False))


def test_what_lasts_is_shaded_and_an_instant_is_a_line() -> None:
    marks = (Mark("partition", 10.0, 40.0), Mark("killed", 50.0))
    picture = drawn(Curve("a", [(0.0, 0.0)]), marks=marks)

    shaded = [rect for rect in picture.findall("rect") if rect.attrib["class"] == "shade"]
    lines = [line for line in picture.findall("line") if line.attrib["class"] == "mark"]
    assert (len(shaded), len(lines)) == (1, 1)


def test_what_lies_beyond_an_axis_is_drawn_at_its_end() -> None:
    assert Axis(0.0, 1.0, ()).share(2.0) == 1.0
