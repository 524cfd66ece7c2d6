"""Products over several holders, with real numbers on virtual time."""

from pathlib import Path

import pytest

from node.communication.policies import Ours
from node.communication.scoring import HedgeBudget
from node.execution.parts import RETRY_S, TRIES_MAX
from protocol.client import MatmulRequest
from protocol.errors import ErrorCode
from protocol.ids import TaskId
from tests.node.execution.bench_mesh import OWN, VERSION, BenchMesh, Weights
from tests.node.execution.mirrors import W, X, error, flipped, signal


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
def test_several_holders_give_the_product(
    digital: Weights, transpose: bool, deterministic: bool
) -> None:
    w = W.T if transpose else W
    x = signal(8, w.shape[0])

    answer = BenchMesh(digital).matmul(x, transpose=transpose, deterministic=deterministic)

    assert error(answer.value, x, w) < 1e-6
    assert answer.certificate is not None and answer.certificate.bound is not None
    assert error(answer.value, x, w) < answer.certificate.bound < 1e-5


@pytest.mark.parametrize("transpose", [False, True])
def test_crossbars_keep_the_tolerance(rram: Weights, transpose: bool) -> None:
    w = W.T if transpose else W
    x = signal(8, w.shape[0])

    answer = BenchMesh(rram).matmul(x, rtol=1e-2, transpose=transpose)

    assert error(answer.value, x, w) < 1e-2
    assert answer.certificate is not None and answer.certificate.analog_fraction > 0.9


def test_a_raw_analog_product_is_told_how_wrong_it_is(rram: Weights) -> None:
    answer = BenchMesh(rram).matmul(X, rtol=None)

    assert answer.certificate is not None and answer.certificate.bound is not None
    assert error(answer.value, X, W) < answer.certificate.bound < 0.2


@pytest.mark.parametrize("deterministic", [False, True])
def test_many_rows_go_through_in_panels(digital: Weights, deterministic: bool) -> None:
    x = signal(1000, 1100)

    answer = BenchMesh(digital).matmul(x, deterministic=deterministic)

    assert error(answer.value, x, W) < 1e-6
    assert len({request.x_key for _, request in answer.asked}) > 1


def test_deterministic_answers_are_the_same_bytes_whoever_took_part(
    digital: Weights, rram: Weights
) -> None:
    for weights, transpose in ((digital, False), (digital, True), (rram, False), (rram, True)):
        m = 12 if weights is rram else 200
        x = signal(m, W.shape[1] if transpose else W.shape[0])
        answers, who = set(), set()
        for seed, fast in enumerate((OWN, "anna", "bert")):
            mesh = BenchMesh(weights, seed)
            mesh.speeds = {fast: 1e11}
            mesh.dead = {"anna"} if fast == "bert" else set()
            mesh.wrong = {"anna": flipped} if fast == "anna" else {}
            answer = mesh.matmul(x, transpose=transpose, deterministic=True)
            assert answer.value is not None
            answers.add(answer.value.tobytes())
            who.add(tuple(sorted((node, request.blocks) for node, request in answer.asked)))

        assert len(answers) == 1
        assert len(who) == 3


# -- parts that are late or lost ---------------------------------------------------------------------


def test_a_silent_holder_is_hedged(digital: Weights) -> None:
    mesh = BenchMesh(digital)
    mesh.silent = {"anna"}

    answer = mesh.matmul(X)

    assert error(answer.value, X, W) < 1e-6
    assert {fields["peer"] for fields in answer.named("part.hedged")} == {"anna"}
    assert answer.account is not None and answer.account.seconds < 3.0
    assert answer.explain is not None and answer.explain.hedges == 1


def test_a_silent_holder_s_part_is_moved_without_asking_the_budget(digital: Weights) -> None:
    mesh = BenchMesh(digital)
    mesh.hedges = HedgeBudget(0.0)
    mesh.silent = {"anna"}
    mesh.speeds = dict.fromkeys((OWN, "anna", "bert"), 1e4)

    answer = mesh.matmul(X, deadline_s=3000.0)

    assert error(answer.value, X, W) < 1e-6
    moved = answer.named("part.rescued")
    assert {fields["peer"] for fields in moved} == {"anna"}
    assert "no sign of life" in str(moved[0]["why"])
    assert answer.account is not None and answer.account.seconds < 3.0
    assert answer.explain is not None and answer.explain.rescues == 1


