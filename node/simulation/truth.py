"""What is really so in a simulated mesh, to judge what its nodes think of each other."""

from collections import Counter
from collections.abc import Iterable
from math import inf

EXCUSED_S = 10.0
"""So long after it came back, thawed or could be reached again, a machine may still be taken for what it was: news of
before is still on its way, and a suspicion that was just then runs out."""


class Truth:
    """Told of what befalls machines, by their names; knows who was in trouble when."""

    def __init__(self, machines: Iterable[str]) -> None:
        self.names = tuple(machines)
        self.up: dict[str, bool] = dict.fromkeys(self.names, False)
        """Its process runs, be it frozen or not."""
        self.started_at: dict[str, float] = {}
        self.stops: set[tuple[str, float]] = set()
        """Each end of a process, and when."""
        self._troubles: Counter[str] = Counter()
        """How many of them each machine is in now."""
        self._excused_until: dict[str, float] = dict.fromkeys(self.names, -inf)
        self._side: dict[str, int] = dict.fromkeys(self.names, 0)
        self.heals: list[float] = []
        """When splits were over."""

    # -- what happens --------------------------------------------------------------------------------

    def started(self, machine: str, now: float) -> None:
        again = machine in self.started_at
        self.up[machine] = True
        self.started_at[machine] = now
        self._excused_until[machine] = now + EXCUSED_S if again else -inf

    def stopped(self, machine: str, now: float) -> None:
        self.up[machine] = False
        self.stops.add((machine, now))

    def troubled(self, machine: str) -> None:
        """It stands still, or is not heard; both may be at once."""
        self._troubles[machine] += 1

    def relieved(self, machine: str, now: float) -> None:
        """Of one of them."""
        self._troubles[machine] -= 1
        self._excused_until[machine] = now + EXCUSED_S

    def split(self, machines: Iterable[str]) -> None:
        for machine in machines:
            self._side[machine] = 1

    def healed(self, now: float) -> None:
        self._side = dict.fromkeys(self.names, 0)
        self.heals.append(now)

    # -- what is so ----------------------------------------------------------------------------------

    @property
    def living(self) -> list[str]:
        return [name for name in self.names if self.up[name]]

    def together(self, one: str, other: str) -> bool:
        """No split lies between them."""
        return self._side[one] == self._side[other]

    def side_of(self, machine: str) -> int:
        return self._side[machine]

    @property
    def _healed_at(self) -> float:
        return self.heals[-1] if self.heals else -inf

    def wronged(self, observer: str, machine: str, now: float) -> bool:
        """Whether it is false, and nothing excuses it, that the observer holds the machine for dead."""
        if not self.up[machine] or self._troubles[machine] or now < self._excused_until[machine]:
            return False
        return self.together(observer, machine) and now >= self._healed_at + EXCUSED_S
