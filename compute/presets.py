"""Kinds of cells that have been measured or designed, and how a device of one's own is told.

A device travels through the mesh as text: a preset's name, or a JSON object with as much as differs from the preset
named by `base` (without a base: from `ideal`). The same from TOML, for people.

Costs are those of ISAAC's periphery unless a preset says more (see `compute.device.Costs`). The ADC (16 mW for 8 at
1.2 GS/s) and the DACs (4 mW for 1,024 of 1 bit in 100 ns) are checked against Accelergy's hwcomponents-library; the
array's 0.3 mW is from memory: unverified. What a pulse takes is V^2 G t, a reckoning: nobody publishes it.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from compute.device import (
    Converters,
    DeviceError,
    DeviceModel,
    Drift,
    Faults,
    Part,
    ReadNoise,
    Window,
    Wires,
    Writing,
)
from protocol.limits import DEVICE_CHARS_MAX

CUSTOM = "custom"
"""Name of a device of one's own that was given none."""

SHOWN_CHARS = 64
"""Of a name that nobody knows, in what is said of it."""

IDEAL = DeviceModel(name="ideal")
"""Every source of error off, no converters: what is left is float32."""

RRAM_WAN2022 = DeviceModel(
    name="rram-wan2022",
    window=Window(g_min_us=0.0, g_max_us=39.26),
    writing=Writing(
        sigma_us=(1.053, 0.2374, -1.167e-2, 1.536e-4),
        acceptance_us=1.0,
        pulse_share=0.4,
        pulse_sigma_us=4.1,
        pulses_max=31,
        pulse_pj=80.0,
        pulse_ns=1_000.0,
    ),
    reading=ReadNoise(constant=0.01),
    drift=Drift(t0_s=1.0, sigma_us=0.25),
    converters=Converters(dac_bits=8, adc_bits=8),
)
"""NeuRRAM, HfOx in 130 nm (Wan et al., Nature 2022).

Window (uS) and writing noise: the cubic fit to Extended Data Fig. 3d at 1 s, valid up to 39.26 uS; checked against
CrossSim's RRAM_Wan. Read noise of 1 % of g_max: checked against aihwkit's note on ReRamWan2022NoiseModel. Drift: none
in the mean; sigma_us is what takes aihwkit's fit at 1 s to its fit at one day, root mean square over the window (2.8
uS in 11.4 factors e; the fit at two days agrees). Writing: accepted within 1 uS, about 8.5 pulses a cell, 99 % of the
cells in the end, from memory: unverified; what one pulse does is chosen so that the loop gives these two. A pulse of
1 us and 2 V across 20 uS: from memory, unverified.
"""

RRAM_MILO2021 = DeviceModel(
    name="rram-milo2021",
    window=Window(g_min_us=50.0, g_max_us=225.0),
    writing=Writing(
        sigma_us=(4.782321, -0.009107),
        acceptance_us=5.0,
        pulse_share=0.3,
        pulse_sigma_us=8.0,
        pulses_max=60,
        pulse_pj=140.0,
        pulse_ns=1_000.0,
    ),
    reading=ReadNoise(constant=0.01),
    converters=Converters(dac_bits=8, adc_bits=8),
)
"""HfO2 of IHP, 4 kbit arrays, algorithm IGVVA-100 (Milo et al., IRPS 2021).

Window (uS; on/off 4.5) and writing noise, linear in the conductance: checked against CrossSim's RRAM_Milo, whose
fit is to Fig. 4 of the paper. No drift was measured there. The read noise and all of the loop (acceptance, pulses and
what they take) are assumed: unverified.
"""

