import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute.device import DeviceModel, Faults, Wires
from compute.energy import READ_BACK_READS
from compute.partition import TILE_SIDE, Matrix
from compute.presets import DEFAULT_DEVICE, PRESETS, device
from compute.programmed import Arrays, ProgrammedBlock, resident_bytes
from compute.programming import program, read_back_error
from tests.compute.matrices import normal

WAN = PRESETS["rram-wan2022"]
FAULTY = msgspec.structs.replace(WAN, faults=Faults(stuck_low=0.0175, stuck_high=0.0904))
PRESETS_WITHOUT_WIRES = [name for name, of in PRESETS.items() if not of.wires.segment_ohm]


def held(block: ProgrammedBlock, slices: int | None = None) -> Matrix:
    """What arrays and outliers stand for together."""
    value = np.zeros(block.shape, np.float32)
    depth = len(block.slices) if slices is None else slices
    for replicas in block.slices[:depth]:
        for layer in replicas:
            value += layer.conductance * layer.scale
    block.add_outliers(np.eye(block.shape[0], dtype=np.float32), value, depth)
    return value


def relative_error(block: ProgrammedBlock, weights: Matrix, slices: int | None = None) -> float:
    return float(np.linalg.norm(held(block, slices) - weights) / np.linalg.norm(weights))


def correlation(one: Matrix, other: Matrix) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


# -- cells -------------------------------------------------------------------------------------------


def test_the_same_seed_and_block_are_the_same_cells() -> None:
    weights = normal(200, 150)

    def conductance(seed: int = 3, block: str = "w/0/0", writes: int = 1) -> bytes:
        made = program(weights, FAULTY, seed, block, Arrays(writes=writes))
        return made.slices[0][0].conductance.tobytes()

    here = conductance()
    assert conductance() == here
    others = {conductance(seed=4), conductance(block="w/0/1"), conductance(writes=2)}
    assert len(others) == 3 and here not in others


def test_slices_and_replicas_are_arrays_of_their_own() -> None:
    weights = normal(130, 60)
    block = program(weights, WAN, 3, "w", Arrays(slices=2, replicas=2))
    errors = [(layer.conductance * layer.scale * 2 - weights).ravel() for layer in block.slices[0]]

    assert abs(np.corrcoef(errors)[0, 1]) < 0.2
    assert [len(replicas) for replicas in block.slices] == [2, 2]


def test_what_is_written_first_does_not_depend_on_what_is_written_later() -> None:
    weights = normal(200, 100)
    once, deep = (program(weights, FAULTY, 3, "w", Arrays(slices=n)) for n in (1, 3))

    assert np.array_equal(once.slices[0][0].conductance, deep.slices[0][0].conductance)
    assert np.array_equal(once.slices[0][0].scale, deep.slices[0][0].scale)
    assert np.array_equal(once.errors[0].rows, deep.errors[0].rows)


def test_weights_are_used_up_only_where_that_is_allowed() -> None:
    weights, before = normal(200, 100), normal(200, 100)
    kept = program(weights, WAN, 3, "w", Arrays(slices=2))
    assert np.array_equal(weights, before)

    used = program(weights, WAN, 3, "w", Arrays(slices=2), overwrite=True)
    assert np.array_equal(held(kept), held(used))


def test_what_it_took_is_counted_for_every_cell() -> None:
    weights = normal(200, 100)
    once = program(weights, WAN, 3, "w").written
    more = program(weights, WAN, 3, "w", Arrays(slices=2, replicas=3)).written

    assert once.cells == 2 * 200 * 100
    assert more.cells == 6 * once.cells
    assert once.cells < once.pulses and once.energy_pj > 0.0 and once.time_ns > 0.0


