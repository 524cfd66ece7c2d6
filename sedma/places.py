"""Where a daemon and the programs that talk to it meet on one machine: two small files in its data directory."""

from collections.abc import Mapping
from pathlib import Path

URL_FILE = "api.url"
"""Holds the address of the HTTP interface while a daemon runs."""

TOKEN_FILE = "api.token"  # noqa: S105 (a file's name)
"""Holds the bearer token (mode 0600)."""


def default_data_dir(environment: Mapping[str, str]) -> Path:
    """`SEDMA_DATA_DIR`, or the user's state folder after the XDG Base Directory Specification."""
    if named := environment.get("SEDMA_DATA_DIR"):
        return Path(named).absolute()
    state = environment.get("XDG_STATE_HOME", "")
    return (Path(state) if state.startswith("/") else Path.home() / ".local" / "state") / "sedma"
