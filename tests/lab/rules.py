"""The nftables rules of one router: a `Manner` in the kernel's words.

An outside port is the inside port with some bits flipped, which a router can undo without remembering anything: so a
mapping stays endpoint-independent even if two hosts use the same port, where plain `masquerade` would become
symmetric. What strangers may enter by is kept in sets that each packet outwards refreshes.
"""

from collections.abc import Iterator, Sequence

from tests.lab.kinds import Filtering, Manner, Mapping, Only

PORT_BITS = 0x3FF
"""Only these are flipped: a port from 1024 on stays one."""

HOST_BITS = 341
TURN_BITS = 37
"""Prime to 1024: each turn gives other bits to each host."""

NEXT_PORTS = 1024
NEXT_FIRST = 30_000
NEXT_LIFE = 97
"""A router that counts ports starts as many further on in its next life."""

UDP_AND_TCP = "meta l4proto { udp, tcp }"


def ruleset(
    manner: Manner, outside: str, inside: Sequence[str], life: int = 0, turn: int = 0
) -> str:
    """For a router with the address `outside` on `wan` and hosts or routers with the addresses `inside` behind it.

    Another `turn` gives each socket another outside port, where the manner maps a socket to one; in turn 0 the first
    host keeps its ports. Another `life` has a router that counts ports go on elsewhere.
    """
    lines = ["flush ruleset", *_firewall(manner, outside)]
    if manner.mapping is not Mapping.NONE:
        hosts = [(address, _bits(number, turn)) for number, address in enumerate(inside)]
        lines += _translation(manner, outside, hosts, life)
    return "\n".join(lines) + "\n"


def _bits(host: int, turn: int) -> int:
    return (host * HOST_BITS + turn * TURN_BITS) & PORT_BITS


def _firewall(manner: Manner, outside: str) -> Iterator[str]:
    yield "table inet firewall {"
    # What comes in and belongs to nothing ends here. It must be dropped: were it accepted, it would count as a
    # connection of the router's own, in the way of the one that the host begins a moment later.
    yield "chain here {"
    yield "type filter hook input priority filter; policy drop;"
    yield "iifname lo accept"
    yield "meta l4proto { icmp, ipv6-icmp } accept"
    if outside:
        yield f'iifname != "wan" ip daddr != {outside} accept'
    yield from _strangers(manner)
    yield "}"
    yield "chain through {"
    yield "type filter hook forward priority filter; policy drop;"
    if manner.only is Only.TLS:
        # The bytes after the TCP header; a rule that finds none there does not match.
        yield "ct mark 0 @ih,0,8 != 0x16 drop"
        yield "ct mark 0 @ih,0,16 != 0x1603 drop"
        yield "ct mark 0 ct direction original @ih,0,16 0x1603 ct mark set 1"
    yield "ct state established,related accept"
    yield "ct status dnat accept"
    yield from _strangers(manner)
    yield 'oifname != "wan" drop'
    if manner.only is not None:
        yield "tcp dport != 443 drop"
        yield "meta l4proto != tcp drop"
    yield "accept"
    yield "}"
    yield "}"


def _strangers(manner: Manner) -> Iterator[str]:
    if manner.refuses:
        yield 'iifname "wan" meta l4proto tcp reject with tcp reset'
        yield 'iifname "wan" meta l4proto udp reject with icmpx port-unreachable'


def _translation(
    manner: Manner, outside: str, hosts: list[tuple[str, int]], life: int
) -> Iterator[str]:
    yield "table ip translation {"
    yield "chain leaves {"
    yield "type nat hook postrouting priority srcnat;"
    for address, bits in hosts:
        yield from _source(manner.mapping, address, outside, bits, life)
    yield "}"
    if manner.hairpins or manner.filtering is not Filtering.PORT:
        yield from _doors(manner, outside, hosts)
    yield "}"


def _doors(manner: Manner, outside: str, hosts: list[tuple[str, int]]) -> Iterator[str]:
    """By which those enter who were not spoken to."""
    for number, _ in enumerate(hosts):
        lasting = f"flags dynamic, timeout; timeout {manner.udp_stream_s}s;"
        yield f"set open{number} {{ type inet_proto . inet_service; {lasting} }}"
        yield f"set spoken{number} {{ type inet_service . ipv4_addr; {lasting} }}"
    yield "chain noted {"
    yield "type filter hook postrouting priority srcnat + 10;"
    for number, (address, _) in enumerate(hosts):
        of_host = f'oifname "wan" ct original ip saddr {address}'
        yield f"{of_host} {UDP_AND_TCP} update @open{number} {{ meta l4proto . th sport }}"
        yield f"{of_host} meta l4proto udp update @spoken{number} {{ th sport . ip daddr }}"
    yield "}"
    yield "chain enters {"
    yield "type nat hook prerouting priority dstnat;"
    for number, (address, bits) in enumerate(hosts):
        inwards = f"dnat to {address} : th dport ^ {bits:#x}"
        if manner.filtering is Filtering.NONE:
            yield f'iifname "wan" meta l4proto udp meta l4proto . th dport @open{number} {inwards}'
        if manner.filtering is Filtering.ADDRESS:
            yield f'iifname "wan" meta l4proto udp th dport . ip saddr @spoken{number} {inwards}'
        if manner.hairpins:
            mapped = f"ip daddr {outside} {UDP_AND_TCP} meta l4proto . th dport @open{number}"
            yield f'iifname != "wan" {mapped} {inwards}'
    yield "}"


def _source(mapping: Mapping, address: str, outside: str, bits: int, life: int) -> Iterator[str]:
    match mapping:
        case Mapping.SAME:
            yield f"ip saddr {address} {UDP_AND_TCP} snat to {outside} : th sport ^ {bits:#x}"
        case Mapping.NEXT:
            # A map, because the bare number would be taken for a port with its two bytes swapped.
            ports = (
                NEXT_FIRST + (step + life * NEXT_LIFE) % NEXT_PORTS for step in range(NEXT_PORTS)
            )
            row = ", ".join(f"{step} : {port}" for step, port in enumerate(ports))
            for protocol in ("udp", "tcp"):
                count = f"numgen inc mod {NEXT_PORTS} map {{ {row} }}"
                yield f"ip saddr {address} meta l4proto {protocol} snat to {outside} : {count}"
        case Mapping.RANDOM:
            yield f"ip saddr {address} snat to {outside} fully-random"
        case Mapping.NONE:
            raise AssertionError("there is nothing to translate")
    yield f"ip saddr {address} snat to {outside}"
