"""What the benchmarks found, as one plain table and as one picture. Knows no benchmark."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from html import escape
from importlib.metadata import version
from pathlib import Path

_BAR, _LABEL, _ROW, _WIDTH = 330, 300, 22, 760
_OURS, _OTHER = "#3f51b5", "#9e9e9e"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One alternative. ``ratio`` is its cost against ours, which is 1: above 1 it is dearer."""

    section: str
    name: str
    values: dict[str, str]
    ratio: float | None = None
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    rows: list[Row] = field(default_factory=list)

    def add(
        self, section: str, name: str, *, ratio: float | None = None, ours: bool = False, **values: str
    ) -> None:
        self.rows.append(Row(section=section, name=name, values=values, ratio=ratio, is_ours=ours))

    def sections(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.section, []).append(row)
        return found

    def table(self) -> str:
        return "\n".join(
            [machine(), *(line for name, rows in self.sections().items() for line in _table(name, rows))]
        )

    def write_picture(self, path: Path) -> None:
        """The ratios as bars, an SVG that needs no library to draw and no script to show."""
        drawn = {
            name: [row for row in rows if row.ratio is not None] for name, rows in self.sections().items()
        }
        parts, y = [], 0
        for name, rows in drawn.items():
            if len(rows) > 1:
                parts += _bars(name, rows, y)
                y += _ROW * (len(rows) + 2)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" font-family="sans-serif" '
            'font-size="13">'
        )
        background = f'<rect width="{_WIDTH}" height="{y}" fill="#ffffff"/>'
        path.write_text("\n".join([head, background, *parts, "</svg>", ""]), encoding="utf-8")


def machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("apache-airflow", "aiohttp", "requests"))
    return f"{_processor()}, Python {platform.python_version()}, {versions}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


def _table(section: str, rows: list[Row]) -> list[str]:
    columns = ["", *rows[0].values, "ratio"]
    lines = [columns, *([row.name, *row.values.values(), _ratio(row)] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    body = [
        "  "
        + "  ".join(
            _padded(text, width, at) for at, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return ["", section, *(line.rstrip() for line in body)]


def _padded(text: str, width: int, column: int) -> str:
    return text.rjust(width) if column else text.ljust(width)


def _ratio(row: Row) -> str:
    return "" if row.ratio is None else f"{row.ratio:.2f}"


def _bars(section: str, rows: list[Row], top: int) -> list[str]:
    longest = max(row.ratio or 0 for row in rows)
    parts = [f'<text x="8" y="{top + 20}" font-weight="bold">{escape(section)}</text>']
    for number, row in enumerate(rows, 1):
        y, width = top + 8 + _ROW * number, max(2, round(_BAR * (row.ratio or 0) / longest))
        colour = _OURS if row.is_ours else _OTHER
        parts.append(f'<text x="16" y="{y + 13}">{escape(row.name)}</text>')
        parts.append(f'<rect x="{_LABEL}" y="{y}" width="{width}" height="16" fill="{colour}"/>')
        parts.append(f'<text x="{_LABEL + width + 8}" y="{y + 13}">{_ratio(row)}</text>')
    return parts
