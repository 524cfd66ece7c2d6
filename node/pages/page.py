"""One HTML page that needs nothing else: no second file, no script, no network. Light or dark, as the reader likes."""

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --soft: #5a5a5a; --page: #fff; --rule: #ddd; --shade: #f1efe9;
  --held: #00684d; --broken: #a3230a;
  --c0: #1a1a1a; --c1: #0072b2; --c2: #d55e00; --c3: #009e73; --c4: #aa4499 }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e6e3; --soft: #a8a5a0; --page: #16181c; --rule: #3a3d42;
  --shade: #23262c; --held: #3ec79b; --broken: #ff8f73;
  --c0: #e8e6e3; --c1: #56b4e9; --c2: #f0913f; --c3: #2cc295; --c4: #d98bc8 } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 860px; margin: 2rem auto; padding: 0 1rem;
  color: var(--ink); background: var(--page) }
h1 { font-size: 1.7rem; line-height: 1.2 } h2 { margin-top: 2.2rem; font-size: 1.2rem }
table { border-collapse: collapse; width: 100% } td, th { padding: .3rem .6rem; text-align: left }
th { border-bottom: 2px solid var(--soft) } td { border-bottom: 1px solid var(--rule) }
.number { text-align: right; font-variant-numeric: tabular-nums }
.note { color: var(--soft); font-size: .95rem }
.held { color: var(--held) } .broken { color: var(--broken); font-weight: 600 }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif } svg text { fill: var(--ink) }
.grid { stroke: var(--rule) } .mark { stroke: var(--broken); stroke-dasharray: 2 3 } .shade { fill: var(--shade) }
"""
"""The colours of curves are told apart by colour-blind eyes too (after Okabe and Ito 2008)."""

COLOURS = tuple(f"var(--c{number})" for number in range(5))


def page(title: str, parts: Iterable[str], style: str = "") -> str:
    """The whole page; `style` comes on top of the common one."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style>"
        f"</head><body>{''.join(parts)}</body></html>\n"
    )


def section(title: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2>{body}"


def note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def table(names: Sequence[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def row(name: str, figures: Iterable[str]) -> str:
    return f"<tr><td>{escape(name)}</td>{numbers(figures)}</tr>"


def numbers(figures: Iterable[str]) -> str:
    return "".join(f'<td class="number">{escape(figure)}</td>' for figure in figures)
