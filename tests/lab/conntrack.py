"""Makes a router forget all its connections, by one netlink message to the kernel's connection tracking.

The tool `conntrack` does the same, but is not on every machine.
"""

import os
import socket
import struct

NETLINK_NETFILTER = 12
DELETE = (1 << 8) | 2
"""NFNL_SUBSYS_CTNETLINK and IPCTNL_MSG_CT_DELETE: a message that names no connection deletes all."""

REQUEST_AND_ACK = 0x1 | 0x4
HEADER = struct.Struct("=IHHII")
FAMILY = struct.Struct("=BBH")
ANSWER = struct.Struct("=i")


def forget_all() -> None:
    """In the namespace of the calling thread."""
    message = HEADER.pack(HEADER.size + FAMILY.size, DELETE, REQUEST_AND_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as kernel:
        kernel.send(message + FAMILY.pack(socket.AF_UNSPEC, 0, 0))
        (code,) = ANSWER.unpack_from(kernel.recv(4096), HEADER.size)
    if code != 0:
        raise OSError(-code, os.strerror(-code))
