import json
import math
import random

import msgspec
import pytest

from compute.device import DeviceError, DeviceModel, Faults, Window
from compute.presets import (
    DEFAULT_DEVICE,
    PRESETS,
    device,
    from_toml,
    to_text,
)
from protocol.limits import DEVICE_CHARS_MAX


def refused(text: str, error: str) -> None:
    with pytest.raises(DeviceError) as caught:
        device(text)
    assert error in str(caught.value)


def test_a_preset_is_told_by_its_name() -> None:
    for name, model in PRESETS.items():
        assert device(name) is model
        assert to_text(model) == name


def test_the_presets_keep_their_own_bounds() -> None:
    for model in PRESETS.values():
        assert msgspec.convert(msgspec.to_builtins(model), DeviceModel) == model


def test_a_device_of_ones_own_is_a_preset_with_some_keys_changed() -> None:
    mine = device('{"base": "rram-wan2022", "name": "mine", "faults": {"stuck_low": 0.01}}')

    wan = PRESETS["rram-wan2022"]
    assert mine == msgspec.structs.replace(wan, name="mine", faults=Faults(stuck_low=0.01))


def test_a_section_that_is_changed_keeps_its_other_keys() -> None:
    mine = device('{"base": "rram-wan2022", "window": {"levels": 8}}')

    assert mine.window == Window(g_min_us=0.0, g_max_us=39.26, levels=8)
    assert mine.name == "custom"


def test_without_a_base_a_device_starts_from_the_ideal_one() -> None:
    assert device('{"faults": {"stuck_high": 0.1}}').window == PRESETS["ideal"].window


def test_toml_says_the_same_as_json() -> None:
    text = """
    base = "rram-cmo-hfox-2025"
    name = "loose"

    [writing]
    sigma_us = [0.0112185391, 0.01129027418] # at 2 % acceptance
    acceptance_share = 0.02
    """
    as_json = (
        '{"base": "rram-cmo-hfox-2025", "name": "loose", "writing": '
        '{"sigma_us": [0.0112185391, 0.01129027418], "acceptance_share": 0.02}}'
    )

    assert from_toml(text) == device(as_json)


def test_the_text_holds_what_differs_and_no_more() -> None:
    mine = device('{"base":"rram-harsh","window":{"levels":16,"g_max_us":39.26},"wires":{}}')

    assert to_text(mine) == '{"base":"rram-harsh","window":{"levels":16}}'


def test_what_a_preset_has_can_be_taken_away() -> None:
    mine = device('{"base": "rram-isaac", "window": {"levels": null}}')

    assert mine.window.levels is None
    assert device(to_text(mine)) == mine


def random_model(dice: random.Random) -> DeviceModel:
    """Any preset with any few numbers changed; None where the dice made what cannot be."""
    told = msgspec.to_builtins(dice.choice(list(PRESETS.values())))
    told["name"] = "".join(dice.choices('ab"\\é\n', k=dice.randint(1, 64)))
    for section, key in dice.choices(
        [
            (section, key)
            for section, keys in told.items()
            if isinstance(keys, dict)
            for key, value in keys.items()
            if isinstance(value, float)
        ],
        k=dice.randint(0, 40),
    ):
        told[section][key] *= dice.random()
    return msgspec.convert(told, DeviceModel)


def test_every_device_comes_back_from_its_text() -> None:
    dice = random.Random(5)
    met = 0
    while met < 300:
        try:
            model = random_model(dice)
        except msgspec.ValidationError:
            continue
        met += 1
        text = to_text(model)
        assert len(text) <= DEVICE_CHARS_MAX
        assert device(text) == model
        assert to_text(device(text)) == text


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    refused("rram-wan2202", "rram-wan2202: no such device (did you mean rram-wan2022?)")
    refused("?", "write one of: ideal, rram-wan2022, ")
    refused('{"base": "pcm-josh"}', "base: no such device: pcm-josh (did you mean pcm-joshi?)")
    refused('{"base": 3}', "base: no such device: 3")


