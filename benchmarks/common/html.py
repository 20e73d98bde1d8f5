"""A page in one file: tables, text and pictures, for any width, by day and by night."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

STYLE = """
:root { color-scheme: light dark; --text: #1b1b1b; --page: #fff; --line: #ccc; --mark: #fff3cd }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e6e6; --page: #16181c; --line: #444; --mark: #4d3b00 }
}
body { margin: 0 auto; padding: 1rem; max-width: 75rem; background: var(--page);
  color: var(--text); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word }
h1, h2, h3 { line-height: 1.2; margin: 2rem 0 .5rem }
.warning { background: var(--mark); padding: .75rem 1rem; border-radius: .25rem }
.verdict { font-size: 1.2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left;
  vertical-align: top; overflow-wrap: normal }
th { white-space: nowrap }
td:first-child { min-width: 9rem }
figure { margin: 1rem 0 }
img { max-width: 100%; height: auto; background: #fff }
figcaption, .small { font-size: .85rem }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """A whole page; the parts are HTML."""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style></head>",
            f"<body><h1>{escape(title)}</h1>",
            *parts,
            "</body></html>",
        ]
    )


def heading(text: str, level: int = 2) -> str:
    """A heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; marks as in tables. ``kind``: verdict, warning or small."""
    return f'<p class="{kind}">{marked(text)}</p>' if kind else f"<p>{marked(text)}</p>"


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """A table of rows with the same columns, which scrolls by itself where it is wide."""
    if not rows:
        return paragraph("Nothing was measured.")
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{marked(str(cell))}</td>" for cell in row.values()) + "</tr>"
        for row in rows
    )
    return (
        '<div class="wide" tabindex="0"><table><thead><tr>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def picture(file: Path, caption: str) -> str:
    """A PNG inside the page."""
    data = b64encode(file.read_bytes()).decode()
    source = f"data:image/png;base64,{data}"
    text = escape(caption)
    return f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def folded(title: str, parts: Sequence[str]) -> str:
    """Parts that are shown when somebody asks."""
    return f"<details><summary>{escape(title)}</summary>{''.join(parts)}</details>"


def marked(text: str) -> str:
    """Text with the bold and italic of Markdown, where it stands around a whole word or more.

    Example:
        >>> marked("**0.5** < _1_ of betti0_error")
        '<strong>0.5</strong> &lt; <em>1</em> of betti0_error'
    """
    safe = escape(text)
    safe = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", safe)
    return re.sub(r"(?<!\w)_(.+?)_(?!\w)", r"<em>\1</em>", safe)