RRAM_CMO_HFOX_2025 = DeviceModel(
    name="rram-cmo-hfox-2025",
    window=Window(g_min_us=9.0, g_max_us=88.19),
    writing=Writing(
        sigma_us=(0.00081107, 0.00106879),
        acceptance_us=0.0014,
        acceptance_share=0.002,
        pulse_share=0.5,
        pulse_sigma_us=0.2,
        pulses_max=200,
        pulse_pj=100.0,
        pulse_ns=2_000.0,
    ),
    reading=ReadNoise(constant=0.01),
    drift=Drift(t0_s=1.0, mean_us=-0.08900206, sigma_us=0.04201137),
    converters=Converters(dac_bits=8, adc_bits=8),
)
"""Analog CMO/HfOx of IBM Zurich (Falcone et al., arXiv 2502.04524), written to within 0.2 % of the target.

Writing noise and drift are checked against aihwkit's ReRamCMONoiseModel, the window (uS) against the configurations
that come with it. The noise is that of a value anywhere within the acceptance: 0.002 G / sqrt(3) = 0.00115 G. At 2 %
acceptance it is (0.0112185391, 0.01129027418). Read noise of 1 % of g_max: from the note there; the slow 1/f part
(0.0277 log10(G) sqrt(ln(...)) uS, 0.2 uS at g_max after a second) is less than that and left out.

Drift: aihwkit has the mean fall by 0.089 uS and the spread grow as 0.412 + 0.042 ln(t / 1 s) uS. Run backwards, this
law begins 55 us after the pulse, and most of it (0.412 uS, far beyond the acceptance) has happened within the first
second. Both the acceptance and the drift can hold only if a cell is verified once it has settled: the loop's last
reading comes a second after the last pulse, and what has moved by then is written anew (as Wan et al. do). So a cell
is as its acceptance says at t0_s = 1, and from then on it goes the logarithmic part of the law: within five minutes
0.24 uS (0.3 % of the window), and a mean of 0.5 uS that both cells of a pair share. This is the good reading of the
measurement. The bad one, that nothing is verified after the first second, is this device with {"writing": {"sigma_us":
[0.412, 0.0011]}}. How many pulses it takes and what they cost is assumed: unverified.
"""

RRAM_ISAAC = DeviceModel(
    name="rram-isaac",
    window=Window(g_min_us=0.5, g_max_us=500.0, levels=4),
    converters=Converters(dac_bits=8, adc_bits=9),
)
"""The design of ISAAC (Shafiee et al., ISCA 2016): cells of 2 bits, 2 kohm to 2 Mohm, without noise.

Checked against CrossSim's configs/ISAAC.json: 0.5 to 500 uS, 4 levels, an ADC of 8 bits and sign. There, inputs of 16
bits come bit by bit; a DAC of 8 bits stands for as many steps here.
"""

RRAM_NEUROSIM = DeviceModel(
    name="rram-neurosim",
    window=Window(g_min_us=10.0 / 17.0, g_max_us=10.0, levels=2),
    wires=Wires(segment_ohm=3.7),
    converters=Converters(dac_bits=8, adc_bits=5),
)
"""The defaults of DNN+NeuroSim V1.4 at 22 nm: 100 kohm, on/off 17, cells of 1 bit, one transistor each.

Checked against its Param.cpp: window, one bit a cell, 16 levels of the sense amplifier (with a sign: 5 bits). Wires:
its 11.6 Mohm/m at a width of 40 nm are 1.9 ohm along the cell's 4 F and 5.6 ohm along its 12 F; both lines have the
mean here. Its defaults have neither writing nor read noise.
"""

RRAM_HARSH = msgspec.structs.replace(
    RRAM_WAN2022,
    name="rram-harsh",
    faults=Faults(stuck_low=0.0175, stuck_high=0.0904),
    wires=Wires(segment_ohm=2.5, spare_rows=4),
)
"""rram-wan2022 on a bad day: 10.8 % stuck cells, 2.5 ohm from cell to cell, four spare rows.

Faults as in the test chip of Chen et al. (2015): 1.75 % stuck-at-0, 9.04 % stuck-at-1, from memory: unverified (that
about 10 % are faulty is checked against Aguirre et al., Electronics 2021, 10:2427). Wires: the upper end of what is
reckoned with for scaled nodes. Spare rows: assumed.
"""

PCM_JOSHI = DeviceModel(
    name="pcm-joshi",
    window=Window(g_min_us=0.25, g_max_us=25.0),
    writing=Writing(sigma_us=(0.26348, 1.9650 / 25.0, -1.1731 / 25.0**2)),
    reading=ReadNoise(proportional=0.037),
    drift=Drift(t0_s=20.0, exponent=0.049, exponent_sigma=0.008),
    converters=Converters(dac_bits=8, adc_bits=8),
)
"""Phase-change memory, as a contrast (Joshi et al., Nature Communications 2020): it drifts as a power of time.

Window (uS, on/off 100): checked against CrossSim's PCM_Joshi. Writing noise: the quadratic of aihwkit's
PCMLikeNoiseModel, checked; CrossSim's own fit to the same figure lies within 8 %. Drift: nu and its spread there for
cells above a fifth of g_max, checked; below that, nu rises to 0.1, which is left out. Read noise: 0.0088 sqrt(ln((t +
250 ns) / 500 ns)) of a cell at g_max after t = 20 s, checked there; all of it is taken to be new at every reading,
though 1/f noise is mostly slow. Its pulses are not told.
"""

