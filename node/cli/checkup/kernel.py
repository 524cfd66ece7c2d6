"""What only the kernel knows: who holds a lock, whether the clock is kept, what sockets have dropped.

Files of /proc, read and not written. Where there is no such file the answer is that nothing is known.
"""

import contextlib
import ctypes
import struct
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")

STA_UNSYNC = 0x40
"""In the status of adjtimex(2): nobody keeps the clock."""

TIMEX_BYTES = 512
"""More than `struct timex` has on any machine."""


def text_of(file: Path) -> str | None:
    """None where there is no such file, or it is not ours to read."""
    with contextlib.suppress(OSError):
        return file.read_text(errors="replace")
    return None


def lock_holder(lock: Path, proc: Path = PROC) -> int | None:
    """The process that holds this file with flock(2); None if nobody does. Taking the lock to find out would keep a
    daemon from it that starts at that moment."""
    try:
        inode = lock.stat().st_ino
    except OSError:
        return None
    for line in (text_of(proc / "locks") or "").splitlines():
        # 1: FLOCK  ADVISORY  WRITE 22983 fe:00:2278014 0 EOF (who waits has -> after the number)
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
            pid = int(words[4])
            if _may_have_open(pid, lock, proc):
                return pid
    return None


def _may_have_open(pid: int, file: Path, proc: Path) -> bool:
    """Files on two disks may have one number, and what stands for the disk there is not what stat(2) tells of each."""
    try:
        return any(one.samefile(file) for one in (proc / str(pid) / "fd").iterdir() if one.exists())
    except OSError:
        # It is not ours to look into, most often.
        return True


def udp_drops(port: int, pid: int, proc: Path = PROC) -> int:
    """Packets that the kernel threw away because the buffer of the sockets on this port was full.

    `pid`: whose network it is, which need not be ours.
    """
    drops = 0
    for table in ("udp", "udp6"):
        for line in (text_of(proc / str(pid) / "net" / table) or "").splitlines()[1:]:
            words = line.split()
            if int(words[1].rpartition(":")[2], 16) == port:
                drops += int(words[-1])
    return drops


def memory_limit(pid: int | None, proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """What the process's control group (version 2), or one above it, may take in bytes; None without a limit."""
    groups = (text_of(proc / (str(pid) if pid is not None else "self") / "cgroup") or "").split()
    mine = next((group.removeprefix("0::/") for group in groups if group.startswith("0::")), None)
    if mine is None:
        return None
    folders = [cgroups / mine, *(cgroups / mine).parents]
    told = [text_of(one / "memory.max") for one in folders if one.is_relative_to(cgroups)]
    limits = [int(text) for text in told if text is not None and text.strip().isdecimal()]
    return min(limits, default=None)


@dataclass(frozen=True, slots=True)
class ClockState:
    """As adjtimex(2) tells it."""

    synchronised: bool
    error_s: float
    """The largest error that the kernel reckons with; grows while nobody sets the clock."""


def clock_state() -> ClockState | None:
    """None where the kernel does not tell, as under some sandboxes. It is asked only: nothing is set."""
    libc = ctypes.CDLL(None, use_errno=True)
    told = ctypes.create_string_buffer(TIMEX_BYTES)
    if libc.adjtimex(told) < 0:
        return None
    # struct timex begins with: modes, offset, freq, maxerror (us), esterror, status.
    _, _, _, error_us, _, status = struct.unpack_from("@Illlli", told)
    return ClockState(synchronised=not status & STA_UNSYNC, error_s=error_us / 1e6)
