"""When a simulated machine's node wants its tick: for each machine one entry of the world's queue that counts.

A deadline that moves later, as most do when an answer has come, moves no entry: the one that is under way finds when it
is due that it is too early, and goes on from there. Most of what a world of idle nodes does passes here, so such an
entry touches nothing but this timer.
"""

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from node.runtime.virtual.spec import MachineSpec

if TYPE_CHECKING:
    from node.runtime.virtual.world import World

SAME_MOMENT_MAX = 1000
"""Ticks without time passing: more means that a deadline is told which a tick does not move."""


class Timer:
    """Told of the node's deadline after each input; calls `tick` with what the machine's clock shows then."""

    __slots__ = ("_at", "_deadline", "_right", "_spec", "_tick", "_ticked_at", "_ticks", "_world")

    def __init__(self, world: "World", spec: MachineSpec, tick: Callable[[float], None]) -> None:
        self._world = world
        self._spec = spec
        self._right = spec.is_right
        self._tick = tick
        self._at = inf
        """Of the one entry that counts, on the world's clock; -inf: none shall be made."""
        self._deadline = inf
        """The node's, on its own clock."""
        self._ticked_at = -inf
        self._ticks = 0

    def aim(self, deadline: float | None) -> None:
        """The node wants its tick then; None: it wants none."""
        if deadline is None:
            self._deadline = inf
        elif deadline != self._deadline or self._at == inf:
            self._deadline = deadline
            self._arm()

    def stop(self) -> None:
        """What is under way does not count any more."""
        self._at = inf

    def hold(self) -> None:
        """No tick until `stop` and a new aim, wherever the deadline moves."""
        self._at = -inf

    def _arm(self) -> None:
        at = self._deadline if self._right else self._spec.world_time(self._deadline)
        if at < self._at:
            world = self._world
            if at < world.now:
                at = world.now
            self._at = at
            world.schedule(at, self._due, (at,))

    def _due(self, at: float) -> None:
        if at != self._at:
            # Overtaken by an earlier one.
            return
        self._at = inf
        now = self._world.now if self._right else self._spec.own_time(self._world.now)
        if self._deadline > now:
            self._arm()
            return
        self._ticks = self._ticks + 1 if at == self._ticked_at else 0
        self._ticked_at = at
        assert self._ticks < SAME_MOMENT_MAX, f"{self._spec.name} wants tick after tick at {at}"
        self._tick(now)
