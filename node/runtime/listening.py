"""Where this node listens: one port for links and packets alike, perhaps a second one for links, by whatever addresses.

What others are told follows from it, and changes when this machine's network does.
"""

import socket

from node.config import MeshConfig, host_port
from node.log import Log
from node.runtime.addresses import own_addresses
from node.runtime.packets import bind
from node.runtime.switchboard import Switchboard
from node.runtime.tcp_link import Security, check_free
from protocol.errors import ConfigError
from protocol.limits import ADDRESSES_MAX

BINDS_MAX = 8
"""Ports tried, where any will do, until one is free for links and packets."""

ALSO = "mesh.also_listen"


class Listening:
    """`addresses` are host:port, as others are told; none until `begin`."""

    def __init__(self, settings: MeshConfig, log: Log) -> None:
        self.addresses: tuple[str, ...] = ()
        self.warning = ""
        """Why no other machine can reach this one; empty where some can."""
        self.host, self._wanted_port = host_port(settings.listen)
        self.port = 0
        """The real one, from `begin` on."""
        self._advertise = settings.advertise
        self._also = None if settings.also_listen is None else host_port(settings.also_listen)
        self._log = log

    async def check(self) -> None:
        """ConfigError if a port that is wished could not be had at this moment."""
        await check_free(self.host, self._wanted_port)
        if self._also is not None:
            await check_free(*self._also, ALSO)

    async def begin(self, switchboard: Switchboard, server: Security) -> socket.socket | None:
        """Let links come in; the socket for packets, or None where UDP is not to be had.

        ConfigError when there is no port for links.
        """
        self.port, bound = await self._listen(switchboard, server)
        if self._also is not None:
            host, port = self._also
            try:
                _, real_port = await switchboard.listen(host, port, server, ALSO)
            except ConfigError:
                if bound is not None:
                    bound.close()
                raise
            self._also = (host, real_port)
        self.look_again()
        if self.warning:
            self._log.warning("listen.loopback_only", reason=self.warning)
        return bound

    def look_again(self) -> tuple[str, ...]:
        """Where the node listens, by the addresses that this machine has now."""
        found, self.warning = own_addresses(self.host, self.port, self._advertise)
        if self._also is not None:
            more, _ = own_addresses(*self._also, ())
            found = tuple(dict.fromkeys([*found, *more]))[:ADDRESSES_MAX]
        self.addresses = found
        return found

    # -- within --------------------------------------------------------------------------------------

    async def _listen(
        self, switchboard: Switchboard, server: Security
    ) -> tuple[int, socket.socket | None]:
        """The port of both, links and packets, and the socket of the latter."""
        tries = BINDS_MAX if self._wanted_port == 0 else 1
        while True:
            tries -= 1
            bound = await self._bound()
            wanted = self._wanted_port if bound is None else int(bound.getsockname()[1])
            try:
                _, real_port = await switchboard.listen(self.host, wanted, server)
            except ConfigError:
                # Any port would do, but this one was free for packets alone.
                if bound is not None:
                    bound.close()
                if tries == 0:
                    raise
            else:
                return real_port, bound

    async def _bound(self) -> socket.socket | None:
        try:
            return await bind(self.host, self._wanted_port)
        except OSError as wrong:
            self._log.warning(
                "packets.not_bound",
                reason=f"UDP on {self.host or 'all interfaces'}, port {self._wanted_port}:"
                f" {wrong.strerror or wrong}; what packets would tell goes over links instead, which others"
                " notice later: free the port, or write another one with --listen",
            )
            return None
