"""What people are told of the way to a peer: the Node knows the peers, the switchboard the ways, here they meet."""

from collections.abc import Callable

from msgspec.structs import replace

from nat.classes import classes_in
from nat.relayed import Side, why_relayed
from node.communication.reach import Reach
from node.execution.views import finding_view
from node.runtime.paths.sight import Sight
from protocol.client import PeerView
from protocol.ids import NodeId, short
from protocol.paths import PathKind


def with_path(
    view: PeerView, sight: Sight | None, reach: Reach, name: Callable[[NodeId], str]
) -> PeerView:
    """The peer with what carries its link; `reach` is what we know of ourselves."""
    if sight is None:
        return view
    via = "" if sight.via is None else name(sight.via)
    relayed = None
    if sight.kind is PathKind.RELAY:
        here = Side("this node", reach.classes, bool(reach.proven))
        there = Side(view.name or short(view.id), classes_in(view.nat), view.reach == "public")
        relayed = finding_view(why_relayed(here, there, via, sight.why_not_direct))
    return replace(
        view,
        path="" if sight.kind is None else sight.kind.value,
        paths=tuple(kind.value for kind in sight.kinds),
        path_rtt_ms=None if sight.rtt_s is None else sight.rtt_s * 1e3,
        bytes_in=sight.bytes_in,
        bytes_out=sight.bytes_out,
        via=via,
        why_not_direct=sight.why_not_direct,
        relayed=relayed,
    )
