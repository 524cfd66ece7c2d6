"""Puts a daemon together from its parts: the Node, what drives it, and its HTTP side.

Apart from `node/daemon.py` because loading all this is most of a start.
"""

import os
import random
import shutil
import time
from importlib.metadata import version
from socket import gethostname

from compute.presets import device
from node.api.routes import Defaults as ApiDefaults
from node.api.server import RunningApi, start_api
from node.config import Settings, host_port
from node.core import Node
from node.deployment.ledger import Ledger
from node.log import Log
from node.policy import Policy
from node.runtime.budget import budget_bytes
from node.runtime.datadir import DataDir
from node.runtime.entry import Entry
from node.runtime.front import Face, Front
from node.runtime.identity import Identity
from node.runtime.live import Live
from node.runtime.registrar import Registrar
from node.runtime.signatures import Ed25519
from node.runtime.store import Store
from protocol.digests import DeviceProfile, NodeRecord
from protocol.ids import short


def wire(
    settings: Settings, data: DataDir, registrar: Registrar, identity: Identity, log: Log
) -> tuple[Live, Entry, Front]:
    """What carries out the node's effects, what brings it into its mesh, and what clients see of it."""
    name = settings.node.name or gethostname()
    software = f"sedma {version('sedma')}"
    budget = budget_bytes(settings.share.memory_bytes)
    workers = settings.share.cpus or len(os.sched_getaffinity(0))
    # Task numbers must not repeat after a restart, so these dice come from the system.
    dice = random.SystemRandom()
    incarnation = data.next_incarnation(time.time())
    signatures = Ed25519(identity.seed())
    record = NodeRecord(
        id=identity.id,
        incarnation=incarnation,
        version=0,
        name=name,
        software=software,
        labels=settings.node.labels,
        relays=settings.relay.serve,
        device=DeviceProfile(
            settings.compute.backend, device(settings.compute.device).name, workers
        ),
    )
    policy = Policy(
        backend=settings.compute.backend,
        device=settings.compute.device,
        workers=workers,
        hedge_share=settings.compute.hedge_share,
        interval_s=settings.gossip.interval_ms / 1e3,
        redial_s=settings.gossip.redial_s,
    )
    node = Node(
        record,
        Ledger(budget, settings.memory.activations_bytes),
        policy,
        signatures,
        dice,
    )
    entry = Entry(
        data,
        registrar,
        identity,
        signatures,
        incarnation,
        settings.mesh,
        settings.relay,
        settings.gossip.redial_s,
        software,
        log,
        dice,
        settings.nat,
    )
    # What clients left behind when the daemon was killed.
    shutil.rmtree(data.spool, ignore_errors=True)
    data.spool.mkdir(mode=0o700)
    store = Store(data.path, settings.share.disk_bytes)
    live = Live(node, store, workers, data, log, entry.redeem)
    return live, entry, Front(live, entry, Face(name, version("sedma"), data.path))


async def open_api(front: Front, data: DataDir, settings: Settings, log: Log) -> RunningApi:
    """Let clients in, and say where. ConfigError when the address cannot be had."""
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
