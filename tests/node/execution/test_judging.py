"""Parts that are wrong are found, and done again by others, with a stronger plan, at last digitally."""

from pathlib import Path

import numpy as np
import pytest

from compute.partition import Block, Matrix
from compute.verify import STRONGER
from node.communication.scoring import HedgeBudget
from node.deployment.ledger import Purpose
from protocol.client import MatmulRequest
from protocol.errors import ErrorCode
from protocol.messages import Multiply
from tests.node.execution.bench_mesh import OWN, BenchMesh, Weights
from tests.node.execution.mirrors import W, X, error, flipped, mirrors, signal


def flipped_analog(request: Multiply, out: Matrix) -> None:
    if not request.exact:
        flipped(request, out)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("backend", ["digital", "rram"])
def test_a_wrong_part_is_found_named_and_done_by_another(
    backend: str, transpose: bool, deterministic: bool, request: pytest.FixtureRequest
) -> None:
    w = W.T if transpose else W
    x = signal(8, w.shape[0])
    mesh = BenchMesh(request.getfixturevalue(backend))
    mesh.wrong = {"anna": flipped}
    before = mesh.memory.forecast_reliability("anna", mesh.now)

    answer = mesh.matmul(x, transpose=transpose, deterministic=deterministic)

    assert error(answer.value, x, w) < 1e-2
    whole, *named = answer.named("check.failed")
    assert "peer" not in whole and named
    assert {fields["peer"] for fields in named} == {"anna"}
    assert mesh.memory.forecast_reliability("anna", mesh.now) < before
    assert not any(request.exact for _, request in answer.asked)


def test_only_the_wrong_blocks_are_done_again(digital: Weights) -> None:
    mesh = BenchMesh(digital)
    mesh.wrong = {"anna": flipped}

    answer = mesh.matmul(X)

    assert answer.account is not None
    (wrong,) = [request for node, request in answer.asked if node == "anna"]
    macs = sum(work.macs for work in answer.account.work)
    twice = sum(
        digital.grid.shape(Block(*b))[0] * digital.grid.shape(Block(*b))[1] for b in wrong.blocks
    )
    assert macs == len(X) * (W.size + twice)


def test_the_only_holder_of_a_wrong_part_does_it_again_with_a_stronger_plan(
    tmp_path: Path,
) -> None:
    def once(request: Multiply, out: Matrix) -> None:
        del mesh.wrong["anna"]
        flipped(request, out)

    mesh = BenchMesh(
        Weights(tmp_path, W, "rram", lambda block: ("anna",) if block.row else ("bert",))
    )
    mesh.wrong = {"anna": once}

    answer = mesh.matmul(X)

    assert error(answer.value, X, W) < 1e-2
    first, second = [request for node, request in answer.asked if node == "anna"]
    assert first.share is not None and second.share == STRONGER * first.share
    assert second.x_key != first.x_key
    assert len([node for node, _ in answer.asked if node == "bert"]) == 1
    assert answer.certificate is not None and answer.certificate.analog_fraction > 0.9
    assert answer.explain is not None
    assert (answer.explain.stronger, answer.explain.digital) == (1, 0)
    assert [step.what for step in answer.explain.steps] == ["failed", "stronger"]


def test_the_only_holder_of_a_part_that_stays_wrong_does_it_digitally_at_last(
    tmp_path: Path,
) -> None:
    mesh = BenchMesh(
        Weights(tmp_path, W, "rram", lambda block: ("anna",) if block.row else ("bert",))
    )
    mesh.wrong = {"anna": flipped_analog}

    answer = mesh.matmul(X)

    assert error(answer.value, X, W) < 1e-2
    assert [(node, request.exact) for node, request in answer.asked[2:]] == [
        ("anna", False),
        ("anna", True),
    ]
    assert answer.certificate is not None and 0.0 < answer.certificate.analog_fraction < 1.0


def test_cells_that_are_wrong_at_every_holder_give_the_same_bytes_whoever_took_part(
    rram: Weights,
) -> None:
    def as_planned(request: Multiply, out: Matrix) -> None:
        if request.x_key == planned and (0, 0) in request.blocks:
            flipped(request, out)

    planned = BenchMesh(rram).matmul(X, deterministic=True).asked[0][1].x_key
    answers = set()
    for fast in ("anna", "bert"):
        mesh = BenchMesh(rram)
        mesh.speeds = {fast: 1e11}
        mesh.wrong = dict.fromkeys(("anna", "bert"), as_planned)
        mesh.dead = {OWN}
        answer = mesh.matmul(X, deterministic=True)
        assert error(answer.value, X, W) < 1e-2
        assert answer.value is not None and answer.explain is not None
        assert (answer.explain.stronger, answer.explain.digital) == (1, 0)
        answers.add(answer.value.tobytes())

    assert len(answers) == 1


def test_holders_that_are_always_wrong_and_claim_to_be_analog_come_to_an_end(
    tmp_path: Path,
) -> None:
    mesh = BenchMesh(Weights(tmp_path, W, "rram", lambda block: ("anna", "bert")))
    mesh.wrong = dict.fromkeys(("anna", "bert"), flipped)
    mesh.claims_analog = True

    answer = mesh.matmul(X)

    assert answer.error is not None and answer.error.code is ErrorCode.INTERNAL
    assert len([1 for fields in answer.named("check.failed") if "peer" not in fields]) <= 4


