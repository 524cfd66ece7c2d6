"""The demo with its daemons behind routers of the laboratory: the same picture, the same checks, the same exit code.

    python -m tests.lab.demo [--kinds port,symmetric_random,cgn] [--report demo/lab/report.html] [--plain]

The daemon that starts first, and is asked for everything, is on a public host; each of the others is behind a router
of another kind, and joins by the ticket alone.
"""

import argparse
import contextlib
import sys
from pathlib import Path

from node.cli.demo.fleet import Site
from node.cli.demo.run import run
from tests.lab.kinds import Kind
from tests.lab.lab import Lab, why_not
from tests.lab.plan import Host

WORKERS = 3
KINDS = [Kind.PORT, Kind.SYMMETRIC_RANDOM, Kind.CGN]


class LabSite(Site):
    """Each daemon that has not been here before takes the next host."""

    listen = "[::]:7879"

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._free = [lab.publics[0], *lab.hosts]
        self._hosts: dict[str, Host] = {}

    def at(self, name: str) -> contextlib.AbstractContextManager[None]:
        if name not in self._hosts:
            self._hosts[name] = self._free.pop(0)
        return self._lab.on_host(self._hosts[name])

    def told(self) -> str:
        """Who is where."""
        return "\n".join(f"{name}: {host.kind}" for name, host in self._hosts.items())


def main() -> int:
    asked = _arguments()
    if why := why_not():
        sys.exit(f"error: no laboratory can be made here: {why}")
    with contextlib.closing(Lab(asked.kinds, publics=1)) as lab:
        site = LabSite(lab)
        code = run(asked.report, asked.plain, site)
        print(site.told())
    return code


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )

    def chosen(text: str) -> list[Kind]:
        names = text.split(",")
        unknown = [name for name in names if name not in [*Kind]]
        if unknown or len(names) != WORKERS:
            raise argparse.ArgumentTypeError(f"it takes {WORKERS} of {', '.join(Kind)}")
        return [Kind(name) for name in names]

    parser.add_argument("--kinds", type=chosen, default=KINDS, help="of the routers")
    parser.add_argument("--report", type=Path, default=Path("demo/lab/report.html"), help="HTML")
    parser.add_argument("--plain", action="store_true", help="lines of text, no picture")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
