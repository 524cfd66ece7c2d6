"""What this node does to know itself: looks at its NAT, dials others back, and hears when the network changes.

It carries out `ProbeNat` and `DialOut` and tells the Node what it found; what to look at, and when, the Node decides.
Packets are asked for over the links to the members that were asked how they see us.
"""

import asyncio
import random
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import assert_never

from nat import stun
from nat.behaviour import Behaviour, SelfKnowledge
from nat.endpoint import Endpoint, Scope, endpoint_of, scope
from nat.knocks import AskKnock
from nat.probe import SERVERS_MAX, Server
from node.communication.reach import DialedOut, Fact, Knocked, NatKnown
from node.effects import DialOut, ProbeNat
from node.runtime.dialling_back import dial_back
from node.runtime.lan import Lan
from node.runtime.look import Look
from node.runtime.network_changes import NetworkChanges
from node.runtime.owned_tasks import OwnedTasks
from node.runtime.packets import Packets
from node.runtime.stunning import Stunning
from node.runtime.switchboard import Switchboard
from protocol.digests import LoadDigest
from protocol.errors import ErrorInfo
from protocol.ids import NodeId
from protocol.messages import DialBack, DialedBack, Knock, Response

HTTPS_PORT = 443
"""A node may listen there too, but by TCP alone: of its addresses this one is asked last."""
ASK_S = 2.0
"""A packet that was asked for later than that comes too late to say anything."""


class Outlook:
    """Of one daemon. Without UDP it dials back all the same."""

    def __init__(
        self,
        switchboard: Switchboard,
        client: Callable[[], ssl.SSLContext],
        tell: Callable[[Fact], None],
    ) -> None:
        """`client` makes what a member dials with; it takes a moment, and most nodes never need it."""
        self._switchboard = switchboard
        self.lan: Lan | None = None
        """Who finds members within our own network, if that is wished."""
        self._stunning: Stunning | None = None
        self._changes: NetworkChanges | None = None
        self._client = client
        self._context: ssl.SSLContext | None = None
        self.tell = tell
        """Who is told of what was found."""
        self.counters: Counter[str] = Counter()
        """Those of our packets, once there are such: all that is sent and heard beside them is counted there."""
        self._loop = asyncio.get_running_loop()
        self._dice = random.SystemRandom()
        self._looks: dict[socket.AddressFamily, Look] = {}
        self._found: dict[socket.AddressFamily, Behaviour] = {}
        self._tasks = OwnedTasks()
        self._closing = False

    def speak_stun(self, packets: Packets, alternate: socket.socket) -> None:
        """On the port of our packets, and on a second one."""
        self._stunning = Stunning(packets, alternate, self._heard)
        self.counters = packets.counters

    def watch(self, changed: Callable[[], None]) -> None:
        """Call back when this machine's network has changed; OSError where nobody tells of it."""
        self._changes = NetworkChanges(changed)

    def carry_out(self, effect: ProbeNat | DialOut) -> None:
        if self._closing:
            return
        match effect:
            case ProbeNat(servers=servers):
                self._look(servers)
            case DialOut():
                self._tasks.start(self._dial_out(effect))
            case _:
                assert_never(effect)

    async def close(self) -> None:
        self._closing = True
        if self._changes is not None:
            self._changes.close()
        if self.lan is not None:
            self.lan.close()
        self._end_looks()
        await self._tasks.close()
        if self._stunning is not None:
            self._stunning.close()
            self._stunning = None

    # -- our NAT -------------------------------------------------------------------------------------

    def _look(self, members: tuple[tuple[NodeId, tuple[str, ...]], ...]) -> None:
        """Anew, for each family in which there is a public node to ask and a network that leads there."""
        if self._stunning is None:
            return
        self._end_looks()
        for family in (socket.AF_INET, socket.AF_INET6):
            servers = _servers(members, family, self._stunning.host)
            if servers:
                look = Look(
                    servers,
                    self._stunning,
                    self._dice,
                    ask=self._ask,
                    learnt=partial(self._learnt, family),
                )
                self._looks[family] = look
                look.begin()
            else:
                self._found.pop(family, None)

    def _end_looks(self) -> None:
        for look in self._looks.values():
            look.close()
        self._looks.clear()

    def _learnt(self, family: socket.AddressFamily, behaviour: Behaviour) -> None:
        found = self._found
        found[family] = behaviour.after(found.get(family, behaviour))
        known = SelfKnowledge(found.get(socket.AF_INET), found.get(socket.AF_INET6))
        self.tell(NatKnown(known))

    def _heard(self, message: stun.Message) -> None:
        """On the main socket."""
        for look in list(self._looks.values()):
            look.heard(0, message)
        if message.kind is stun.Kind.INDICATION:
            self.tell(Knocked(message.transaction))

    def _ask(self, ask: AskKnock, look: Look) -> None:
        knock = Knock(str(ask.to), ask.token, ask.alternate)

        def answered(response: Response, load: LoadDigest) -> None:
            sent = isinstance(response, DialedBack) and ask.token in response.sent
            look.knock_ended(ask.token, sent=sent)

        def failed(error: ErrorInfo) -> None:
            look.knock_ended(ask.token, sent=False)

        self._switchboard.call(
            NodeId(ask.member), DialBack(knocks=(knock,)), ASK_S, answered=answered, failed=failed
        )

    # -- others --------------------------------------------------------------------------------------

    async def _dial_out(self, effect: DialOut) -> None:
        sent: list[bytes] = []
        for knock in effect.knocks if self._stunning is not None else ():
            to = endpoint_of(knock.to)
            assert to is not None and self._stunning is not None
            if self._stunning.knock(to, knock.token, alternate=knock.alternate):
                sent.append(knock.token)
        reached: tuple[str, ...] = ()
        missed: tuple[str, ...] = ()
        if effect.addresses:
            if self._context is None:
                self._context = self._client()
            reached, missed = await dial_back(effect.peer, effect.addresses, self._context)
        outcome = DialedBack(reached=reached, missed=missed, sent=tuple(sent))
        self.tell(DialedOut(effect.request, outcome))


def _servers(
    members: tuple[tuple[NodeId, tuple[str, ...]], ...], family: socket.AddressFamily, bound: str
) -> tuple[Server, ...]:
    """The first two members with an address of this family to which our socket leads, each on another host."""
    found: dict[str, Server] = {}
    for member, addresses in members:
        known = [one for one in map(endpoint_of, addresses) if one is not None]
        for endpoint in sorted(known, key=lambda one: one.port == HTTPS_PORT):
            if endpoint.is_v6 != (family == socket.AF_INET6) or endpoint.host in found:
                continue
            if (local := _local(endpoint, family, bound)) is not None:
                found[endpoint.host] = Server(member, endpoint, local)
                break
    return tuple(found.values())[:SERVERS_MAX]


def _local(to: Endpoint, family: socket.AddressFamily, bound: str) -> str | None:
    """The address by which a socket bound like this would send there; None where it does not. Nothing is sent.

    A kernel without IPv6 has no such socket at all.
    """
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            if scope(bound) is not Scope.NOBODY:
                one.bind((bound, 0))
            one.connect(tuple(to))
            return str(one.getsockname()[0])
    except OSError:
        return None
