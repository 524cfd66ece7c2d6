"""Metrics as the text that Prometheus reads (exposition format 0.0.4).

Written here, not by `prometheus_client`: that library keeps counters of its own beside those which the node has anyway,
and importing it takes 45 to 65 ms and 5.5 MiB, a tenth of a start and of what an idle node may take. The tests read our
text with its parser.
"""

from collections.abc import Iterable, Iterator

from node.service import Family

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(families: Iterable[Family]) -> str:
    """All of them, each with what it means and what kind it is."""
    return "".join(f"{line}\n" for family in families for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {_escaped(family.about)}"
    yield f"# TYPE {family.name} {family.kind}"
    for sample in family.samples:
        labels = ",".join(f'{name}="{_quoted(value)}"' for name, value in sample.labels.items())
        name = f"{family.name}{sample.suffix}"
        yield f"{name}{{{labels}}} {sample.value!r}" if labels else f"{name} {sample.value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')
