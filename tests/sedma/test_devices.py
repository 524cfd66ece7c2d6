import json
from pathlib import Path

import pytest

from compute.presets import device, from_toml
from protocol import limits
from sedma import devices
from sedma.devices import FILE_BYTES_MAX, device_text
from sedma.errors import SedmaError

TOML = """
base = "rram-wan2022"   # all but these is as there
name = "attic"

[faults]
stuck_low = 0.02

[writing]
sigma_us = [1.0, 0.1]
"""


def file(folder: Path, content: bytes) -> Path:
    path = folder / "cells.toml"
    path.write_bytes(content)
    return path


def test_a_file_and_a_dictionary_tell_the_device_that_they_describe(tmp_path: Path) -> None:
    text = device_text(file(tmp_path, TOML.encode()))
    told = {
        "base": "rram-wan2022",
        "name": "attic",
        "faults": {"stuck_low": 0.02},
        "writing": {"sigma_us": [1.0, 0.1]},
    }

    assert text is not None and json.loads(text) == told
    assert device(text) == from_toml(TOML)
    assert device_text(told) == text


def test_a_name_passes_as_it_is() -> None:
    assert device_text("rram-harsh") == "rram-harsh"
    assert device_text(None) is None


def test_the_limit_here_is_that_of_the_daemon() -> None:
    assert devices.DEVICE_CHARS_MAX == limits.DEVICE_CHARS_MAX


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"name = ", "is not TOML"),
        (b'name = "\xff"', "is no text in UTF-8"),
        (b"#" * (FILE_BYTES_MAX + 1), f"is larger than {FILE_BYTES_MAX} bytes"),
        (b'name = "' + b"a" * 5000 + b'"', "has 5011 characters as JSON, and at most 4096"),
        (b"name = 2026-01-01", "names, numbers and lists of them"),
        (b"[faults]\nstuck_low = nan", "faults.stuck_low is nan: write a finite number"),
        (b"[writing]\nsigma_us = [1.0, -inf]", "writing.sigma_us is -inf: write a finite number"),
        (b"window = inf", "window is inf: write a finite number"),
    ],
    ids=["no toml", "no utf-8", "large", "much to tell", "a date", "nan", "a list", "no section"],
)
def test_a_file_that_cannot_be_sent_is_named_with_the_reason(
    tmp_path: Path, content: bytes, words: str
) -> None:
    with pytest.raises(SedmaError, match=rf"cells\.toml: .*{words}") as refused:
        device_text(file(tmp_path, content))

    assert refused.value.code == "bad_request"


def test_a_file_that_is_none_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(SedmaError, match="no such file"):
        device_text(tmp_path / "none.toml")
    with pytest.raises(SedmaError, match="is a directory"):
        device_text(tmp_path)
    with pytest.raises(SedmaError, match="is larger than"):
        device_text(Path("/dev/zero"))


def test_a_name_that_is_empty_or_endless_is_refused() -> None:
    with pytest.raises(SedmaError, match="is empty: write a device's name"):
        device_text("")
    with pytest.raises(SedmaError, match="at most 4096"):
        device_text("x" * 4097)
