"""Several chips in the mesh at once, each in a thread that mostly waits for the daemon."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from node.cli.sweeping.chips import SLOTS, Bench, Chip, Reading
from node.cli.sweeping.crowd import Crowd
from sedma.errors import NoRoom, SedmaError

Told = Callable[[list[Reading]], None]


def fly(bench: Bench, chips: Iterable[Chip], at_once: int, told: Told) -> None:
    """Read all chips; `told` hears of each, in the order of their ends.

    However it ends, all weights have been removed, or stand in `bench.left`.
    """
    assert 1 <= at_once <= SLOTS
    with ThreadPoolExecutor(at_once, thread_name_prefix="chip") as pool:
        try:
            _Flight(bench, chips, Crowd(at_once), told).through(pool)
        except KeyboardInterrupt:
            print("\nending: chips under way are taken out of the mesh", file=sys.stderr)
            raise
        finally:
            bench.stop()


class _Flight:
    def __init__(self, bench: Bench, chips: Iterable[Chip], crowd: Crowd, told: Told) -> None:
        self._bench = bench
        self._waiting = deque(chips)
        self._crowd = crowd
        self._told = told
        self._aloft: dict[Future[list[Reading]], Chip] = {}

    def through(self, pool: ThreadPoolExecutor) -> None:
        while self._waiting or self._aloft:
            while self._may_begin():
                chip = self._waiting.popleft()
                self._crowd.began()
                self._aloft[pool.submit(self._bench.read, chip)] = chip
            done, _ = wait(self._aloft, return_when=FIRST_COMPLETED)
            # The last first, so that those who are refused stand in front in their order.
            ended = [one for one in self._aloft if one in done][::-1]
            wrong = [self._ended(one, self._aloft.pop(one)) for one in ended]
            if errors := [error for error in wrong if error is not None]:
                raise errors[0]

    def _may_begin(self) -> bool:
        """In their order: a chip waits for the one before it of the same name."""
        taken = {chip.name for chip in self._aloft.values()}
        return bool(self._waiting) and self._crowd.has_place and self._waiting[0].name not in taken

    def _ended(self, future: Future[list[Reading]], chip: Chip) -> SedmaError | None:
        """What ends all, once it is known how the others have gone that ended with this one."""
        try:
            readings = future.result()
        except SedmaError as error:
            pause_s = self._crowd.refused() if _is_crowded(error) else None
            if pause_s is None:
                return error
            self._waiting.appendleft(chip)
            time.sleep(max(pause_s, error.retry_after_s or 0.0))
        else:
            self._crowd.ended()
            self._told(readings)
        return None


def _is_crowded(error: SedmaError) -> bool:
    """With fewer chips at once it may go; not so where the mesh knows too many names (no figures then)."""
    if isinstance(error, NoRoom):
        return error.free is not None
    return error.code == "overloaded"
