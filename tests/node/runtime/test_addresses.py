"""What others are told is what they can dial."""

import ipaddress

import pytest

from node.config import host_port
from node.runtime.addresses import machine_interfaces, own_addresses
from protocol.limits import ADDRESSES_MAX

HOME = {
    "lo": ["127.0.0.1", "::1"],
    "eth0": ["192.168.1.7", "2001:db8::7", "fe80::7%eth0"],
    "wlan0": ["10.0.0.7", "169.254.3.4"],
}
OFFLINE = {"lo": ["127.0.0.1", "::1"], "eth0": ["fe80::7%eth0"]}


def test_all_interfaces_but_loopback_and_link_local_are_told() -> None:
    told, warning = own_addresses("0.0.0.0", 7879, (), HOME)

    assert told == ("192.168.1.7:7879", "10.0.0.7:7879")
    assert warning == ""


@pytest.mark.parametrize("host", ["", "::"])
def test_ipv6_is_told_after_ipv4_where_it_is_listened_on(host: str) -> None:
    told, _ = own_addresses(host, 7879, (), HOME)

    assert told == ("192.168.1.7:7879", "10.0.0.7:7879", "[2001:db8::7]:7879")


def test_what_the_user_advertises_comes_first_and_once() -> None:
    told, _ = own_addresses("0.0.0.0", 7879, ("door.example:80", "10.0.0.7:7879"), HOME)

    assert told == ("door.example:80", "10.0.0.7:7879", "192.168.1.7:7879")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("10.0.0.7", "10.0.0.7:1"),
        ("node7.lan", "node7.lan:1"),
        ("2001:db8::7", "[2001:db8::7]:1"),
    ],
)
def test_a_node_that_listens_at_one_address_tells_that_one(host: str, address: str) -> None:
    assert own_addresses(host, 1, (), HOME) == ((address,), "")


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1:1"), ("localhost", "localhost:1"), ("::1", "[::1]:1")],
)
def test_loopback_alone_is_told_with_a_warning_that_says_what_to_write(
    host: str, address: str
) -> None:
    told, warning = own_addresses(host, 1, (), HOME)

    assert told == (address,)
    assert f"at {address} alone" in warning
    assert "--listen 0.0.0.0:1" in warning


def test_loopback_is_not_told_where_the_user_advertises_another() -> None:
    assert own_addresses("127.0.0.1", 1, ("door.example:80",), HOME) == (("door.example:80",), "")


@pytest.mark.parametrize(
    ("host", "address"),
    [("0.0.0.0", "127.0.0.1:1"), ("", "127.0.0.1:1"), ("::", "[::1]:1")],
)
@pytest.mark.parametrize("interfaces", [OFFLINE, {}])
def test_a_machine_without_network_tells_loopback_and_warns(
    host: str, address: str, interfaces: dict[str, list[str]]
) -> None:
    told, warning = own_addresses(host, 1, (), interfaces)

    assert told == (address,)
    assert "no network address" in warning


def test_no_more_addresses_are_told_than_a_record_holds() -> None:
    many = {f"eth{number}": [f"10.0.0.{number}"] for number in range(1, 100)}

    told, _ = own_addresses("0.0.0.0", 1, ("door.example:80",), many)

    assert len(told) == ADDRESSES_MAX
    assert told[:2] == ("door.example:80", "10.0.0.1:1")


def test_this_machine_has_interfaces_with_addresses_that_can_be_dialled() -> None:
    told, _ = own_addresses("", 7879, ())

    assert any("127.0.0.1" in addresses for addresses in machine_interfaces().values())
    for address in told:
        host, port = host_port(address)
        ipaddress.ip_address(host)
        assert port == 7879
