"""What clients are told of a product: how exact it is, who did what, and why. Part of the HTTP interface's JSON, as
`protocol/client.py` is.
"""

import msgspec


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
    """Of the simulated arrays and the arithmetic beside them; not of digital backends, nor of the check."""
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
    """hedged | rescued | moved | failed | stronger | digital | refused | shed"""
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
    stronger: int = 0
    """Parts done again with a stronger plan, because an answer failed its check."""
    digital: int = 0
    """Parts done again digitally, because a stronger plan had not helped or could not be tried."""
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
