"""What a simulated machine is like, and what follows from its name and from a seed."""

import hashlib
import random
from dataclasses import dataclass
from math import inf

from protocol.ids import NodeId, node_id

PORT = 7879
WALL_MS = 1_700_000_000_000
"""The wall clock of every machine when the world begins."""
CLOCK_STEP_S = 1e-9


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """What a machine is like."""

    name: str
    memory_bytes: int = 256 * 1024 * 1024
    macs_s: float = 1e9
    """Multiply-accumulates a second of one worker that nobody slows down."""
    workers: int = 2
    up_bytes_s: float = inf
    down_bytes_s: float = inf
    client_bytes_s: float = inf
    """Between a client and this machine."""
    row_s: float = 0.005
    """What a client takes to bring one block row of a put, beside its bytes."""
    labels: tuple[str, ...] = ()
    clock_offset_s: float = 0.0
    clock_rate: float = 1.0
    """Seconds of its clock in one of the world's."""

    def __post_init__(self) -> None:
        assert self.clock_rate > 0.0
        assert min(self.macs_s, self.up_bytes_s, self.down_bytes_s, self.client_bytes_s) > 0.0

    @property
    def is_right(self) -> bool:
        """Its clock is the world's, as most are: two steps of arithmetic less for each input."""
        return self.clock_offset_s == 0.0 and self.clock_rate == 1.0

    def own_time(self, world: float) -> float:
        """What its clock shows then."""
        return self.clock_offset_s + self.clock_rate * world

    def world_time(self, own: float) -> float:
        """The world's time at which its clock shows `own`, or the first moment after it."""
        at = (own - self.clock_offset_s) / self.clock_rate
        while self.clock_offset_s + self.clock_rate * at < own:
            at += CLOCK_STEP_S
        return at


def dice(*seeds: object) -> random.Random:
    """Dice that follow from these: the same in every process."""
    return random.Random(" ".join(map(str, seeds)))  # noqa: S311


def address_of(name: str) -> str:
    return f"{name}:{PORT}"


def key_of(name: str) -> bytes:
    """The public key of the machine with this name, as good as any other 32 bytes."""
    return hashlib.sha256(f"key of {name}".encode()).digest()


def id_of(name: str) -> NodeId:
    """The node id of the machine with this name, in every world."""
    return node_id(key_of(name))