def test_long_work_of_a_holder_that_answers_probes_is_waited_for(digital: Weights) -> None:
    mesh = BenchMesh(digital)
    mesh.hedges = HedgeBudget(0.0)
    mesh.takes_s = {"anna": 20.0}
    mesh.speeds = dict.fromkeys((OWN, "anna", "bert"), 1e6)

    answer = mesh.matmul(X)

    assert error(answer.value, X, W) < 1e-6
    assert not answer.named("part.rescued")
    assert answer.account is not None and 20.0 < answer.account.seconds < 21.0
    assert mesh.asking.for_life > 10


def test_a_part_that_takes_four_times_as_long_as_measured_speeds_say_is_asked_of_another_too(
    digital: Weights,
) -> None:
    mesh = BenchMesh(digital)
    mesh.hedges = HedgeBudget(0.0)
    mesh.takes_s = {"anna": 20.0}

    answer = mesh.matmul(X)

    assert error(answer.value, X, W) < 1e-6
    (rescued,) = answer.named("part.rescued")
    assert rescued["peer"] == "anna" and "were expected" in str(rescued["why"])
    assert answer.account is not None and answer.account.seconds < 2.0


def test_the_blocks_of_a_holder_that_dies_go_to_the_others(digital: Weights) -> None:
    mesh = BenchMesh(digital)
    product = mesh.begin(MatmulRequest(name="w"), X)
    while "anna" not in [node for node, _ in mesh.answer.asked]:
        mesh.step(product)
    mesh.dead = {"anna"}
    while not product.over:
        mesh.step(product)

    answer = mesh.end(product)

    assert error(answer.value, X, W) < 1e-6
    assert [fields["peer"] for fields in answer.named("part.failed")] == ["anna"]


def test_the_only_holder_is_tried_again_after_pauses(tmp_path: Path) -> None:
    mesh = BenchMesh(Weights(tmp_path, W, "digital", lambda block: ("anna",)))
    mesh.refusing = {"anna": TRIES_MAX - 1}

    answer = mesh.matmul(X)

    assert error(answer.value, X, W) < 1e-6
    assert answer.account is not None and answer.account.seconds > RETRY_S * 2 ** (TRIES_MAX - 1)


def test_a_holder_that_never_takes_its_part_fails_the_product_with_its_reason(
    tmp_path: Path,
) -> None:
    mesh = BenchMesh(Weights(tmp_path, W, "digital", lambda block: ("anna",)))
    mesh.refusing = {"anna": 1000}

    answer = mesh.matmul(X)

    assert answer.error is not None and answer.error.code is ErrorCode.OVERLOADED
    assert len(answer.named("part.failed")) == TRIES_MAX


def test_a_product_without_holders_is_refused_and_they_are_named(tmp_path: Path) -> None:
    mesh = BenchMesh(Weights(tmp_path, W, "digital", lambda block: (OWN, "anna")[block.row :][:1]))
    mesh.dead = {"anna"}

    answer = mesh.matmul(X)

    assert answer.error is not None and answer.error.code is ErrorCode.UNAVAILABLE
    assert "anna" in answer.error.reason


def test_a_product_with_blocks_that_its_own_node_has_not_loaded_says_so(tmp_path: Path) -> None:
    mesh = BenchMesh(Weights(tmp_path, W, "digital", lambda block: (OWN,)))
    mesh.dead = {OWN}

    answer = mesh.matmul(X)

    assert answer.error is not None and answer.error.code is ErrorCode.UNAVAILABLE
    assert "(this node)" in answer.error.reason and "--memory" in answer.error.reason


def test_what_is_not_done_in_time_ends_with_the_deadline(tmp_path: Path) -> None:
    mesh = BenchMesh(Weights(tmp_path, W, "digital", lambda block: ("anna",)))
    mesh.matmul(X)
    mesh.takes_s = {"anna": 60.0}

    answer = mesh.matmul(X, deadline_s=2.0)

    assert answer.error is not None and answer.error.code is ErrorCode.DEADLINE
    assert "no answer for block (0, 0), (1, 0), (0, 1) and 3 more at anna" in answer.error.reason
    assert answer.account is not None and answer.account.seconds == pytest.approx(2.0)


def test_two_products_at_once_do_not_choose_the_same_peer(tmp_path: Path) -> None:
    narrow = W[:, :1000].copy()
    mesh = BenchMesh(Weights(tmp_path, narrow[:1000], "digital", lambda block: ("anna", "bert")))
    products = [mesh.begin(MatmulRequest(name="w"), X[:, :1000], TaskId(n)) for n in ("a", "b")]
    while not all(product.over for product in products):
        mesh.step(products[0] if not products[0].over else products[1])

    assert sorted(node for node, _ in mesh.end(products[0]).asked) == ["anna", "bert"]


