"""Pieces of the page. Whatever users wrote is escaped, also where plotly.js would take it for markup."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
HERE = Path(__file__).parent
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""Nothing is fetched from anywhere, whatever stands in the page."""
SCALE = [[0, "#8a97aa"], [1, "#ea5a0c"]]
"""From bad to good, or from early to late: both ends can be told from a light and from a dark page."""
LONG = 30
"""Texts of so many letters may be broken into lines, but not into many short ones."""
Figure = dict[str, Any]
"""What plotly.js draws: `data` and `layout`. A colour `@name` is a variable of page.css, so it fits light and dark."""


def text(value: object) -> str:
    """Escape a text."""
    return escape(str(value))


def paragraph(said: str, kind: str = "") -> str:
    """Set a sentence that is escaped already."""
    return f'<p class="{kind}">{said}</p>' if kind else f"<p>{said}</p>"


def code(said: object) -> str:
    """Set text as it would be typed."""
    return f"<code>{text(said)}</code>"


def block(said: str) -> str:
    """Set lines as they would be typed."""
    return f"<pre>{text(said)}</pre>"


def folded(title: str, inside: str, is_open: bool = False) -> str:
    """Fold something away under an escaped title."""
    return f"<details{' open' if is_open else ''}><summary>{title}</summary>{inside}</details>"


def table(
    titles: Sequence[str], rows: Iterable[Sequence[object]], sortable: bool = False, marks: Sequence[str] = ()
) -> str:
    """Lay out a table of plain values; `marks` are classes of the rows."""
    head = "".join(f'<th scope="col">{text(title)}</th>' for title in titles)
    body = []
    for i, row in enumerate(rows):
        mark = f' class="{text(marks[i])}"' if i < len(marks) and marks[i] else ""
        body.append(f"<tr{mark}>{''.join(_cell(value) for value in row)}</tr>")
    kind = ' class="sortable"' if sortable else ""
    return f'<div class="wide"><table{kind}><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _cell(value: object) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, bool) or not isinstance(value, int | float):
        kind = ' class="long"' if len(str(value)) > LONG else ""
        return f"<td{kind}>{text(value)}</td>"
    return f'<td class="number" data-value="{value!r}">{text(number(value))}</td>'


def number(value: float) -> str:
    """Write a number for people."""
    return str(value) if isinstance(value, int) else f"{value:.5g}"


def tiles(facts: Iterable[tuple[str, str]]) -> str:
    """Show some facts large, each with its name."""
    inside = "".join(f"<div><dt>{text(name)}</dt><dd>{text(fact)}</dd></div>" for name, fact in facts)
    return f'<dl class="tiles">{inside}</dl>'


def plot(figure: Figure, says: str, height: int = 340, width: int = 0) -> str:
    """Place a figure, drawn as soon as it is scrolled to; `says` tells in plain words what it shows.

    It is at least `width` pixels wide, and scrolls by itself where the screen is not.
    """
    style = f"height:{height}px" + (f";min-width:{width}px" if width else "")
    return (
        f'<figure class="plot"><div class="wide"><div class="chart" role="img" aria-label="{text(says)}" '
        f'style="{style}"></div></div><figcaption>{text(says)}</figcaption>'
        f'<script type="application/json">{to_json(figure)}</script></figure>'
    )


def whole(most: float) -> dict[str, Any]:
    """Mark an axis of counts at whole numbers alone."""
    return {"dtick": max(1, math.ceil(most / 12))}


def to_json(value: Any) -> str:
    """Write plain values as JSON that may stand in a page: six digits, nothing that is not finite, no tag."""
    return json.dumps(_plain(value), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def guarded(make: Callable[[], str]) -> str:
    """Make the content of one section; what is wrong with it does not take the others along."""
    try:
        return make()
    except Exception as error:
        log.exception("a section of the report could not be made")
        return paragraph(f"This section could not be made: {text(repr(error))}.", "failed")


def section(title: str, anchor: str, inside: str) -> str:
    """Set a part of the page under a title."""
    return f'<section id="{anchor}"><h2>{text(title)}</h2>{inside}</section>'


def document(title: str, header: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """Put a page together from its header and its sections (title, anchor, content), with all that it needs."""
    from plotly.offline import get_plotlyjs

    links = "".join(f'<a href="#{anchor}">{text(name)}</a>' for name, anchor, _ in sections)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{text(title)}</title><style>{(HERE / 'page.css').read_text()}</style></head>",
            f"<body><header>{header}<nav>{links}</nav></header><main>",
            "<noscript><p>The plots need JavaScript; tables and numbers do not.</p></noscript>",
            *(section(*part) for part in sections),
            "</main>",
            # Plotly's own code holds no closing tag of a script.
            f"<script>{get_plotlyjs()}</script><script>{(HERE / 'page.js').read_text()}</script></body></html>\n",
        ]
    )
