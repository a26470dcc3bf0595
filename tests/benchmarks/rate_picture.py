"""Draws how much of its key's limit a batch uses: ``make bench PYTEST_ARGS="-k rate
--rate-picture=docs/assets/rate.svg"``.
"""

from __future__ import annotations

from html import escape

# (requests a minute, seconds of an answer, seconds of a storage call, build) -> rows a minute
Rates = dict[tuple[int, float, float, str], float]

_WIDE, _HIGH, _LEFT, _TOP, _GAP = 210, 190, 64, 44, 36
_LINES = {True: "#3f51b5", False: "#757575"}  # ours, the release
_GRID, _TEXT = "#e0e0e0", "#212121"
_MARKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def draw(rates: Rates, *, ours: str) -> str:
    """One square for each limit: the share of it over the seconds of an answer; dashed where storage is
    far away.
    """
    limits = sorted({key[0] for key in rates})
    width, height = _LEFT + len(limits) * (_WIDE + _GAP), _TOP + _HIGH + 74
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text transform="translate(14 {_TOP + _HIGH / 2}) rotate(-90)" text-anchor="middle">share of the '
        "limit</text>",
        _text(width / 2, height - 32, "seconds until the API answers", anchor="middle"),
        *_legend(rates, ours, height - 12),
    ]
    for number, limit in enumerate(limits):
        inner = "\n".join(_panel({key: rate for key, rate in rates.items() if key[0] == limit}, limit, ours))
        parts.append(f'<g transform="translate({_LEFT + number * (_WIDE + _GAP)} {_TOP})">\n{inner}\n</g>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(rates: Rates, limit: int, ours: str) -> list[str]:
    answers = sorted({key[1] for key in rates})
    parts = [f'<text x="0" y="-16" font-weight="bold" fill="{_TEXT}">{limit:,} requests a minute</text>']
    for share in _MARKS:
        parts.append(
            f'<line x1="0" y1="{_y(share):.0f}" x2="{_WIDE}" y2="{_y(share):.0f}" stroke="{_GRID}"/>'
        )
        parts.append(_text(-6, _y(share) + 4, f"{share:.0%}", anchor="end"))
    parts += [_text(_x(answers, seconds), _HIGH + 18, f"{seconds:g}", anchor="middle") for seconds in answers]
    for _, _, far, name in sorted({(0, 0, key[2], key[3]) for key in rates}):
        points = [
            (_x(answers, seconds), _y(min(1.0, rates[limit, seconds, far, name] / limit)))
            for seconds in answers
        ]
        parts += _line(points, far=far, is_ours=name == ours)
    return parts


def _line(points: list[tuple[float, float]], *, far: float, is_ours: bool) -> list[str]:
    colour, dashes = _LINES[is_ours], ' stroke-dasharray="5 4"' if far else ""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    line = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
    return [line, *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points)]


def _legend(rates: Rates, ours: str, y: float) -> list[str]:
    parts, x = [], float(_LEFT)
    for name, far in sorted({(key[3], key[2]) for key in rates}):
        dashes = ' stroke-dasharray="5 4"' if far else ""
        stroke = f'stroke="{_LINES[name == ours]}" stroke-width="2"{dashes}'
        parts.append(f'<line x1="{x:.0f}" y1="{y - 4:.0f}" x2="{x + 26:.0f}" y2="{y - 4:.0f}" {stroke}/>')
        parts.append(_text(x + 32, y, f"{name}, storage {far * 1000:.0f} ms"))
        x += 180
    return parts


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{_TEXT}">{escape(text)}</text>'


def _x(answers: list[float], seconds: float) -> float:
    """The answers stand at equal distances: 0.3 s matters as much as 3 s."""
    return 10 + answers.index(seconds) * (_WIDE - 20) / max(1, len(answers) - 1)


def _y(share: float) -> float:
    return _HIGH * (1 - share)
