"""When a node's own record is worth telling.

What a node is (its labels, device, weights) is told as soon as it changes. How it fares (memory, queue, speed) changes
all the time, and every version of it reaches every node: so it is told only when it moved by an eighth of what was
last told (in a small mesh free memory by a MiB) or crossed a band of pressure, and the larger the mesh the more
rarely, that all the moves of all nodes together stay within a budget of bytes. Whoever sends work to a node has
fresher numbers from its answers anyway.
"""

import msgspec

from protocol.digests import LoadDigest, MemoryDigest, NodeRecord

MOVED_SHARE = 0.125
QUEUE_S_MIN = 0.05
FREE_BYTES_MIN = 1024 * 1024
SPEED_MACS_S_MIN = 1e6
"""Smaller changes than these are none."""
EXACT_NODES_MAX = 64
"""In a mesh of so many every other change of free memory is told: where new weights go, and whether they fit, hangs on
it."""
PRESSURE_BANDS = (0.5, 0.75, 0.9)

MOVES_BYTES_S = 2800.0
"""What one node spends on passing on the moves of all others."""
MOVED_BYTES = 200.0
"""One `Moved` with its share of what goes before it."""


class OwnRecord:
    """Our record as it is, and as it was last told."""

    def __init__(self, record: NodeRecord, interval_s: float) -> None:
        assert record.incarnation >= 1, "incarnations begin at 1"
        self.latest = record
        self.told = record
        self.due: float | None = None
        """When it is to be told, if that is called for."""
        self._interval_s = interval_s
        self._told_at = float("-inf")
        self._free_share = 0.0

    def describe(self, record: NodeRecord, nodes: int, now: float) -> None:
        """The record has changed, in a mesh of so many nodes; its version is ours to give."""
        assert record.id == self.told.id
        told = self.told
        self.latest = msgspec.structs.replace(record, version=told.version, settled=told.settled)
        self._free_share = 0.0 if nodes <= EXACT_NODES_MAX else MOVED_SHARE
        if not _same_but_moved(self.latest, told):
            self._want_by(now + self._interval_s)
        elif self._has_moved():
            spaced_at = self._told_at + nodes * MOVED_BYTES / MOVES_BYTES_S
            self._want_by(max(now + self._interval_s, spaced_at))

    def publish(self, now: float) -> bool:
        """Raise the version if there is still something to tell: what moved there may have moved back since."""
        self.due = None
        settled = self.told.settled
        version = self.told.version + 1
        if not _same_but_moved(self.latest, self.told):
            settled = version
        elif not self._has_moved():
            return False
        self.told = msgspec.structs.replace(self.latest, version=version, settled=settled)
        self.latest = self.told
        self._told_at = now
        return True

    def _want_by(self, moment: float) -> None:
        self.due = moment if self.due is None else min(self.due, moment)

    def _has_moved(self) -> bool:
        told, latest, share = self.told, self.latest, self._free_share
        return (
            _apart(told.load.queue_s, latest.load.queue_s, QUEUE_S_MIN)
            or _apart(told.load.free, latest.load.free, FREE_BYTES_MIN, share)
            or _apart(told.memory.free, latest.memory.free, FREE_BYTES_MIN, share)
            or _apart(told.load.speed_macs_s, latest.load.speed_macs_s, SPEED_MACS_S_MIN)
            or _apart(told.load.analog_macs_s, latest.load.analog_macs_s, SPEED_MACS_S_MIN)
            or _band(told.memory.pressure) != _band(latest.memory.pressure)
        )


def _same_but_moved(one: NodeRecord, other: NodeRecord) -> bool:
    return _unmoving(one) == _unmoving(other)


def _unmoving(record: NodeRecord) -> NodeRecord:
    return msgspec.structs.replace(record, memory=MemoryDigest(), load=LoadDigest())


def _apart(told: float, latest: float, least: float, share: float = MOVED_SHARE) -> bool:
    return abs(latest - told) >= max(share * told, least)


def _band(pressure: float) -> int:
    return sum(pressure >= bound for bound in PRESSURE_BANDS)
