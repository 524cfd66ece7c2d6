"""Standard error as the log writes to it: a line that cannot be written is missed, and nothing else happens.

A log often stands on the disk that the weights fill, or goes to a pipe whose reader has ended. A node that raised
there would drop the work that the line is about: a put would wait for ever, a start would end without a word.
"""

from typing import TextIO


class LogStream:
    """Takes lines in pieces, as `print` gives them, and counts those that were missed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._pieces: list[str] = []
        self._missed = 0

    def write(self, piece: str) -> int:
        self._pieces.append(piece)
        return len(piece)

    def flush(self) -> None:
        """Write what has come, and before it how many lines were missed."""
        line = "".join(self._pieces)
        self._pieces.clear()
        told = (
            f"sedma: {self._missed} lines of the log could not be written\n" if self._missed else ""
        )
        try:
            self._stream.write(told + line)
            self._stream.flush()
        except OSError:
            self._missed += 1
        else:
            self._missed = 0
