"""Start and stop, in order: what `sedma-node up` becomes.

Settings come from `up` through the environment; flags, files and their parser are not loaded here. A line on
standard output says where the node is reached; the log goes to standard error.
"""

import asyncio
import os
import random
import shutil
import signal
import sys
import time
from importlib.metadata import version
from pathlib import Path
from socket import gethostname

import psutil
import structlog
import uvloop

from node.api.routes import Defaults as ApiDefaults
from node.api.server import RunningApi, start_api
from node.config import Resolved, Settings, host_port, resolved_from_env
from node.core import Node, Policy
from node.deployment.ledger import Ledger
from node.log import Log
from node.runtime.datadir import DataDir
from node.runtime.entry import Entry
from node.runtime.front import Face, Front
from node.runtime.identity import Identity
from node.runtime.live import Live
from node.runtime.registrar import Registrar
from node.runtime.store import Store
from protocol.digests import NodeRecord
from protocol.errors import ConfigError
from protocol.ids import MeshId, short

MEMORY_SHARE = 4
"""Without `share.memory` a node offers one part in four of the memory that is available."""
EXIT_WITH_STDIN = "SEDMA_EXIT_WITH_STDIN"
"""Set by a program that started this daemon for itself: the end of standard input ends it."""
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def main() -> None:
    """Run until a signal; exit code 1 with one sentence when the node cannot start."""
    try:
        resolved = resolved_from_env()
        _start_log(resolved.settings)
        uvloop.run(_serve(resolved))
    except ConfigError as error:
        sys.exit(f"error: {error}")


async def _serve(resolved: Resolved) -> None:
    settings = resolved.settings
    log = structlog.get_logger()
    data = DataDir(Path(resolved.data_dir))
    registrar = Registrar(data.path)
    try:
        identity = await registrar.prepare()
        live, entry, front = _wire(settings, data, registrar, identity, log)
        api = await _start_api(front, data, settings, log)
        live.restore()
        entering = asyncio.create_task(_enter(entry, live, data, resolved.join))
        try:
            await _asked_to_stop(entering)
        finally:
            log.info("node.stopping")
            live.stopping = True
            entering.cancel()
            await asyncio.wait([entering])
            await api.close()
            await live.close()
    finally:
        await registrar.close()
        data.close()


def _wire(
    settings: Settings, data: DataDir, registrar: Registrar, identity: Identity, log: Log
) -> tuple[Live, Entry, Front]:
    name = settings.node.name or gethostname()
    software = f"sedma {version('sedma')}"
    budget = settings.share.memory_bytes or psutil.virtual_memory().available // MEMORY_SHARE
    workers = settings.share.cpus or len(os.sched_getaffinity(0))
    # Task numbers must not repeat after a restart, so these dice come from the system.
    dice = random.SystemRandom()
    record = NodeRecord(
        id=identity.id,
        mesh=MeshId(""),
        incarnation=data.next_incarnation(time.time()),
        version=0,
        name=name,
        software=software,
        labels=settings.node.labels,
    )
    policy = Policy(
        backend=settings.compute.backend,
        device=settings.compute.device,
        workers=workers,
        hedge_share=settings.compute.hedge_share,
        interval_s=settings.gossip.interval_ms / 1e3,
        redial_s=settings.gossip.redial_s,
    )
    node = Node(record, Ledger(budget, settings.memory.activations_bytes), policy, dice)
    entry = Entry(
        data, registrar, identity, settings.mesh, settings.gossip.redial_s, software, log, dice
    )
    spool = data.path / "spool"
    # What clients left behind when the daemon was killed.
    shutil.rmtree(spool, ignore_errors=True)
    spool.mkdir(mode=0o700)
    store = Store(data.path, settings.share.disk_bytes)
    live = Live(node, store, workers, spool, log, data.keep_peers, entry.redeem)
    return live, entry, Front(live, entry, Face(name, version("sedma"), data.path))


async def _start_api(front: Front, data: DataDir, settings: Settings, log: Log) -> RunningApi:
    host, port = host_port(settings.api.listen)
    defaults = ApiDefaults(settings.compute.rtol, settings.compute.deadline_s)
    api = await start_api(
        front, host, port, data.token, log, names=settings.api.hosts, defaults=defaults
    )
    front.api_url = api.url
    data.tell_url(api.url)
    status = front.status()
    mib = status.budget_bytes // (1024 * 1024)
    print(f"node {short(status.id)} offers {mib} MiB  api {api.url}", flush=True)
    log.info("node.started", id=status.id, api=api.url, budget_bytes=status.budget_bytes)
    return api


async def _enter(entry: Entry, live: Live, data: DataDir, join: str | None) -> None:
    """Come into the mesh and look for the others."""
    membership = await entry.enter(join)
    live.connect(await entry.open(membership, live))
    live.feed(live.node.introduce(membership.mesh, entry.listens, live.now))
    for peer, addresses in data.peers():
        live.feed(live.node.seek(addresses, peer, live.now))
    where = ", ".join(entry.listens)
    print(f"mesh {short(membership.mesh)} at {where}", flush=True)


async def _asked_to_stop(entering: "asyncio.Task[None]") -> None:
    """SIGINT, SIGTERM, the end of the program that started us, or no way into the mesh, which is raised."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    if os.environ.get(EXIT_WITH_STDIN) == "1":
        loop.add_reader(sys.stdin.fileno(), _drain_stdin, asked)

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


def _start_log(settings: Settings) -> None:
    """Lines for people or JSON for programs, on standard error."""
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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    main()
