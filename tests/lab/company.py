"""What a station knows of the other members and of its own place among them: what a daemon's Node knows."""

from nat.behaviour import SelfKnowledge
from nat.endpoint import Endpoint, endpoint_of
from protocol.ids import NodeId, short
from tests.lab.words import Whereabouts


class Company:
    """Answers what punching asks (`node.runtime.paths.surroundings.Surroundings`)."""

    def __init__(self) -> None:
        self.servers: tuple[Whereabouts, ...] = ()
        """The public members, which tell from where they see us."""
        self.own = SelfKnowledge()
        """What we have found out of our NAT."""
        self._members: dict[NodeId, Whereabouts] = {}

    def know(self, member: Whereabouts) -> None:
        self._members[member.node] = member

    def called(self, name: object) -> NodeId | None:
        """The member whose id begins so; logs shorten ids."""
        return next((node for node in self._members if short(node) == name), None)

    def key_of(self, peer: NodeId) -> bytes | None:
        known = self._members.get(peer)
        return None if known is None else known.key

    def addresses_of(self, peer: NodeId) -> tuple[str, ...]:
        known = self._members.get(peer)
        return () if known is None else known.addresses

    def stun_servers(self) -> tuple[Endpoint, ...]:
        found = (endpoint_of(one) for server in self.servers for one in server.addresses)
        return tuple(endpoint for endpoint in found if endpoint is not None)

    def keepalive_s(self) -> float | None:
        return self.own.keepalive_s

    def seen_at(self) -> tuple[Endpoint, ...]:
        return self.own.outside
