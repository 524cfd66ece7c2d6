import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from node.cli.demo.charts import bars, curves
from node.cli.demo.outcome import Outcome
from node.cli.demo.pictures import strip
from node.cli.demo.report import page, write

VOID = {"meta", "img", "br"}


class Balance(HTMLParser):
    """Knows what was opened and never closed, and every attribute that may name another file."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_no_other_file_and_no_network(outcome: Outcome) -> None:
    text = page(outcome)
    reader = Balance()
    reader.feed(text)

    assert reader.open == []
    assert len(reader.addresses) == 4
    assert all(address.startswith("data:image/png;base64,") for address in reader.addresses)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<script|<link", text)


def test_the_page_says_that_the_photo_is_real_and_the_camera_is_not(outcome: Outcome) -> None:
    text = page(outcome)

    assert "photograph is real" in text and "camera is simulated" in text


def test_the_page_shows_figures_of_every_act_the_kill_and_the_refusal(outcome: Outcome) -> None:
    text = page(outcome)

    for figure in ("33.50 dB", "33.48 dB", "30.10 dB", "32.90 dB", "9.00e-03", "97.0%"):
        assert figure in text
    assert "node-&lt;160&gt; killed" in text and "<160>" not in text
    assert "no room &amp; no wonder" in text and "nearest fit 119 MiB" in text
    assert text.count(">held<") == 6 and "BROKEN" not in text


def test_the_drawings_are_well_formed(outcome: Outcome) -> None:
    drawn = ET.fromstring(curves(outcome.acts.all(), outcome.kill))
    barred = ET.fromstring(bars(outcome.holders))

    assert len(drawn.findall("polyline")) == 4
    assert len(barred.findall("rect")) == 2 * len(outcome.holders)


def test_a_bar_is_as_long_as_the_memory_it_stands_for(outcome: Outcome) -> None:
    barred = ET.fromstring(bars(outcome.holders))
    widths = [float(rect.attrib["width"]) for rect in barred.findall("rect")]

    assert widths[0] / widths[1] == pytest.approx(190 / 208, rel=1e-3)


def test_a_picture_with_four_captions_is_written_beside_the_report(
    outcome: Outcome, tmp_path: Path
) -> None:
    picture = write(outcome, tmp_path / "demo" / "report.html")

    assert picture == tmp_path / "demo" / "picture.png"
    with Image.open(picture) as image:
        assert image.size == strip(outcome).size
        assert image.mode == "RGB"
    assert (tmp_path / "demo" / "report.html").read_text(encoding="utf-8").startswith("<!doctype")
