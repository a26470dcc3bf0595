"""Airflow's task logs are lines of JSON; here they become what a person reads to find out why.

Imports the standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_DULL = ("::group::", "::endgroup::")


def readable(paths: Iterable[Path]) -> str:
    """The logs one after the other, each line as level and text, errors with their traceback."""
    return "\n".join(line for path in paths for line in _file(path))


def _file(path: Path) -> Iterator[str]:
    yield f"--- {path}"
    for line in path.read_text(errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            yield line
            continue
        if not str(event.get("event", "")).startswith(_DULL):
            yield f"{event.get('level', ''):8} {event.get('event', '')}"
            yield from _errors(event.get("error_detail") or [])


def _errors(details: list[dict[str, Any]]) -> Iterator[str]:
    for error in details:
        for frame in error.get("frames", []):
            yield f"           {frame['filename']}:{frame['lineno']} in {frame['name']}"
        yield f"           {error['exc_type']}: {error['exc_value']}"
