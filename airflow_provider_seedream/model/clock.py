"""Instants as ISO 8601 UTC text and as epoch seconds. The clock is read here and nowhere else."""

import time
from datetime import UTC, datetime


def now_epoch() -> float:
    return time.time()


def to_iso(epoch: float) -> str:
    """Epoch seconds as ``2026-02-25T12:00:00Z``."""
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def to_epoch(iso: str | None) -> float | None:
    """ISO 8601 as epoch seconds, a missing zone read as UTC; None for anything else."""
    try:
        instant = datetime.fromisoformat(iso or "")
    except ValueError:
        return None
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
