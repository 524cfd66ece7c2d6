"""A laboratory of NATs: a public internet and hosts behind routers of every kind, in network namespaces of Linux.

The routers are the kernel's own, told by nftables what to be (rules.py); plan.py says where everything stands. Nothing
is outside of the namespaces, their names carry our pid, and what a run that was killed has left is removed by the
next. It takes root, `ip` (iproute2) and `nft` (nftables), and /dev/net/tun for a wire that is slow.

    with contextlib.closing(Lab([Kind.PORT, Kind.SYMMETRIC_RANDOM])) as lab:
        here, there = lab.hosts
        with lab.on_host(here):
            ...  # sockets and processes that are made here are on that host
        lab.rebind(here)
"""

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lab import conntrack
from tests.lab.kinds import Kind, Pair
from tests.lab.plan import Host, Plan, Port, Router
from tests.lab.wire import Cable, Wire
from tests.live.namespaces import PREFIX, batch, inside, remove, run, sweep
from tests.live.namespaces import why_not as why_no_namespaces

WORKERS = 4

UDP_UNANSWERED_S = 30
"""A mapping nobody has answered through lives so long: the kernel's default."""

# Deleting a table that is not there is an error, so it is made first.
CUT = """
table netdev cut_{port} {{ }}
delete table netdev cut_{port}
table netdev cut_{port} {{
  chain inwards {{
    type filter hook ingress device "{port}" priority 0; policy accept;
    {rule}
  }}
  chain outwards {{
    type filter hook egress device "{port}" priority 0; policy accept;
    {rule}
  }}
}}
"""
_NUMBERS = itertools.count()

EVERYWHERE = {
    "ipv6/conf/all/accept_dad": 0,
    "ipv6/conf/default/accept_dad": 0,
    "ipv6/conf/default/accept_ra": 0,
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
    "ipv4/tcp_congestion_control": "reno",
}
"""No duplicate address detection, which takes a second; no address or route by router advertisement; no reverse path
filter; and Reno, the one congestion control that every kernel has and lets a namespace choose. So figures can be
compared: over a lossy wire CUBIC carries as much, but BBR, which some machines start with, thirty times as much.
"""

FORWARDING = {
    "ipv4/ip_forward": 1,
    "ipv6/conf/all/forwarding": 1,
    "ipv4/conf/all/send_redirects": 0,
    "ipv4/conf/default/send_redirects": 0,
    "ipv4/icmp_ratelimit": 0,
}
"""No limit on ICMP errors to one address, for every stranger is to be refused; and no ICMP redirects, by which a host
would learn a way around a hairpin.
"""

BRIDGED = "bridge-nf-call-ip*tables"
"""Settings of br_netfilter, where that is loaded. On, they put frames that only cross a router's bridge through its
rules.
"""


def why_not() -> str:
    """What is missing on this machine; empty if a lab can be made."""
    if why := why_no_namespaces():
        return why
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    if not os.access("/proc/sys/net/ipv4/ip_forward", os.W_OK):
        return "/proc/sys is read-only"
    try:
        # Between them they need all that the others need. Whatever else goes wrong here is our own fault.
        asked = [Kind.FULL, Kind.SYMMETRIC_SEQUENTIAL, Kind.TLS_ONLY, Kind.DUAL_STACK]
        Lab(asked, wires={0: Wire()}).close()
    except subprocess.CalledProcessError as refused:
        return f"{refused} {refused.stderr.strip()}"
    return ""