# -- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS_WITHOUT_WIRES)
@pytest.mark.parametrize("transpose", [False, True])
def test_the_error_of_any_product_is_foreseen_tile_row_by_tile_row(
    name: str, transpose: bool
) -> None:
    weights = normal(300, 260)
    block = program(weights, PRESETS[name], 5, "w", Arrays(slices=2))
    for depth in (1, 2):
        wrong = (held(block, depth) - weights).T if transpose else held(block, depth) - weights
        for start in (0, 128, 256):
            inputs = slice(start, min(start + TILE_SIDE, len(wrong)))
            x = normal(40, inputs.stop - start, seed=start)
            true = float(np.linalg.norm(x.astype(np.float64) @ wrong[inputs]) ** 2)

            foreseen = block.programming_variance(x, depth, transpose, inputs)
            if PRESETS[name].is_exact:
                assert foreseen == true == 0.0
            else:  # chi-square of about 16 x 40 degrees: 6 % a standard deviation
                assert foreseen == pytest.approx(true, rel=0.3)


def test_an_exact_device_holds_the_weights_themselves() -> None:
    weights = normal(200, 100)
    block = program(weights, PRESETS["ideal"], 3, "w")

    assert np.array_equal(block.slices[0][0].conductance, weights)
    assert (block.slices[0][0].scale == 1.0).all() and block.outliers[0].count == 0


@pytest.mark.parametrize("name", ["rram-wan2022", "rram-milo2021", "pcm-joshi"])
def test_each_slice_takes_away_most_of_what_the_last_one_left(name: str) -> None:
    weights = normal(256, 128)
    block = program(weights, PRESETS[name], 5, "w", Arrays(slices=3))
    errors = [relative_error(block, weights, slices) for slices in (1, 2, 3)]

    assert errors[1] < 0.35 * errors[0] and errors[2] < 0.35 * errors[1]


def test_slices_stop_at_what_the_read_back_can_tell() -> None:
    """The first read-back is wrong by cell noise over the root of its readings; no later slice makes up for it."""
    weights = normal(256, 128)
    block = program(weights, WAN, 5, "w", Arrays(slices=6))
    floor = np.linalg.norm(read_back_error(block.slices[0], WAN, 1)) / np.linalg.norm(weights)
    errors = [relative_error(block, weights, slices) for slices in (5, 6)]

    assert errors == pytest.approx([floor, floor], rel=0.2)


@pytest.mark.parametrize("name", ["rram-wan2022", "rram-cmo-hfox-2025", "pcm-joshi"])
def test_replicas_average_write_errors(name: str) -> None:
    weights = normal(256, 128)
    errors = [
        relative_error(program(weights, PRESETS[name], 5, "w", Arrays(replicas=n)), weights)
        for n in (1, 2, 4)
    ]

    assert errors[1] == pytest.approx(errors[0] / 2**0.5, rel=0.06)
    assert errors[2] == pytest.approx(errors[0] / 2, rel=0.08)


def test_the_gain_of_each_column_leaves_no_error_in_step_with_what_it_holds() -> None:
    """Cells at the window's edge err inwards only; without the gain the columns would be short of their weights."""
    signs = np.sign(normal(256, 40))
    (layer,) = program(signs, WAN, 5, "w").slices[0]
    value = layer.conductance * layer.scale

    in_step = np.einsum("ij,ij->j", value, signs - value) / 256
    assert np.abs(in_step).max() < 1e-4


def test_columns_of_zeros_stay_zero_whatever_their_cells_hold() -> None:
    weights = normal(200, 100) * np.float32(1e-20)
    weights[:, 10:20] = 0.0
    block = program(weights, FAULTY, 5, "w", Arrays(slices=2))

    assert not held(block)[:, 10:20].any()
    assert relative_error(block, weights) < 0.2


@pytest.mark.parametrize("exponent", [-100, -40, 40, 100])
def test_what_is_held_is_in_proportion_to_the_weights(exponent: int) -> None:
    weights, scale = normal(130, 64), np.float32(2.0**exponent)
    block, plain = (program(w, WAN, 5, "w", Arrays(slices=2)) for w in (weights * scale, weights))

    assert np.array_equal(held(block), held(plain) * scale)


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_a_tenth_of_stuck_cells_adds_at_most_a_third_to_the_error(kind: str) -> None:
    dice = np.random.default_rng(1)
    weights = normal(384, 256) if kind == "normal" else dice.random((384, 256), np.float32) - 0.5
    sound, faulty = (program(weights, of, 5, "w") for of in (WAN, FAULTY))

    assert relative_error(faulty, weights) <= 1.3 * relative_error(sound, weights)
    assert 0.01 < faulty.digital_share(1) < 0.06


