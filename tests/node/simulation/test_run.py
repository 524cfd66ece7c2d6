import io
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from node.deployment.ledger import Purpose
from node.effects import Effect
from node.runtime.virtual.clients import ClientTask
from node.runtime.virtual.machine import Machine
from node.simulation.loading import load, names
from node.simulation.outcome import Outcome
from node.simulation.run import Run, run
from node.simulation.scenario import (
    FaultsSetup,
    NetworkSetup,
    Partition,
    RequestsSetup,
    Scenario,
    Stop,
    WeightsSetup,
)
from node.simulation.terms import Terms

ROOT = Path(__file__).parents[3]
NEAR = NetworkSetup(rtt_ms=(1.0, 20.0))


def terms(scenario: Scenario, seed: int = 1) -> Terms:
    return Terms("test", scenario, seed, scenario.nodes, scenario.run_s)


def quiet(**changes: object) -> Scenario:
    whole = Scenario(
        about="A.",
        nodes=6,
        run_s=10.0,
        network=NEAR,
        weights=WeightsSetup(count=4),
        requests=RequestsSetup(rate_per_s=4.0),
    )
    return msgspec.structs.replace(whole, **changes)


def traced(seed: int) -> bytes:
    file = io.BytesIO()
    run(Terms.of("mixed", seed, run_s=5.0), trace=file)
    return file.getvalue()


def test_the_same_seed_is_the_same_run_in_any_process() -> None:
    program = (
        "import sys; from node.simulation.run import run; from node.simulation.terms import Terms;"
        "run(Terms.of('mixed', 11, run_s=5.0), trace=sys.stdout.buffer)"
    )
    traces = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]

    assert traces == [traced(11)] * 2
    assert traced(11) != traced(12)
    assert len(traces[0].splitlines()) > 20


def test_a_trace_names_machines_and_says_when_what_happened() -> None:
    lines = [json.loads(line) for line in traced(11).splitlines()]

    assert lines[0]["event"] == "machine.started"
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    linked = next(line for line in lines if line["event"] == "peer.linked")
    assert linked["fields"]["peer"].startswith("n0")


def test_in_a_quiet_mesh_all_agree_and_all_requests_are_answered_in_time() -> None:
    outcome = run(terms(quiet(run_s=20.0, requests=RequestsSetup(rate_per_s=4.0, warm_up_s=8.0))))

    assert outcome.broken is None
    assert outcome.membership.agreement == 1.0
    assert outcome.membership.false_suspicions == outcome.membership.false_deaths == 0
    assert outcome.requests.asked > 20
    assert outcome.requests.in_time == outcome.requests.asked
    assert 0.0 < outcome.requests.latency_s["p50"] < outcome.requests.latency_s["p99"] < 2.0
    assert outcome.traffic.bytes_s["bodies"] > 0.0
    assert 0.0 < outcome.memory.fill_mean <= outcome.memory.fill_max < 1.0


def test_every_request_has_one_fate() -> None:
    faults = FaultsSetup(stops=(Stop(at_s=3.0, share=0.5, back_after_s=4.0),))
    asked = run(terms(quiet(faults=faults))).requests

    assert asked.asked == asked.in_time + asked.late + asked.shed + asked.failed + asked.lost
    assert asked.asked > asked.in_time


def test_who_finds_no_node_to_ask_is_counted_after_the_warm_up() -> None:
    faults = FaultsSetup(stops=(Stop(at_s=1.0, share=1.0, back_after_s=2.0),))
    early, late = (
        run(
            terms(quiet(faults=faults, requests=RequestsSetup(rate_per_s=4.0, warm_up_s=warm_up_s)))
        )
        for warm_up_s in (0.0, 4.0)
    )

    assert early.requests.lost > late.requests.lost == 0


def test_a_split_is_seen_in_the_samples_and_heals() -> None:
    faults = FaultsSetup(partitions=(Partition(at_s=12.0, for_s=20.0, share=0.5),))
    outcome = run(terms(quiet(run_s=60.0, faults=faults)))
    agreed = {sample.at_s: sample.agreement for sample in outcome.samples}

    assert (agreed[11.5], agreed[31.5]) == (1.0, 1.0)
    assert min(agreed[at] for at in agreed if 12.0 < at < 20.0) == pytest.approx(0.4)
    assert len(outcome.membership.agreed_again_s) == 1
    assert outcome.membership.agreed_again_s[0] < 30.0


