"""Gives each cell of a table the heading of its column, so that assets/extra.css can stack wide tables on a
narrow screen.

A hook of mkdocs.yml only. Changes no source. A cell of ``| `seed` | None |`` below ``| parameter | default
|`` becomes ``<td data-label="default">None</td>``.
"""

import re
from typing import Any

_TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)
_HEADING = re.compile(r"<th[^>]*>(.*?)</th>", re.DOTALL)
_ROW = re.compile(r"<tr>.*?</tr>", re.DOTALL)
_CELL = re.compile(r"<td(?=[ >])")
_TAG = re.compile(r"<[^>]+>")


def on_page_content(html: str, **_: Any) -> str:
    """mkdocs calls this with the HTML of each page's text."""
    return _TABLE.sub(lambda table: labelled(table[0]), html)


def labelled(table: str) -> str:
    """The table with ``data-label`` in each cell; the first column is the name of its row and gets none."""
    headings = [
        "",
        *(
            _TAG.sub("", heading).strip().rstrip("?").replace('"', "&quot;")
            for heading in _HEADING.findall(table)[1:]
        ),
    ]

    def label(row: re.Match[str]) -> str:
        labels = iter(headings)
        return _CELL.sub(lambda _: f'<td data-label="{next(labels, "")}"', row[0])

    return _ROW.sub(label, table)
