"""What the ways to a peer look like at the moment, for people: told, never decided upon."""

from collections.abc import Sequence
from dataclasses import dataclass

from node.runtime.links import Link
from node.runtime.paths.doorway import kind_at
from node.runtime.paths.ways import Ways
from protocol.ids import NodeId
from protocol.paths import PathKind

WHY_CHARS_MAX = 300
"""A peer may have many addresses, and each of them fails in its own words."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Of one peer."""

    kind: PathKind | None
    """Of the path in use; None while the link has just lost its last one."""
    kinds: tuple[PathKind, ...]
    """Of all that work, the best first."""
    rtt_s: float | None
    """Of the path in use."""
    via: NodeId | None
    """The relay, if it runs by way of one."""
    why_not_direct: str
    """What the last tries at a direct path said; empty where there is one, or none has failed."""
    bytes_in: int
    bytes_out: int


def sight_of(links: Sequence[Link], ways: Ways) -> Sight:
    """Of the links with one peer; the first is the one that counts, and all carry bytes."""
    first = links[0]
    bytes_in, bytes_out = (
        sum(link.bytes_in for link in links),
        sum(link.bytes_out for link in links),
    )
    multipath = ways.multipath(first)
    if multipath is None:
        # From before paths: one connection, which was dialled.
        kind = kind_at(first.remote)
        return Sight(kind, (kind,), None, None, "", bytes_in, bytes_out)
    is_direct = multipath.kind not in (PathKind.RELAY, None)
    return Sight(
        kind=multipath.kind,
        kinds=tuple(multipath.kinds),
        rtt_s=multipath.rtt_s,
        via=multipath.via,
        why_not_direct="" if is_direct else ways.why_not_direct(multipath)[:WHY_CHARS_MAX],
        bytes_in=bytes_in,
        bytes_out=bytes_out,
    )
