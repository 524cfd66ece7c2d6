"""A cable with a delay, a jitter and a loss of its own, as the kernel's netem makes them where it has one.

Each end is a TAP device, and a small process (slow_wire.py) carries the frames between the two. It ends with us,
however we end.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.lab.plan import Port

SCRIPT = Path(__file__).with_name("slow_wire.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    delay_ms: float = 0.0
    """In each direction: a packet and its answer take twice as long."""
    jitter_ms: float = 0.0
    """A frame takes up to so much more or less, and overtakes none."""
    loss: float = 0.0
    """Of a hundred frames so many hundredths are lost, in each direction."""


class Cable:
    """Two ports and what carries frames between them."""

    def __init__(self, wire: Wire, here: Port, there: Port, seed: int) -> None:
        ends = [here.box, here.name, there.box, there.name]
        figures = [wire.delay_ms, wire.jitter_ms, wire.loss, seed]
        # Isolated and without site packages it starts in a third of the time.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(SCRIPT), *ends, *map(str, figures)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def wait(self) -> None:
        """Until both ports are there."""
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            code = self._process.wait()
            why = "why is on standard error"
            raise subprocess.CalledProcessError(code, SCRIPT, stderr=why)

    def stop(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