@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("slices", [2, 3])
def test_the_same_holds_of_further_slices_each_with_stuck_cells_of_its_own(
    kind: str, slices: int
) -> None:
    dice = np.random.default_rng(1)
    weights = normal(384, 256) if kind == "normal" else dice.random((384, 256), np.float32) - 0.5
    sound, faulty = (program(weights, of, 5, "w", Arrays(slices=slices)) for of in (WAN, FAULTY))

    assert relative_error(faulty, weights) <= 1.3 * relative_error(sound, weights)
    further = faulty.digital_share(slices) - faulty.digital_share(1)
    assert 0.01 * (slices - 1) < further < 0.025 * (slices - 1)


def test_a_product_of_fewer_slices_takes_the_outliers_that_belong_to_these() -> None:
    weights = normal(256, 200)
    once, deep = (program(weights, FAULTY, 3, "w", Arrays(slices=n)) for n in (1, 3))

    for depth in (1, 2):
        fewer = program(weights, FAULTY, 3, "w", Arrays(slices=depth))
        assert np.array_equal(held(deep, depth), held(fewer))
        assert np.array_equal(held(deep.first(depth)), held(fewer))
        assert deep.first(depth).nbytes == fewer.nbytes
    assert deep.digital_share(1) == once.digital_share(1) < deep.digital_share(2)


def test_sound_devices_and_nearly_sound_ones_make_nothing_digital_for_further_slices() -> None:
    weights = normal(384, 256)
    sound = program(weights, WAN, 5, "w", Arrays(slices=3))
    few = msgspec.structs.replace(WAN, faults=Faults(stuck_low=0.001, stuck_high=0.002))
    nearly = program(weights, few, 5, "w", Arrays(slices=3))

    assert [part.count for part in sound.outliers[1:]] == [0, 0]
    assert nearly.digital_share(3) - nearly.digital_share(1) < 1e-4
    assert relative_error(nearly, weights) < 1.1 * relative_error(sound, weights)


def test_a_further_outlier_is_known_as_well_as_the_read_back_tells() -> None:
    """Of a weight that is digital after the second slice what both read-backs got wrong stays wrong."""
    weights = normal(384, 256)
    block = program(weights, FAULTY, 5, "w", Arrays(slices=2))
    taken = np.zeros(block.shape, np.float32)
    block.outliers[1].add_product(np.eye(384, dtype=np.float32), taken)
    wrong = (held(block) - weights)[taken != 0.0]

    sigma = np.sqrt(2.0 * WAN.cell_noise**2 / READ_BACK_READS)
    first, second = (np.median(block.slices[index][0].scale) for index in range(2))
    assert np.std(wrong) == pytest.approx(sigma * np.hypot(first, second), rel=0.1)


def test_a_few_weights_far_beyond_the_others_do_not_spoil_their_column() -> None:
    weights = normal(256, 128)
    plain = relative_error(program(weights, WAN, 5, "w"), weights) * np.linalg.norm(weights)
    weights[3, :], weights[200, ::2] = 1e4, -1e5
    block = program(weights, WAN, 5, "w")

    assert np.linalg.norm(held(block) - weights) < 1.2 * plain
    assert np.allclose(held(block)[3], 1e4)


def test_resistive_wires_are_allowed_for_by_the_gain() -> None:
    """What all cells of a column lose alike costs nothing; what they lose by their place does."""
    weights = normal(128, 32)
    wired = msgspec.structs.replace(WAN, wires=Wires(segment_ohm=2.5))
    plain, drop = (program(weights, of, 5, "w") for of in (WAN, wired))

    assert relative_error(drop, weights) < 1.3 * relative_error(plain, weights)
    assert drop.slices[0][0].scale.mean() > plain.slices[0][0].scale.mean()


