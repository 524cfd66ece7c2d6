"""The addresses that a node tells others: where those on other machines can dial it.

What the user says comes first, for nobody else knows of a router's forwarded port. Then comes what
the node listens on: one address, or those of all interfaces. Loopback is told only where there is
nothing else, for there every machine finds itself.
"""

import ipaddress
import socket
from collections.abc import Mapping, Sequence

import psutil

from protocol.limits import ADDRESSES_MAX

Interfaces = Mapping[str, Sequence[str]]
"""Name of an interface to the IP addresses it has."""

ANY_HOST = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 (only compared)
"""What means every interface, and where that is reached on a machine without a network."""


def own_addresses(
    host: str, port: int, advertise: tuple[str, ...], interfaces: Interfaces | None = None
) -> tuple[tuple[str, ...], str]:
    """(host:port of this node, the likeliest first; a warning, or ""), when it listens on `host`.

    IPv6 is told for a host of "" or "::" alone. `interfaces` are this machine's unless given.
    """
    found = _listened_on(host, interfaces)
    away = [one for one in found if not _is_loopback(one)]
    told = tuple(dict.fromkeys([*advertise, *(_with_port(one, port) for one in away)]))
    if told:
        return told[:ADDRESSES_MAX], ""
    here = tuple(_with_port(one, port) for one in found[:ADDRESSES_MAX])
    return here, _warning(host, here[0])


def machine_interfaces() -> dict[str, list[str]]:
    """Of this machine, in the order in which the kernel lists them."""
    families = (socket.AF_INET, socket.AF_INET6)
    return {
        name: [entry.address for entry in entries if entry.family in families]
        for name, entries in psutil.net_if_addrs().items()
    }


def own_hosts() -> frozenset[str]:
    """All IP addresses of this machine."""
    found = (text.partition("%")[0] for texts in machine_interfaces().values() for text in texts)
    return frozenset(found)


def _listened_on(host: str, interfaces: Interfaces | None) -> list[str]:
    """Hosts without port: all that are not loopback, or loopback if there is nothing else."""
    if host not in ANY_HOST:
        return [host]
    table = machine_interfaces() if interfaces is None else interfaces
    addresses = [ipaddress.ip_address(text) for texts in table.values() for text in texts]
    reachable = [
        address
        for address in addresses
        # A link-local one means nothing without the name of the dialler's own interface.
        if not (address.is_loopback or address.is_link_local)
        and (address.version == 4 or host != "0.0.0.0")  # noqa: S104
    ]
    # Stable: within a family the order of the table stays.
    reachable.sort(key=lambda address: address.version)
    return [str(address) for address in reachable] or [ANY_HOST[host]]


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _with_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _warning(host: str, told: str) -> str:
    if host in ANY_HOST:
        return (
            f"this machine has no network address, so only programs on it reach the node at {told}: "
            "connect it to a network, or name an address of it with --advertise HOST:PORT"
        )
    port = told.rpartition(":")[2]
    return (
        f"the node listens at {told} alone, which other machines do not reach: start it with "
        f"--listen 0.0.0.0:{port}, or name an address that leads here with --advertise HOST:PORT"
    )
