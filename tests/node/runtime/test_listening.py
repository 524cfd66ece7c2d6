"""Links and packets come in at ports of one number, whatever other programs have taken."""

import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.config import MeshConfig, NatConfig, RelayConfig
from node.runtime import listening
from node.runtime.entry import Entry
from node.runtime.packets import Packets, bind
from node.runtime.registrar import Registrar
from node.runtime.signatures import Ed25519
from node.runtime.switchboard import Switchboard
from protocol.errors import ConfigError
from protocol.ids import NodeId
from protocol.members import Packet
from tests.node.ports import taken
from tests.node.runtime.small_mesh import Member, founder
from tests.node.runtime.stations import Ear

NOW = 1_800_000_000.0


class Ears(Ear):
    def key_of(self, peer: NodeId) -> bytes | None:
        return None

    def packet(self, peer: NodeId, packet: Packet) -> None:
        raise AssertionError("nobody is known")

    def packet_dropped(self, why: str) -> None: ...


class Log:
    def __init__(self) -> None:
        self.warned: list[str] = []

    def info(self, event: str, /, **fields: object) -> None: ...

    debug = exception = info

    def warning(self, event: str, /, **fields: object) -> None:
        self.warned.append(event)


class House:
    """One node that opens its doors at an address."""

    def __init__(self, member: Member) -> None:
        self.log = Log()
        self._member = member
        self._opened: list[tuple[Switchboard, Packets | None]] = []

    async def open(
        self, listen: str, also: str | None = None
    ) -> tuple[tuple[str, ...], Packets | None]:
        who = self._member
        one = Entry(
            who.data_dir,
            Registrar(who.data_dir.path),
            who.identity,
            Ed25519(who.identity.seed()),
            1,
            MeshConfig(listen=listen, also_listen=also),
            RelayConfig(),
            1.0,
            "sedma 0",
            self.log,
            random.Random(1),
            NatConfig(),
        )
        self._opened.append(await one.open(who.membership, Ears()))
        return one.listens, self._opened[-1][1]

    async def close(self) -> None:
        for switchboard, packets in self._opened:
            await switchboard.close("the test is over")
            if packets is not None:
                await packets.close()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    one = House(founder(tmp_path, NOW))
    yield one
    await one.close()


async def test_where_any_port_will_do_both_have_the_same(house: House) -> None:
    listens, packets = await house.open("127.0.0.1:0")

    assert packets is not None
    assert listens == (f"127.0.0.1:{packets.port}",)


async def test_a_port_that_is_free_for_packets_alone_is_passed_over(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with taken(socket.SOCK_STREAM) as first:
        ports = [0, first]

        async def first_that_one(host: str, port: int) -> socket.socket:
            return await bind(host, ports.pop())

        monkeypatch.setattr(listening, "bind", first_that_one)
        listens, packets = await house.open("127.0.0.1:0")

    assert ports == []
    assert packets is not None
    assert listens == (f"127.0.0.1:{packets.port}",) != (f"127.0.0.1:{first}",)


async def test_without_udp_links_carry_all_and_the_operator_is_told(house: House) -> None:
    with taken(socket.SOCK_DGRAM) as port:
        listens, packets = await house.open(f"127.0.0.1:{port}")

    assert (listens, packets) == ((f"127.0.0.1:{port}",), None)
    assert "packets.not_bound" in house.log.warned


async def test_a_port_that_links_cannot_have_ends_the_start_and_frees_udp(house: House) -> None:
    with taken(socket.SOCK_STREAM) as port:
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1, port {port}"):
            await house.open(f"127.0.0.1:{port}")

        (await bind("127.0.0.1", port)).close()


async def test_a_second_port_that_cannot_be_had_frees_udp_and_is_named(house: House) -> None:
    with taken(socket.SOCK_DGRAM) as port:
        pass
    with taken(socket.SOCK_STREAM) as also, pytest.raises(ConfigError, match="mesh.also_listen"):
        await house.open(f"127.0.0.1:{port}", also=f"127.0.0.1:{also}")

    (await bind("127.0.0.1", port)).close()


async def test_both_addresses_are_told(house: House) -> None:
    listens, _ = await house.open("127.0.0.1:0", also="127.0.0.2:0")

    assert [one.partition(":")[0] for one in listens] == ["127.0.0.1", "127.0.0.2"]


async def test_before_a_ticket_is_used_both_ports_are_looked_at() -> None:
    with taken(socket.SOCK_STREAM) as port:
        for settings in (
            MeshConfig(listen=f"127.0.0.1:{port}"),
            MeshConfig(listen="127.0.0.1:0", also_listen=f"127.0.0.1:{port}"),
        ):
            with pytest.raises(ConfigError, match=f"port {port}: Address already in use"):
                await listening.Listening(settings, Log()).check()
