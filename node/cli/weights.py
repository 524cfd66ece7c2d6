"""Commands about matrices in the mesh: put, get, weights, rm."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from node.cli.devices import Device, shown_device, told_device
from node.cli.files import input_file, output_file, save
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
)
from node.cli.session import Interrupted, session
from protocol.limits import DEADLINE_S_MAX
from protocol.quantities import size_text
from sedma.errors import Unreachable
from sedma.transport import Progress, quoted


def put(
    name: Name,
    file: Annotated[Path, Argument(metavar="FILE", help="The matrix, as .npy.")],
    replicas: Replicas = 1,
    backend: Backend = None,
    device: Device = None,
    seed: Annotated[
        int | None, Option("--seed", min=0, metavar="N", help="Seed of the simulated cells.")
    ] = None,
    only: Only = None,
    avoid: Avoid = None,
    data_dir: DataDir = None,
    api: Api = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Spread a matrix over the mesh under a name."""
    with session(data_dir, api, token_file, as_json) as talk:
        body = input_file(file)
        query: dict[str, Any] = {"replicas": replicas, "backend": backend}
        query["device"] = told_device(device)
        query |= {"seed": seed, "only": only or None, "avoid": avoid or None}
        path = f"/v1/weights/{quoted(name)}"
        with (
            _bar(name) as bar,
            _cut_short(name, bar) as progress,
            talk.transport.request(
                "PUT", path, query, body, patience_s=DEADLINE_S_MAX, progress=progress
            ) as reply,
        ):
            entry = reply.json()
        talk.show(entry, _show_entry)


def get(
    name: Name,
    output: Output,
    data_dir: DataDir = None,
    api: Api = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Bring a matrix back from the mesh into a file."""
    with session(data_dir, api, token_file, as_json) as talk:
        path = f"/v1/weights/{quoted(name)}"
        with (
            output_file(output) as file,
            talk.transport.request("GET", path, {"format": "npy"}) as reply,
        ):
            shape = save(reply, file)
        # In a pipe the matrix tells its own shape, and there is nothing else to tell.
        if str(output) != "-":
            document = {"name": name, "output": str(output), "shape": shape}
            talk.show(document, lambda _: print(f"{output}: {_sides(shape)} float32"))


def weights(
    data_dir: DataDir = None,
    api: Api = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """The matrices in the mesh."""
    with session(data_dir, api, token_file, as_json) as talk:
        talk.show(talk.transport.document("GET", "/v1/weights"), _show_weights)


def rm(
    name: Name,
    data_dir: DataDir = None,
    api: Api = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Take a matrix out of the mesh."""
    with session(data_dir, api, token_file, as_json) as talk:
        talk.transport.document("DELETE", f"/v1/weights/{quoted(name)}")
        talk.show({"name": name, "removed": True}, lambda _: print(f"{name}: removed"))


@contextmanager
def _cut_short(name: str, bar: Progress | None) -> Iterator[Progress]:
    """Whoever ends a put, or loses its daemon, is told what became of it: without the whole matrix, nothing."""
    whole = False

    def progress(sent: int, size: int) -> None:
        nonlocal whole
        whole = sent == size
        if bar:
            bar(sent, size)

    def outcome() -> str:
        if whole:
            return f"{name} may have been put all the same: look with `sedma-node weights`"
        return f"nothing was put as {name}"

    try:
        yield progress
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {outcome()}") from None
    except Unreachable as error:
        raise Unreachable(error.code, f"{error.reason}; {outcome()}") from error


@contextmanager
def _bar(name: str) -> Iterator[Progress | None]:
    """A progress bar on standard error, where a person sees it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True))
    console = Console(stderr=True)
    with Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(name, total=None)
        yield lambda sent, size: bar.update(task, completed=sent, total=size)


def _show_entry(entry: dict[str, Any]) -> None:
    print(
        f"{entry['name']}: {_sides(entry['shape'])} {entry['dtype']} as {entry['backend']},"
        f" {_counted(entry['blocks'], 'block')}, {_counted(entry['replicas'], 'copy', 'copies')}"
        f" on {_counted(len(entry['holders']), 'node')}"
    )
    for words in entry.get("converted", ()):
        print(f"converted: {words}", file=sys.stderr)


def _show_weights(entries: list[dict[str, Any]]) -> None:
    from node.cli.tables import rows

    if not entries:
        print("no weights yet: `sedma-node put NAME FILE.npy` puts some")
        return
    heads = ("NAME", "SHAPE", "SIZE>", "BACKEND", "DEVICE", "COPIES>", "BLOCKS>", "HOLDERS>", "")
    rows(heads, (_entry(one) for one in entries))


def _entry(one: dict[str, Any]) -> tuple[str, ...]:
    missing = one.get("missing", 0)
    return (
        one["name"],
        _sides(one["shape"]),
        size_text(one["nbytes"]),
        one["backend"],
        shown_device(one["device"]),
        str(one["replicas"]),
        str(one["blocks"]),
        str(len(one["holders"])),
        f"no live holder of {_counted(missing, 'block')}" if missing else "",
    )


def _sides(shape: tuple[int, ...] | list[int]) -> str:
    return " x ".join(map(str, shape))


def _counted(count: int, one: str, many: str = "") -> str:
    return f"1 {one}" if count == 1 else f"{count} {many or one + 's'}"
