"""The log lines of the provider, as a part of the story; dropped in nights that are only counted."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import structlog

from tests.simulation.night import Night


@contextmanager
def logs_of(night: Night) -> Iterator[None]:
    """Context manager: log lines go into the story of this night, and nowhere else. What commands say is
    dropped.
    """
    before, level = structlog.get_config(), logging.root.manager.disable
    logging.disable(logging.CRITICAL if night.story is None else logging.DEBUG)
    handler, logger = _Handler(night), logging.getLogger("airflow_provider_seedream")
    logger.addHandler(handler)
    propagates, logger.propagate = logger.propagate, False

    def tell(_: Any, method: str, event: dict[str, Any]) -> Any:
        if night.story is not None and method != "debug":
            night.tell(f"    log: {str(event.get('event'))[:160]}")
        raise structlog.DropEvent

    structlog.configure(processors=[tell])
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        structlog.configure(**before)
        logger.removeHandler(handler)
        logger.propagate = propagates
        logging.disable(level)


class _Handler(logging.Handler):
    def __init__(self, night: Night) -> None:
        super().__init__(logging.INFO)
        self._night = night

    def emit(self, record: logging.LogRecord) -> None:
        self._night.tell(f"    log: {record.getMessage()[:160]}")
