"""What a node does when another asks to be dialled back, and what it does not do.

The address that is to be tried may be that of a victim. So only addresses are tried that mean one host for everybody,
never a private one, which here would be one of our own neighbours; few for each who asks; and few at each address, to
which nobody has proven a right, whoever asks. What is left out is simply not in the answer.
"""

from nat.buckets import Bucket, Buckets
from nat.endpoint import Scope, customer, endpoint_of, scope
from protocol.ids import NodeId
from protocol.messages import DialBack, Knock

TRIES_PER_MINUTE = 40.0
"""For one asking node: a look at two families asks for 16 packets or so."""
TRIES_AT_ONE_PER_MINUTE = 20.0
"""At one address, or one network of IPv6, by whomever they are asked for."""
ALL_TRIES_PER_MINUTE = 240.0
REMEMBERED_MAX = 1024
"""Askers, and addresses; for a further one the one that was quiet for longest begins anew."""


class Favours:
    """Of one node."""

    def __init__(self, now: float) -> None:
        self._all = Bucket(ALL_TRIES_PER_MINUTE, 60.0, now)
        self._askers = Buckets(TRIES_PER_MINUTE, 60.0, REMEMBERED_MAX)
        self._targets = Buckets(TRIES_AT_ONE_PER_MINUTE, 60.0, REMEMBERED_MAX)

    def granted(
        self, asker: NodeId, asked: DialBack, own: tuple[str, ...], now: float
    ) -> tuple[tuple[str, ...], tuple[Knock, ...]]:
        """The addresses and packets to be tried. `own` are our addresses: what is beside us proves nothing."""
        houses = {customer(one.host) for one in map(endpoint_of, own) if one is not None}
        addresses = [one for one in asked.addresses if self._may(asker, one, houses, now)]
        knocks = [one for one in asked.knocks if self._may(asker, one.to, houses, now)]
        return tuple(addresses), tuple(knocks)

    # -- within --------------------------------------------------------------------------------------

    def _may(self, asker: NodeId, address: str, houses: set[str], now: float) -> bool:
        endpoint = endpoint_of(address)
        if endpoint is None or scope(endpoint.host) is not Scope.GLOBAL:
            return False
        whose = customer(endpoint.host)
        # In this order: an asker that has had its share costs neither the target's nor that of all.
        return (
            whose not in houses
            and self._askers.take(asker, now)
            and self._targets.take(whose, now)
            and self._all.take(now)
        )
