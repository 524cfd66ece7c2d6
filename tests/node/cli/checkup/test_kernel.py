"""Files of /proc as the kernel writes them, and the real ones."""

import fcntl
import os
import socket
from pathlib import Path

from node.cli.checkup.kernel import clock_state, lock_holder, memory_limit, udp_drops

UDP = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1297: 0100007F:AC3B 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1366779 2 00000000eb81 7
 1298: 0100007F:AC3C 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1366780 2 00000000eb82 9
"""


def test_who_holds_a_lock_is_seen_without_taking_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with lock.open("w") as file:
        assert lock_holder(lock) is None
        fcntl.flock(file, fcntl.LOCK_EX)
        assert lock_holder(lock) == os.getpid()
    assert lock_holder(lock) is None


def test_a_lock_that_is_not_there_has_no_holder(tmp_path: Path) -> None:
    assert lock_holder(tmp_path / "none") is None


def test_whoever_waits_for_a_lock_does_not_hold_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    inode = lock.stat().st_ino
    (tmp_path / "locks").write_text(f"1: -> FLOCK  ADVISORY  WRITE 7 fe:00:{inode} 0 EOF\n")

    assert lock_holder(lock, proc=tmp_path) is None


def test_a_lock_of_the_same_number_on_another_disk_is_another_lock(tmp_path: Path) -> None:
    lock, other = tmp_path / "lock", tmp_path / "other"
    lock.touch()
    other.touch()
    (tmp_path / "7" / "fd").mkdir(parents=True)
    (tmp_path / "7" / "fd" / "3").symlink_to(other)
    (tmp_path / "locks").write_text(
        f"1: FLOCK  ADVISORY  WRITE 7 fe:00:{lock.stat().st_ino} 0 EOF\n"
    )

    assert lock_holder(lock, proc=tmp_path) is None
    (tmp_path / "7" / "fd" / "4").symlink_to(lock)
    assert lock_holder(lock, proc=tmp_path) == 7


def test_drops_are_counted_for_one_port_over_both_families(tmp_path: Path) -> None:
    (tmp_path / "12" / "net").mkdir(parents=True)
    (tmp_path / "12" / "net" / "udp").write_text(UDP)
    (tmp_path / "12" / "net" / "udp6").write_text(UDP)

    assert udp_drops(0xAC3B, 12, proc=tmp_path) == 14
    assert udp_drops(0xAC3D, 12, proc=tmp_path) == 0


def test_what_a_full_buffer_drops_is_seen() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as full,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        full.bind(("127.0.0.1", 0))
        for _ in range(100):
            sender.sendto(bytes(1000), full.getsockname())

        assert 50 < udp_drops(full.getsockname()[1], os.getpid()) < 100


def test_the_tightest_limit_of_a_control_group_and_those_above_holds(tmp_path: Path) -> None:
    (tmp_path / "12").mkdir()
    (tmp_path / "12" / "cgroup").write_text("4:memory:/old\n0::/system/sedma\n")
    groups = tmp_path / "groups"
    (groups / "system" / "sedma").mkdir(parents=True)
    (groups / "system" / "sedma" / "memory.max").write_text("max\n")
    (groups / "system" / "memory.max").write_text("1000\n")

    assert memory_limit(12, proc=tmp_path, cgroups=groups) == 1000
    (groups / "system" / "sedma" / "memory.max").write_text("900\n")
    assert memory_limit(12, proc=tmp_path, cgroups=groups) == 900


def test_without_a_limit_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "12").mkdir()
    (tmp_path / "12" / "cgroup").write_text("4:memory:/old\n")

    assert memory_limit(12, proc=tmp_path) is None
    assert memory_limit(13, proc=tmp_path) is None


def test_the_kernel_is_asked_of_its_clock() -> None:
    state = clock_state()

    assert state is None or state.error_s >= 0.0
