"""Which addresses of this machine an attempt is made from."""

from ipaddress import ip_network

import ifaddr
import pytest

from nat import ice
from nat.ice import local_hosts, own_networks


class Adapter:
    """As `ifaddr` tells of one: IPv6 addresses come with a flow and an interface."""

    def __init__(self, *hosts: str) -> None:
        self.ips = [ifaddr.IP((host, 0, 2) if ":" in host else host, 24, "eth0") for host in hosts]


@pytest.fixture(autouse=True)
def adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        Adapter("127.0.0.1", "::1"),
        Adapter("192.168.1.5", "fe80::5", "fd00::5"),
        Adapter("172.17.0.1"),
    ]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: found)


def test_in_the_wide_world_only_what_leads_outside_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    # A way to oneself has always the same address at both ends.
    monkeypatch.setattr(ice, "OUTSIDE", ("127.0.0.9",))

    assert local_hosts(same_site=False) == ["127.0.0.1"]


def test_at_one_place_all_others_but_loopback_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice, "OUTSIDE", ("127.0.0.9",))

    assert local_hosts(same_site=True) == ["127.0.0.1", "192.168.1.5", "fd00::5", "172.17.0.1"]


def test_where_nothing_leads_outside_all_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    # To there no packet may be sent, so nothing leads there.
    monkeypatch.setattr(ice, "OUTSIDE", ("255.255.255.255",))

    assert local_hosts(same_site=False) == ["192.168.1.5", "fd00::5", "172.17.0.1"]


def test_our_own_networks_are_the_private_ones() -> None:
    assert own_networks() == [
        ip_network("192.168.1.0/24"),
        ip_network("fd00::/24"),
        ip_network("172.17.0.0/24"),
    ]
