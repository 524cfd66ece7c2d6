"""Start and stop, in order: what `sedma-node up` becomes.

Settings come from `up` through the environment; flags, files and their parser are not loaded here. A line on
standard output says where the node is reached; the log goes to standard error. Most of a start is loading code,
so what a new node has to sign begins before that, in the process that signs.
"""

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

import uvloop

from node.config import Resolved, Settings, resolved_from_env
from node.log import Log
from node.runtime import library_log
from node.runtime.datadir import DataDir
from node.runtime.log_stream import LogStream
from node.runtime.registrar import Registrar
from protocol.errors import ConfigError
from protocol.ids import short
from protocol.members import Cause

if TYPE_CHECKING:
    from node.runtime.entry import Entry
    from node.runtime.live import Live

EXIT_WITH_STDIN = "SEDMA_EXIT_WITH_STDIN"
"""Set by a program that started this daemon for itself: the end of standard input ends it."""
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def main() -> None:
    """Run until a signal; exit code 1 with one sentence when the node cannot start."""
    try:
        uvloop.run(_serve(resolved_from_env()))
    except ConfigError as error:
        sys.exit(f"error: {error}")


async def _serve(resolved: Resolved) -> None:
    settings = resolved.settings
    asked = _stop_when_asked()
    data = DataDir(Path(resolved.data_dir))
    registrar = Registrar(data.path)
    try:
        await registrar.warm_up()
        with _uncollected():
            from node import assembly
        log = _start_log(settings)
        identity = await registrar.prepare()
        live, entry, front = assembly.wire(settings, data, registrar, identity, log)
        front.stop = asked.set
        api = await assembly.open_api(front, data, settings, log)
        live.restore(belongs=entry.belongs)
        entering = asyncio.create_task(_enter(entry, live, data, resolved.join))
        try:
            await _until(asked, entering)
        finally:
            log.info("node.stopping")
            live.stopping = True
            entering.cancel()
            await asyncio.wait([entering])
            await asyncio.gather(live.farewell(Cause.STOPPED), api.close())
            await live.close()
    finally:
        await registrar.close()
        data.close()
    if live.is_at_work:
        # Arrays take seconds to write, of an odd device minutes, and nobody waits for them any more. The folder
        # belongs to others from here on: no thread may write there.
        sys.stdout.flush()
        os._exit(0)


async def _enter(entry: "Entry", live: "Live", data: DataDir, join: str | None) -> None:
    """Come into the mesh and look for the others."""
    membership = await entry.enter(join)
    switchboard, packets = await entry.open(membership, live.inputs)
    live.connect(switchboard, packets)
    inputs = live.inputs
    outlook = await entry.outlook(switchboard, packets, inputs.learn)
    live.look_out(outlook, await entry.forwarding(switchboard, inputs, inputs.learn))
    entry.look_around(outlook, switchboard.ways, inputs)
    live.feed(live.node.introduce(membership.mesh, entry.listens, live.now))
    kept = data.members.load(time.time())
    members = {record.id: record for record in kept.members}
    live.feed(live.node.restore_members(members, kept.graves, live.now))
    known = members.keys() | {grave.record.id for grave in kept.graves}
    for peer, addresses in data.members.places():
        # A ticket may tell of a newer address than the record that we have: it is sought beside it.
        live.feed(live.node.seek(addresses, None if peer in known else peer, live.now))
    where = ", ".join(entry.listens)
    print(f"mesh {short(membership.mesh)} at {where}", flush=True)


def _stop_when_asked() -> asyncio.Event:
    """Set by SIGINT, SIGTERM, or the end of the program that started us; also while code is being loaded."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    if os.environ.get(EXIT_WITH_STDIN) == "1":
        loop.add_reader(sys.stdin.fileno(), _drain_stdin, asked)
    return asked


async def _until(asked: asyncio.Event, entering: "asyncio.Task[None]") -> None:
    """Asked to stop, or no way into the mesh, which is raised."""

    def judge(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            asked.set()

    entering.add_done_callback(judge)
    await asked.wait()
    if entering.done():
        entering.result()


def _drain_stdin(asked: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        asked.set()


@contextmanager
def _uncollected() -> Iterator[None]:
    """For loading code: objects come by the ten thousand, and none of them goes again.

    The collector would walk them over and over, a tenth of the start. Frozen, they are not walked later either.
    """
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def _start_log(settings: Settings) -> Log:
    """Lines for people or JSON for programs, on standard error."""
    # structlog loads rich where it finds it, for coloured tracebacks: 8 % of the start, and 2 MiB.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    import structlog

    shown: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper("iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    if settings.log.format == "json":
        shown.append(structlog.processors.JSONRenderer())
    else:
        shown.append(
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"])
        )
    structlog.configure(
        processors=shown,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[settings.log.level]),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, LogStream(sys.stderr))),
    )
    log: Log = structlog.get_logger()
    library_log.listen(log)
    return log


if __name__ == "__main__":
    main()
