"""How `peers` shows the other nodes: one line each, with the path that carries its link.

Below stands of whoever is out of reach the reason, which may be long.
"""

from typing import Any

from protocol.paths import relay_in
from protocol.quantities import size_text

OF_NO_KNOWN_KIND = "some NAT"
"""Cut short it would be no word for anything."""

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
)
SPARE = ("IN FLIGHT>", "GMAC/S>", "BUDGET>", "ADDRESS", "FREE>", "ID", "SENT>", "GOT>")
"""Left out where a terminal is narrow; with --json all is told."""

CLOCK_MS = 0.05


def show_peers(told: list[dict[str, Any]]) -> None:
    from node.cli.tables import rows

    if not told:
        print("no other nodes yet: `sedma-node ticket` mints a ticket for them to join by")
        return
    rows(HEADS, (_peer(one) for one in told), spare=SPARE)
    apart = [one for one in told if one.get("why")]
    if apart:
        print()
    for one in apart:
        print(f"{one['name'] or '?'} ({one['id'][:12]}) is {one['state']}: {one['why']}")


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
        next((at for at in one["addresses"] if relay_in(at) is None), "-"),
    )


def _path(one: dict[str, Any]) -> str:
    return " ".join(filter(None, (one.get("path"), one.get("via")))) or "-"


def _rtt(one: dict[str, Any]) -> str:
    """What calls took of late, or else the path's own pings: those are rare, and one may have met a busy moment."""
    rtt_ms = one["rtt_ms"]
    if rtt_ms is None:
        rtt_ms = one.get("path_rtt_ms")
    if rtt_ms is None:
        return "-"
    # The clock of the loop ticks in milliseconds.
    return f"{rtt_ms:.1f} ms" if rtt_ms >= CLOCK_MS else "<1 ms"


def _nat(one: dict[str, Any]) -> str:
    """In short: that of IPv4, if it has that. That it is a NAT the head of the column says, where the kind is known."""
    if one.get("reach") == "public":
        return "public"
    first = one.get("nat", "").partition(", ")[0]
    word = first.partition(" ")[2]
    return word if word == OF_NO_KNOWN_KIND else word.removesuffix(" NAT") or "-"
