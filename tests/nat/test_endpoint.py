"""Which addresses mean the same host for everybody, and which another one in each network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat.endpoint import (
    Endpoint,
    Scope,
    customer,
    endpoint_of,
    plain,
    scope,
)


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("203.0.113.9", Scope.GLOBAL),
        ("198.51.100.1", Scope.GLOBAL),
        ("2001:db8::1", Scope.GLOBAL),
        ("8.8.8.8", Scope.GLOBAL),
        ("10.1.2.3", Scope.PRIVATE),
        ("172.31.255.1", Scope.PRIVATE),
        ("172.32.0.1", Scope.GLOBAL),
        ("192.168.0.1", Scope.PRIVATE),
        ("100.64.0.1", Scope.PRIVATE),
        ("192.0.0.4", Scope.PRIVATE),
        ("198.18.0.1", Scope.PRIVATE),
        ("198.20.0.1", Scope.GLOBAL),
        ("fd00::1", Scope.PRIVATE),
        ("127.0.0.1", Scope.LOOPBACK),
        ("::1", Scope.LOOPBACK),
        ("169.254.1.1", Scope.LINK),
        ("fe80::1", Scope.LINK),
        ("224.0.0.1", Scope.NOBODY),
        ("ff02::1", Scope.NOBODY),
        ("255.255.255.255", Scope.NOBODY),
        ("0.0.0.0", Scope.NOBODY),
        ("::", Scope.NOBODY),
        ("::127.0.0.1", Scope.NOBODY),
        ("64:ff9b::7f00:1", Scope.NOBODY),
        ("64:ff9b::808:808", Scope.NOBODY),
        ("fec0::1", Scope.NOBODY),
        ("attic.example", Scope.NOBODY),
        ("", Scope.NOBODY),
    ],
)
def test_an_address_has_a_scope(host: str, found: Scope) -> None:
    assert scope(host) is found


@pytest.mark.parametrize(
    ("disguised", "found"),
    [
        ("::ffff:127.0.0.1", Scope.LOOPBACK),
        ("::ffff:10.0.0.1", Scope.PRIVATE),
        ("2002:7f00:1::", Scope.LOOPBACK),
        ("2002:c0a8:1::1", Scope.PRIVATE),
    ],
)
def test_an_ipv4_address_in_ipv6_clothes_is_known(disguised: str, found: Scope) -> None:
    assert scope(disguised) is found


def test_limits_count_for_an_ipv4_address_and_for_a_network_of_ipv6() -> None:
    assert customer("203.0.113.1") != customer("203.0.113.2")
    assert customer("2001:db8::1") == customer("2001:db8::2")
    assert customer("2001:db8::1") != customer("2001:db8:0:1::1")


@pytest.mark.parametrize(
    "disguised",
    ["::ffff:203.0.113.1", "::FFFF:cb00:7101", "2002:cb00:7101::1", "2002:cb00:7101:9::"],
)
def test_a_host_has_one_limit_whichever_of_its_addresses_is_named(disguised: str) -> None:
    assert customer(disguised) == customer("203.0.113.1")


def test_an_address_is_told_without_the_interface_and_without_disguise() -> None:
    assert plain("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain("fe80::1%eth0") == "fe80::1"
    assert plain("2001:db8::1") == "2001:db8::1"
    assert plain("::FFFF:c000:201") == "192.0.2.1"
    assert plain("2001:DB8:0::1") == "2001:db8::1"
    assert plain("attic.example") == "attic.example"


def test_only_an_ip_address_with_a_port_is_an_endpoint() -> None:
    assert endpoint_of("203.0.113.9:7879") == Endpoint("203.0.113.9", 7879)
    assert endpoint_of("[2001:DB8::1]:7879") == Endpoint("2001:db8::1", 7879)
    assert endpoint_of("[::ffff:203.0.113.9]:7879") == Endpoint("203.0.113.9", 7879)
    for text in ("attic:7879", "via:abc", "203.0.113.9:0", "203.0.113.9", "203.0.113.9:70000", ""):
        assert endpoint_of(text) is None
    assert str(Endpoint("2001:db8::1", 7879)) == "[2001:db8::1]:7879"


@given(st.ip_addresses(), st.sampled_from(["", "::ffff:"]))
def test_an_address_means_the_same_however_it_is_spelled(address: object, mapped: str) -> None:
    host = f"{mapped}{address}" if ":" not in str(address) else str(address)

    assert plain(plain(host)) == plain(host) == plain(host.upper())
    assert scope(host) is scope(host.upper()) is scope(plain(host))
    assert customer(host) == customer(host.upper()) == customer(plain(host))
    assert endpoint_of(f"[{host}]:1") == endpoint_of(str(Endpoint(plain(host), 1)))
