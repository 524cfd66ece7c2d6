"""What a node tries for others: nothing that could harm who has not asked."""

from nat.favours import (
    ALL_TRIES_PER_MINUTE,
    TRIES_AT_ONE_PER_MINUTE,
    TRIES_PER_MINUTE,
    Favours,
)
from protocol.ids import NodeId
from protocol.messages import DialBack, Knock

ANNA = NodeId("anna")
GLOBAL = "203.0.113.9:7879"
OWN = ("198.51.100.1:7879", "[2001:db8:1::1]:7879")


def granted(favours: Favours, *addresses: str, asker: NodeId = ANNA, now: float = 0.0) -> list[str]:
    found, _ = favours.granted(asker, DialBack(addresses=addresses), OWN, now)
    return list(found)


def test_a_global_address_is_tried() -> None:
    knock = Knock(GLOBAL, bytes(12), True)

    found = Favours(0.0).granted(ANNA, DialBack(addresses=(GLOBAL,), knocks=(knock,)), OWN, 0.0)

    assert found == ((GLOBAL,), (knock,))


def test_nothing_is_tried_within_or_at_no_host_in_particular() -> None:
    favours = Favours(0.0)
    for address in (
        "127.0.0.1:22",
        "[::1]:22",
        "10.0.0.1:80",
        "192.168.1.1:80",
        "100.64.0.1:80",
        "169.254.169.254:80",
        "224.0.0.251:5353",
        "255.255.255.255:9",
        "[fe80::1]:80",
        "[fd00::1]:80",
        "[::ffff:127.0.0.1]:22",
        "[2002:7f00:1::]:22",
        "[::127.0.0.1]:22",
        "[64:ff9b::a00:1]:80",
        "[fec0::1]:80",
        "attic.example:80",
        "via:anna",
    ):
        assert granted(favours, address) == [], address


def test_what_lies_beside_us_proves_nothing() -> None:
    favours = Favours(0.0)

    assert granted(favours, "[2001:db8:1::77]:7879", "198.51.100.1:80") == []
    assert granted(favours, "[::ffff:198.51.100.1]:80", "[2002:c633:6401::]:80") == []
    assert granted(favours, "[2001:db8:2::77]:7879", "198.51.100.2:80") != []


def test_one_asking_node_is_served_so_often_in_a_minute() -> None:
    favours = Favours(0.0)
    addresses = [f"203.0.113.{n}:1" for n in range(1, 101)]

    first = [one for address in addresses for one in granted(favours, address)]
    later = [one for address in addresses for one in granted(favours, address, now=30.0)]

    assert len(first) == TRIES_PER_MINUTE
    assert len(later) == TRIES_PER_MINUTE / 2


def test_one_address_is_tried_twenty_times_a_minute_whoever_asks() -> None:
    favours = Favours(0.0)

    names = [GLOBAL, "[::ffff:203.0.113.9]:7879", "[2002:cb00:7109::]:7879"]
    tried = [granted(favours, names[n % 3], asker=NodeId(f"node{n}")) for n in range(100)]

    assert sum(map(bool, tried)) == TRIES_AT_ONE_PER_MINUTE <= 20


def test_all_together_are_served_so_often() -> None:
    favours = Favours(0.0)

    tried = [
        granted(favours, f"203.0.{n // 200}.{n % 200}:1", asker=NodeId(f"node{n}"))
        for n in range(1000)
    ]

    assert sum(map(bool, tried)) == ALL_TRIES_PER_MINUTE
