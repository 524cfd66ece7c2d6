import json

import pytest

from compute.presets import DEFAULT_DEVICE, device
from node.deployment.devices import device_text
from protocol.errors import ErrorCode, TaskError

OWN = {"base": "rram-wan2022", "name": "attic", "faults": {"stuck_low": 0.02}}


def told(text: str) -> str:
    return device_text("rram", text, DEFAULT_DEVICE)


def test_a_device_reads_the_same_however_it_was_written() -> None:
    plain = told(json.dumps(OWN))
    again = told(json.dumps(OWN | {"wires": {"segment_ohm": 0.0}}, indent=4))

    assert plain == again
    assert len(plain) < len(json.dumps(OWN, indent=4))
    assert device(plain) == device(json.dumps(OWN))


def test_a_known_device_in_other_words_is_told_by_its_name() -> None:
    assert told('{"base": "rram-harsh", "name": "rram-harsh"}') == "rram-harsh"
    assert told(DEFAULT_DEVICE) == DEFAULT_DEVICE


def test_the_default_holds_where_nothing_is_asked() -> None:
    assert device_text("rram", None, "rram-harsh") == "rram-harsh"
    assert device_text("digital", None, "rram-harsh") == ""


def test_plain_arithmetic_takes_no_device() -> None:
    with pytest.raises(TaskError, match="leave it out, or write backend=rram") as refused:
        device_text("digital", "rram-harsh", DEFAULT_DEVICE)

    assert refused.value.code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rram-wan2002", r"device: rram-wan2002: no such device \(did you mean rram-wan2022\?\)"),
        ('{"faults": {"stuck_lo": 0.1}}', r"faults.stuck_lo: no such key .*did you mean stuck_low"),
        ('{"faults": {"stuck_low": 2}}', "faults.stuck_low: expected .* <= 1.0"),
        ('{"base": "rram-wan"}', "base: no such device: rram-wan .*did you mean rram-wan2022"),
        ('{"wires": 3}', "wires: expected .object., got .int."),
        ("{", "a name or a JSON object"),
    ],
)
def test_a_device_that_cannot_be_is_refused_with_its_key_and_what_to_write(
    text: str, words: str
) -> None:
    with pytest.raises(TaskError, match=words) as refused:
        told(text)

    assert refused.value.code is ErrorCode.BAD_REQUEST
