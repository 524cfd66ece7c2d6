"""Channels through a real relay on loopback: TLS at the port, WebSockets in it, TLS from end to end within."""

import asyncio
import hashlib
import os
import time
from pathlib import Path

import pytest

from node.runtime import tls
from node.runtime.relaying.channels import PeerAbsent, RelayFailed
from tests.node.runtime.relaying.small_relay import (
    AMPLE,
    Mesh,
    eventually,
    guests,
    secured,
    serving,
)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    return Mesh.make(tmp_path_factory.mktemp("mesh"))


async def test_tls_runs_from_end_to_end_through_a_relay(mesh: Mesh) -> None:
    async with serving(mesh.anna) as relay, guests(relay, mesh.anna, mesh.bert, mesh.carl) as both:
        bert, carl = both
        began = time.perf_counter()
        end = await bert.client.open(carl.id)
        peer, other = await carl.accepted()
        assert peer == bert.id

        async with asyncio.timeout(10.0):
            (reader, writer), (there, back) = await asyncio.gather(
                secured(end, tls.client_context(mesh.bert.membership), dialled=True),
                secured(other, tls.server_context(mesh.carl.membership), dialled=False),
            )
            assert tls.peer_id(writer.get_extra_info("ssl_object")) == carl.id
            assert tls.peer_id(back.get_extra_info("ssl_object")) == bert.id
            writer.write(b"hello")
            assert await there.readexactly(5) == b"hello"
            print(f"first byte after {(time.perf_counter() - began) * 1e3:.1f} ms")

            data = os.urandom(10 << 20)
            began = time.perf_counter()
            writer.write(data)
            got = await there.readexactly(len(data))
            took = time.perf_counter() - began
            print(f"10 MiB at {10.49 / took:.0f} MB/s")
        assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
        back.write(b"thanks")
        assert await reader.readexactly(6) == b"thanks"
        writer.close()
        back.close()
        await eventually(lambda: relay.server.channels == 0)


async def test_who_is_not_there_is_absent_at_once(mesh: Mesh) -> None:
    async with serving(mesh.anna) as relay, guests(relay, mesh.anna, mesh.bert) as (bert,):
        with pytest.raises(PeerAbsent, match="absent"):
            await bert.client.open(mesh.carl.identity.id)
