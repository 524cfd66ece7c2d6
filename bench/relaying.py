"""How long it takes to reach a peer by way of a relay, and how much passes. One JSON line a figure.

    python bench/relaying.py [--mib 64] [--rounds 20]

Three processes on loopback, which share the cores of the machine: one sends by way of the relay to the other, with TLS
from end to end inside the TLS to the relay, and with quotas out of the way. *cold* begins with nothing, *warm* with a
connection to the relay; both end when the first byte has come back through the inner TLS.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import resource
import socket
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import structlog
import uvloop

from nat.relaying import RelayLimits
from node.runtime import credentials, identity, tickets, tls
from node.runtime.credentials import Membership
from node.runtime.datadir import DataDir
from node.runtime.identity import Identity
from node.runtime.relaying.client import RelayClient, relay_context
from node.runtime.relaying.homes import Homes
from node.runtime.relaying.server import RelayServer
from node.runtime.signatures import Ed25519
from node.runtime.tickets import TicketOffice
from protocol.ids import NodeId

MIB = 1 << 20
SLICE = 256 * 1024
ALL = RelayLimits(rate=1e12, burst=1e12, total=1e12)
Member = tuple[Identity, Membership]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    _tell("machine", cores=os.cpu_count(), load=os.getloadavg())
    processes = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        relay, receiver, sender = _members(Path(folder))
        ours, theirs = processes.Pipe()
        # Daemons end with us, whatever happens here; and a pipe ends with whoever alone has its other end.
        serving = processes.Process(target=_serve, args=(relay, theirs), daemon=True)
        serving.start()
        theirs.close()
        address = f"127.0.0.1:{ours.recv()}"
        mine, its = processes.Pipe()
        args = (receiver, relay[0].id, address, its)
        receiving = processes.Process(target=_receive, args=args, daemon=True)
        receiving.start()
        its.close()
        mine.recv()
        uvloop.run(_measure(sender, relay[0].id, address, receiver[0].id, options))
        for pipe, process in ((mine, receiving), (ours, serving)):
            pipe.send("enough")
            _tell(str(pipe.recv()), **pipe.recv())
            process.join()


def _members(folder: Path) -> tuple[Member, Member, Member]:
    now = time.time()
    with DataDir(folder / "relay") as data:
        who = identity.load_or_create(data)
        relay = who, credentials.found(data, who, now)
        office = TicketOffice(data, *relay)
        ticket, _ = office.mint(("a:1",), ttl_s=60.0, uses=2, may_invite=False, now_wall=now)

        def joined(name: str) -> Member:
            with DataDir(folder / name) as own:
                who = identity.load_or_create(own)
                answer = office.redeem(tickets.join_request(who, ticket), now)
                return who, credentials.adopt(own, who, ticket.mesh, answer, now)

        return relay, joined("receiver"), joined("sender")


# -- the three -----------------------------------------------------------------------------------------------


def _serve(member: Member, pipe: Connection) -> None:
    async def serve() -> None:
        server = RelayServer(Ed25519(member[0].seed()), ALL, structlog.get_logger())
        await server.start()
        context = tls.server_context(member[1])
        context.set_alpn_protocols(["http/1.1"])
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(server.protocol_factory, "127.0.0.1", 0, ssl=context)
        before = _spent()
        pipe.send(listener.sockets[0].getsockname()[1])
        await loop.run_in_executor(None, pipe.recv)
        listener.close()
        forwarded = server.counters["forwarded_bytes"]
        await server.close()
        pipe.send("relay")
        spent = _spent()
        cpu_s = spent["cpu_s"] - before["cpu_s"]
        pipe.send({**spent, "cpu_s_per_gb": round(cpu_s / forwarded * 1e9, 1)})

    uvloop.run(serve())


class Sink(asyncio.BufferedProtocol):
    """Sends a byte back when the first byte has come, and when all has come that was said in the first eight."""

    def __init__(self) -> None:
        self._buffer = bytearray(SLICE)
        self._left = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._left < 0:
            self._left = int.from_bytes(self._buffer[:8])
        else:
            self._left -= nbytes
            if self._left > 0:
                return
        self._transport.write(b"!")


def _receive(member: Member, relay: NodeId, address: str, pipe: Connection) -> None:
    async def receive() -> None:
        loop = asyncio.get_running_loop()
        context = tls.server_context(member[1])

        def opened(peer: NodeId, channel: socket.socket, relay: NodeId) -> None:
            tasks.create_task(loop.connect_accepted_socket(Sink, channel, ssl=context))

        signatures, dice = Ed25519(member[0].seed()), random.Random(1)
        client = RelayClient(relay, relay_context(member[1]), signatures, opened, dice)
        await client.connect((address,))
        async with asyncio.TaskGroup() as tasks:
            pipe.send("ready")
            await loop.run_in_executor(None, pipe.recv)
        await client.close()
        pipe.send("receiver")
        pipe.send(_spent())

    uvloop.run(receive())


async def _measure(
    member: Member, relay: NodeId, address: str, peer: NodeId, options: argparse.Namespace
) -> None:
    context, signatures = tls.client_context(member[1]), Ed25519(member[0].seed())
    cold_ms: list[float] = []
    warm_ms: list[float] = []
    for _ in range(options.rounds):
        homes = Homes(
            relay_context(member[1]),
            signatures,
            lambda *came: None,
            lambda relays: None,
            random.Random(1),
            None,
            structlog.get_logger(),
        )
        for times_ms in (cold_ms, warm_ms):
            began = time.perf_counter()
            channel = await homes.open(relay, (address,), peer)
            reader, writer = await asyncio.open_unix_connection(
                sock=channel, ssl=context, server_hostname="peer"
            )
            writer.write((options.mib * MIB).to_bytes(8))
            await reader.readexactly(1)
            times_ms.append(1e3 * (time.perf_counter() - began))
        if len(cold_ms) == options.rounds:
            await _bulk(reader, writer, options.mib)
        writer.close()
        await homes.close()
    for name, times_ms in (("cold", cold_ms), ("warm", warm_ms)):
        median, worst = statistics.median(times_ms), max(times_ms)
        _tell(f"first byte, {name}", median_ms=round(median, 1), worst_ms=round(worst, 1))


async def _bulk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mib: int) -> None:
    piece = os.urandom(SLICE)
    began = time.perf_counter()
    for _ in range(mib * MIB // SLICE):
        writer.write(piece)
        await writer.drain()
    await reader.readexactly(1)
    seconds = time.perf_counter() - began
    _tell("through the relay", mib=mib, mb_per_s=round(mib * MIB / 1e6 / seconds, 1))


def _spent() -> dict[str, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = used.ru_utime + used.ru_stime
    return {"cpu_s": round(cpu_s, 2), "rss_mib": round(used.ru_maxrss / 1024, 1)}


def _tell(name: str, **fields: object) -> None:
    print(json.dumps({"name": name, **fields}), flush=True)


if __name__ == "__main__":
    main()