# -- parts for which there is no time -----------------------------------------------------------------


def test_a_product_for_which_nobody_has_time_is_shed_at_once(digital: Weights) -> None:
    mesh = BenchMesh(digital)
    mesh.queues = dict.fromkeys((OWN, "anna", "bert"), 9.0)

    answer = mesh.matmul(X, deadline_s=2.0)

    assert answer.error is not None and answer.error.code is ErrorCode.OVERLOADED
    assert answer.error.retry_after_s == pytest.approx(9.0, rel=0.01)
    assert answer.asked == []
    assert answer.explain is not None and answer.explain.shed
    assert [one.queue_s for one in answer.explain.candidates] == pytest.approx([9.0] * 3, rel=0.01)


def test_without_shedding_it_is_tried_all_the_same(digital: Weights) -> None:
    mesh = BenchMesh(digital)
    mesh.chooser = Ours(None, sheds=False)
    mesh.queues = dict.fromkeys((OWN, "anna", "bert"), 9.0)

    assert mesh.matmul(X, deadline_s=2.0).error is None


def test_a_part_that_its_holder_has_no_time_for_goes_to_another_at_once(digital: Weights) -> None:
    mesh = BenchMesh(digital)
    mesh.refusing = {"anna": 1}
    mesh.retry_after_s = 60.0
    before = mesh.memory.forecast_reliability("anna", mesh.now)

    answer = mesh.matmul(X)

    assert error(answer.value, X, W) < 1e-6
    assert answer.account is not None and answer.account.seconds < RETRY_S
    assert answer.explain is not None and answer.explain.refusals == 1
    assert mesh.memory.forecast_reliability("anna", mesh.now) >= before


def test_a_part_that_all_its_holders_have_no_time_for_ends_the_product_with_their_reason(
    digital: Weights,
) -> None:
    mesh = BenchMesh(digital)
    mesh.refusing = dict.fromkeys((OWN, "anna", "bert"), 1000)
    mesh.retry_after_s = 60.0

    answer = mesh.matmul(X)

    assert answer.error is not None and answer.error.code is ErrorCode.OVERLOADED
    assert "is busy" in answer.error.reason and answer.error.retry_after_s == 60.0
    assert answer.account is not None and answer.account.seconds < RETRY_S
    assert answer.explain is not None and answer.explain.shed


# -- ends and accounts -------------------------------------------------------------------------------


@pytest.mark.parametrize("troubled", [False, True])
def test_a_product_can_be_cancelled_at_any_step_and_leaves_nothing(
    digital: Weights, troubled: bool
) -> None:
    over, steps = False, 0
    while not over:
        mesh = BenchMesh(digital)
        mesh.wrong = {"anna": flipped} if troubled else {}
        mesh.refusing = {"bert": 2} if troubled else {}
        product = mesh.begin(MatmulRequest(name="w"), X)
        for _ in range(steps):
            mesh.step(product)
            if product.over:
                break
        over = product.over
        mesh.feed(product.cancel("the client has gone", mesh.now))
        answer = mesh.end(product)
        assert over or (answer.error is not None and answer.error.code is ErrorCode.CANCELLED)
        steps += 1
    assert steps >= 20


def test_weights_that_are_dropped_meanwhile_are_multiplied_to_the_end(digital: Weights) -> None:
    mesh = BenchMesh(digital)
    product = mesh.begin(MatmulRequest(name="w"), X)
    mesh.feed(mesh.sketches.drop(VERSION))
    while not product.over:
        mesh.step(product)

    assert error(mesh.end(product).value, X, W) < 1e-6


def test_the_account_says_who_did_what(rram: Weights) -> None:
    x = signal(300, 1100)

    account = BenchMesh(rram).matmul(x).account

    assert account is not None
    assert [work.node for work in account.work] == sorted(["anna", "bert", OWN])
    assert sum(work.blocks for work in account.work) >= rram.grid.count
    assert sum(work.macs for work in account.work) == len(x) * W.size
    assert account.energy_j == pytest.approx(sum(work.energy_j for work in account.work))
    assert max(work.latency_s for work in account.work) <= account.latency_s
    assert account.latency_s < sum(work.latency_s for work in account.work)
    for work in account.work:
        assert (work.bytes == 0) == (work.node == OWN)
        assert work.busy_s > 0.0