def test_a_misspelt_key_is_answered_with_the_nearest() -> None:
    refused('{"windw": {}}', "windw: no such key (did you mean window?)")
    refused('{"faults": {"stuck_lo": 0}}', "faults.stuck_lo: no such key (did you mean stuck_low?)")


def test_an_impossible_value_is_answered_with_its_key_and_bound() -> None:
    refused('{"faults": {"stuck_low": 1.5}}', "faults.stuck_low: expected `float` <= 1.0")
    refused('{"window": {"levels": 1}}', "window.levels: expected `int` >= 2")
    refused('{"window": {"g_max_us": 0}}', "window: g_max_us must lie above g_min_us: 0 <= 0")
    refused('{"window": 3}', "window: expected `object`, got `int`")
    refused('{"drift": {"mean_us": 1e9}}', "drift.mean_us: expected `float` <= 1000.0")
    refused('{"name": ""}', "name: expected `str` of length >= 1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}}",
        "[1]",
        '{"drift": {"t0_s": 1e999}}',
        '{"drift": {"t0_s": NaN}}',
        "{" * 4096,
        '{"a":' * 800,
    ],
)
def test_what_is_no_description_is_refused_as_such(text: str) -> None:
    with pytest.raises(DeviceError):
        device(text)


def test_bad_toml_is_refused_as_such() -> None:
    with pytest.raises(DeviceError, match="a device's file is TOML"):
        from_toml("base = ")
    with pytest.raises(DeviceError, match="a device's file is TOML"):
        from_toml("base = " + "[" * 100_000)
    with pytest.raises(DeviceError, match="drift.mean_us"):
        from_toml("[drift]\nmean_us = nan")


def test_a_description_without_end_is_refused() -> None:
    refused(json.dumps({"name": "x" * 5000}), "at most 4096 characters")


def test_the_default_device_is_written_tightly() -> None:
    model = device(DEFAULT_DEVICE)

    # What is anywhere within the acceptance has its half-width over sqrt(3) for a standard deviation.
    for conductance_us in (9.0, 50.0, 88.19):
        within = model.writing.tolerance_us(conductance_us) / math.sqrt(3.0)
        assert model.written_sigma_us(conductance_us) == pytest.approx(within, rel=0.08)


def test_the_default_device_drifts_by_less_than_one_in_a_hundred_within_five_minutes() -> None:
    model = device(DEFAULT_DEVICE)
    log_age = math.log(300.0 / model.drift.t0_s)

    both_cells = math.sqrt(2.0) * model.drift.sigma_us * log_age / model.window.width_us
    assert both_cells < 0.005


def test_the_drift_law_of_the_default_device_reaches_back_to_its_measured_spread() -> None:
    # aihwkit: 0.4118 uS at 1 s; a line in ln t through zero at 55 us has that there.
    sigma_us = device(DEFAULT_DEVICE).drift.sigma_us

    assert sigma_us * math.log(1.0 / 55e-6) == pytest.approx(0.4118, rel=0.01)


def test_the_drift_of_wan_joins_what_was_measured_at_one_second_and_at_a_day() -> None:
    # aihwkit's fits in units of 40 uS, root mean square over the window.
    at_1_s, at_1_day = (
        (0.348, 16.030, -43.853, 45.393, -16.815),
        (0.701, 22.086, -50.773, 47.095, -16.458),
    )
    shares = [step / 100 for step in range(101)]

    def variance(fit: tuple[float, ...], share: float) -> float:
        return sum(each * share**power for power, each in enumerate(fit)) ** 2

    grown = [variance(at_1_day, share) - variance(at_1_s, share) for share in shares]
    sigma_us = PRESETS["rram-wan2022"].drift.sigma_us
    assert sigma_us * math.log(86_400.0) == pytest.approx(math.sqrt(sum(grown) / 101), rel=0.03)
