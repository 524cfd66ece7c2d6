"""Reads where a daemon is and what lets us in, from its data directory; asks whether it can be used."""

import os
from pathlib import Path

from sedma.errors import SedmaError
from sedma.places import TOKEN_FILE, URL_FILE, default_data_dir
from sedma.transport import Endpoint, Transport, not_running

READY_S_MAX = 2.0
"""A daemon that does not say within this time that it is ready, is not."""


def local_endpoint(data_dir: Path | None = None, token: str | None = None) -> Endpoint:
    """The daemon on this data directory; NotRunning if none has left its address there."""
    place = data_dir or default_data_dir(os.environ)
    url = _line(place / URL_FILE)
    if url is None:
        raise not_running(place)
    return Endpoint(url, token or _line(place / TOKEN_FILE), place)


def named_endpoint(url: str, data_dir: Path | None = None, token: str | None = None) -> Endpoint:
    """The daemon at this address; if that is the local one, its token is found without being given."""
    place = data_dir or default_data_dir(os.environ)
    if token is None and _line(place / URL_FILE) == url.rstrip("/"):
        token = _line(place / TOKEN_FILE)
    return Endpoint(url, token)


def is_ready(url: str) -> bool:
    """Whether the daemon at this address is in its mesh and takes requests."""
    transport = Transport(Endpoint(url), READY_S_MAX)
    try:
        transport.document("GET", "/readyz")
    except SedmaError:
        return False
    finally:
        transport.close()
    return True


def _line(file: Path) -> str | None:
    """A file's one line; None if there is no such file, or it is not ours to read."""
    try:
        return file.read_text(encoding="utf-8").strip().rstrip("/") or None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SedmaError("forbidden", f"{file} cannot be read: {error}") from error
