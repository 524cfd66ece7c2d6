"""The command `doctor`: what is wrong with this node and this machine, what that means, and what to do.

A running daemon is asked; what it cannot know is looked at here. Without one the machine is looked at alone, by the
settings that `up` would take. Nothing is changed, and nobody but the daemon is asked.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from node.cli.checkup import clock, folder, kernel, machine, mesh, packages, ports
from node.cli.checkup.finding import Finding, ok, problem, worst
from node.cli.options import Api, DataDir, Json, TokenFile
from node.cli.session import telling, text_in
from node.config import Settings
from protocol.errors import ConfigError
from sedma.errors import NotRunning, Unreachable
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
    silent: str = ""
    """A daemon holds the data directory and does not answer: why not."""


def doctor(
    data_dir: DataDir = None,
    api: Api = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """What is wrong with this node or this machine, what it means, and how to mend it.

    Asks the running daemon, and looks at this machine; without a daemon at the machine alone. Exit code 1 if there
    is a problem, 0 otherwise (warnings included).
    """
    with telling(as_json):
        token = text_in(token_file, "--token-file") if token_file else None
        patient = _patient(data_dir, api, token)
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
        yield from mesh.judge_versions(ours, patient.status, patient.peers)
        yield from mesh.judge_peers(patient.peers)
        if patient.pid is None:
            yield ok(
                "machine", "not looked at: this daemon runs on another one, or is not ours to see"
            )
            return
    yield from packages.findings(ours, Path.cwd())
    yield from _of_machine(patient, now_wall)


# -- within ------------------------------------------------------------------------------------------


def _patient(data_dir: Path | None, api: str | None, token: str | None) -> Patient:
    """ConfigError of the settings is told as a finding later; an address given by hand must answer."""
    from sedma.locate import local_endpoint, named_endpoint
    from sedma.places import default_data_dir

    place = data_dir.expanduser().absolute() if data_dir else default_data_dir(os.environ)
    if api is not None:
        status, peers = _asked(named_endpoint(api, data_dir and place, token))
        place = Path(status["data_dir"])
        here = kernel.text_of(place / URL_FILE)
        is_here = here is not None and here.strip() == status["api"]
        return Patient(
            place, status, peers, kernel.lock_holder(place / "lock") if is_here else None
        )
    holder = kernel.lock_holder(place / "lock")
    try:
        status, peers = _asked(local_endpoint(place, token))
    except (NotRunning, Unreachable) as silence:
        unknown = isinstance(silence, NotRunning)
        why = "it has not told its address yet" if unknown else silence.reason
        return Patient(place, None, [], holder, silent="" if holder is None else why)
    return Patient(place, status, peers, holder)


def _asked(endpoint: "Endpoint") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    from sedma.transport import Transport

    transport = Transport(endpoint, ASK_S)
    try:
        return transport.document("GET", "/v1/status"), transport.document("GET", "/v1/peers")
    finally:
        transport.close()


def _without_daemon(patient: Patient) -> Finding:
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
        settings = resolve({"node.data_dir": str(patient.place)}, os.environ).settings
    except ConfigError as wrong:
        yield problem(
            "settings", str(wrong), "`sedma-node up` cannot start", "mend what is named here"
        )
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
        yield from _of_memory(settings, status, pid)
    yield _of_files(pid)
    yield _of_packets(status, pid)
    yield machine.judge_congestion()


def _of_memory(
    settings: Settings, status: dict[str, Any] | None, pid: int | None
) -> Iterator[Finding]:
    import psutil

    if status is not None:
        budget, taken = status["budget_bytes"], status["rss_bytes"]
    else:
        from node.deployment.ledger import Ledger
        from node.runtime.budget import budget_bytes

        taken = 0
        try:
            budget = budget_bytes(settings.share.memory_bytes)
            Ledger(budget, settings.memory.activations_bytes)
        except ConfigError as wrong:
            yield problem(
                "memory", str(wrong), "`sedma-node up` cannot start", "change share.memory"
            )
            return
    swapped = 0
    if pid is not None:
        try:
            swapped = psutil.Process(pid).memory_full_info().swap
        except psutil.Error:
            yield ok("swap", f"process {pid} is another user's: what of it is swapped is not seen")
    available = psutil.virtual_memory().available
    yield from machine.judge_memory(
        machine.Memory(budget, taken, available, swapped, kernel.memory_limit(pid))
    )


def _of_files(pid: int | None) -> Finding:
    import psutil

    if pid is None:
        return machine.judge_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0], None)
    try:
        daemon = psutil.Process(pid)
        return machine.judge_files(daemon.rlimit(resource.RLIMIT_NOFILE)[0], daemon.num_fds())
    except psutil.Error:
        return ok("open files", f"process {pid} is another user's: its limit is not seen")


def _of_packets(status: dict[str, Any] | None, pid: int | None) -> Finding:
    from node.runtime.packets import RECEIVE_BUFFER_BYTES

    dropped = None
    if status is not None and status["packets"] and pid is not None:
        told = (address.rpartition(":")[2] for address in status["listen"])
        ours = {int(port) for port in told if port.isdecimal()}
        seen = [kernel.udp_drops(port, pid) for port in sorted(ours)]
        dropped = sum(one for one in seen if one is not None)
    granted = machine.udp_buffer(RECEIVE_BUFFER_BYTES)
    return machine.judge_udp_buffer(RECEIVE_BUFFER_BYTES, granted, dropped)


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
        yield one.state, one.check, one.found
        if one.means:
            yield "", "", f"  means: {one.means}"
        if one.fix:
            yield "", "", f"  fix: {one.fix}"
