"""Everything that is logged while a block runs, as text and before any masking.

Stricter than the log file of a real task: what Airflow's masker would hide is seen here. Never imports the
provider.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog


class _Handler(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._lines = lines
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))


@contextmanager
def captured() -> Iterator[list[str]]:
    """Lines of the standard library's loggers and of structlog's, in the order they were written."""
    lines: list[str] = []

    def keep(logger: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        text, trace = event.pop("event", ""), event.pop("exception", None)
        details = " ".join(f"{key}={value!r}" for key, value in event.items())
        lines.append(
            "\n".join(part for part in (f"{level.upper()} {text} {details}".rstrip(), trace) if part)
        )
        raise structlog.DropEvent

    handler, root = _Handler(lines), logging.getLogger()
    processors = structlog.get_config()["processors"]  # shared by bound loggers, hence changed in place
    before, level = list(processors), root.level
    processors[:] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,
        keep,
    ]
    root.addHandler(handler)
    root.setLevel(min(level, logging.INFO))
    try:
        yield lines
    finally:
        processors[:] = before
        root.removeHandler(handler)
        root.setLevel(level)
