"""The command `explain`: who could have done a product, what each would have taken, and why it went as it did."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from typer import Argument, BadParameter

from node.cli.options import Api, DataDir, Json, TokenFile
from node.cli.session import session
from protocol.quantities import duration_text
from sedma.transport import quoted

SHAPES = {
    "local": "done by this node alone",
    "whole": "given whole to one other node",
    "split": "split among several nodes",
    "": "nothing was decided",
}
REDONE = {"stronger": "with a stronger plan", "digital": "digitally"}
"""Parts of a product that failed its check."""
TERMS = ("rtt", "transfer", "queue", "service", "cold", "risk", "total")
Names = Mapping[str, str]
ID_LENGTH_MAX = 64
"""Twice what a task's id has: what is longer is something else."""


def _task(word: str) -> str:
    if not 0 < len(word) <= ID_LENGTH_MAX:
        raise BadParameter("write a task's id, 32 digits as `matmul` tells it")
    return word


def explain(
    task: Annotated[
        str,
        Argument(
            metavar="TASK",
            callback=_task,
            help="As `matmul`, a refusal or the header Sedma-Task tells it.",
        ),
    ],
    data_dir: DataDir = None,
    api: Api = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Why a product was done by whom: each candidate with what it would have taken, and what was not as planned."""
    with session(data_dir, api, token_file, as_json) as talk:
        told = talk.transport.document("GET", f"/v1/tasks/{quoted(task)}")
        names: Names = {}
        if not as_json:
            here = talk.transport.document("GET", "/v1/status")
            names = {one["id"]: one["name"] for one in talk.transport.document("GET", "/v1/peers")}
            names |= {here["id"]: f"{here['name']} (here)"}
        talk.show(told, lambda document: _show(document, names))


def _show(told: dict[str, Any], names: Names) -> None:
    from node.cli.tables import pairs, rows

    why = told["explain"]
    pairs(_facts(told, why))
    if why["candidates"]:
        print()
        heads = ("NODE", "ID", "BLOCKS>", *(f"{term.upper()}>" for term in TERMS), "TOLD>", "")
        rows(heads, (_candidate(one, names) for one in why["candidates"]))
    if why["others"]:
        print("\nother ways:")
        for other in why["others"]:
            nodes = ", ".join(_name(node, names) for node in other["nodes"])
            print(f"  {other['shape']} at {nodes}: {duration_text(other['seconds'])}")
    if why["steps"]:
        print("\nnot as planned:")
        for step in why["steps"]:
            to = f" -> {_name(step['to'], names)}" if step["to"] else ""
            at = f"  at {duration_text(step['at_s'])} {step['what']}: "
            print(f"{at}{_name(step['node'], names)}{to}: {step['why']}")


def _facts(told: dict[str, Any], why: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "task", told["id"]
    yield "weights", told["name"]
    took = duration_text(told["account"]["seconds"])
    if told["state"] == "failed":
        yield "state", f"{'shed' if why['shed'] else 'failed'} after {took}: {told['error']}"
    else:
        yield "state", f"{told['state']} {'in' if told['state'] == 'done' else 'for'} {took}"
    how = SHAPES[why["shape"]]
    yield "way", f"{how}: {why['why']}" if why["why"] else how
    if why["shape"]:
        expected, left = duration_text(why["seconds"]), duration_text(why["left_s"])
        rows = f"the first {why['rows']:,} rows" if why["decisions"] > 1 else "it"
        yield "estimate", f"{expected} for {rows}, with {left} left"
    counts = ("decisions", "probes", "hedges", "rescues", "failures", "refusals")
    yield "counts", ", ".join(f"{name} {why[name]}" for name in counts)
    if again := [f"{why[how]} {words}" for how, words in REDONE.items() if why.get(how)]:
        yield "redone", ", ".join(again)


def _candidate(one: dict[str, Any], names: Names) -> tuple[str, ...]:
    """Its terms; one that rests on a guess is marked."""
    terms = (duration_text(one[f"{term}_s"]) for term in TERMS)
    told = f"{duration_text(one['age_s'])} ago" if one["age_s"] else "-"
    notes = [] if one["blocks"] == 0 else ["chosen"]
    if one["assumed_s"]:
        notes.append(f"{duration_text(one['assumed_s'])} assumed, not measured")
    if one.get("relay_s"):
        notes.append(f"counts as {duration_text(one['relay_s'])} more, by way of a relay")
    node = one["node"]
    return names.get(node, "?"), node[:12], str(one["blocks"]), *terms, told, ", ".join(notes)


def _name(node: str, names: Names) -> str:
    """Names need not differ, so the id stands beside it."""
    return f"{names[node]} {node[:8]}" if node in names else node[:8]
