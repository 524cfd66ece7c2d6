"""The demo as one call: play the story, stop the fleet, write the report, and say whether every claim held."""

import tempfile
import time
from pathlib import Path

from node.cli.demo import report as page
from node.cli.demo.camera import SIDE
from node.cli.demo.fleet import Fleet, Site
from node.cli.demo.outcome import Outcome, checks
from node.cli.demo.screen import Screen, choose_screen
from node.cli.demo.story import Story
from node.cli.session import INTERRUPTED, UsageError
from protocol.errors import SedmaError
from sedma.errors import SedmaError as Refused


def run(report: Path, plain: bool, site: Site | None = None) -> int:
    """Play the demo and write `report` (.html); 0 if every check held, else 1.

    Needs scikit-learn and Pillow (ModuleNotFoundError without them) and Linux, for it reads /proc. The daemons'
    logs stay in `logs` beside the report, their data does not. UsageError where no report can be written.
    """
    started = time.monotonic()
    screen = choose_screen(SIDE, plain)
    folder, state = _places(report)
    fleet = Fleet(state, folder / "logs", site=site)
    try:
        outcome = _play(fleet, screen, started)
    except (SedmaError, Refused) as error:
        screen.say(f"The demo failed: {error}\nThe daemons' logs: {folder / 'logs'}")
        return 1
    except KeyboardInterrupt:
        screen.say("\nInterrupted; all daemons have been stopped.")
        return INTERRUPTED
    picture = page.write(outcome, report)
    screen.say(f"\nReport: {report}\nPicture: {picture}")
    return _verdict(outcome, screen)


def _places(report: Path) -> tuple[Path, Path]:
    """The report's folder, and one within it for the daemons' data."""
    folder = report.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return folder, Path(tempfile.mkdtemp(prefix="state-", dir=folder))
    except OSError as error:
        reason = f"--report {report}: {folder} cannot be written: {error.strerror}"
        raise UsageError(reason) from error


def _play(fleet: Fleet, screen: Screen, started: float) -> Outcome:
    with fleet:
        story = Story(fleet, screen)
        acts, kill = story.play()
    return Outcome(
        scene=story.scene,
        refusal=story.refusal,
        acts=acts,
        uploads=tuple(story.uploads),
        holders=story.holders(),
        kill=kill,
        leftovers=tuple(fleet.end_leftovers()),
        disobedient=tuple(daemon.name for daemon in fleet.daemons if not daemon.obeyed),
        seconds=time.monotonic() - started,
    )


def _verdict(outcome: Outcome, screen: Screen) -> int:
    found = checks(outcome)
    for check in found:
        screen.say(f"{'held  ' if check.held else 'BROKEN'}  {check.claim}: {check.figures}")
    held = all(check.held for check in found)
    screen.say(
        f"{'All checks held' if held else 'The demo failed'}, {outcome.seconds:.0f} s in all."
    )
    return 0 if held else 1
