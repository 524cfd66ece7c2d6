"""The command `up`: reads the settings, then becomes the daemon.

The daemon is a new program in the same process, so it carries none of what reading a command line needed (some
15 MiB), and signals, the terminal and the parent stay as they were.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NoReturn

from typer import Option

from node.cli.session import UsageError, telling, text_in

MODULE = "node.daemon"

ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
"""One thread for each product: the daemon runs several products at once instead."""

NO_AUTHORITIES = {
    "SSL_CERT_FILE": os.devnull,
    "SSL_CERT_DIR": os.devnull,
}
"""A node trusts its mesh's own CA alone. aiohttp would load all that the system trusts as it is imported: 50 ms of
the start and 2 MiB for good."""

ALLOCATOR = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(2 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 20),
}
"""Give memory back to the machine soon, since the budget is judged by what the process takes; but keep what products
on crossbars take and give back all the time. With less, each temporary is mapped and faulted anew: writing a block took
120 ms in place of 40, a product of 512 rows 70 in place of 40, for 13 MiB less."""

TICKET_BYTES_MAX = 1 << 16


def up(
    config: Annotated[
        Path | None, Option("--config", metavar="FILE", help="Settings, as sedma-node.toml shows.")
    ] = None,
    memory: Annotated[
        str | None,
        Option("--memory", metavar="2GiB", help="Memory to share; else a quarter of what is free."),
    ] = None,
    join: Annotated[
        str | None,
        Option("--join", metavar="TICKET|@FILE|-", help="Join the mesh that minted this ticket."),
    ] = None,
    data_dir: Annotated[
        Path | None, Option("--data-dir", metavar="DIR", help="Where the node keeps its state.")
    ] = None,
    listen: Annotated[
        str | None,
        Option("--listen", metavar="HOST:PORT", help="Where other nodes reach it; else [::]:7879."),
    ] = None,
    advertise: Annotated[
        list[str] | None,
        Option(
            "--advertise",
            metavar="HOST:PORT",
            help="A further address to tell others, such as a forwarded port; may be repeated.",
        ),
    ] = None,
    api: Annotated[
        str | None,
        Option("--api", metavar="HOST:PORT", help="Where programs reach it; else 127.0.0.1:7878."),
    ] = None,
    name: Annotated[
        str | None, Option("--name", metavar="NAME", help="What people call this node.")
    ] = None,
    label: Annotated[
        list[str] | None,
        Option("--label", metavar="LABEL", help="A word to choose nodes by; may be repeated."),
    ] = None,
    disk: Annotated[
        str | None, Option("--disk", metavar="20GiB", help="Disk space for blocks; else 20GiB.")
    ] = None,
    cpus: Annotated[
        int | None, Option("--cpus", metavar="N", help="Threads that multiply; else one a CPU.")
    ] = None,
    log_level: Annotated[
        str | None, Option("--log-level", metavar="debug|info|warning|error", help="What is told.")
    ] = None,
    log_format: Annotated[
        str | None, Option("--log-format", metavar="text|json", help="For people or programs.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="The same as --log-format json.")] = False,
) -> None:
    """Run a node in the foreground. Nothing needs to be configured.

    Flags hold for this start alone. What shall last stands in sedma-node.toml in the data directory;
    `sedma-node config show --origin` says where each setting comes from.
    """
    flags = {
        "share.memory": memory,
        "node.data_dir": None if data_dir is None else str(data_dir),
        "mesh.listen": listen,
        "mesh.advertise": advertise or None,
        "api.listen": api,
        "node.name": name,
        "node.labels": label or None,
        "share.disk": disk,
        "share.cpus": cpus,
        "log.level": log_level,
        "log.format": log_format or ("json" if as_json else None),
    }
    with telling(as_json):
        become_daemon(handed_over(flags, config, ticket_from(join)))


def handed_over(
    flags: Mapping[str, object], config: Path | None, join: str | None
) -> dict[str, str]:
    """The daemon's environment; UsageError if the settings cannot be."""
    from node.cli.settings import resolve
    from node.config import hand_over
    from protocol.errors import ConfigError

    try:
        resolved = resolve(flags, os.environ, config, join)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    given = ALLOCATOR | dict(os.environ)
    return given | ENVIRONMENT | NO_AUTHORITIES | _search_path() | hand_over(resolved)


def become_daemon(environment: dict[str, str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    # -P: a folder called `node` where we were started must not be taken for ours.
    os.execve(sys.executable, [sys.executable, "-P", "-m", MODULE], environment)  # noqa: S606


def ticket_from(join: str | None) -> str | None:
    """The ticket itself, its file (`@FILE`) or standard input (`-`): tickets are long, and secret in `ps`."""
    if join is None:
        return None
    if join == "-":
        text = sys.stdin.read(TICKET_BYTES_MAX)
    elif join.startswith("@"):
        text = text_in(Path(join[1:]), "--join")
    else:
        text = join
    if not text.strip():
        raise UsageError(f"--join {join}: there is no ticket in it")
    return _whole(text.strip())


def _whole(ticket: str) -> str:
    """The ticket, if it is one: a line cut short in copying is told before anything starts."""
    from protocol.errors import ConfigError
    from protocol.ticket import decode

    try:
        decode(ticket)
    except ConfigError as error:
        raise UsageError(f"--join: {error}") from error
    return ticket


def _search_path() -> dict[str, str]:
    """Started by `python -m` from a checkout, our packages lie in the folder that -P will leave out."""
    here = Path(__file__).resolve().parents[2]
    if sys.flags.safe_path or Path(sys.path[0] or ".").resolve() != here:
        return {}
    inherited = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{here}{os.pathsep}{inherited}" if inherited else str(here)}
