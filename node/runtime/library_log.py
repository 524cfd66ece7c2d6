"""What libraries complain of goes into the daemon's own log, line by line as all else.

asyncio's and uvloop's loop tell of exceptions that nobody catches in this way, so this is also the outermost net.
"""

import logging

from node.log import Log

LATE_WRITE = ("Fatal error on SSL protocol", "the handler is closed")
"""How uvloop begins and ends when its TLS has an answer to send on a connection that it has just lost: that the
connection is lost, its owner is told in the usual way."""


class LibraryLog(logging.Handler):
    """From warnings on."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        wrong = record.exc_info[1] if record.exc_info else None
        said = record.getMessage()
        if said.startswith(LATE_WRITE[0]) and str(wrong).endswith(LATE_WRITE[1]):
            self._log.debug("library.complained", library=record.name, said=LATE_WRITE[0])
        else:
            self._log.warning(
                "library.complained", library=record.name, said=said, exc_info=record.exc_info
            )


def listen(log: Log) -> None:
    """To all libraries of this process."""
    logging.getLogger().addHandler(LibraryLog(log))
