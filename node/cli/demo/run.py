"""The demo as one call: play the story, stop the fleet, write the report, and say whether every claim held."""

import tempfile
import time
from pathlib import Path

from node.cli.demo import report as page
from node.cli.demo.camera import SIDE
from node.cli.demo.fleet import Fleet
from node.cli.demo.outcome import Outcome, checks
from node.cli.demo.screen import Screen, choose_screen
from node.cli.demo.story import Story
from protocol.errors import SedmaError
from sedma.errors import SedmaError as Refused

INTERRUPTED = 130
"""What shells expect of a program that Ctrl-C ended: 128 and the number of SIGINT."""


def run(report: Path, plain: bool) -> int:
    """Play the demo and write `report` (.html); 0 if every check held, else 1.

    Needs scikit-learn and Pillow (ModuleNotFoundError without them) and Linux, for it reads /proc. The daemons'
    logs stay in `logs` beside the report, their data does not.
    """
    started = time.monotonic()
    screen = choose_screen(SIDE, plain)
    folder = report.absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    fleet = Fleet(Path(tempfile.mkdtemp(prefix="state-", dir=folder)), folder / "logs")
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
