"""What clients see and ask: the JSON of the HTTP interface as types.

Kept apart from what nodes say to each other: this side is stable for scripts that people wrote, the other side
changes with the protocol's version.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from protocol.limits import DEADLINE_S_MAX, DEVICE_CHARS_MAX, REPLICAS_MAX, WEIGHTS_NAME_PATTERN
from protocol.quantities import Tolerance
from protocol.ticket import TTL_S_MAX, USES_MAX

Name = Annotated[str, Meta(pattern=WEIGHTS_NAME_PATTERN)]
Device = Annotated[str, Meta(min_length=1, max_length=DEVICE_CHARS_MAX)]
"""A name, or a JSON object with what differs from the device that it names as `base`."""


class PutRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`PUT /v1/weights/{name}`; None takes the node's default."""

    name: Name
    replicas: Annotated[int, Meta(ge=1, le=REPLICAS_MAX)] = 1
    backend: str | None = None
    device: Device | None = None
    seed: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] = 0
    only: tuple[str, ...] = ()
    """Nodes must carry all of these labels."""
    avoid: tuple[str, ...] = ()
    """Nodes must carry none of these labels."""
    if_match: str | None = None
    """The version that must stand there now (ETag), or the put is a conflict."""
    deadline_s: Annotated[float, Meta(gt=0.0, le=DEADLINE_S_MAX)] = DEADLINE_S_MAX


class MatmulRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/weights/{name}/matmul`."""

    name: Name
    rtol: Tolerance | None = 1e-2
    """||Y' - X W||_F <= rtol ||X W||_F; None: the raw analog product."""
    deadline_s: Annotated[float, Meta(gt=0.0, le=DEADLINE_S_MAX)] = 30.0
    transpose: bool = False
    deterministic: bool = False


class WeightsView(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: str
    shape: tuple[int, int]
    dtype: str
    backend: str
    device: str
    """Its name, or the JSON of a device of one's own."""
    seed: int
    replicas: int
    blocks: int
    nbytes: int
    """Payload of one copy."""
    holders: dict[str, int]
    """Node id to the number of blocks it holds."""
    missing: int = 0
    """Blocks without a live holder that has them in memory."""
    converted: tuple[str, ...] = ()
    """What was converted on the way in, in words."""


class FindingView(msgspec.Struct, frozen=True, kw_only=True):
    """Something found out about how nodes reach each other."""

    what: str
    means: str
    fix: str
    """What would help; empty where nothing need be done, or nothing can be."""


class ArraysView(msgspec.Struct, frozen=True, kw_only=True):
    """The simulated arrays of a node, and what its ways to multiply cost."""

    device: str = ""
    """Of weights whose put does not say."""
    arrays: int = 0
    """Of 128 x 128 cells, both polarities; what fills none alone shares one."""
    healthy: float = 0.0
    """Share of their tiles."""
    sigma: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """What a cell is off its target, as a share of the window: 10, 50 and 90 % quantile of the tiles."""
    stuck: float = 0.0
    """Share of the cells."""
    writes: int = 0
    """Of the cells that were written most often."""
    seconds_per_mac: dict[str, float] = {}
    """As measured, by regime: fast | sliced | integer | digital."""


class PeerView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    state: str
    """connected | known | suspect | lost | stopped | left"""
    software: str
    addresses: tuple[str, ...]
    labels: tuple[str, ...]
    budget_bytes: int
    free_bytes: int
    rss_bytes: int
    speed_macs_s: float
    queue_s: float
    in_flight: int
    rtt_ms: float | None
    age_s: float
    """Since its state or its address last changed here."""
    why: str = ""
    """Why it is not connected."""
    pressure: float = 0.0
    """Share of its budget that is accounted for."""
    incarnation: int = 0
    reach: str = ""
    """unknown | direct | outgoing | public (another node has come in from outside): how others get to it."""
    cause: str = ""
    """Why it is gone: silent | stopped | left."""
    nat: str = ""
    """The NAT in front of it, as far as it has told."""
    path: str = ""
    """What carries the link to it: lan | ipv6 | ipv4 | punched | relay; empty without one."""
    paths: tuple[str, ...] = ()
    """All that are up, the best first."""
    path_rtt_ms: float | None = None
    """Of the path in use, by its own pings; `rtt_ms` is what calls take."""
    bytes_in: int = 0
    """Over its links, since they are up."""
    bytes_out: int = 0
    via: str = ""
    """The relay, where a relay carries the link: its name, or the beginning of its id."""
    why_not_direct: str = ""
    """What the last tries at a direct path said, where there is none."""
    relayed: FindingView | None = None
    """Why a relay carries the link, and what would give it a path of its own."""
    arrays: ArraysView = ArraysView()


class StatusView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    version: str
    mesh: str
    state: str
    """starting | joining | ready | stopping"""
    budget_bytes: int
    rss_bytes: int
    free_bytes: int
    pinned_bytes: int
    leased_bytes: int
    disk_budget_bytes: int
    disk_used_bytes: int
    peers: int
    """Others that are connected."""
    weights: int
    tasks_in_flight: int
    tasks_done: int
    tasks_failed: int
    listen: tuple[str, ...]
    api: str
    data_dir: str
    can_invite: bool
    uptime_s: float
    joining: str = ""
    """What stands in the way of joining, while that is so."""
    duplicated: str = ""
    """Why another process must be running with this node's key, if one is."""
    packets: dict[str, int] = {}
    """Sent and received over UDP, and what became of the others, by kind; empty where there is no UDP."""
    nat: str = ""
    """How others reach this node, in one line; empty where all its addresses lead to this machine alone."""
    findings: tuple[FindingView, ...] = ()
    """The same, one by one."""
    public: tuple[str, ...] = ()
    """Addresses at which another node has come in from outside."""
    home_relays: tuple[str, ...] = ()
    """By way of which others reach this node, the nearest first: their names, or the beginnings of their ids."""
    forwards_for: int | None = None
    """So many nodes are reached by way of this one; None: it is not public, or set to forward for nobody."""
    arrays: ArraysView = ArraysView()
    backend: str = ""
    """Of weights whose put does not say."""
    device: str = ""
    """The same: its name, or the JSON of a device of one's own."""
    parts_redone: dict[str, int] = {}
    """Parts of products that failed their check here and were done again, by how: stronger | digital."""


class PlanRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/plan`: a matrix that might be put, or weights that are there."""

    name: Name | None = None
    rows: Annotated[int, Meta(ge=1)] | None = None
    columns: Annotated[int, Meta(ge=1)] | None = None
    replicas: Annotated[int, Meta(ge=1, le=REPLICAS_MAX)] = 1
    backend: str | None = None
    device: Device | None = None
    only: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    m: Annotated[int, Meta(ge=1)] = 1
    """Rows of X, for the estimate of a product's time."""


