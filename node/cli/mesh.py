"""Commands about nodes: ticket, status, peers, leave."""

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from node.cli.devices import shown_device
from node.cli.options import Api, DataDir, Json, TokenFile
from node.cli.session import UsageError, session
from protocol.errors import ConfigError
from protocol.quantities import duration_s, duration_text, size_text
from protocol.ticket import TTL_S_MAX, USES_MAX
from sedma.errors import NotRunning, SedmaError, Unreachable

if TYPE_CHECKING:
    from sedma.transport import Transport

END_S = 3.0
"""How long `leave` waits for the daemon's end."""
LOOK_S = 0.05


def ticket(
    ttl: Annotated[str, Option("--ttl", metavar="24h", help="How long it is good for.")] = "24h",
    uses: Annotated[
        int,
        Option("--uses", min=1, max=USES_MAX, metavar="N", help="How many nodes may join by it."),
    ] = 16,
    may_invite: Annotated[
        bool, Option("--may-invite", help="Who joins by it may mint tickets too.")
    ] = False,
    data_dir: DataDir = None,
    api: Api = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Mint a ticket that others join by.

    On the other machine: `sedma-node up --join TICKET`.
    """
    with session(data_dir, api, token_file, as_json) as talk:
        asked = {"ttl_s": _ttl_s(ttl), "uses": uses, "may_invite": may_invite}
        minted = talk.transport.document("POST", "/v1/tickets", send=asked)
        talk.show(minted, _show_ticket)


def status(
    data_dir: DataDir = None,
    api: Api = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """How this node is, and what it shares."""
    with session(data_dir, api, token_file, as_json) as talk:
        talk.show(talk.transport.document("GET", "/v1/status"), _show_status)


def peers(
    data_dir: DataDir = None,
    api: Api = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """The other nodes of the mesh, as this one knows them."""
    from node.cli.peer_table import show_peers

    with session(data_dir, api, token_file, as_json) as talk:
        talk.show(talk.transport.document("GET", "/v1/peers"), show_peers)


def leave(
    force: Annotated[
        bool,
        Option("--force", help="Even if weights, or the right to invite, are lost with this node."),
    ] = False,
    data_dir: DataDir = None,
    api: Api = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Take the running node out of its mesh for good, and end its daemon.

    The others are told, and do not wait for it to come back. To stop for a while only, end the daemon with Ctrl-C or
    SIGTERM: the next `sedma-node up` is in the mesh again. Who has left joins again with `up --join TICKET`.
    """
    with session(data_dir, api, token_file, as_json) as talk:
        left = talk.transport.document("POST", "/v1/leave", send={"force": force})
        _await_end(talk.transport)
        talk.show(left, _show_left)


def _await_end(transport: "Transport") -> None:
    """So that what comes next on a command line finds the data directory free."""
    for _ in range(int(END_S / LOOK_S)):
        try:
            transport.document("GET", "/livez")
        except SedmaError as error:
            if isinstance(error, NotRunning | Unreachable):
                return
        time.sleep(LOOK_S)


def _ttl_s(text: str) -> float:
    try:
        ttl_s = duration_s(text)
    except ConfigError as error:
        raise UsageError(f"--ttl: {error}") from error
    if not 0.0 < ttl_s <= TTL_S_MAX:
        raise UsageError(f"--ttl {text}: write more than 0s and at most {TTL_S_MAX / 86_400:g}d")
    return ttl_s


def _show_ticket(minted: dict[str, Any]) -> None:
    """One line on standard output, all else beside it."""
    print(minted["ticket"])
    if minted.get("warning"):
        print(f"warning: {minted['warning']}", file=sys.stderr)
    if sys.stderr.isatty():
        until = datetime.fromtimestamp(minted["expires_at"], UTC).astimezone()
        print(f"good for {minted['uses']} uses until {until:%Y-%m-%d %H:%M}", file=sys.stderr)


def _show_left(left: dict[str, Any]) -> None:
    print(f"left mesh {left['mesh'][:8]}; `sedma-node up --join TICKET` joins again")
    if left["lost"]:
        print(f"lost to the mesh: {', '.join(left['lost'])}")


def _show_status(told: dict[str, Any]) -> None:
    from node.cli.tables import pairs

    memory = f"{size_text(told['rss_bytes'])} of {size_text(told['budget_bytes'])} in use"
    disk = f"{size_text(told['disk_used_bytes'])} of {size_text(told['disk_budget_bytes'])} in use"
    tasks = f"{told['tasks_in_flight']} under way, {told['tasks_done']} done"
    lines = [
        ("node", f"{told['name']} ({told['id']})"),
        *([("identity", told["duplicated"])] if told.get("duplicated") else []),
        ("mesh", told["mesh"]),
        ("state", _state(told)),
        ("memory", f"{memory}, {size_text(told['free_bytes'])} free"),
        ("disk", disk),
        ("peers", f"{told['peers']} connected"),
        ("weights", str(told["weights"])),
        *_arrays(told.get("arrays", {})),
        ("tasks", f"{tasks}, {told['tasks_failed']} failed"),
        *_device(told),
        ("listens", ", ".join(told["listen"])),
        *_reached(told),
        ("packets", _packets(told.get("packets", {}))),
        ("api", told["api"]),
        ("data", told["data_dir"]),
        (
            "tickets",
            "can be minted here" if told["can_invite"] else "are not for this node to mint",
        ),
        ("up", f"{duration_text(told['uptime_s'])}, version {told['version']}"),
    ]
    pairs(lines)


def _device(told: dict[str, Any]) -> list[tuple[str, str]]:
    """What weights are put on whose put does not say."""
    if not told.get("backend"):
        return []
    on = f" on {shown_device(told['device'])}" if told["backend"] == "rram" else ""
    return [("puts", f"{told['backend']}{on}, where they do not say")]


def _arrays(told: dict[str, Any]) -> list[tuple[str, str]]:
    """How the simulated arrays are, where there are any, and what multiplying costs in each regime."""
    lines = []
    if told.get("arrays"):
        low, middle, high = (f"{100 * sigma:.2g}" for sigma in told["sigma"])
        found = f"{told['arrays']}, {100 * told['healthy']:.3g}% of their tiles healthy"
        off = f"cells off by {low}, {middle}, {high}% of the window (10, 50, 90% of the tiles)"
        lines.append(("arrays", f"{found}; {off}"))
    if costs := told.get("seconds_per_mac"):
        # To two digits: `.2g` alone writes 3200 as 3.2e+03.
        ns = ((regime, float(f"{1e9 * cost:.2g}")) for regime, cost in costs.items())
        lines.append(("per MAC", ", ".join(f"{regime} {cost:g} ns" for regime, cost in ns)))
    return lines


def _reached(told: dict[str, Any]) -> list[tuple[str, str]]:
    """How others come here, and who comes by way of this node."""
    lines = [("nat", told["nat"])] if told.get("nat") else []
    if told.get("home_relays"):
        lines.append(("reached", f"by way of {', '.join(told['home_relays'])}"))
    if (guests := told.get("forwards_for")) is not None:
        lines.append(("relay", f"forwards for {guests} node{'' if guests == 1 else 's'}"))
    return lines


def _packets(counted: dict[str, int]) -> str:
    if not counted:
        return "none: UDP is not to be had, and links carry all"
    lost = sum(number for kind, number in counted.items() if "." in kind)
    return f"{counted.get('sent', 0)} sent, {counted.get('received', 0)} received, {lost} refused"


def _state(told: dict[str, Any]) -> str:
    """A node that is ready may still seek others; one that is not says what it waits for."""
    obstacle = told.get("joining")
    if not obstacle:
        return str(told["state"])
    return (
        f"ready; out of reach: {obstacle}"
        if told["state"] == "ready"
        else f"{told['state']}: {obstacle}"
    )
