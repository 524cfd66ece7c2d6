"""What the daemon says of itself and of the others: its state, its twin, versions, and who is out of reach."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from node.cli.checkup.finding import Finding, ok, problem, warning
from node.config import host_port
from protocol.errors import ConfigError
from protocol.quantities import duration_text

TOLD_MAX = 16
"""Peers out of reach that are told one by one; of the rest the number."""

HEALTHY_SHARE_MIN = 0.5
"""Of a node's tiles; with fewer, its arrays are worth a word."""

GONE = ("stopped", "left")
Document = Mapping[str, Any]


def judge_daemon(status: Document, pid: int | None) -> Iterator[Finding]:
    where = f"process {pid}, " if pid is not None else ""
    told = f"{status['name']} ({status['id'][:12]}), {where}up {duration_text(status['uptime_s'])}"
    obstacle = status.get("joining", "")
    if status["state"] == "joining":
        yield problem(
            "daemon",
            f"{told}: joining: {obstacle or 'it has only just started'}",
            "it belongs to no mesh yet, and takes no weights and no products",
            "see that the node of the ticket runs and that its address can be reached from here; it is tried for ever",
        )
    else:
        yield ok("daemon", f"{told}: {status['state']}")
    if status.get("duplicated"):
        yield problem(
            "identity",
            status["duplicated"],
            "two processes with one key deny each other: others reach now this one, now that one",
            "stop one of the two, remove node.key, node.id and mesh/ from its copy, and join it by a fresh ticket;"
            " then start the other again, which believes in its twin until then",
        )


def judge_reach(status: Document) -> Iterator[Finding]:
    """What the daemon has found out of how others reach it; what could be better there is a warning."""
    told = status.get("findings", ())
    for one in told:
        make = warning if one["fix"] else ok
        yield make("NAT", one["what"], one["means"], one["fix"])
    if not told and (summary := status.get("nat")):
        yield ok("NAT", summary)


def judge_address(status: Document) -> Iterator[Finding]:
    """Others can only dial what they are told."""
    listens = status["listen"]
    if listens and all(_is_loopback(address) for address in listens):
        yield warning(
            "address",
            f"others are told {', '.join(listens)}",
            "that is this machine alone: no node elsewhere can reach this one",
            "start it without --listen, or with an address of this machine; behind a router, --advertise HOST:PORT",
        )
    elif listens:
        yield ok("address", f"others are told {', '.join(listens)}")


def judge_arrays(status: Document, peers: Sequence[Document]) -> Iterator[Finding]:
    """Whose simulated arrays are so bad that products there take many readings, or digital arithmetic."""
    bad = [one for one in (status, *peers) if _is_bad(one.get("arrays", {}))]
    for one in bad[:TOLD_MAX]:
        arrays = one["arrays"]
        yield warning(
            "arrays",
            f"{100 * arrays['healthy']:.3g}% of the tiles of {_name(one)} are healthy;"
            f" {100 * arrays['stuck']:.3g}% of its cells are stuck",
            "a tolerance takes more readings there, or is met by digital arithmetic",
            "put the weights anew with another --seed, or with a --device that has fewer stuck cells",
        )
    if len(bad) > TOLD_MAX:
        yield warning("arrays", f"{len(bad) - TOLD_MAX} more", "see `sedma-node peers --json`")


def _is_bad(arrays: Document) -> bool:
    return bool(arrays.get("arrays")) and arrays["healthy"] < HEALTHY_SHARE_MIN


def judge_relays(status: Document, peers: Sequence[Document]) -> Iterator[Finding]:
    """Whether this node lacks one: it matters where nobody dials this node, and somebody is out of reach."""
    apart = any(_is_apart(one) for one in peers)
    if apart and not status.get("public") and not status.get("home_relays"):
        yield warning(
            "relay",
            "no public node forwards to this one",
            "where neither side can dial the other the two do not find each other",
            "see that a node which others can dial runs, with relay.serve = true; or forward the port of this one in"
            " the router, and name the outside address with --advertise HOST:PORT",
        )


