"""All that the deciding core can ask for.

Facts and time go in, these come out. Bodies never pass through the core: it holds `BufferRef`s, a name and a size,
and orders what is to be done with them. `runtime/` carries the orders out on sockets, memory, worker threads and
disk, and tells the core what became of each call (`call`) and each piece of work (`job`) by its number.
"""

from dataclasses import dataclass, field

import msgspec

from node.work import BufferRef, Job
from protocol.errors import ErrorInfo
from protocol.ids import NodeId
from protocol.members import Cause, MemberRecord, Packet
from protocol.messages import Knock, Request, Response

# -- peers -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dial:
    """Open the control connection; the addresses are tried in order. Answer: link_up or dial_failed."""

    addresses: tuple[str, ...]
    peer: NodeId | None
    """Who should answer there, where that is known."""


@dataclass(frozen=True, slots=True)
class Hang:
    peer: NodeId
    reason: str
    quiet_s: float = 0.0
    """Only if nothing at all has come from it for so long: what we wait for may be behind other things."""


@dataclass(frozen=True, slots=True)
class Call:
    """Ask a peer. Answer: answered (its body lies in `into`) or failed."""

    call: int
    peer: NodeId
    request: Request
    deadline_s: float
    body: BufferRef | None = None
    into: BufferRef | None = None
    trace: str = ""


@dataclass(frozen=True, slots=True)
class CancelCall:
    call: int


@dataclass(frozen=True, slots=True)
class Grant:
    """Let the body of a peer's request come into this buffer. Answer: body_received or request_gone."""

    request: int
    into: BufferRef


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer a peer's request. With a body: replied says when the buffer is free again."""

    request: int
    response: Response
    body: BufferRef | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    request: int
    error: ErrorInfo


class SendPacket(msgspec.Struct, frozen=True, gc=False):
    """One datagram; nobody says whether it arrives.

    Idle nodes order little else: a struct is made in 0.1 us, a frozen dataclass in 0.7.
    """

    peer: NodeId
    addresses: tuple[str, ...]
    """Where the peer says it is. Whoever carries it out knows better once the peer has been heard from."""
    packet: Packet


@dataclass(frozen=True, slots=True)
class ProbeNat:
    """Find out from where these public members see us. Answers, each time more is known: NatKnown."""

    servers: tuple[tuple[NodeId, tuple[str, ...]], ...]
    """Each with its addresses."""


@dataclass(frozen=True, slots=True)
class RelayAt:
    """A public member that forwards for others."""

    node: NodeId
    addresses: tuple[str, ...]
    rtt_s: float | None


@dataclass(frozen=True, slots=True)
class KeepRelays:
    """Choose from these whom to be reached by, if that is needed. Answer: HomesAre, each time that they change."""

    needed: bool
    relays: tuple[RelayAt, ...]


@dataclass(frozen=True, slots=True)
class DialOut:
    """See whether this peer answers at these addresses, and send it packets. Answer: DialedOut."""

    request: int
    peer: NodeId
    addresses: tuple[str, ...]
    knocks: tuple[Knock, ...]


# -- buffers and work --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Allocate:
    buffer: BufferRef


@dataclass(frozen=True, slots=True)
class Free:
    buffer: BufferRef


@dataclass(frozen=True, slots=True)
class Work:
    """Do this off the event loop. Answer: job_done with its outcome, or job_failed."""

    job: int
    what: Job


@dataclass(frozen=True, slots=True)
class CancelWork:
    job: int


# -- people ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """A client's task has ended well."""

    task: str


@dataclass(frozen=True, slots=True)
class Failed:
    task: str
    error: ErrorInfo


# -- what outlives the process -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Grave:
    """A member that is not there any more."""

    record: MemberRecord
    cause: Cause
    age_s: float
    """Since it was buried; graves outlive the process."""


@dataclass(frozen=True, slots=True)
class KeepMembers:
    """Remember on disk who is there and who was, so that a plain start finds them again."""

    members: tuple[MemberRecord, ...]
    graves: tuple[Grave, ...]


@dataclass(frozen=True, slots=True)
class KeepIncarnation:
    """Our own incarnation was raised: the next start must begin above it."""

    incarnation: int


# -- the log -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Note:
    """A fact worth telling: the driver hands it to the log."""

    event: str
    fields: dict[str, object] = field(default_factory=dict)


Effect = (
    Dial
    | Hang
    | Call
    | CancelCall
    | Grant
    | Reply
    | Refuse
    | Allocate
    | Free
    | Work
    | CancelWork
    | Done
    | Failed
    | SendPacket
    | ProbeNat
    | DialOut
    | KeepRelays
    | KeepMembers
    | KeepIncarnation
    | Note
)


def note(event: str, **fields: object) -> Note:
    return Note(event, fields)
