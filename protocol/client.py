"""What clients see and ask: the JSON of the HTTP interface as types.

Kept apart from what nodes say to each other: this side is stable for scripts that people wrote, the other side
changes with the protocol's version.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from protocol.limits import DEADLINE_S_MAX, DEVICE_CHARS_MAX, REPLICAS_MAX, WEIGHTS_NAME_PATTERN
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
    rtol: Annotated[float, Meta(gt=0.0)] | None = 1e-2
    """||Y' - X W||_F <= rtol ||X W||_F; None: the raw analog product."""
    deadline_s: Annotated[float, Meta(gt=0.0, le=DEADLINE_S_MAX)] = 30.0
    transpose: bool = False
    deterministic: bool = False


class CertificateView(msgspec.Struct, frozen=True, kw_only=True):
    """How exact an answer is, by the check of the answer itself, also where no tolerance was asked for."""

    bound: float | None
    """||Y' - X W||_F / ||X W||_F is below it; None where the answer is too small against it to tell."""
    confidence: float
    regime: str
    analog_fraction: float


class WorkView(msgspec.Struct, frozen=True, kw_only=True):
    """What one node did for one product, over all panels, in every part that it answered."""

    node: str
    blocks: int
    """Different ones."""
    macs: int
    reads: int
    """Of the simulated arrays."""
    busy_s: float
    """Of its workers."""
    energy_j: float
    """Of the simulated arrays; digital arithmetic is not counted."""
    latency_s: float
    """Of the simulated arrays, one part after the other."""
    bytes: int
    """Of X sent there and of partial answers sent back; none where nothing had to travel."""
    analog_fraction: float
    """Of its multiplications."""


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """What one product took, and who did it. Parts done twice count twice."""

    energy_j: float
    latency_s: float
    """Of the simulated arrays: nodes work side by side, panels one after the other."""
    bytes: int
    seconds: float
    """From the request to its end."""
    work: tuple[WorkView, ...]
    """In the order of the nodes' ids."""


class CandidateView(msgspec.Struct, frozen=True, kw_only=True):
    """A node that could have done a part: what that was expected to take, in seconds by cause."""

    node: str
    blocks: int
    """That it was given; 0: it was not chosen, and the estimate is for all that it holds."""
    rtt_s: float
    transfer_s: float
    queue_s: float
    """Behind work that is already there, once the part has arrived."""
    service_s: float
    cold_s: float
    """Until its blocks are in memory."""
    risk_s: float
    """What it costs if it does not answer, times how likely that is."""
    total_s: float
    assumed_s: float
    """Of these, what rests on a speed or a bandwidth that nobody has measured."""
    age_s: float
    """Since its load was told."""
    relay_s: float = 0.0
    """What its transfer counts for beyond that, since a relay carries it."""


class OptionView(msgspec.Struct, frozen=True, kw_only=True):
    """A way to do a product that was not taken."""

    shape: str
    nodes: tuple[str, ...]
    seconds: float


class StepView(msgspec.Struct, frozen=True, kw_only=True):
    """Something on the way that was not as planned."""

    at_s: float
    """Since the request."""
    what: str
    """hedged | rescued | moved | failed | refused | shed"""
    node: str
    to: str
    """Who was asked instead or as well."""
    why: str


class ExplainView(msgspec.Struct, frozen=True, kw_only=True):
    """Why a product was done by whom. Candidates and ways are those of its first panel."""

    shape: str = ""
    """local | whole | split; empty where nothing was decided yet."""
    why: str = ""
    seconds: float = 0.0
    """Expected for that panel."""
    left_s: float = 0.0
    """Of the product's time, then."""
    rows: int = 0
    """Of X in that panel."""
    candidates: tuple[CandidateView, ...] = ()
    """Those that were chosen first, then the quickest."""
    others: tuple[OptionView, ...] = ()
    decisions: int = 0
    probes: int = 0
    hedges: int = 0
    """Parts asked of a second node because the first was slow."""
    rescues: int = 0
    """Parts asked of a second node because the first gave no sign of life, or was much too late."""
    failures: int = 0
    """Of parts."""
    refusals: int = 0
    """Of parts that a holder could not have done in time."""
    shed: bool = False
    """It was refused because it could not be done in time."""
    steps: tuple[StepView, ...] = ()


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """A product: what it was, how exact it is, who did what."""

    id: str
    name: str
    """Of the weights."""
    state: str
    """running | done | failed"""
    certificate: CertificateView | None
    """Once its last rows stand."""
    account: AccountView
    error: str = ""
    """Why it failed."""
    explain: ExplainView = ExplainView()


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
