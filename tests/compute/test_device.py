import numpy as np
import pytest

from compute.device import DEFAULT_DEVICE, DEVICES, DeviceError, device, stream, stream_key


def test_a_misspelt_device_is_told_the_nearest() -> None:
    with pytest.raises(DeviceError, match="did you mean rram-wan2022?"):
        device("rram-wan2202")
    with pytest.raises(DeviceError, match="write one of: ideal, "):
        device("?")


def test_the_default_device_is_the_tightly_written_one() -> None:
    model = device(DEFAULT_DEVICE)

    assert (model.g_min_us, model.g_max_us) == (9.0, 88.0)
    assert model.programming_noise_us == (0.0008, 0.0011)


def test_only_the_ideal_device_has_no_source_of_error() -> None:
    assert [name for name, model in DEVICES.items() if model.is_exact] == ["ideal"]


def test_streams_depend_on_what_they_are_for_and_nothing_else() -> None:
    key = stream_key(7, "w/0/1", "read")

    assert stream_key(7, "w/0/1", "read") == key != stream_key(7, "w/0/1", "program")
    assert stream(key, 3).integers(1 << 62) == stream(key, 3).integers(1 << 62)
    assert stream(key, 3).integers(1 << 62) != stream(key, 4).integers(1 << 62)


def test_parts_of_a_key_do_not_run_together() -> None:
    assert stream_key("ab", "c") != stream_key("a", "bc")


def test_streams_do_not_overlap() -> None:
    key = stream_key(1)
    draws = [stream(key, index).integers(1 << 62, size=1000) for index in range(20)]

    assert len(np.unique(np.concatenate(draws))) == 20_000
