"""A stand-in for the Seedream API on 127.0.0.1: for demos, for tests of your DAGs, for tests of this
provider.

Its books say what the server has received and charged, so a test does not have to believe the client::

    with Emulator(Settings.fast()) as emulator:
        emulator.inject("reset-after-accept", times=1)

Imports neither Airflow nor the provider's client code. ``docs/testing-your-dags.md`` is its manual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_seedream.emulator.books import Books, RequestRecord, SubmissionRecord, Violation
from airflow_provider_seedream.emulator.clock import Clock
from airflow_provider_seedream.emulator.faults import Fault, Faults
from airflow_provider_seedream.emulator.settings import Settings

if TYPE_CHECKING:
    from airflow_provider_seedream.emulator.server import Emulator

__all__ = [
    "Books",
    "Clock",
    "Emulator",
    "Fault",
    "Faults",
    "RequestRecord",
    "Settings",
    "SubmissionRecord",
    "Violation",
]


def __getattr__(name: str) -> Any:
    """The server, when it is asked for: it takes longer to import than the rest, and the books alone need
    none.
    """
    if name != "Emulator":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from airflow_provider_seedream.emulator.server import Emulator

    return Emulator
