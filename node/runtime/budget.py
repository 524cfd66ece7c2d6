"""How much memory a node offers: what the settings say, as far as the machine has it."""

import psutil

from protocol.errors import ConfigError
from protocol.quantities import size_text

MEMORY_SHARE = 4
"""Without `share.memory` a node offers one part in four of the memory that is available."""


def budget_bytes(asked: int | None) -> int:
    """ConfigError if the machine has not so much."""
    memory = psutil.virtual_memory()
    if asked is None:
        return int(memory.available) // MEMORY_SHARE
    if asked > memory.total:
        raise ConfigError(
            f"share.memory of {size_text(asked)} is more than this machine has ({size_text(memory.total)}):"
            " offer less"
        )
    return asked
