"""A stand-in for the Seedream API on 127.0.0.1: for demos, for tests of your DAGs, for tests of this provider.

Imports neither Airflow nor the provider's client code. ``docs/testing-your-dags.md`` is its manual.
"""

from __future__ import annotations

from airflow_provider_seedream.emulator.books import Books, RequestRecord, SubmissionRecord, Violation
from airflow_provider_seedream.emulator.clock import Clock
from airflow_provider_seedream.emulator.faults import Fault, Faults
from airflow_provider_seedream.emulator.server import Emulator
from airflow_provider_seedream.emulator.settings import Settings

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
