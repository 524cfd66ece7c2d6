"""What `/metrics` tells: the figures of `status` and `peers`, and the counters of the driver, as families.

Nothing is counted for this alone. Who scrapes pays: each family is put together when it is asked for.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator

from node.runtime.lag import Lag
from node.runtime.relaying.forwarding import RelayFigures
from node.runtime.tally import OUTCOMES, Tally
from node.runtime.traffic import Totals
from node.service import Family, Kind, Sample
from protocol.client import PeerView, StatusView
from protocol.paths import PathKind

STATES = ("starting", "joining", "ready", "stopping")
PYTHON = ".".join(map(str, sys.version_info[:3]))
PATHS = (*(kind.value for kind in PathKind), "bare", "none")
"""Of links: `bare` is one to a node that knows no paths, `none` one that has just lost its last path."""
FORWARDED_BYTES = "forwarded_bytes"
REDONE = ("stronger", "digital")
"""With a stronger plan on the arrays, or without them."""
PEER_STATES = ("connected", "known", "suspect", "lost", "stopped", "left")


def families(
    status: StatusView, peers: Iterable[PeerView], traffic: Totals, tally: Tally, lag: Lag
) -> Iterator[Family]:
    yield from _node(status)
    yield from _peers(peers, traffic)
    yield from _packets(status.packets)
    yield from _paths(tally)
    yield from _work(status, tally)
    yield from _room(status)
    yield from _loop(lag)


def of_relay(relaying: RelayFigures) -> Iterator[Family]:
    """Where this node is a relay, whether others have come or not."""
    about = "Nodes that are connected to the relay here."
    yield _one("sedma_relay_guests", "gauge", about, relaying.guests)
    yield _one("sedma_relay_channels", "gauge", "Between two guests, open.", relaying.channels)
    events = [
        ({"event": event}, number)
        for event, number in sorted(relaying.counters.items())
        if event != FORWARDED_BYTES
    ]
    about = "What happened at the relay, by kind."
    yield _labelled("sedma_relay_events_total", "counter", about, events)
    carried = relaying.counters.get(FORWARDED_BYTES, 0)
    about = "Bytes forwarded between guests, as they came."
    yield _one("sedma_relay_bytes_total", "counter", about, carried)


def _node(status: StatusView) -> Iterator[Family]:
    build = {"version": status.version, "python": PYTHON}
    yield _labelled("sedma_build_info", "gauge", "What runs here; always 1.", [(build, 1)])
    who = {"id": status.id, "name": status.name, "mesh": status.mesh}
    yield _labelled("sedma_node_info", "gauge", "Who this is; always 1.", [(who, 1)])
    states = [({"state": state}, int(state == status.state)) for state in STATES]
    yield _labelled("sedma_node_state", "gauge", "1 for the state that the node is in.", states)
    yield _one("sedma_uptime_seconds", "gauge", "Since the start.", status.uptime_s)
    twin = int(bool(status.duplicated))
    yield _one("sedma_duplicated", "gauge", "1 if another process has this node's key.", twin)


def _peers(peers: Iterable[PeerView], traffic: Totals) -> Iterator[Family]:
    count = Counter(peer.state for peer in peers)
    states = [({"state": state}, count[state]) for state in PEER_STATES]
    yield _labelled("sedma_peers", "gauge", "Other nodes, by how they are seen from here.", states)
    links = [
        ({"opened_by": side, "path": path}, traffic.links.get((dialed, path), 0))
        for dialed, side in ((True, "us"), (False, "peer"))
        for path in PATHS
    ]
    about = "Open links, by who opened them and the path that carries them."
    yield _labelled("sedma_links", "gauge", about, links)
    yield _labelled(
        "sedma_link_bytes_total",
        "counter",
        "Frames and bodies over links, before encryption.",
        [({"direction": "in"}, traffic.bytes_in), ({"direction": "out"}, traffic.bytes_out)],
    )


def _packets(counted: dict[str, int]) -> Iterator[Family]:
    """UDP. What was lost on the way in or out has a kind of its own, as in `status`."""
    kinds = [({"kind": kind}, n) for kind, n in counted.items() if not kind.endswith("_bytes")]
    yield _labelled("sedma_packets_total", "counter", "UDP packets, by what became of them.", kinds)
    yield _labelled(
        "sedma_packet_bytes_total",
        "counter",
        "UDP payloads, as they travel.",
        [
            ({"direction": "in"}, counted.get("received_bytes", 0)),
            ({"direction": "out"}, counted.get("sent_bytes", 0)),
        ],
    )


def _paths(tally: Tally) -> Iterator[Family]:
    counted = tally.paths()
    now = [({"kind": kind.value}, counted[f"{kind}.open"]) for kind in PathKind]
    yield _labelled("sedma_paths", "gauge", "Paths that are open, in use or held ready.", now)
    attempts = [({"kind": kind.value}, counted[f"{kind}.attempts"]) for kind in PathKind]
    yield _labelled("sedma_path_attempts_total", "counter", "Tries at a path to a peer.", attempts)
    outcomes = [
        ({"kind": kind.value, "outcome": outcome}, counted[f"{kind}.{outcome}"])
        for kind in PathKind
        for outcome in OUTCOMES
    ]
    about = (
        "What became of paths: one that connected may be lost later. "
        "A try that another path has overtaken has no outcome; those that others began have no try here."
    )
    yield _labelled("sedma_path_outcomes_total", "counter", about, outcomes)
    carried = [
        ({"kind": kind.value, "direction": way}, counted[f"{kind}.bytes_{way}"])
        for kind in PathKind
        for way in ("in", "out")
    ]
    yield _labelled("sedma_path_bytes_total", "counter", "Bytes that paths carried.", carried)


def _work(status: StatusView, tally: Tally) -> Iterator[Family]:
    yield _one("sedma_tasks_in_flight", "gauge", "Tasks of clients here.", status.tasks_in_flight)
    ended = [({"outcome": "done"}, status.tasks_done), ({"outcome": "failed"}, status.tasks_failed)]
    yield _labelled("sedma_tasks_total", "counter", "Tasks of clients that are over.", ended)
    redone = [({"how": how}, status.parts_redone.get(how, 0)) for how in REDONE]
    about = "Parts that were done again because a product failed its check."
    yield _labelled("sedma_parts_redone_total", "counter", about, redone)
    refusals = [
        ({"to": whom, "reason": reason}, number)
        for (whom, reason), number in sorted(tally.refusals.items())
    ]
    about = "Refusals, by who was refused and why."
    yield _labelled("sedma_refusals_total", "counter", about, refusals)
    yield _one("sedma_weights", "gauge", "Weights in the mesh.", status.weights)


def _room(status: StatusView) -> Iterator[Family]:
    for name, about, nbytes in (
        ("memory_budget", "What the process may take.", status.budget_bytes),
        ("memory_free", "What further weights may take.", status.free_bytes),
        ("memory_pinned", "Of weights that are resident.", status.pinned_bytes),
        ("memory_leased", "Promised, to weights and requests.", status.leased_bytes),
        ("memory_resident", "What the process takes.", status.rss_bytes),
        ("disk_budget", "What blocks and sketches may take.", status.disk_budget_bytes),
        ("disk_used", "What they take.", status.disk_used_bytes),
    ):
        yield _one(f"sedma_{name}_bytes", "gauge", about, nbytes)


def _loop(lag: Lag) -> Iterator[Family]:
    late = lag.lateness
    yield Family(
        "sedma_loop_lag_seconds",
        "summary",
        "How late a timer of the loop was called.",
        (Sample({}, late.sum_s, "_sum"), Sample({}, late.count, "_count")),
    )
    about = "The worst of the last one to two minutes."
    yield _one("sedma_loop_lag_max_seconds", "gauge", about, lag.worst_s)


def _one(name: str, kind: Kind, about: str, value: float) -> Family:
    return Family(name, kind, about, (Sample({}, value),))


def _labelled(
    name: str, kind: Kind, about: str, samples: Iterable[tuple[dict[str, str], float]]
) -> Family:
    return Family(name, kind, about, tuple(Sample(labels, value) for labels, value in samples))
