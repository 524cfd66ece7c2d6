"""Commands that multiply, and that say beforehand what would happen: matmul, plan."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from node.cli.devices import Device, told_device
from node.cli.files import input_file, output_file, save, shape_in
from node.cli.options import (
    Api,
    Avoid,
    Backend,
    DataDir,
    Json,
    Name,
    Only,
    Output,
    Replicas,
    TokenFile,
    is_name,
)
from node.cli.session import UsageError, session
from protocol.errors import ConfigError
from protocol.limits import DEADLINE_S_MAX
from protocol.quantities import duration_s, duration_text, size_text, tolerance
from sedma.transport import quoted


def matmul(
    name: Name,
    file: Annotated[Path, Argument(metavar="X.npy", help="X, one row for each product.")],
    output: Output,
    rtol: Annotated[
        str | None,
        Option(
            "--rtol", metavar="1e-2", help="Relative error allowed, else the daemon's; none: raw."
        ),
    ] = None,
    deadline: Annotated[
        str | None,
        Option("--deadline", metavar="30s", help="How long it may take, else the daemon's."),
    ] = None,
    transpose: Annotated[
        bool, Option("--transpose", help="X times the transposed weights.")
    ] = False,
    deterministic: Annotated[
        bool, Option("--deterministic", help="The same bytes at every repetition.")
    ] = False,
    data_dir: DataDir = None,
    api: Api = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Multiply X by weights of the mesh; says how exact the answer is."""
    with session(data_dir, api, token_file, as_json) as talk:
        body = input_file(file)
        # Where the daemon's own deadline holds we wait as long as the longest; it answers before that.
        patience_s = DEADLINE_S_MAX if deadline is None else _deadline_s(deadline)
        _check_tolerance(rtol)
        query: dict[str, Any] = {"rtol": rtol, "deadline": deadline}
        query |= {"transpose": transpose or None, "deterministic": deterministic or None}
        path = f"/v1/weights/{quoted(name)}/matmul"
        began = time.monotonic()
        with (
            output_file(output) as result,
            talk.transport.request("POST", path, query, body, patience_s=patience_s) as reply,
        ):
            shape = save(reply, result)
        document = {
            "output": str(output),
            "shape": shape,
            "certificate": json.loads(reply.headers.get("Sedma-Certificate", "null")),
            "task": reply.headers.get("Sedma-Task", ""),
            "converted": reply.headers.get("Sedma-Converted"),
            "elapsed_s": round(time.monotonic() - began, 6),
        }
        talk.show(document, _show_product, aside=str(output) == "-")


def plan(
    what: Annotated[
        str, Argument(metavar="NAME|FILE", help="Weights of the mesh, or a .npy file to be put.")
    ],
    rows: Annotated[
        int,
        Option(
            "--rows",
            "-m",
            min=1,
            metavar="M",
            help="Rows of X, for the estimate of a product's time.",
        ),
    ] = 1,
    replicas: Replicas = 1,
    backend: Backend = None,
    device: Device = None,
    only: Only = None,
    avoid: Avoid = None,
    data_dir: DataDir = None,
    api: Api = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Who would hold what, and how long a product would take."""
    with session(data_dir, api, token_file, as_json) as talk:
        asked: dict[str, Any] = {"m": rows, "replicas": replicas}
        asked |= {"only": only or [], "avoid": avoid or []}
        if backend:
            asked["backend"] = backend
        if device is not None:
            asked["device"] = told_device(device)
        if what.endswith(".npy") or not is_name(what) or Path(what).is_file():
            asked |= _sides_of(Path(what))
        else:
            asked["name"] = what
        talk.show(talk.transport.document("POST", "/v1/plan", send=asked), _show_plan)


def _sides_of(path: Path) -> dict[str, int]:
    shape = shape_in(path)
    if len(shape) != 2:
        raise UsageError(f"{path}: weights have two dimensions, and this has shape {shape}")
    return {"rows": shape[0], "columns": shape[1]}


def _check_tolerance(text: str | None) -> None:
    try:
        if text is not None:
            tolerance(text)
    except ConfigError as error:
        raise UsageError(f"--rtol {text}: {error}") from error


def _deadline_s(text: str) -> float:
    try:
        return duration_s(text)
    except ConfigError as error:
        raise UsageError(f"--deadline: {error}") from error


def _show_product(told: dict[str, Any]) -> None:
    if told["output"] != "-":
        sides = " x ".join(map(str, told["shape"]))
        print(f"{told['output']}: {sides} float32 in {duration_text(told['elapsed_s'])}")
    if certificate := told["certificate"]:
        print(_exactness(certificate))
    if told["task"]:
        print(f"task {told['task']}")
    if told["converted"]:
        print(f"converted: {told['converted']}", file=sys.stderr)


def _exactness(certificate: dict[str, Any]) -> str:
    how = f"{certificate['regime']}, {certificate['analog_fraction']:.0%} analog"
    if certificate["bound"] is None:
        return f"no bound can be stated ({how})"
    once_in = 1.0 / (1.0 - certificate["confidence"])
    return f"relative error below {certificate['bound']:.2g}, wrong once in {once_in:,.0f} ({how})"


def _show_plan(told: dict[str, Any]) -> None:
    from node.cli.tables import pairs, rows

    sides = " x ".join(map(str, told["shape"]))
    copies = told["replicas"]
    lines = [("matrix", f"{sides}, {copies} {'copy' if copies == 1 else 'copies'}")]
    answer = "yes" if told["fits"] else f"no: {told['reason']}"
    if told.get("name"):
        lines = [("weights", told["name"]), *lines, ("in reach", answer)]
        lines += [("takes", size_text(told["need"])), ("free", size_text(told["free"]))]
    else:
        lines += [("fits", answer)]
        lines += [("need", f"{size_text(told['need'])} of {size_text(told['free'])} free")]
        lines += [("nearest fit", size_text(told["nearest_fit"]))]
    if (seconds := told.get("seconds")) is not None:
        lines.append(("a product", f"about {duration_text(seconds)}"))
    pairs(lines)
    if told["shares"]:
        print()
        rows(("NODE", "ID", "BLOCKS>", "SIZE>", "FREE>"), (_share(one) for one in told["shares"]))


def _share(one: dict[str, Any]) -> tuple[str, ...]:
    sizes = size_text(one["nbytes"]), size_text(one["free_bytes"])
    return one["name"], one["node"][:12], str(one["blocks"]), *sizes
