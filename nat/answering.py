"""What a public node answers to those who ask from where they are seen: never much, and never often.

Whoever asks may have forged where he asks from, and then the answer hits somebody else. So an answer is at most 1.5
times as long as the question, few go to one address, and there is a limit for all together. `nat/stun.py` refuses
whatever is not wholly right, a request to answer from or to elsewhere (CHANGE-REQUEST) too.
"""

from collections import Counter

from nat import stun
from nat.buckets import Bucket, Buckets
from nat.endpoint import Endpoint, customer

ANSWERS_PER_S = 20.0
"""To one IPv4 address, or one IPv6 network of 2^64, which a single host may use up."""
ALL_ANSWERS_PER_S = 1000.0
GROWTH_MAX = 1.5
"""Bytes of an answer for each byte of its question. Where not even the short answer keeps to that, there is none."""
CUSTOMERS_MAX = 4096
"""For whom that is counted; for a further one the one that was quiet for longest begins anew."""


class Answering:
    """Of one node. Into `counters`, which its host may count in too, go those answered, and why others were not."""

    def __init__(self, now: float, counters: Counter[str] | None = None) -> None:
        self.counters = Counter() if counters is None else counters
        self._all = Bucket(ALL_ANSWERS_PER_S, 1.0, now)
        self._customers = Buckets(ANSWERS_PER_S, 1.0, CUSTOMERS_MAX)

    def asked(
        self,
        datagram: bytes,
        message: stun.Message,
        remote: Endpoint,
        other_port: int | None,
        now: float,
    ) -> bytes | None:
        """The answer to this request, to be sent from the port that it came to; `other_port` of ours answers too.

        None: there is none, and `counters` has the reason.
        """
        assert message.kind is stun.Kind.REQUEST
        if not self._customers.take(customer(remote.host), now):
            self.counters["stun.too_many"] += 1
            return None
        if not self._all.take(now):
            self.counters["stun.too_many_in_all"] += 1
            return None
        room = int(GROWTH_MAX * len(datagram))
        answer = stun.response(message.transaction, remote, _other(remote, other_port))
        if len(answer) > room:
            answer = stun.response(message.transaction, remote)
        if len(answer) > room:
            self.counters["stun.too_short"] += 1
            return None
        self.counters["stun_answered"] += 1
        return answer


def _other(remote: Endpoint, port: int | None) -> Endpoint | None:
    """OTHER-ADDRESS (RFC 5780, section 7.4) on the host that was asked, which need not know its own address."""
    if port is None:
        return None
    return Endpoint("::" if remote.is_v6 else "0.0.0.0", port)  # noqa: S104 (only told)
