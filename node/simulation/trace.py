"""Writes down what happened, one JSON document a line: the same seed gives the same bytes, in any process.

    {"at":12.04,"machine":"n0003","event":"peer.suspected","fields":{"peer":"n0017"}}

Machines stand there by their names. Single packets are not told: there are a hundred times more of them than of all
else, and the seed brings them back.
"""

from collections.abc import Mapping
from typing import BinaryIO

import msgspec

from node.runtime.virtual.events import Event


class Trace:
    """Told of events; writes to a file that somebody else opens and closes."""

    def __init__(self, file: BinaryIO, names: Mapping[str, str]) -> None:
        """`names`: of machines by their nodes' ids."""
        self._file = file
        self._names = names
        # Sorted, for the order within a set of strings differs from process to process.
        self._encoder = msgspec.json.Encoder(order="deterministic", enc_hook=str)

    def hear(self, event: Event) -> None:
        line = {
            "at": round(event.at, 9),
            "machine": event.node,
            "event": event.kind,
            "fields": {key: self._readable(value) for key, value in event.fields.items()},
        }
        self._file.write(self._encoder.encode(line) + b"\n")

    def _readable(self, value: object) -> object:
        if isinstance(value, str):
            return self._names.get(value, value)
        if isinstance(value, tuple | list):
            return [self._readable(one) for one in value]
        return value
