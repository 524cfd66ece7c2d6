"""Settings: each struct is at once the schema, the default and the manual of one section.

`node/cli/settings.py` gathers the values (flags over environment over file over default) and `up` hands the
result over to the daemon's process as JSON. Nothing here reads a file, so everything may import it.
`sedma-node.toml` shows every key; a test compares it with these structs.
"""

import os
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from protocol.errors import ConfigError
from protocol.limits import ADDRESSES_MAX, DEADLINE_S_MAX, DEVICE_CHARS_MAX, LABELS_MAX
from protocol.quantities import Tolerance, duration_s, size_bytes

RESOLVED_VARIABLE = "SEDMA_RESOLVED"
"""The environment variable in which `up` hands the settings over."""

KEEPALIVE_S_MIN, KEEPALIVE_S_MAX = 1.0, 300.0
"""Of a punched path: less is a flood, and after more there is none left."""

DEFAULT_DEVICE = "rram-cmo-hfox-2025"
"""As `compute.presets.DEFAULT_DEVICE`, which is dear to load: a test compares the two."""

ANY_HOST = ("0.0.0.0", "::")  # noqa: S104
"""To listen at; nobody can dial them."""

Size = Annotated[str, Meta(examples=["2GiB"])]
Duration = Annotated[str, Meta(examples=["30s"])]
Address = Annotated[str, Meta(examples=["0.0.0.0:7879"], max_length=256)]
OutsideAddress = Annotated[str, Meta(examples=["home.example:7879"], max_length=256)]
Label = Annotated[str, Meta(examples=["gpu"], pattern=r"^[A-Za-z0-9][A-Za-z0-9._=-]{0,63}$")]


def host_port(address: str) -> tuple[str, int]:
    """The two parts of `host:port` or `[host]:port`; ConfigError says what to write instead."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if not colon or not bare or any(sign in bare for sign in "[] /"):
        raise ConfigError(f'"{address}" is no address: write host:port, as in "0.0.0.0:7879"')
    if ":" in bare and not bracketed:
        raise ConfigError(f'"{address}" is no address: write IPv6 in brackets, as in "[::1]:7879"')
    if not _is_name(bare):
        raise ConfigError(f'"{address}" is no address: its host is no name that a network knows')
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535):
        raise ConfigError(f'"{address}" is no address: the port is a number from 0 to 65535')
    return bare, int(port)


def _is_name(host: str) -> bool:
    """Whether it can be looked up at all, as with an empty label it cannot (RFC 5891, section 4.2)."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who this node is."""

    name: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    """What people call this node; nothing: the machine's host name."""

    labels: Annotated[tuple[Label, ...], Meta(max_length=LABELS_MAX)] = ()
    """Words that `put --only` and `put --avoid` choose nodes by."""

    data_dir: Annotated[str, Meta(examples=["/var/lib/sedma"], min_length=1)] | None = None
    """Where the node keeps all that it must not forget; nothing: the user's state folder."""


class ShareConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What this machine gives to the mesh."""

    memory: Size | None = None
    """The most memory the daemon's process may take; nothing: a quarter of what is available."""

    disk: Size = "20GiB"
    """The most that blocks and sketches may take in the data directory."""

    cpus: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """Threads that multiply; nothing: one for each CPU the process may use."""

    def __post_init__(self) -> None:
        size_bytes(self.disk)
        if self.memory is not None:
            size_bytes(self.memory)

    @property
    def memory_bytes(self) -> int | None:
        return None if self.memory is None else size_bytes(self.memory)

    @property
    def disk_bytes(self) -> int:
        return size_bytes(self.disk)


class MeshConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How other nodes reach this one."""

    listen: Address = "[::]:7879"
    """Where other nodes reach this one: host:port, [::] for all interfaces, port 0 for any free one."""

    also_listen: Address | None = None
    """A second address, such as 0.0.0.0:443: some networks let nothing out but to that port."""

    advertise: Annotated[tuple[OutsideAddress, ...], Meta(max_length=ADDRESSES_MAX)] = ()
    """Further addresses to tell others, such as a port forwarded by a router."""

    def __post_init__(self) -> None:
        for address in (self.listen, *self.advertise):
            host_port(address)
        if self.also_listen is not None:
            host_port(self.also_listen)
        for address in self.advertise:
            host, port = host_port(address)
            if port == 0:
                raise ConfigError(f'"{address}" has port 0: write the port that others can dial')
            if host in ANY_HOST:
                raise ConfigError(
                    f'"{address}" stands for all addresses: write the one that others can dial'
                )


class ApiConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How people and programs reach this node."""

    listen: Address = "127.0.0.1:7878"
    """Where the HTTP interface listens: host:port, port 0 for any free one."""

    hosts: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    """Further host names under which browsers and programs may address it."""

    def __post_init__(self) -> None:
        host_port(self.listen)


class GossipConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How nodes learn of each other."""

    interval_ms: Annotated[int, Meta(ge=50, le=60_000)] = 500
    """The least time between two tellings of news to the same neighbour."""

    redial_s: Annotated[float, Meta(ge=1.0, le=3600.0)] = 10.0
    """The longest pause between two tries at reaching a node that does not answer."""


class RelayConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What this node forwards between others that cannot reach each other, where it is public."""

    serve: bool = True
    """Whether it forwards at all; it sees ciphertext only."""

    reservations: Annotated[int, Meta(ge=1, le=4096)] = 128
    """The most nodes for which it forwards at a time."""

    per_address: Annotated[int, Meta(ge=1, le=4096)] = 8
    """The most of them that come from the same address."""

    rate: Size = "250kB"
    """What one node may send through it each second; all nodes of one address, four times as much."""

    burst: Size = "4MiB"
    """What a node may send at full speed first, and again after a rest."""

    total: Size = "10MB"
    """What all nodes together may send through it each second."""

    def __post_init__(self) -> None:
        for size in (self.rate, self.total):
            if size_bytes(size) == 0:
                raise ConfigError(
                    "expected more than 0B each second: to forward nothing, write serve = false"
                )
        size_bytes(self.burst)

    @property
    def rate_bytes(self) -> int:
        return size_bytes(self.rate)

    @property
    def burst_bytes(self) -> int:
        return size_bytes(self.burst)

    @property
    def total_bytes(self) -> int:
        return size_bytes(self.total)


class NatConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this node finds paths through routers, and nodes in its own network."""

    punch: bool = True
    """Whether it looks for direct paths by UDP to nodes that nobody can dial."""

    lan_discovery: bool = True
    """Whether nodes of the mesh in the same local network find each other by multicast."""

    keepalive: Duration | None = None
    """The longest silence on a punched path; nothing: as the routers of this network need, at most 18s."""

    def __post_init__(self) -> None:
        wished_s = self.keepalive_s
        if wished_s is not None and not KEEPALIVE_S_MIN <= wished_s <= KEEPALIVE_S_MAX:
            raise ConfigError(f"expected {KEEPALIVE_S_MIN:g}s to {KEEPALIVE_S_MAX:g}s")

    @property
    def keepalive_s(self) -> float | None:
        return None if self.keepalive is None else duration_s(self.keepalive)


class ComputeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How matrices are multiplied where a request does not say."""

    backend: Literal["digital", "rram"] = "rram"
    """What holds weights whose put does not say: plain arithmetic or simulated crossbars."""

    device: Annotated[str, Meta(min_length=1, max_length=DEVICE_CHARS_MAX)] = DEFAULT_DEVICE
    """The simulated cell of `rram` weights whose put does not say: a name, or a device of one's own as JSON."""

    rtol: Tolerance = 1e-2
    """The relative error that a product may have where the request does not say."""

    deadline: Duration = "30s"
    """How long a product may take where the request does not say."""

    hedge_share: Annotated[float, Meta(ge=0.0, le=0.5)] = 0.05
    """The most requests, as a share of all, sent a second time because a holder is slow."""

    def __post_init__(self) -> None:
        if not 0.0 < self.deadline_s <= DEADLINE_S_MAX:
            raise ConfigError(f"expected more than 0s and at most {DEADLINE_S_MAX:g}s")
        if self.device != DEFAULT_DEVICE:
            self._check_device()

    def _check_device(self) -> None:
        # Only who changes it pays for loading what knows all devices.
        from compute.device import DeviceError
        from compute.presets import device

        try:
            device(self.device)
        except DeviceError as error:
            raise ConfigError(str(error)) from error

    @property
    def deadline_s(self) -> float:
        return duration_s(self.deadline)


class MemoryConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the memory that is shared is split."""

    activations: Size | None = None
    """What is kept free of weights for requests in flight; nothing: a part of the memory shared."""

    def __post_init__(self) -> None:
        if self.activations is not None:
            size_bytes(self.activations)

    @property
    def activations_bytes(self) -> int | None:
        return None if self.activations is None else size_bytes(self.activations)


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the node tells of itself, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least weighty events that are told."""

    format: Literal["text", "json"] = "text"
    """Lines for people, or one JSON document a line for programs."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All sections."""

    node: NodeConfig = NodeConfig()
    share: ShareConfig = ShareConfig()
    mesh: MeshConfig = MeshConfig()
    api: ApiConfig = ApiConfig()
    gossip: GossipConfig = GossipConfig()
    relay: RelayConfig = RelayConfig()
    nat: NatConfig = NatConfig()
    compute: ComputeConfig = ComputeConfig()
    memory: MemoryConfig = MemoryConfig()
    log: LogConfig = LogConfig()


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one start, with what is no setting but belongs to it."""

    settings: Settings
    origins: dict[str, str]
    """`section.key` to where its value came from: a flag, a variable, a file or the default."""
    data_dir: str
    """Absolute, whether or not `node.data_dir` is set."""
    join: str | None = None
    """The ticket to join by."""


def hand_over(resolved: Resolved) -> dict[str, str]:
    """What to add to the daemon's environment, so that it never reads flags or files."""
    return {RESOLVED_VARIABLE: msgspec.json.encode(resolved).decode()}


def resolved_from_env() -> Resolved:
    """What `up` handed over, taken out of the environment so that no child inherits the ticket."""
    text = os.environ.pop(RESOLVED_VARIABLE, None)
    if text is None:
        raise ConfigError("the daemon takes its settings from `sedma-node up`: start it by that")
    try:
        return msgspec.json.decode(text, type=Resolved)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{RESOLVED_VARIABLE} is damaged: {error}") from error