def test_what_is_read_back_through_proportional_noise_is_known_so_well_only() -> None:
    weights = normal(256, 128)
    block = program(weights, PRESETS["pcm-joshi"], 5, "w", Arrays(slices=5))

    assert 1e-4 < relative_error(block, weights) < 3e-3


def test_the_stuck_share_is_that_of_all_replicas_cells() -> None:
    weights = normal(256, 128)
    one, two = (
        program(weights, FAULTY, 5, "w", Arrays(replicas=n)).health.stuck_share(0, False)
        for n in (1, 2)
    )

    assert two == pytest.approx(one, rel=0.2)


# -- time --------------------------------------------------------------------------------------------


def test_cells_drift_further_on_the_way_of_their_writing() -> None:
    quiet = device('{"base": "rram-cmo-hfox-2025", "converters": {"dac_bits": null}}')
    weights = normal(200, 100)

    def at(age_s: float, writes: int = 1) -> Matrix:
        return (
            program(weights, quiet, 3, "w", Arrays(age_s=age_s, writes=writes))
            .slices[0][0]
            .conductance
        )

    near, far = (at(age_s) - at(0.0) for age_s in (60.0, 86_400.0))
    other = at(86_400.0, writes=2) - at(0.0, writes=2)
    assert correlation(near, far) > 0.9
    assert abs(correlation(far, other)) < 0.1
    assert np.linalg.norm(far) > 1.5 * np.linalg.norm(near)


def test_writing_again_meets_the_same_stuck_cells_and_new_noise() -> None:
    weights = normal(256, 128)
    blocks = [program(weights, FAULTY, 3, "w", Arrays(writes=writes)) for writes in (1, 2, 3)]
    one, other, _ = (held(block) - weights for block in blocks)

    assert len({int(block.health.stuck.sum()) for block in blocks}) == 1
    assert abs(correlation(one, other)) < 0.2
    assert np.allclose([relative_error(block, weights) for block in blocks], 0.16, atol=0.015)


def test_drift_is_not_made_up_for_by_slices_that_were_written_before_it() -> None:
    weights = normal(256, 128)
    day = 86_400.0
    one, two = (
        relative_error(
            program(weights, PRESETS[DEFAULT_DEVICE], 5, "w", Arrays(slices=n, age_s=day)), weights
        )
        for n in (1, 2)
    )

    assert two > 0.7 * one


# -- memory ------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    of=st.sampled_from([*PRESETS.values(), FAULTY]),
    rows=st.integers(1, 200),
    columns=st.integers(1, 200),
    slices=st.integers(1, 3),
    replicas=st.integers(1, 2),
    kind=st.sampled_from(["normal", "cauchy", "sparse"]),
)
def test_no_block_takes_more_than_was_declared(
    of: DeviceModel, rows: int, columns: int, slices: int, replicas: int, kind: str
) -> None:
    if of.wires.segment_ohm:
        rows, columns, slices, replicas = 1 + rows % 20, 1 + columns % 20, 1, 1
    dice = np.random.default_rng(rows)
    weights = normal(rows, columns)
    if kind == "cauchy":
        weights = dice.standard_cauchy((rows, columns)).astype(np.float32)
    elif kind == "sparse":
        weights *= dice.random((rows, columns)) < 0.05
    arrays = Arrays(slices=slices, replicas=replicas)

    block = program(weights, of, 3, "w", arrays)

    assert block.nbytes <= resident_bytes((rows, columns), of, arrays)


def test_a_whole_block_of_stuck_cells_takes_what_was_declared_and_hardly_less() -> None:
    weights = np.random.default_rng(1).standard_cauchy((1024, 1024)).astype(np.float32)
    for arrays in (Arrays(), Arrays(slices=2)):
        declared = resident_bytes((1024, 1024), FAULTY, arrays)

        block = program(weights, FAULTY, 3, "w", arrays)

        assert 0.6 * declared < block.nbytes <= declared
