"""Finds the daemon to talk to: the one named, else the local one, else one started for the occasion."""

import os
from pathlib import Path

from sedma.client import Client
from sedma.errors import NotRunning, SedmaError
from sedma.locate import local_endpoint, named_endpoint
from sedma.temporary import TemporaryDaemon
from sedma.transport import Endpoint, Transport


def connect(
    url: str | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    token: str | None = None,
    timeout: float = 30.0,
) -> Client:
    """A client of the daemon at `url` (or SEDMA_API), or of the one on `data_dir` (or SEDMA_DATA_DIR).

    With none of these and no daemon running, a temporary one is started and ends with this program. `timeout`
    is in seconds of silence. NotRunning or Unreachable if nobody answers.
    """
    url = url or os.environ.get("SEDMA_API") or None
    if url:
        return _client(named_endpoint(url, _path(data_dir), token), timeout)
    try:
        return _client(local_endpoint(_path(data_dir), token), timeout)
    except NotRunning:
        if data_dir is not None or os.environ.get("SEDMA_DATA_DIR"):
            raise
    temporary = TemporaryDaemon()
    return Client(Transport(local_endpoint(temporary.data_dir), timeout), temporary.close)


def _client(endpoint: Endpoint, timeout: float) -> Client:
    """A client whose daemon has answered once."""
    transport = Transport(endpoint, timeout)
    try:
        transport.document("GET", "/v1/status")
    except SedmaError:
        transport.close()
        raise
    return Client(transport)


def _path(data_dir: str | os.PathLike[str] | None) -> Path | None:
    return None if data_dir is None else Path(data_dir).expanduser().absolute()
