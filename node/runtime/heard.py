"""What the switchboard tells whoever drives the node."""

from typing import Protocol

from protocol.digests import LoadDigest
from protocol.ids import NodeId
from protocol.messages import Join, Joined, RequestHeader
from protocol.paths import PathKind


class Heard(Protocol):
    """Who is told what comes in. All on the loop; nothing is told from within a call of the switchboard."""

    def link_up(self, peer: NodeId, dialled: bool) -> None:
        """`dialled`: by us; else the peer has reached this node."""

    def path_is(self, peer: NodeId, kind: PathKind) -> None:
        """What carries the link to it: once it is up, and when that changes. Not told where peers know no paths."""

    def reached(self, addresses: tuple[str, ...]) -> None:
        """Where nobody in particular was sought, a member was found."""

    def link_down(self, peer: NodeId, reason: str) -> None: ...

    def dial_failed(self, addresses: tuple[str, ...], peer: NodeId | None, reason: str) -> None: ...

    def asked(self, request: int, peer: NodeId, header: RequestHeader) -> None: ...

    def body_received(self, request: int) -> None: ...

    def request_gone(self, request: int, reason: str) -> None:
        """The peer gave it up, or is gone, or sent less than it said. Not told of a request that has been answered."""

    def replied(self, request: int) -> None:
        """The body of an answer has left, or never will. Told once for each answer with a body."""

    def note(self, event: str, **fields: object) -> None: ...

    def turned_away(self, event: str, **fields: object) -> None:
        """A note of what somebody caused who has not proven to be of the mesh, and can cause as often as he likes."""

    def load(self) -> LoadDigest:
        """Rides on every answer and every refusal."""

    def load_told(self, peer: NodeId, load: LoadDigest) -> None:
        """By a peer that refuses a call, which then fails."""

    def addresses_of(self, peer: NodeId) -> tuple[str, ...]: ...

    async def redeem(self, join: Join) -> Joined:
        """Raises TaskError with what the stranger is told."""
