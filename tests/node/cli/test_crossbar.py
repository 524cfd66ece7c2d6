import json
import re
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from node.cli.main import app

SMALL = ("--size", "40", "30", "--rows", "8")
HARSH = ("--device", "rram-harsh", *SMALL)
OWN = """
base = "rram-wan2022"
name = "worn-out"
[faults]
stuck_low = 1.0
"""


def crossbar(*arguments: str) -> Result:
    return CliRunner().invoke(app("crossbar"), ["crossbar", *arguments])


def findings(*arguments: str) -> dict[str, Any]:
    result = crossbar(*arguments, "--json")
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def test_the_most_important_numbers_stand_in_the_terminal() -> None:
    result = crossbar(*HARSH)

    assert result.exit_code == 0
    assert "rram-harsh: 40 x 30 normal weights, seed 1" in result.output
    assert re.search(r"stuck cells found +(8|9|10|11)\.\d%", result.output)
    assert re.search(r"yield +99\.\d+% of sound cells", result.output)
    assert re.search(r"raw product +off by 0\.\d+ \(predicted 0\.\d+\)", result.output)
    assert re.search(r"^1e-06 +\S+ +\S+ +(integer|digital) ", result.output, re.MULTILINE)


def test_programs_read_one_json_document() -> None:
    told = findings(*HARSH, "--seed", "4")

    assert (told["device"], told["seed"], told["shape"], told["rows"]) == (
        "rram-harsh",
        4,
        [40, 30],
        8,
    )
    assert [one["rtol"] for one in told["products"]] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
    assert 0.0 < told["wires"]["least_share"] < told["wires"]["median_share"] < 1.0


@pytest.mark.parametrize("device", ["rram-harsh", "rram-wan2022", "rram-isaac", "ideal"])
def test_true_errors_stay_within_the_bound_and_the_bound_within_what_was_asked(device: str) -> None:
    for one in findings("--device", device, *SMALL)["products"]:
        assert one["within"]
        assert one["error"] <= one["bound"] <= one["rtol"]


def test_the_raw_product_errs_by_what_was_predicted() -> None:
    raw = findings("--device", "rram-wan2022", "--size", "256", "256")["raw"]

    # The prediction rests on a probe of 16 columns: its deviation is 4 % or so.
    assert raw["error"] == pytest.approx(raw["predicted_error"], rel=0.15)


def test_the_same_seed_is_the_same_chip_and_another_seed_another() -> None:
    once = findings(*HARSH)

    assert findings(*HARSH) == once
    assert findings(*HARSH, "--seed", "2")["raw"] != once["raw"]


def test_age_shows_in_the_error_of_what_drifts_and_in_nothing_that_does_not() -> None:
    def error(device: str, age: str) -> float:
        value: float = findings("--device", device, *SMALL, "--age", age)["raw"]["error"]
        return value

    assert error("pcm-joshi", "365d") > 1.1 * error("pcm-joshi", "0s")
    assert error("rram-milo2021", "365d") == error("rram-milo2021", "0s")


def test_smaller_arrays_lose_less_in_their_wires_and_take_more_energy(tmp_path: Path) -> None:
    of = ("--device", "rram-neurosim", "--size", "70", "70", "--rows", "8")
    report = tmp_path / "out.html"
    small, usual = findings(*of, "--tile", "32", "--report", str(report)), findings(*of)

    assert (small["tile_side"], usual["tile_side"]) == (32, 128)
    assert (small["written"]["tiles"], usual["written"]["tiles"]) == (9, 1)
    assert small["wires"]["least_share"] > usual["wires"]["least_share"]
    assert small["raw"]["pj_per_mac"] > usual["raw"]["pj_per_mac"]
    assert "70 x 70 normal weights in arrays of 32 x 32, seed 1</h1>" in report.read_text()


def test_cells_of_an_array_too_large_for_its_map_share_pixels(tmp_path: Path) -> None:
    report = tmp_path / "out.png"
    of = ("--device", "rram-isaac", "--size", "300", "300", "--rows", "2", "--tile", "512")

    assert crossbar(*of, "--report", str(report)).exit_code == 0
    assert struct.unpack(">II", report.read_bytes()[16:24]) == (1292, 1052)


