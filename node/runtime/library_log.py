"""What libraries complain of goes into the daemon's own log, line by line as all else.

asyncio's and uvloop's loop tell of exceptions that nobody catches in this way, so this is also the outermost net.
"""

import logging

from node.log import Log

LATE_WRITE = ("Fatal error on SSL protocol", "the handler is closed")
"""How uvloop begins and ends when its TLS has an answer to send on a connection that it has just lost: that the
connection is lost, its owner is told in the usual way."""

UNHEARD = "Future exception was never retrieved"
"""What asyncio says when a dial or a lookup that was given up has failed at last: nobody waits for its future. Of a
task it would say "Task exception", and tasks are ours.
"""


class LibraryLog(logging.Handler):
    """From warnings on."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        wrong = record.exc_info[1] if record.exc_info else None
        said = record.getMessage()
        if _is_no_matter(said, wrong):
            self._log.debug("library.complained", library=record.name, said=said, reason=str(wrong))
        else:
            self._log.warning(
                "library.complained", library=record.name, said=said, exc_info=record.exc_info
            )


def _is_no_matter(said: str, wrong: BaseException | None) -> bool:
    """Somebody has been told already of the connection that this is about, or does not want it any more."""
    is_late = said.startswith(LATE_WRITE[0]) and str(wrong).endswith(LATE_WRITE[1])
    return is_late or (said.startswith(UNHEARD) and isinstance(wrong, OSError))


def listen(log: Log) -> None:
    """To all libraries of this process."""
    logging.getLogger().addHandler(LibraryLog(log))
