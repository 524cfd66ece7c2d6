"""How `peers` shows the other nodes: one line each, with the path that carries its link."""

from typing import Any

from protocol.quantities import size_text

HEADS = (
    "NAME",
    "ID",
    "STATE",
    "PATH",
    "RTT>",
    "GOT>",
    "SENT>",
    "NAT",
    "FREE>",
    "BUDGET>",
    "GMAC/S>",
    "IN FLIGHT>",
    "ADDRESS",
    "",
)
SPARE = ("IN FLIGHT>", "GMAC/S>", "BUDGET>", "ADDRESS", "FREE>", "ID", "SENT>", "GOT>")
"""Left out where a terminal is narrow; with --json all is told."""


def show_peers(told: list[dict[str, Any]]) -> None:
    from node.cli.tables import rows

    if not told:
        print("no other nodes yet: `sedma-node ticket` mints a ticket for them to join by")
        return
    rows(HEADS, (_peer(one) for one in told), wrap_last=True, spare=SPARE)


def _peer(one: dict[str, Any]) -> tuple[str, ...]:
    is_linked = bool(one.get("path"))
    return (
        one["name"],
        one["id"][:12],
        one["state"],
        _path(one),
        _rtt(one),
        size_text(one["bytes_in"]) if is_linked else "-",
        size_text(one["bytes_out"]) if is_linked else "-",
        _nat(one),
        size_text(one["free_bytes"]),
        size_text(one["budget_bytes"]),
        f"{one['speed_macs_s'] / 1e9:.1f}" if one["speed_macs_s"] else "-",
        str(one["in_flight"]),
        one["addresses"][0] if one["addresses"] else "-",
        one.get("why", ""),
    )


def _path(one: dict[str, Any]) -> str:
    return " ".join(filter(None, (one.get("path"), one.get("via")))) or "-"


def _rtt(one: dict[str, Any]) -> str:
    """Of the path itself, or else what calls take."""
    rtt_ms = one.get("path_rtt_ms")
    if rtt_ms is None:
        rtt_ms = one["rtt_ms"]
    return "-" if rtt_ms is None else f"{rtt_ms:.1f} ms"


def _nat(one: dict[str, Any]) -> str:
    """In short: that it is a NAT, the head of the column says."""
    if one.get("reach") == "public":
        return "public"
    kinds = [kind.removesuffix(" NAT") for kind in one.get("nat", "").split(", ")]
    if len(kinds) == 1:
        return kinds[0].partition(" ")[2] or "-"
    return ", ".join(kind.replace("IPv", "v") for kind in kinds)
