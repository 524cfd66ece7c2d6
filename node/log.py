"""Where facts go that people want to read: the one door to the log.

Both sides of the daemon write to it, HTTP and drivers, so it stands below them. A structlog logger fits.
"""

from typing import Protocol


class Log(Protocol):
    """An event's name (`thing.happened`) and its fields."""

    def debug(self, event: str, /, **fields: object) -> object: ...

    def info(self, event: str, /, **fields: object) -> object: ...

    def warning(self, event: str, /, **fields: object) -> object: ...

    def exception(self, event: str, /, **fields: object) -> object:
        """Called while an exception is handled; adds its traceback."""
