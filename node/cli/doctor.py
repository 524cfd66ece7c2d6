"""The command `doctor`: what is wrong with this node and this machine, what that means, and what to do.

A running daemon is asked; what it cannot know is looked at here. Without one the machine is looked at alone, by the
settings that `up` would take. Nothing is changed, and nobody but the daemon is asked.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from node.cli.checkup import clock, folder, kernel, machine, mesh, packages, ports
from node.cli.checkup.finding import Finding, ok, problem, warning, worst
from node.cli.options import Api, DataDir, Json, TokenFile
from node.cli.printable import printable
from node.cli.session import telling, text_in
from node.config import Settings
from protocol.errors import ConfigError
from sedma.errors import NotRunning, SedmaError, Unreachable
from sedma.places import URL_FILE

if TYPE_CHECKING:
    from sedma.transport import Endpoint

ASK_S = 5.0
"""A daemon that does not answer for so long is held up."""


@dataclass(frozen=True, slots=True)
class Patient:
    """Who is looked at."""

    place: Path
    """The data directory."""
    status: dict[str, Any] | None
    """None: no daemon answers."""
    peers: list[dict[str, Any]]
    pid: int | None
    """Of the daemon, if it is on this machine."""
    config: Path | None = None
    """Settings that `up` would take."""
    silent: str = ""
    """Why a daemon does not answer that holds the data directory, or that we may not look for there."""


def doctor(
    data_dir: DataDir = None,
    api: Api = None,
    token_file: TokenFile = None,
    config: Annotated[
        Path | None,
        Option(
            "--config", metavar="FILE", help="Settings that `up` would take, if no daemon runs."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """What is wrong with this node or this machine, what it means, and how to mend it.

    Asks the running daemon, and looks at this machine; without a daemon at the machine alone. Exit code 1 if there
    is a problem, 0 otherwise (warnings included).
    """
    with telling(as_json):
        token = text_in(token_file, "--token-file") if token_file else None
        patient = _patient(data_dir, api, token, config)
        found = list(findings(patient, time.time()))
        _show(found, patient.status is not None, as_json)
    raise typer.Exit(1 if worst(found) == "problem" else 0)


def findings(patient: Patient, now_wall: float) -> Iterator[Finding]:
    """All, the daemon's first."""
    ours = version("sedma")
    if patient.status is None:
        yield _without_daemon(patient)
    else:
        yield from mesh.judge_daemon(patient.status, patient.pid)
        yield from mesh.judge_address(patient.status)
        yield from mesh.judge_reach(patient.status)
        yield from mesh.judge_versions(ours, patient.status, patient.peers)
        yield from mesh.judge_peers(patient.peers)
        yield from mesh.judge_relays(patient.status, patient.peers)
        yield from mesh.judge_arrays(patient.status, patient.peers)
        if patient.pid is None:
            yield ok(
                "machine", "not looked at: this daemon runs on another one, or is not ours to see"
            )
            return
    yield from packages.findings(ours, Path.cwd())
    yield from _of_machine(patient, now_wall)


# -- within ------------------------------------------------------------------------------------------


def _patient(
    data_dir: Path | None, api: str | None, token: str | None, config: Path | None
) -> Patient:
    """An address given by hand must answer; a data directory need not have a daemon."""
    from sedma.locate import local_endpoint, named_endpoint
    from sedma.places import default_data_dir

    place = data_dir.expanduser().absolute() if data_dir else default_data_dir(os.environ)
    if api is not None:
        status, peers = _asked(named_endpoint(api, data_dir and place, token))
        place = Path(status["data_dir"])
        here = kernel.text_of(place / URL_FILE)
        is_here = here is not None and here.strip() == status["api"]
        holder = kernel.lock_holder(place / "lock") if is_here else None
        return Patient(place, status, peers, holder, config)
    holder = kernel.lock_holder(place / "lock")
    try:
        status, peers = _asked(local_endpoint(place, token))
    except NotRunning:
        silent = "it has not told its address yet"
    except Unreachable as unreachable:
        silent = unreachable.reason
    except SedmaError as forbidden:
        if forbidden.code != "forbidden":
            raise
        return Patient(place, None, [], holder, config, forbidden.reason)
    else:
        return Patient(place, status, peers, holder, config)
    return Patient(place, None, [], holder, config, "" if holder is None else silent)


def _asked(endpoint: "Endpoint") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    from sedma.transport import Transport

    transport = Transport(endpoint, ASK_S)
    try:
        return transport.document("GET", "/v1/status"), transport.document("GET", "/v1/peers")
    finally:
        transport.close()


def _without_daemon(patient: Patient) -> Finding:
    if patient.silent and patient.pid is None:
        return warning(
            "daemon",
            f"whether one runs is not known: {patient.silent}",
            "only who may read its data directory can ask it",
            "run this as the user of the daemon, or name another folder with --data-dir",
        )
    if patient.silent:
        return problem(
            "daemon",
            f"process {patient.pid} holds {patient.place} and does not answer: {patient.silent}",
            "it has only just started, is held up, or is stopped (Ctrl-Z): others will take it for dead",
            f"try again in some seconds; if that does not help, `kill {patient.pid}` and start it again",
        )
    return ok("daemon", f"none runs on {patient.place}: only this machine was looked at")


def _of_machine(patient: Patient, now_wall: float) -> Iterator[Finding]:
    from node.cli.settings import resolve

    status, pid = patient.status, patient.pid
    try:
        given = {"node.data_dir": str(patient.place)}
        settings = resolve(given, os.environ, patient.config).settings
    except ConfigError as wrong:
        yield problem(
            "settings", str(wrong), "`sedma-node up` cannot start", "mend that, then look again"
        )
        if status is None:
            return
        settings = Settings()
    quota = settings.share.disk_bytes if status is None else status["disk_budget_bytes"]
    used = None if status is None else status["disk_used_bytes"]
    yield from folder.findings(patient.place, quota, used)
    if status is not None:
        assert pid is not None, "a daemon without a process was looked at from afar"
        yield from ports.findings_of_daemon(pid, status["api"], bool(status["packets"]))
    elif pid is None:
        yield from ports.findings_before_start(settings)
    began = {f"{one['name'] or one['id'][:12]}": one["incarnation"] for one in patient.peers}
    yield from clock.findings(kernel.clock_state(), patient.place, began, now_wall)
    if not patient.silent:
        # What the flags made of its budget only the daemon knows.
        yield from machine.of_memory(settings, status, pid)
    yield machine.of_files(pid)
    yield machine.of_packets(status, pid)
    yield machine.judge_congestion()


def _show(found: list[Finding], asked: bool, as_json: bool) -> None:
    if as_json:
        import msgspec

        document = {"state": worst(found), "daemon": asked, "findings": msgspec.to_builtins(found)}
        print(json.dumps(document))
        return
    from node.cli.tables import rows

    rows(("STATE", "CHECK", "FOUND"), _lines(found), wrap_last=True)
    count = {state: sum(one.state == state for one in found) for state in ("problem", "warning")}
    told = ", ".join(
        f"{number} {state}{'' if number == 1 else 's'}" for state, number in count.items()
    )
    print(told, file=sys.stderr)


def _lines(found: Iterable[Finding]) -> Iterator[tuple[str, str, str]]:
    for one in found:
        yield one.state, one.check, printable(one.found)
        if one.means:
            yield "", "", f"  means: {printable(one.means)}"
        if one.fix:
            yield "", "", f"  fix: {printable(one.fix)}"
