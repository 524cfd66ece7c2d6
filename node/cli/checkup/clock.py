"""The clock on the wall: certificates, tickets and versions of weights are dated by it, so it must roughly be right.

No time server is asked. What is known without one: what the kernel says of its clock, when this node was started last
by the same clock, and when the others were started by theirs.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from node.cli.checkup.finding import Finding, ok, problem, warning
from node.cli.checkup.kernel import ClockState, text_of
from protocol.quantities import duration_text

SLACK_S = 300.0
"""An incarnation is the Unix time of a start, give or take: it is raised by one each time that rumours are denied, and
clocks differ by a few seconds without harm."""


def findings(
    state: ClockState | None, data_dir: Path, peers: Mapping[str, int], now_wall: float
) -> Iterator[Finding]:
    """`peers`: a name for each other node, and its incarnation."""
    text = (text_of(data_dir / "incarnation") or "").strip()
    before = int(text) if text.isdecimal() else 0
    if before > now_wall + SLACK_S:
        yield problem(
            "clock",
            f"it stands {duration_text(before - now_wall)} before the last start of this node",
            "it was set back, or was wrong then: certificates and tickets of that time are not valid yet",
            "set the clock: `timedatectl set-ntp true`, or `chronyc makestep`",
        )
    else:
        yield from _of_the_kernel(state)
    ahead = sorted(name for name, began in peers.items() if began > now_wall + SLACK_S)
    if ahead:
        most = max(peers.values()) - now_wall
        yield warning(
            "clock",
            f"{', '.join(ahead)} started up to {duration_text(most)} in what is the future here",
            "one of the clocks is wrong: tickets may seem expired or not valid yet on the other side",
            "compare `date -u` on both machines, and let a time service keep both clocks",
        )


def _of_the_kernel(state: ClockState | None) -> Iterator[Finding]:
    if state is None:
        yield ok(
            "clock", "the kernel does not say whether it is kept", "only people can compare it"
        )
    elif state.synchronised:
        yield ok("clock", f"kept by a time service, right within {duration_text(state.error_s)}")
    else:
        yield warning(
            "clock",
            "the kernel knows of no time service that keeps it",
            "certificates, tickets and versions of weights are dated by it: some minutes of error do harm",
            "`timedatectl set-ntp true`, or install chrony (with `rtcsync`); nothing if the host keeps the clock",
        )