@pytest.mark.parametrize("names", [("anna",), ("anna", "bert")])
def test_a_part_that_stays_wrong_fails_the_product_and_names_its_holder(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    mesh = BenchMesh(
        Weights(tmp_path, W, "digital", lambda block: (names[block.row % len(names)],))
    )
    mesh.wrong = {"anna": flipped}

    answer = mesh.matmul(X)

    assert answer.error is not None and answer.error.code is ErrorCode.INTERNAL
    assert "wrong parts came from anna;" in answer.error.reason


def test_values_that_are_no_numbers_are_somebody_s_fault(digital: Weights) -> None:
    def nonsense(request: Multiply, out: Matrix) -> None:
        out[0, 3] = np.nan

    mesh = BenchMesh(digital)
    mesh.wrong = {"bert": nonsense}

    answer = mesh.matmul(X)

    assert error(answer.value, X, W) < 1e-6
    assert {fields.get("peer") for fields in answer.named("check.failed")} == {None, "bert"}


EIGHT = ("anna", "bert", "carl", "dora", "emil", "fred", "gina", "hans")


@pytest.fixture(scope="module")
def tall(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Each block at a holder of its own, and all of them add to the same outputs."""
    folder = tmp_path_factory.mktemp("tall")
    return Weights(folder, mirrors(8 * 1024, 64), "rram", lambda block: (EIGHT[block.row],))


def test_honest_errors_that_add_up_are_done_again_with_a_stronger_plan(tall: Weights) -> None:
    def within_its_share(request: Multiply, out: Matrix) -> None:
        assert request.share is not None
        out[0, 0] += 0.65 * request.share

    mesh = BenchMesh(tall)
    mesh.wrong = dict.fromkeys(EIGHT, within_its_share)
    x = signal(8, 8 * 1024)

    answer = mesh.matmul(x, rtol=5e-2)

    assert error(answer.value, x, tall.w) < 5e-2
    assert [fields.get("peer") for fields in answer.named("check.failed")] == [None]
    assert answer.certificate is not None and answer.certificate.analog_fraction == 1.0
    assert answer.explain is not None
    assert (answer.explain.stronger, answer.explain.digital, answer.explain.failures) == (8, 0, 0)
    planned = {node: request.share for node, request in answer.asked[:8]}
    assert {node: request.share for node, request in answer.asked[8:]} == {
        node: STRONGER * share for node, share in planned.items() if share is not None
    }


def test_what_a_stronger_plan_does_not_help_is_done_digitally(tall: Weights) -> None:
    def off_however_it_is_read(request: Multiply, out: Matrix) -> None:
        if not request.exact:
            out[0, 0] += 10.0

    mesh = BenchMesh(tall)
    mesh.wrong = dict.fromkeys(EIGHT, off_however_it_is_read)
    x = signal(8, 8 * 1024)

    answer = mesh.matmul(x, rtol=5e-2)

    assert error(answer.value, x, tall.w) < 5e-2
    assert answer.explain is not None and answer.explain.stronger == 8
    tries = {
        node: [request.exact for peer, request in answer.asked if peer == node] for node in EIGHT
    }
    assert all(exact in ([False, False], [False, False, True]) for exact in tries.values())
    assert 0 < answer.explain.digital == sum(len(exact) == 3 for exact in tries.values())


@pytest.mark.parametrize("deterministic", [False, True])
def test_without_time_for_a_stronger_plan_it_is_done_digitally_unless_bytes_hang_on_it(
    tall: Weights, deterministic: bool
) -> None:
    keys: list[int] = []

    def off_as_planned(request: Multiply, out: Matrix) -> None:
        keys.append(request.x_key)
        if request.x_key == keys[0]:
            out[0, 0] += 10.0

    mesh = BenchMesh(tall)
    mesh.hedges = HedgeBudget(0.0)
    mesh.speeds = dict.fromkeys((OWN, *EIGHT), 1e6)
    mesh.wrong = dict.fromkeys(EIGHT, off_as_planned)
    mesh.takes_s = dict.fromkeys(EIGHT, 2.0)
    x = signal(8, 8 * 1024)

    answer = mesh.matmul(x, rtol=5e-2, deadline_s=5.0, deterministic=deterministic)

    assert error(answer.value, x, tall.w) < 5e-2
    assert answer.explain is not None
    assert (answer.explain.stronger, answer.explain.digital) == (
        (8, 0) if deterministic else (0, 8)
    )


def test_without_memory_to_look_for_the_wrong_part_all_is_done_digitally(rram: Weights) -> None:
    mesh = BenchMesh(rram)
    taken = []

    def wrong_while_memory_is_short(request: Multiply, out: Matrix) -> None:
        flipped_analog(request, out)
        free = mesh.ledger.free_for(Purpose.ACTIVATIONS)
        taken.append(mesh.ledger.reserve("other", Purpose.ACTIVATIONS, free, mesh.now))

    mesh.wrong = dict.fromkeys(("anna", "bert"), wrong_while_memory_is_short)
    product = mesh.begin(MatmulRequest(name="w"), X)
    while not product.over:
        mesh.step(product)
    for lease in taken:
        mesh.ledger.release(lease.id)

    answer = mesh.end(product)

    assert error(answer.value, X, W) < 1e-6
    assert len(answer.named("parts.unchecked")) == 1
    assert answer.certificate is not None and answer.certificate.analog_fraction == 0.0


def test_a_tolerance_below_float32_is_refused_with_one_that_can_be_kept(digital: Weights) -> None:
    mesh = BenchMesh(digital)

    answer = mesh.matmul(X, rtol=1e-9)

    assert answer.error is not None and answer.error.code is ErrorCode.BAD_REQUEST
    offered = float(answer.error.reason.split("ask for an rtol of ")[1].split()[0])
    assert BenchMesh(digital).matmul(X, rtol=offered).error is None
    assert not [fields for fields in answer.named("check.failed") if "peer" in fields]
