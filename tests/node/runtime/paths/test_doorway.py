"""Of what kind a path is, as far as its addresses tell."""

import asyncio
from typing import cast

import pytest

from node.runtime.paths.doorway import Doorway, agreed, kind_at, kind_of
from protocol.paths import PathKind

LAN, IPV4, IPV6 = PathKind.LAN, PathKind.IPV4, PathKind.IPV6


class Connected:
    def __init__(self, here: str = "", there: str = "") -> None:
        self.names = {"sockname": (here, 1), "peername": (there, 2)}
        self.protocol: object = None

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.names.get(name, default)

    def set_protocol(self, protocol: object) -> None:
        self.protocol = protocol


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("10.0.0.1:1", LAN),
        ("127.0.0.1:1", LAN),
        ("[fe80::1%eth0]:1", LAN),
        ("[fd00::1]:1", LAN),
        ("203.0.113.7:1", IPV4),
        ("[2001:db8::1]:1", IPV6),
        ("[::ffff:203.0.113.7]:1", IPV4),
        ("node.example:1", IPV4),
    ],
)
def test_an_address_tells_how_a_path_would_run(address: str, kind: PathKind) -> None:
    assert kind_at(address) is kind


@pytest.mark.parametrize(
    ("here", "there", "kind"),
    [
        ("10.0.0.1", "10.0.0.2", LAN),
        ("127.0.0.1", "127.0.0.1", LAN),
        ("fe80::1%eth0", "fe80::2%eth0", LAN),
        ("10.0.0.1", "203.0.113.7", IPV4),
        ("203.0.113.7", "10.0.0.1", IPV4),
        ("2001:db8::1", "2001:db8::2", IPV6),
        ("::ffff:203.0.113.8", "::ffff:203.0.113.7", IPV4),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", LAN),
    ],
)
def test_both_ends_tell_how_a_path_runs(here: str, there: str, kind: PathKind) -> None:
    assert kind_of(cast(asyncio.BaseTransport, Connected(here, there))) is kind


def test_without_tls_nothing_was_agreed_on_and_whoever_is_chosen_takes_over() -> None:
    class Chosen(asyncio.Protocol):
        transport: object = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

    connected, chosen, told = Connected(), Chosen(), list[str]()

    def choose(transport: asyncio.BaseTransport, alpn: str) -> asyncio.BaseProtocol:
        told.append(alpn)
        return chosen

    Doorway(choose).connection_made(cast(asyncio.BaseTransport, connected))

    assert told == [agreed(cast(asyncio.BaseTransport, connected))] == [""]
    assert connected.protocol is chosen
    assert chosen.transport is connected
