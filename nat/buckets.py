"""Token buckets: how often something may happen, for all together and for each of many.

Whoever has waited may act many times at once, and after that no faster than on average. How many bytes somebody may
send is another question, with debts and fair shares: `nat/quotas.py`.
"""

from collections import OrderedDict
from collections.abc import Hashable


class Bucket:
    """Lets through `times` in each `period_s`, and as many at once; full at first."""

    __slots__ = ("_at", "_left", "_per_s", "_times")

    def __init__(self, times: float, period_s: float, now: float) -> None:
        self._times = self._left = times
        self._per_s = times / period_s
        self._at = now

    def take(self, now: float) -> bool:
        """Whether it may happen once more; if so, that is counted."""
        self._left = min(self._left + (now - self._at) * self._per_s, self._times)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def give_back(self) -> None:
        """What was taken last did not happen, for something else stood in the way."""
        self._left += 1.0


class Buckets:
    """One for each key. Beyond `keys_max` the key that was used longest ago is forgotten, and begins anew."""

    def __init__(self, times: float, period_s: float, keys_max: int) -> None:
        self._times = times
        self._period_s = period_s
        self._keys_max = keys_max
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()

    def take(self, key: Hashable, now: float) -> bool:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self._times, self._period_s, now)
            if len(self._buckets) > self._keys_max:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket.take(now)

    def give_back(self, key: Hashable) -> None:
        """What was taken last for this key."""
        self._buckets[key].give_back()
