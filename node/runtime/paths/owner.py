"""Who has a link over several paths."""

from typing import TYPE_CHECKING, Protocol

from protocol.paths import PathKind

if TYPE_CHECKING:
    from node.runtime.paths.end import PathEnd
    from node.runtime.paths.multipath import Multipath


class MultipathOwner(Protocol):
    """Who looks for paths, and is told of what is not part of the stream."""

    def stranded(self, multipath: "Multipath", reason: str, *, refused: bool) -> None:
        """No path is left. Whoever knows that none will come calls `fail`."""

    def switched(self, multipath: "Multipath", kind: PathKind, why: str) -> None:
        """From one path to another."""

    def path_closed(self, multipath: "Multipath", kind: PathKind, reason: str) -> None: ...

    def offered(self, multipath: "Multipath", end: "PathEnd", payload: bytes) -> None:
        """It came by this path."""

    def packet_came(self, multipath: "Multipath", payload: bytes) -> None: ...

    def over(self, multipath: "Multipath") -> None:
        """The link is gone, and so are all paths. Told once."""
