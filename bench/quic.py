"""What QUIC costs on a punched path: qh3 and aioquic behind the same transport, and aioquic as it comes.

    python bench/quic.py [--mib 64] [--rounds 3]

Two processes on a core each, over UDP on loopback; one writes 256 KiB at a time against back-pressure, the other
counts, and one byte comes back when all has come. Figures are medians over the rounds, in which all take turns; CPU is
that of both processes. Read ratios: other work on the machine moves all rates. Packets are of 1,452 bytes.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from typing import Any

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import nat.quic
from bench.quic_aioquic import AioquicEngine, plain_listen, plain_send
from nat.datagram_path import PathHearer
from nat.datagrams import SOL_UDP, UDP_GRO, Address, Datagrams, bind
from nat.engine import Engine
from nat.proof import Credentials
from nat.quic import QuicTransport, open_quic
from node.runtime import certificates
from node.runtime.signatures import Ed25519
from protocol.ids import NodeId, node_id

MIB = 1 << 20
SLICE = 256 * 1024
CORES = sorted(os.sched_getaffinity(0))[:2]
WAYS = {
    "qh3, in batches": "what a node does",
    "qh3, one by one": "each datagram a call of the kernel",
    "aioquic, in batches": "the same transport around aioquic",
    "aioquic as it comes": "its own sockets and streams",
}
LOADS = ("nat.engine", "qh3.quic.connection", "aioquic.quic.connection", "nat.ice")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--listen", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.listen is not None:
        os.sched_setaffinity(0, CORES[-1:])
        uvloop.run(_listen(options.listen, options.mib * MIB))
        return
    _tell("machine", cores=CORES, load=os.getloadavg())
    for module in LOADS:
        _loading(module)
    os.sched_setaffinity(0, CORES[:1])
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way in WAYS:
            # aioquic takes ten times as long for each byte.
            mib = options.mib if way.startswith("qh3") else max(options.mib // 8, 1)
            runs[way].append(_run(way, mib))
    for way, figures in runs.items():
        medians = {name: statistics.median(run[name] for run in figures) for name in figures[0]}
        _tell(way, note=WAYS[way], **{name: round(value, 4) for name, value in medians.items()})


def _run(way: str, mib: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.quic", "--listen", way, "--mib", str(mib)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        try:
            hello = json.loads(child.stdout.readline())
            before = _cpu_s()
            figures: dict[str, float] = uvloop.run(_send(way, hello, mib * MIB, child.stdin))
            spent = _cpu_s() - before + json.loads(child.stdout.readline())["cpu_s"]
        finally:
            # It has nothing left to say; had we failed, it would wait for us without end.
            child.kill()
    seconds = figures.pop("seconds")
    return {
        "MB_per_s": mib * MIB / 1e6 / seconds,
        "cpu_s_per_GB": spent / (mib * MIB / 1e9),
        **figures,
    }


async def _send(way: str, hello: dict[str, Any], nbytes: int, order: Any) -> dict[str, float]:
    credentials = _credentials(hello["papers"])
    if way == "aioquic as it comes":
        return {"seconds": await plain_send(credentials, hello["port"], nbytes)}
    wire = _wire(way)
    wire.remote = ("127.0.0.1", hello["port"])
    order.write(json.dumps({"port": wire.local[1]}) + "\n")
    order.flush()
    began = time.perf_counter()
    transport, stream = await open_quic(wire, credentials, Stream, dialled=True)
    opened = time.perf_counter() - began
    piece = bytes(SLICE)
    began = time.perf_counter()
    for _ in range(0, nbytes, SLICE):
        transport.write(piece)
        await stream.may_write.wait()
    await stream.has(1)
    seconds = time.perf_counter() - began
    transport.close()
    await stream.gone
    return {"seconds": seconds, "opened_ms": opened * 1e3}


async def _listen(way: str, nbytes: int) -> None:
    ours, theirs = _members()
    if way == "aioquic as it comes":
        port, done = await plain_listen(_credentials(ours), nbytes)
        print(json.dumps({"port": port, "papers": theirs}), flush=True)
        before = _cpu_s()
        await done
        await asyncio.sleep(0.2)
    else:
        wire = _wire(way)
        print(json.dumps({"port": wire.local[1], "papers": theirs}), flush=True)
        before = _cpu_s()
        wire.remote = ("127.0.0.1", json.loads(sys.stdin.readline())["port"])
        _, stream = await open_quic(wire, _credentials(ours), Stream, dialled=False)
        await stream.has(nbytes)
        stream.transport.write(b"!")
        await stream.gone
    print(json.dumps({"cpu_s": _cpu_s() - before}), flush=True)


class Wire:
    """A way over loopback, as `nat.punched.PunchedPath` is one through NATs."""

    def __init__(self) -> None:
        self.remote: Address = ("127.0.0.1", 0)
        self.bound = bind("127.0.0.1")
        self.datagrams = Datagrams(self.bound, self._came)
        self.local = self.datagrams.local
        self._hearer: PathHearer | None = None
        self._early: list[tuple[bytes, int]] = []

    def listen(self, hearer: PathHearer) -> None:
        self._hearer = hearer
        self.datagrams.on_writable = hearer.writable
        for early in self._early:
            hearer.heard(*early)

    def send(self, datagrams: list[bytes]) -> int:
        return self.datagrams.send(datagrams, self.remote)

    def probe(self) -> None:
        """Nobody on this wire answers checks."""

    def close(self) -> None:
        self.datagrams.close()

    def _came(self, buffer: bytes, segment: int, sender: Address) -> None:
        if self._hearer is None:
            self._early.append((buffer, segment))
        else:
            self._hearer.heard(buffer, segment)


class Stream(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.transport: QuicTransport
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.gone: asyncio.Future[None] = loop.create_future()
        self._received = 0
        self._wanted = 0
        self._there = asyncio.Event()
        self._memory = memoryview(bytearray(MIB))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, QuicTransport)
        self.transport = transport
        transport.set_write_buffer_limits(high=0, low=0)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        self._received += nbytes
        if self._received >= self._wanted:
            self._there.set()

    def pause_writing(self) -> None:
        self.may_write.clear()

    def resume_writing(self) -> None:
        self.may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.may_write.set()
        self.gone.set_result(None)

    async def has(self, nbytes: int) -> None:
        self._wanted = nbytes
        if self._received < nbytes:
            self._there.clear()
            await self._there.wait()


def _wire(way: str) -> Wire:
    vars(nat.quic)["Engine"] = AioquicEngine if way.startswith("aioquic") else Engine
    wire = Wire()
    if way.endswith("one by one"):
        wire.bound.setsockopt(SOL_UDP, UDP_GRO, 0)
        wire.datagrams._cuts = False
    return wire


def _members() -> tuple[list[str], list[str]]:
    """What a listener and a dialler of one mesh need to prove who they are, as it goes through a pipe."""
    now = time.time()
    ca = certificates.make_ca(now)
    keys = [Ed25519PrivateKey.generate() for _ in range(2)]
    ids = [node_id(key.public_key().public_bytes_raw()) for key in keys]

    def papers(own: int, peer: int) -> list[str]:
        public = keys[own].public_key().public_bytes_raw()
        parts = (
            certificates.to_pem(certificates.make_leaf(ca, public, now)).encode(),
            certificates.key_to_pem(keys[own]),
            certificates.to_pem(ca.certificate).encode(),
            keys[own].private_bytes_raw(),
        )
        return [ids[own], ids[peer], *(b64encode(part).decode() for part in parts)]

    return papers(0, 1), papers(1, 0)


def _credentials(papers: list[str]) -> Credentials:
    own, peer = map(NodeId, papers[:2])
    chain, key, ca, seed = map(b64decode, papers[2:])
    signer = Ed25519(seed)
    return Credentials(
        own, peer, chain, key, ca, b"agreed on by both", signer.sign, signer.verifies
    )


def _loading(module: str) -> None:
    """Time and memory that importing this takes in a process that has what a daemon has anyway."""
    code = (
        "import asyncio, ssl, msgspec, uvloop, aiohttp, time, psutil\n"
        "p = psutil.Process(); m = p.memory_info().rss; t = time.perf_counter()\n"
        f"import {module}\n"
        "print((time.perf_counter() - t) * 1e3, (p.memory_info().rss - m) / 2**20)"
    )
    runs = [
        tuple(map(float, subprocess.check_output([sys.executable, "-c", code]).split()))
        for _ in range(3)
    ]
    _tell(
        f"loading {module}",
        ms=round(statistics.median(run[0] for run in runs), 1),
        rss_mib=round(statistics.median(run[1] for run in runs), 1),
    )


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _tell(name: str, **figures: object) -> None:
    print(json.dumps({"what": name, **figures}), flush=True)


if __name__ == "__main__":
    main()
