"""Draws what the simulation of schedules found: ``python -m tests.benchmarks.polls_picture
docs/assets/when-to-poll.svg``.
"""

from __future__ import annotations

import sys
from html import escape
from math import log
from pathlib import Path

from tests.benchmarks.schedules import Found, Waited, measure_schedules

SHOWN = {
    "1 image": "1 image, 20 to 40 s, links 3 to 12 s later",
    "1, 2, 4 and 6 images": "1, 2, 4 and 6 images mixed",
    "from 62 to 22 s": "from 62 to 22 s during the night",
}
CALLS, DELAYS = (1.0, 3.0, 10.0, 30.0, 60.0), (1.0, 3.0, 10.0, 30.0)  # where the axes are marked
_SIDE, _LEFT, _TOP, _GAP = 210, 70, 40, 36
_OURS, _OTHER, _LINE, _TEXT = "#3f51b5", "#757575", "#e0e0e0", "#212121"


def draw(panels: dict[str, Found]) -> str:
    """One square per night, both axes logarithmic: to the left are fewer calls, below is less delay."""
    width, height = _LEFT + len(panels) * (_SIDE + _GAP), _TOP + _SIDE + 56
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text transform="translate(16 {_TOP + _SIDE / 2}) rotate(-90)" text-anchor="middle">delay, '
        "seconds</text>",
        _text(width / 2, height - 6, "status calls per generation", anchor="middle"),
    ]
    for number, (title, found) in enumerate(panels.items()):
        inner = "\n".join([*_axes(title), *_fixed(found), *_ours(found)])
        parts.append(f'<g transform="translate({_LEFT + number * (_SIDE + _GAP)} {_TOP})">\n{inner}\n</g>')
    return "\n".join([*parts, "</svg>", ""])


def _axes(title: str) -> list[str]:
    parts = [f'<text x="0" y="-14" font-weight="bold" fill="{_TEXT}">{escape(title)}</text>']
    for calls in CALLS:
        x = _x(calls)
        parts.append(f'<line x1="{x}" y1="0" x2="{x}" y2="{_SIDE}" stroke="{_LINE}"/>')
        parts.append(_text(x, _SIDE + 18, f"{calls:.0f}", anchor="middle"))
    for delay in DELAYS:
        y = _y(delay)
        parts.append(f'<line x1="0" y1="{y}" x2="{_SIDE}" y2="{y}" stroke="{_LINE}"/>')
        parts.append(_text(-8, y + 4, f"{delay:.0f}", anchor="end"))
    return parts


def _fixed(found: Found) -> list[str]:
    parts = []
    for interval, waited in found.fixed.items():
        parts.append(_dot(waited, _OTHER, 4))
        parts.append(
            _text(_x(waited.calls) + 7, _y(waited.delay_seconds) - 5, f"{interval:.0f} s", colour=_OTHER)
        )
    return parts


def _ours(found: Found) -> list[str]:
    line = " ".join(f"{_x(waited.calls)},{_y(waited.delay_seconds)}" for waited in found.reachable)
    return [
        f'<polyline points="{line}" fill="none" stroke="{_OURS}" stroke-width="1.5"/>',
        _dot(found.ours, _OURS, 6),
        _text(
            _x(found.ours.calls) - 10, _y(found.ours.delay_seconds) + 18, "ours", colour=_OURS, anchor="end"
        ),
    ]


def _dot(waited: Waited, colour: str, radius: int) -> str:
    return f'<circle cx="{_x(waited.calls)}" cy="{_y(waited.delay_seconds)}" r="{radius}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, *, colour: str = _TEXT, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'


def _x(calls: float) -> float:
    return round(_SIDE * log(calls / 0.9) / log(80 / 0.9), 1)


def _y(delay: float) -> float:
    return round(_SIDE * (1 - log(delay / 0.4) / log(50 / 0.4)), 1)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(
        draw({title: measure_schedules(name) for title, name in SHOWN.items()}), encoding="utf-8"
    )
