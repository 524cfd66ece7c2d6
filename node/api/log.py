"""How aiohttp's own complaints get into the log of the daemon."""

import logging

from aiohttp.http_exceptions import HttpProcessingError

from node.log import Log


class _Forward(logging.Handler):
    """Bytes that are not HTTP are the sender's mistake and worth a line in debug; the rest is ours."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            self._log.debug("api.not_http", reason=error.message)
        elif record.levelno > logging.DEBUG:
            self._log.warning(
                "api.connection_failed", reason=record.getMessage(), exc_info=record.exc_info
            )


def forwarding_logger(log: Log) -> logging.Logger:
    """For aiohttp's server: one of our own, since a named one is shared by all of the process."""
    logger = logging.Logger("sedma.api")  # noqa: LOG001
    logger.addHandler(_Forward(log))
    return logger