def broken_run(plant: object) -> Outcome:
    running = Run(terms(quiet()))
    running.world.schedule(5.0, plant, (running.machines[2],))  # type: ignore[arg-type]
    return running.outcome()


def test_a_lease_that_stands_for_nobody_is_found() -> None:
    def leak(machine: Machine) -> None:
        machine.node.ledger.reserve("nobody", Purpose.STREAM, 4096, machine.now)

    broken = broken_run(leak).broken

    assert broken is not None
    assert (broken.invariant, broken.machine) == ("one owner per lease", "n0002")
    assert "4096 bytes for stream, of nobody, stands for nobody" in broken.what
    assert "--seed 1" in broken.replay and broken.at_s >= 5.0


def test_memory_that_is_given_back_twice_is_found_with_its_machine() -> None:
    def release(machine: Machine) -> None:
        def again(now: float) -> list[Effect]:
            machine.node.ledger.release(lease.id)
            return []

        lease = machine.node.ledger.reserve("a test", Purpose.STREAM, 4096, machine.now)
        machine.node.ledger.release(lease.id)
        machine.hear(again)

    broken = broken_run(release).broken

    assert broken is not None
    assert (broken.invariant, broken.machine) == ("the program keeps its own rules", "n0002")
    assert "was released twice" in broken.what and "ledger.py" in broken.what


def test_a_ledger_over_its_budget_is_found_at_once() -> None:
    def overdraw(machine: Machine) -> None:
        machine.node.ledger.budget_bytes = 1
        machine.hear(machine.node.tick)

    broken = broken_run(overdraw).broken

    assert broken is not None
    assert (broken.invariant, broken.at_s) == ("within budget", 5.0)


def test_a_task_that_never_ends_is_found_a_second_after_its_deadline() -> None:
    def forget(machine: Machine) -> None:
        began_at = running.world.now
        running.invariants.expect(ClientTask(99, "n0002", "matmul", "w", began_at, deadline_s=2.0))

    running = Run(terms(quiet()))
    running.world.schedule(5.0, forget, (running.machines[2],))
    broken = running.outcome().broken

    assert broken is not None
    assert (broken.invariant, broken.machine, broken.at_s) == ("tasks end", "n0002", 8.0)


@pytest.mark.parametrize("name", [name for name in names() if name != "choice"])
def test_each_scenario_runs_and_breaks_nothing(name: str) -> None:
    outcome = run(Terms.of(name, seed=3, nodes=10, run_s=15.0))

    assert outcome.broken is None
    assert outcome.requests.in_time > 0


def test_the_workload_of_the_choice_asks_for_its_share_of_the_speed() -> None:
    whole = load("choice", seed=1)
    weights = msgspec.structs.replace(whole.weights, count=40)
    asked = msgspec.structs.replace(whole.requests, warm_up_s=5.0, load=0.2)
    changed = msgspec.structs.replace(whole, nodes=16, run_s=15.0, weights=weights, requests=asked)
    outcome = run(terms(changed))

    assert outcome.broken is None
    assert outcome.requests.asked > 50
    assert outcome.requests.in_time > outcome.requests.asked / 2


def test_a_request_that_no_part_remembers_is_found() -> None:
    def forget(machine: Machine) -> None:
        machine.talk._requests[10**6] = next(iter([]), None)  # type: ignore[assignment]
        running.invariants.look(machine)

    running = Run(terms(quiet()))
    running.world.schedule(5.0, forget, (running.machines[2],))

    broken = running.outcome().broken

    assert broken is not None
    assert broken.what == "request 1000000 is forgotten"


def test_an_incarnation_that_does_not_grow_is_found() -> None:
    def reborn(machine: Machine) -> None:
        machine.kill()
        machine.disk.incarnation -= 1
        machine.start()

    broken = broken_run(reborn).broken

    assert broken is not None
    assert (broken.invariant, broken.machine) == ("incarnations grow", "n0002")