class PlanShare(msgspec.Struct, frozen=True, kw_only=True):
    node: str
    name: str
    blocks: int
    nbytes: int
    free_bytes: int


class PlanView(msgspec.Struct, frozen=True, kw_only=True):
    """Of a matrix that might be put; with a `name`, of weights that stand."""

    fits: bool
    """There is room; or, of weights that stand, every block has a holder in reach."""
    reason: str
    """Why not."""
    shape: tuple[int, int]
    replicas: int
    need: int
    """Bytes of all copies."""
    free: int
    nearest_fit: int
    """The largest payload of such weights in bytes that would still fit."""
    shares: tuple[PlanShare, ...]
    name: str = ""
    seconds: float | None = None
    """Estimated for one product with `m` rows; None where no speed is known yet."""


class TicketRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/tickets`."""

    ttl_s: Annotated[float, Meta(gt=0.0, le=TTL_S_MAX)] = 86_400.0
    uses: Annotated[int, Meta(ge=1, le=USES_MAX)] = 16
    may_invite: bool = False


class TicketView(msgspec.Struct, frozen=True, kw_only=True):
    ticket: str
    expires_at: float
    """Unix time."""
    uses: int
    addresses: tuple[str, ...]
    warning: str = ""


class LeaveRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/leave`: this node leaves its mesh, and its daemon ends."""

    force: bool = False
    """Also if weights, or the right to let others in, are lost to the mesh with it."""


class LeftView(msgspec.Struct, frozen=True, kw_only=True):
    mesh: str
    lost: tuple[str, ...]
    """Names of the weights that cannot be multiplied by any more."""
