"""Start and stop, in order: what `sedma-node up` becomes.

Settings come from `up` through the environment; flags, files and their parser are not loaded here. A line on
standard output says where the node is reached; the log goes to standard error.
"""

import asyncio
import os
import random
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from socket import gethostname

import psutil
import structlog
import uvloop

from node.api.routes import Defaults as ApiDefaults
from node.api.server import start_api
from node.config import Resolved, Settings, host_port, resolved_from_env
from node.core import Defaults, Node
from node.deployment.ledger import Ledger
from node.runtime.datadir import DataDir
from node.runtime.identity import load_or_create
from node.runtime.live import Face, Live, Log
from node.runtime.store import Store
from protocol.errors import ConfigError
from protocol.ids import short

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
    if resolved.join is not None:
        raise ConfigError(
            "this version runs on its own: it cannot join a mesh yet; leave out --join"
        )
    log = structlog.get_logger()
    data = DataDir(Path(resolved.data_dir))
    try:
        live = _live(settings, data, log)
        host, port = host_port(settings.api.listen)
        defaults = ApiDefaults(settings.compute.rtol, settings.compute.deadline_s)
        api = await start_api(
            live, host, port, data.token, log, names=settings.api.hosts, defaults=defaults
        )
        live.api_url = api.url
        live.restore()
        data.tell_url(api.url)
        status = live.status()
        mib = status.budget_bytes // (1024 * 1024)
        print(f"node {short(status.id)} offers {mib} MiB  api {api.url}", flush=True)
        log.info("node.started", id=status.id, api=api.url, budget_bytes=status.budget_bytes)
        await _asked_to_stop()
        log.info("node.stopping")
        live.stopping = True
        await api.close()
        await live.close()
    finally:
        data.close()


def _live(settings: Settings, data: DataDir, log: Log) -> Live:
    budget = settings.share.memory_bytes or psutil.virtual_memory().available // MEMORY_SHARE
    identity = load_or_create(data)
    # Task numbers must not repeat after a restart, so these dice come from the system.
    dice = random.SystemRandom()
    node = Node(
        identity.id,
        settings.node.labels,
        Ledger(budget),
        Defaults(settings.compute.backend, settings.compute.device),
        dice,
    )
    face = Face(settings.node.name or gethostname(), version("sedma"), data.path)
    spool = data.path / "spool"
    spool.mkdir(exist_ok=True, mode=0o700)
    for leftover in spool.iterdir():
        leftover.unlink()
    workers = settings.share.cpus or len(os.sched_getaffinity(0))
    return Live(node, Store(data.path, settings.share.disk_bytes), face, workers, spool, log)


async def _asked_to_stop() -> None:
    """SIGINT, SIGTERM, or the end of the program that started us."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    if os.environ.get(EXIT_WITH_STDIN) == "1":
        loop.add_reader(sys.stdin.fileno(), _drain_stdin, asked)
    await asked.wait()


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
