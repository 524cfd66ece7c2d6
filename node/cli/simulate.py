"""The command `simulate`."""

import sys
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from node.cli.files import output_file
from node.cli.options import Json
from node.cli.session import UsageError, telling
from protocol.errors import ConfigError
from protocol.quantities import duration_s, duration_text

if TYPE_CHECKING:
    from node.simulation.outcome import Outcome

PROGRESS_S = 0.5
"""Between two tellings of how far it is, where somebody watches."""
STDOUT = Path("-")


def simulate(
    scenario: Annotated[
        str,
        Option("--scenario", metavar="NAME|FILE", help="What happens; a wrong NAME lists them."),
    ] = "quiet",
    nodes: Annotated[
        int | None, Option("--nodes", metavar="N", help="Machines; default: as the scenario says.")
    ] = None,
    seed: Annotated[
        int, Option("--seed", metavar="S", min=0, help="The same seed is the same run.")
    ] = 1,
    run_for: Annotated[
        str | None,
        Option(
            "--for", metavar="60s", help="How long, in virtual time; default: as the scenario says."
        ),
    ] = None,
    trace: Annotated[
        Path | None, Option("--trace", metavar="FILE", help="Write what happens, as JSON lines.")
    ] = None,
    report: Annotated[
        Path | None, Option("--report", metavar="FILE", help="Write a page with curves (HTML).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a whole mesh on virtual time.

    The nodes are those of the daemon, with network, clocks, disks and other people's programs drawn from a seed.
    Ends with 1 if something did not hold that always must, and says how to get there again.
    """
    with telling(as_json):
        if report is not None and report == trace:
            raise UsageError("--report: is the file of --trace: write another")
        # Both are opened before the run, which may take long; until they are whole, what stood there stays.
        with nullcontext() if report is None else output_file(report) as page:
            try:
                outcome = _run(scenario, nodes, seed, run_for, trace)
            except ConfigError as error:
                raise UsageError(str(error)) from error
            with redirect_stdout(sys.stderr) if STDOUT in (trace, report) else nullcontext():
                _show(outcome, as_json)
            if page is not None:
                page.write(_page(outcome))
    if outcome.broken is not None:
        raise typer.Exit(1)


def _run(
    name: str,
    nodes: int | None,
    seed: int,
    run_for: str | None,
    trace: Path | None,
) -> "Outcome":
    from node.simulation.faults import unseen
    from node.simulation.run import run
    from node.simulation.terms import Terms

    run_s = None if run_for is None else _run_s(run_for)
    terms = Terms.of(name, seed, nodes=nodes, run_s=run_s)
    if late := unseen(terms.scenario, terms.run_s):
        words = f"{late} of the scenario's faults and crowds come after {terms.run_s:g} s"
        print(f"note: {words}: they are not seen", file=sys.stderr)
    if terms.uncounted:
        from_s = terms.scenario.requests.warm_up_s
        print(
            f"note: the scenario's requests count from {from_s:g} s on: none does", file=sys.stderr
        )
    progress = _progress() if sys.stderr.isatty() else None
    with nullcontext() if trace is None else output_file(trace) as told:
        return run(terms, trace=told, progress=progress)


def _page(outcome: "Outcome") -> bytes:
    from node.simulation.report import html

    return html(outcome).encode()


def _run_s(text: str) -> float:
    try:
        return duration_s(text)
    except ConfigError as error:
        raise UsageError(f"--for: {error}") from error


def _progress() -> Callable[[float, float], None]:
    from time import monotonic

    told_at = monotonic()

    def tell(now: float, ends_at: float) -> None:
        nonlocal told_at
        if monotonic() - told_at >= PROGRESS_S:
            told_at = monotonic()
            print(f"\r{now:.0f} s of {ends_at:.0f} s \r", end="", file=sys.stderr, flush=True)

    return tell


def _show(outcome: "Outcome", as_json: bool) -> None:
    if as_json:
        import msgspec

        print(msgspec.json.encode(outcome).decode())
    else:
        _print(outcome)
    if (broken := outcome.broken) is not None:
        print(
            f"broken: {broken.invariant}\n"
            f"        seed {outcome.seed}, at {broken.at_s:.6f} s, on {broken.machine}: {broken.what}\n"
            f"        {broken.replay}",
            file=sys.stderr,
        )


def _print(outcome: "Outcome") -> None:
    from node.cli.tables import pairs
    from node.simulation.report import figures

    print(f"{outcome.scenario}: {outcome.about}")
    run = f"{outcome.nodes} machines for {duration_text(outcome.run_s)}, seed {outcome.seed}"
    speed = (
        f"{outcome.steps} events in {duration_text(outcome.wall_s)}, {outcome.steps_per_s:.0f}/s"
    )
    held = "all held" if outcome.broken is None else "BROKEN"
    pairs([("run", run), ("events", speed), ("invariants", held), *figures(outcome)])
