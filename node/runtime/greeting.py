"""The first word on a connection: each side says who it is, and judges what the other one says.

Certificates have proven keys before; here the two find out whether they can talk: protocol versions that overlap, the
same mesh, no call to oneself. Whoever finds that they cannot closes the connection with a sentence for both operators.
"""

from dataclasses import dataclass

from protocol.errors import ErrorCode, SedmaError
from protocol.ids import MeshId, NodeId, short
from protocol.limits import PROTOCOL_MAX, PROTOCOL_MIN
from protocol.messages import Hello

OWN_ADDRESS = "that is this node itself"


class Unfit(SedmaError):
    """These two cannot talk to each other; the text says what to change."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Terms:
    """Who we say that we are."""

    own: NodeId
    mesh: MeshId | None
    """None: a stranger with a ticket in hand."""
    software: str
    plain: bool = False
    """No certificates: a peer is believed what it says. In benchmarks and tests only."""
    protocol_min: int = PROTOCOL_MIN
    protocol_max: int = PROTOCOL_MAX

    def hello(self, *, bulk: bool) -> Hello:
        return Hello(
            protocol_min=self.protocol_min,
            protocol_max=self.protocol_max,
            software=self.software,
            mesh=self.mesh,
            node=self.own,
            bulk=bulk,
        )

    def judge(self, theirs: Hello, proven: str | None, *, dialed: bool) -> None:
        """Unfit if we cannot talk to who says this; `proven` is the id of the certificate shown."""
        if theirs.node == self.own:
            raise Unfit(ErrorCode.CONFLICT, OWN_ADDRESS)
        self._judge_versions(theirs)
        if theirs.mesh is None and dialed:
            # Strangers come to us; nobody that we dial is one.
            raise Unfit(ErrorCode.FORBIDDEN, f"node {short(theirs.node)} belongs to no mesh")
        if theirs.mesh is None:
            return
        if self.mesh is not None and theirs.mesh != self.mesh:
            raise Unfit(
                ErrorCode.WRONG_MESH,
                f"node {short(theirs.node)} belongs to mesh {short(theirs.mesh)}, this one to"
                f" {short(self.mesh)}: join with a ticket of the other mesh to change over",
            )
        if proven != theirs.node and not self.plain:
            shown = "no certificate" if proven is None else f"the certificate of {short(proven)}"
            raise Unfit(
                ErrorCode.FORBIDDEN, f"a node that says it is {short(theirs.node)} shows {shown}"
            )

    def _judge_versions(self, theirs: Hello) -> None:
        if theirs.protocol_min <= self.protocol_max and self.protocol_min <= theirs.protocol_max:
            return
        older, software = theirs.node, theirs.software
        if theirs.protocol_min > self.protocol_max:
            older, software = self.own, self.software
        raise Unfit(
            ErrorCode.VERSION_MISMATCH,
            f"node {short(theirs.node)} ({theirs.software}) speaks protocol versions"
            f" {theirs.protocol_min} to {theirs.protocol_max}, node {short(self.own)}"
            f" ({self.software}) {self.protocol_min} to {self.protocol_max}: update node"
            f" {short(older)} from {software}",
        )
