from dataclasses import replace

import pytest

from node.cli.demo.outcome import Act, Acts, Iteration, Outcome, Product, checks


def broken(outcome: Outcome) -> dict[str, str]:
    return {check.claim: check.figures for check in checks(outcome) if not check.held}


def with_last(act: Act, psnr_db: float) -> Act:
    return replace(act, iterations=(*act.iterations[:-1], Iteration(psnr_db, 0.1)))


def with_acts(outcome: Outcome, **changes: Act) -> Outcome:
    acts: Acts = replace(outcome.acts, **changes)
    return replace(outcome, acts=acts)


def test_a_run_that_went_well_breaks_no_claim(outcome: Outcome) -> None:
    assert broken(outcome) == {}


def test_a_mesh_that_is_further_from_local_numpy_than_a_tenth_of_a_decibel_is_told(
    outcome: Outcome,
) -> None:
    worse = with_acts(outcome, digital=with_last(outcome.acts.digital, 33.3))

    assert broken(worse) == {"digital within 0.1 dB of local numpy": "33.30 dB against 33.50 dB"}


def test_crossbars_that_lose_more_than_a_decibel_are_told(outcome: Outcome) -> None:
    worse = with_acts(outcome, certified=with_last(outcome.acts.certified, 32.4))

    assert broken(worse) == {"certified analog within 1 dB of digital": "32.40 dB against 33.48 dB"}


def test_a_picture_of_no_number_is_no_success(outcome: Outcome) -> None:
    nan = float("nan")
    worse = with_acts(
        outcome,
        digital=with_last(outcome.acts.digital, nan),
        certified=with_last(outcome.acts.certified, nan),
    )

    assert len(broken(worse)) == 2


def test_leaning_on_the_digital_fallback_is_told(outcome: Outcome) -> None:
    products = (Product(0.1, 10, 1e-2, 1.0, 5, 1e-6), Product(0.1, 10, 1e-2, 0.5, 5, 2e-6))
    worse = with_acts(outcome, certified=replace(outcome.acts.certified, products=products))

    assert broken(worse) == {"at least 90% of the certified work on crossbars": "75.0%"}


def test_a_daemon_over_its_budget_is_named_with_its_figures(outcome: Outcome) -> None:
    first, second = outcome.holders
    worse = replace(
        outcome, holders=(first, replace(second, sampled_peak_bytes=second.budget_bytes + 4096))
    )

    assert "node-<160> 160 MiB OVER 160 MiB" in broken(worse)["every daemon within its budget"]


def test_a_daemon_that_was_never_sampled_proves_nothing(outcome: Outcome) -> None:
    holders = tuple(replace(holder, sampled_peak_bytes=0) for holder in outcome.holders)

    assert "every daemon within its budget" in broken(replace(outcome, holders=holders))


def test_a_matrix_that_one_daemon_holds_alone_needs_no_mesh(outcome: Outcome) -> None:
    worse = replace(outcome, refusal=None)

    assert broken(worse) == {"the largest daemon alone refuses the matrix": "it was taken"}


def test_a_process_left_behind_is_told_by_its_number(outcome: Outcome) -> None:
    worse = replace(outcome, leftovers=(4711,), disobedient=("node-208",))

    assert broken(worse) == {
        "no process left": "had to be killed: node-208; still there: 4711",
    }


def test_an_act_is_as_certain_as_its_least_certain_product(outcome: Outcome) -> None:
    promised, none = Product(0.1, 10, 1e-3, 1.0, 5, 1e-6), Product(0.1, 10, None, 1.0, 5, 1e-6)
    looser = replace(promised, bound=2e-3)

    assert replace(outcome.acts.certified, products=(promised, looser)).bound == 2e-3
    assert replace(outcome.acts.certified, products=(promised, none)).bound is None


def test_an_act_counts_its_bytes_and_its_slowest_iteration(outcome: Outcome) -> None:
    assert outcome.acts.digital.nbytes == 2000
    assert outcome.acts.digital.slowest_s == pytest.approx(0.3)