def test_a_device_of_ones_own_is_measured_too(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(OWN)
    report = tmp_path / "own.png"
    told = findings("--device", str(file), *SMALL, "--report", str(report))

    assert told["device"] == "worn-out"
    assert told["written"]["stuck_share"] == 1.0
    assert told["written"]["accepted_share"] is None
    assert {one["regime"] for one in told["products"]} == {"digital"}
    assert told["products"][0]["pj_per_mac"] is None
    assert report.stat().st_size > 10_000


def test_a_page_needs_nothing_else(tmp_path: Path) -> None:
    report = tmp_path / "out.html"

    assert crossbar(*HARSH, "--report", str(report)).exit_code == 0
    page = report.read_text()
    assert page.startswith("<!doctype html>")
    assert page.count('<img width="') == page.count('src="data:image/png;base64,') == 3
    assert page.count("alt=") == 3
    assert not re.search(r"https?:|url\(|@import|<script|<link", page)
    assert "integer works bit" in page and "1e-06" in page


def test_a_page_of_an_exact_device_has_no_maps(tmp_path: Path) -> None:
    report = tmp_path / "out.html"

    assert crossbar("--device", "ideal", *SMALL, "--report", str(report)).exit_code == 0
    assert report.read_text().count("<img") == 2


def test_a_picture_is_the_same_bytes_each_time_and_small(tmp_path: Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    for report in (first, second):
        assert crossbar(*HARSH, "--report", str(report)).exit_code == 0

    content = first.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert struct.unpack(">II", content[16:24]) == (1292, 1052)
    assert content == second.read_bytes()
    assert len(content) < 150_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--size", "0", "5"), "--size 0 5: write two numbers from 1 to 1024"),
        (("--size", "5", "1025"), "--size 5 1025: write two numbers from 1 to 1024"),
        (("--tile", "100"), "--tile 100: write one of 16, 32, 64, 128, 256, 512"),
        (("--tile", "0"), "--tile 0: write one of 16, 32, 64, 128, 256, 512"),
        (("--age", "old"), "is not a duration"),
        (("--age", "999999d"), "write at most 1e+10 seconds"),
        (("--device", "rram-hars"), "did you mean rram-harsh?"),
        (("--device", "nowhere.toml"), "nowhere.toml: no such file"),
        (("--device", '{"faults": {"stuck": 1}}'), "faults.stuck: no such key"),
        (("--report", "out.pdf"), "write a file that ends in .html or .png"),
        (("--report", "/nowhere/at/all.png"), "cannot be written"),
    ],
)
def test_what_cannot_be_ends_with_2_and_what_to_write(
    arguments: tuple[str, ...], said: str
) -> None:
    result = crossbar(*SMALL, *arguments)

    assert result.exit_code == 2
    assert said in result.stderr
    assert not result.stdout


def test_a_file_with_a_wrong_bound_names_the_key(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("[faults]\nstuck_low = 2.0\n")
    result = crossbar("--device", str(file))

    assert result.exit_code == 2
    assert "faults.stuck_low" in result.stderr


def test_without_matplotlib_a_report_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = crossbar(*SMALL, "--report", str(tmp_path / "out.png"))

    assert result.exit_code == 2
    assert "pip install 'sedma[plots]'" in result.stderr
    assert not result.stdout and not any(tmp_path.iterdir())


def test_without_matplotlib_the_numbers_are_told_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = crossbar("--device", "ideal", *SMALL)

    assert result.exit_code == 0
    assert "raw product" in result.stdout
    assert "note: --report draws this with matplotlib: pip install 'sedma[plots]'" in result.stderr


def test_a_page_of_old_arrays_says_how_old_they_are(tmp_path: Path) -> None:
    report = tmp_path / "out.html"
    arguments = ("--device", "rram-wan2022", *SMALL, "--age", "1h", "--report", str(report))

    assert crossbar(*arguments).exit_code == 0
    assert "<h1>rram-wan2022: 40 x 30 normal weights, seed 1, 1h 0m after writing</h1>" in (
        report.read_text()
    )