class Lab:
    """Hosts as asked for, in that order (a pair is two), and public ones for what all must reach."""

    def __init__(
        self,
        asked: Sequence[Kind | Pair],
        *,
        publics: int = 2,
        wire: Wire | None = None,
        wires: Mapping[int, Wire] | None = None,
    ) -> None:
        """`wire` is what each asked host is attached by, `wires` what single ones are, by their number."""
        sweep()
        plan = Plan(f"{PREFIX}-{os.getpid()}-lab{next(_NUMBERS)}")
        self.publics = [host for _ in range(publics) for host in plan.add(Kind.OPEN)]
        """Of the kind open, and never behind a slow wire."""
        self.hosts = [host for one in asked for host in plan.add(one)]
        slow = dict.fromkeys(range(len(self.hosts)), wire) | dict(wires or {})
        self._slow = {self.hosts[number].port.box: one for number, one in slow.items() if one}
        self._plan = plan
        self._cables: list[Cable] = []
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def of(self, kind: Kind | Pair) -> list[Host]:
        return [host for host in self.hosts if host.kind is kind]

    @contextlib.contextmanager
    def on_host(self, host: Host) -> Iterator[None]:
        """See `tests.live.namespaces.inside`."""
        with inside(host.name):
            yield

    def forget_mappings(self, host: Host) -> None:
        """All its routers forget all connections. A symmetric one then gives other ports, the others the same."""
        for router in host.routers:
            router.life += 1
            self._reload(router)

    def rebind(self, host: Host) -> None:
        """As `forget_mappings`, and each socket of the host gets another outside port."""
        assert any(router.translates for router in host.routers), f"{host} has no outside port"
        host.routers[0].turn += 1
        self.forget_mappings(host)

    def cut(self, host: Host) -> None:
        """Whatever it sends and is sent is lost, without a word."""
        self._lose(host, "drop")

    def cut_udp(self, host: Host) -> None:
        self._lose(host, "meta l4proto udp drop")

    def heal(self, host: Host) -> None:
        """Undoes `cut` and `cut_udp`."""
        self._lose(host, "")

    def move(self, host: Host) -> None:
        """It gets another address, and so does its outermost router if no other host is behind that.

        Connections of the address that was are lost, as they are when a laptop changes networks.
        """
        batch(host.port.box, host.port.renumber(with_ipv6=True))
        for router in host.routers[:1]:
            shared = any(router in other.routers for other in self.hosts if other is not host)
            if router.translates and not shared:
                batch(router.wan.box, router.wan.renumber(with_ipv6=False))
        self.forget_mappings(host)

    def close(self) -> None:
        """Ends what still runs on the hosts."""
        # A cable's devices take a while to go: all at the same time.
        for cable in self._cables:
            cable.stop()
        for cable in self._cables:
            cable.close()
        remove(self._plan.boxes)

    def _build(self) -> None:
        run("ip", "-batch", "-", told="".join(f"netns add {box}\n" for box in self._plan.boxes))
        routers = {router.wan.box: router for router in self._plan.routers}
        with ThreadPoolExecutor(WORKERS) as workers:
            list(workers.map(lambda box: self._tune(box, routers.get(box)), self._plan.boxes))
            self._connect()
            list(workers.map(self._set_up, self._plan.boxes))
            list(workers.map(self._reload, self._plan.routers))
        batch(self._plan.core, self._plan.routes)

    def _tune(self, box: str, router: Router | None) -> None:
        """Before it has a port: a port takes over the defaults that it finds."""
        settings = dict(EVERYWHERE)
        if router is not None or box == self._plan.core:
            settings |= FORWARDING
        if router is not None:
            lives_s = router.manner.udp_stream_s
            settings["netfilter/nf_conntrack_udp_timeout_stream"] = lives_s
            settings["netfilter/nf_conntrack_udp_timeout"] = min(lives_s, UDP_UNANSWERED_S)
        with inside(box):
            for name, value in settings.items():
                Path("/proc/sys/net", name).write_text(str(value))
            for path in Path("/proc/sys/net/bridge").glob(BRIDGED):
                path.write_text("0")

    def _connect(self) -> None:
        lines = []
        for here, there in self._plan.cables:
            if (wire := self._slow.get(here.box)) is not None:
                self._cables.append(Cable(wire, here, there, seed=len(self._cables)))
            else:
                end = f"type veth peer name {there.name} netns {there.box}"
                lines.append(f"link add {here.name} netns {here.box} {end}\n")
        run("ip", "-batch", "-", told="".join(lines))
        for cable in self._cables:
            cable.wait()

    def _set_up(self, box: str) -> None:
        ports = [line for port in self._plan.ports(box) for line in port.lines()]
        batch(box, ["link set lo up", *self._plan.boxes[box], *ports])

    def _reload(self, router: Router) -> None:
        """New rules first, so that nothing is remembered by the old ones."""
        with inside(router.wan.box):
            run("nft", "-f", "-", told=router.rules())
            conntrack.forget_all()

    def _lose(self, host: Host, rule: str) -> None:
        port: Port = host.access
        with inside(port.box):
            run("nft", "-f", "-", told=CUT.format(port=port.name, rule=rule))
