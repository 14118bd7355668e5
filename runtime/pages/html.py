"""What our pages are made of: one style, tables, legends, pictures that lie within the page.

Receives parts that are HTML already; hands on a page that needs nothing else and links to nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:66rem;padding:0 1rem;color:#1c2030}
h1{margin:0;font-size:1.7rem}h2{margin:2.2rem 0 .5rem;font-size:1.15rem}h3{margin:1.2rem 0 0;font-size:1rem}
p.alarm{color:#c02626;font-weight:600;margin:.5rem 0}p.facts{color:#667;margin:.2rem 0 1.2rem;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th{text-align:left;color:#667;font-weight:500;border-bottom:1px solid #ccd}td,th{padding:.22rem .8rem .22rem 0}
td.n,th.n{text-align:right}tr+tr td{border-top:1px solid #e8e8ee}
.holds{color:#17803d}.short{color:#c02626;font-weight:600}.none{color:#99a}
.weak{color:#8a6100}.holds,.short,.weak,.none{white-space:nowrap}
small{display:block;color:#667;font-size:.82rem;line-height:1.3}
ul.legend{color:#556;font-size:.88rem;padding-left:1.1rem;margin:.6rem 0}ul.legend b{color:#1c2030}
video{background:#1c2030;width:100%;aspect-ratio:2}img,video,svg{max-width:100%;border-radius:6px}
figure{margin:0 0 1rem}figcaption{color:#667}
div.wide{overflow-x:auto}div.wide td,div.wide th{white-space:nowrap}
"""


def document(title: str, parts: Iterable[str]) -> str:
    """A page of these parts, which are HTML already, in our style."""
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>"
        f'<meta name=viewport content="width=device-width"><style>{STYLE}</style><body>{"".join(parts)}</body></html>\n'
    )


def legend(terms: Iterable[tuple[str, str]]) -> str:
    """Words that a table uses, and what they mean, as HTML."""
    return f'<ul class="legend">{"".join(f"<li><b>{term}</b>: {words}</li>" for term, words in terms)}</ul>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already; all but the first and the last column are numbers."""
    last = len(head) - 1

    def cells(words: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}{' class=n' if 0 < n < last else ''}>{word}</{tag}>" for n, word in enumerate(words))

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><tr>{cells(head, 'th')}</tr>{body}</table>"


def number(value: float | None) -> str:
    """For people: three figures."""
    return "-" if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def data(png: bytes) -> str:
    """A picture as a link that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def wide(text: str) -> str:
    """A table of many columns, which a narrow screen moves sideways instead of the whole page."""
    return f'<div class="wide">{text}</div>'
