"""Watches how much memory a process really takes, from outside, for as long as it lives.

Two figures from /proc/PID/status: VmRSS, which is sampled, and VmHWM, the highest VmRSS that the kernel itself
has seen, which misses nothing between two samples.
"""

import threading
from pathlib import Path

INTERVAL_S = 0.1
KIB = 1024


def memory_of(pid: int) -> tuple[int, int] | None:
    """Resident bytes of a process now and at its highest; None when it has gone or is a zombie."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines())
    if "VmRSS" not in fields:
        return None
    return _bytes(fields["VmRSS"]), _bytes(fields["VmHWM"])


def _bytes(field: str) -> int:
    return int(field.removesuffix("kB")) * KIB


class PeakWatch:
    """Samples one process from a thread of its own until it ends or `stop` is called."""

    def __init__(self, pid: int) -> None:
        self.sampled_bytes = 0
        """The highest sample so far."""
        self.kernel_bytes = 0
        """The kernel's own high-water mark, as last read."""
        self._pid = pid
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"peak-{pid}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while (memory := memory_of(self._pid)) is not None:
            self.sampled_bytes = max(self.sampled_bytes, memory[0])
            self.kernel_bytes = max(self.kernel_bytes, memory[1])
            if self._stopped.wait(INTERVAL_S):
                return