def judge_versions(ours: str, status: Document, peers: Sequence[Document]) -> Iterator[Finding]:
    """`ours`: of the command that looks."""
    if status["version"] != ours:
        yield warning(
            "version",
            f"the daemon runs {status['version']}, installed is {ours}",
            "it was updated after the daemon's start",
            "start the daemon again",
        )
    theirs = f"sedma {status['version']}"
    others = [one for one in peers if one["software"] and one["state"] not in GONE]
    different = [one for one in others if one["software"] != theirs]
    if different:
        told = ", ".join(f"{_name(one)} runs {one['software']}" for one in different[:TOLD_MAX])
        yield warning(
            "version",
            f"here {theirs}; {told}{_more(len(different))}",
            "neighbouring versions work together; what is new in one of them the other does not do",
            "update the older one",
        )
    elif status["version"] == ours:
        told = f" and on {len(others)} other{'' if len(others) == 1 else 's'}" if others else ""
        yield ok("version", f"{theirs} here{told}")


def judge_peers(peers: Sequence[Document]) -> Iterator[Finding]:
    """Who is linked, and of everybody else the reason; why relays are needed."""
    count = Counter(one["state"] for one in peers)
    told = ", ".join(f"{number} {state}" for state, number in sorted(count.items()))
    apart = [one for one in peers if _is_apart(one)]
    if not peers:
        yield ok("peers", "none: this node is alone", "`sedma-node ticket` lets others join")
    elif apart and not count["connected"]:
        yield problem(
            "peers",
            told,
            "no other node can be reached: products use what lies here alone",
            "see the reasons below; if all of them are the same, it is this machine's network",
        )
    else:
        yield ok("peers", told)
    for one in apart[:TOLD_MAX]:
        yield _apart(one)
    if len(apart) > TOLD_MAX:
        yield warning("peer", f"{len(apart) - TOLD_MAX} more", "see `sedma-node peers`")
    relayed = [found for one in peers if (found := one.get("relayed")) is not None]
    for found in relayed[:TOLD_MAX]:
        make = warning if found["fix"] else ok
        yield make("path", found["what"], found["means"], found["fix"])
    if len(relayed) > TOLD_MAX:
        more = f"{len(relayed) - TOLD_MAX} more are reached by way of relays"
        yield warning("path", more, "see `sedma-node peers --json`")


def _is_apart(one: Document) -> bool:
    """In a large mesh nodes that nobody needs to talk to are known and not linked: nothing is wrong with those."""
    return one["state"] in ("suspect", "lost") or (one["state"] == "known" and bool(one["why"]))


def _apart(one: Document) -> Finding:
    at = ", ".join(one["addresses"]) or "no address of it is known"
    found = f"{_name(one)} is {one['state']}: {one['why'] or 'it answers nobody'} (at {at})"
    age = duration_text(max(one["age_s"], 0.0))
    match one["state"]:
        case "lost":
            means = f"all have given it up, {age} ago; it is taken back as soon as it answers"
            fix = "see whether its machine and its daemon run; if it is gone for good, nothing is to be done"
        case "suspect":
            means = "somebody had no answer from it, and it has not spoken up yet"
            fix = "wait some seconds; if it is lost then, see whether its machine runs"
        case _:
            means = "others hear from it, this node cannot reach it"
            fix = "run `sedma-node doctor` there too; see that a firewall lets its port in, for TCP and UDP"
    return warning("peer", found, means, fix)


def _name(one: Document) -> str:
    return f"{one['name'] or '?'} ({one['id'][:12]})"


def _more(number: int) -> str:
    return f" and {number - TOLD_MAX} more" if number > TOLD_MAX else ""


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(host_port(address)[0]).is_loopback
    except (ConfigError, ValueError):
        # A name, or a way that is no address (`via:`): others may well reach that.
        return False
