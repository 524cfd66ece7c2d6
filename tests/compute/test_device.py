import math

import msgspec
import pytest

from compute.device import DeviceModel
from compute.presets import PRESETS


def impossible(description: dict[str, object], error: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=error):
        msgspec.convert({"name": "x"} | description, DeviceModel)


def test_each_value_has_bounds_that_the_error_names() -> None:
    impossible({"window": {"levels": 1}}, r">= 2 - at `\$.window.levels`")
    impossible({"window": {"levels": 65_537}}, r"<= 65536 - at `\$.window.levels`")
    impossible({"window": {"g_min_us": -1.0}}, r">= 0.0 - at `\$.window.g_min_us`")
    impossible({"writing": {"pulse_share": 0.0}}, r"> 0.0 - at `\$.writing.pulse_share`")
    impossible({"writing": {"sigma_us": [0.1] * 9}}, r"length <= 8 - at `\$.writing.sigma_us`")
    impossible({"reading": {"constant": 1.5}}, r"<= 1.0 - at `\$.reading.constant`")
    impossible({"variation": {"floor": 11.0}}, r"<= 10.0 - at `\$.variation.floor`")
    impossible({"drift": {"t0_s": 0.0}}, r"> 0.0 - at `\$.drift.t0_s`")
    impossible({"wires": {"spare_rows": 65}}, r"<= 64 - at `\$.wires.spare_rows`")
    impossible({"converters": {"adc_bits": 17}}, r"<= 16 - at `\$.converters.adc_bits`")
    impossible({"costs": {"read_ns": -1.0}}, r">= 0.0 - at `\$.costs.read_ns`")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_within_no_bounds(value: float) -> None:
    impossible({"drift": {"mean_us": value}}, "mean_us")
    impossible({"writing": {"sigma_us": [value]}}, "sigma_us")
    impossible({"window": {"g_max_us": value}}, "g_max_us")


def test_what_cannot_be_together_is_refused() -> None:
    impossible({"window": {"g_min_us": 9.0, "g_max_us": 9.0}}, "g_max_us must lie above g_min_us")
    impossible({"faults": {"stuck_low": 0.6, "stuck_high": 0.5}}, "together must be at most 1")
    impossible({"converters": {"adc_gain_sigma": 0.1}}, "adc_gain_sigma needs converters.adc_bits")


def test_a_noise_that_turns_negative_in_the_window_is_refused_with_the_place() -> None:
    impossible(
        {"window": {"g_max_us": 100.0}, "writing": {"sigma_us": [1.0, -0.02]}},
        "writing.sigma_us must be at least 0 all over the window: -0.03125 at 51.5625 uS",
    )


def test_what_would_have_no_effect_is_refused() -> None:
    impossible({"writing": {"pulses_max": 3}}, "pulses_max = 3 needs acceptance_us")
    impossible({"writing": {"pulse_share": 0.5}}, "pulse_share = 0.5 needs acceptance_us")
    impossible({"writing": {"verify_sigma_us": 0.5}}, "verify_sigma_us = 0.5 needs acceptance_us")
    impossible({"writing": {"acceptance_share": 0.1}}, "acceptance_share = 0.1 needs acceptance_us")
    impossible({"writing": {"sigma_us": [1.0], "pulse_sigma_us": 1.0}}, "has no effect beside")
    impossible({"variation": {"floor": 0.1}}, "variation.floor has no effect where")


def test_only_the_ideal_device_has_no_source_of_error() -> None:
    assert [name for name, model in PRESETS.items() if model.is_exact] == ["ideal"]


def test_noise_is_a_polynomial_of_the_conductance() -> None:
    wan = PRESETS["rram-wan2022"]

    assert wan.written_sigma_us(0.0) == 1.053
    assert wan.written_sigma_us(20.0) == pytest.approx(2.362, abs=1e-3)
    assert wan.read_sigma_us(20.0) == pytest.approx(0.3926)
    assert PRESETS["pcm-joshi"].read_sigma_us(10.0) == pytest.approx(0.37)


def test_the_acceptance_widens_with_the_target() -> None:
    writing = PRESETS["rram-cmo-hfox-2025"].writing

    assert writing.tolerance_us(50.0) == pytest.approx(0.1014)
    assert PRESETS["ideal"].writing.tolerance_us(50.0) == math.inf