PRESETS: dict[str, DeviceModel] = {
    model.name: model
    for model in (
        IDEAL,
        RRAM_WAN2022,
        RRAM_MILO2021,
        RRAM_CMO_HFOX_2025,
        RRAM_ISAAC,
        RRAM_NEUROSIM,
        RRAM_HARSH,
        PCM_JOSHI,
    )
}
DEFAULT_DEVICE = RRAM_CMO_HFOX_2025.name


@lru_cache(maxsize=64)
def device(text: str) -> DeviceModel:
    """The preset of this name, or the device that a JSON object describes. Raises DeviceError."""
    if len(text) > DEVICE_CHARS_MAX:
        raise DeviceError(
            f"a device is described in at most {DEVICE_CHARS_MAX} characters: {len(text)}"
        )
    if text in PRESETS:
        return PRESETS[text]
    if not text.lstrip().startswith("{"):
        raise DeviceError(f"{text[:SHOWN_CHARS]}: no such device ({_nearest(text, PRESETS)})")
    try:
        changes = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DeviceError(f"a device is a name or a JSON object: {error}") from error
    return _changed(changes)


def from_toml(text: str) -> DeviceModel:
    """The device that a TOML file describes. Raises DeviceError.

    TOML has no null: what a preset has and this device has not (levels, say) takes another base.
    """
    import tomllib  # 1 ms that only readers of TOML pay

    try:
        changes = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DeviceError(f"a device's file is TOML: {error}") from error
    return _changed(changes)


def to_text(model: DeviceModel) -> str:
    """What `device` makes this model of: its name if it is a preset, else the shortest JSON, always the same."""
    if PRESETS.get(model.name) == model:
        return model.name
    wanted = msgspec.to_builtins(model)
    texts = [_text(wanted, base) for base in PRESETS]
    text = min(texts, key=len)
    if len(text) > DEVICE_CHARS_MAX:
        raise DeviceError(
            f"a device is described in at most {DEVICE_CHARS_MAX} characters: {len(text)}"
        )
    return text


def _text(wanted: dict[str, Any], base: str) -> str:
    changes: dict[str, Any] = {} if base == IDEAL.name else {"base": base}
    if wanted["name"] != CUSTOM:
        changes["name"] = wanted["name"]
    for section, before in msgspec.to_builtins(PRESETS[base]).items():
        if section != "name" and wanted[section] != before:
            after = wanted[section]
            changes[section] = {key: after[key] for key in after if after[key] != before[key]}
    return msgspec.json.encode(changes).decode()


def _changed(changes: object) -> DeviceModel:
    """A preset with some keys changed, section by section."""
    if not isinstance(changes, dict):
        raise DeviceError("a device is a name or a JSON object with sections")
    changes = {"base": IDEAL.name, "name": CUSTOM} | changes
    base = changes.pop("base")
    if not isinstance(base, str) or base not in PRESETS:
        raise DeviceError(f"base: no such device: {base} ({_nearest(str(base), PRESETS)})")
    told = msgspec.to_builtins(PRESETS[base])
    _merge(told, changes, DeviceModel, "")
    try:
        return msgspec.convert(told, DeviceModel)
    except msgspec.ValidationError as error:
        raise DeviceError(_key_first(str(error))) from error


def _merge(told: dict[str, Any], changes: dict[str, Any], part: type[Part], path: str) -> None:
    """Lay `changes` over `told`, in place; unknown keys are refused with the nearest known one."""
    kinds = {field.name: field.type for field in msgspec.structs.fields(part)}
    for key, value in changes.items():
        if key not in kinds:
            raise DeviceError(f"{path}{key}: no such key ({_nearest(key, kinds)})")
        kind = kinds[key]
        if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, Part):
            _merge(told[key], value, kind, f"{path}{key}.")
        else:
            told[key] = value


def _key_first(message: str) -> str:
    """`Expected float - at $.faults.stuck_low` as `faults.stuck_low: expected float`."""
    what, _, place = message.partition(" - at `$.")
    if not place:
        return what
    return f"{place.rstrip('`')}: {what[0].lower()}{what[1:]}"


def _nearest(name: str, known: Mapping[str, object]) -> str:
    import difflib  # for mistakes only: 2 ms that a node without any does not pay

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
    return f"did you mean {near[0]}?" if near else "write one of: " + ", ".join(known)
