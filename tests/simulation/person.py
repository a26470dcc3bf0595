"""A person of the night: settles records with an unknown outcome, by the real command's code.

They find out the truth at the vendor, or let the wallet prove it. Their process may be stopped or killed like
any other.
"""

from __future__ import annotations

import argparse
from typing import Literal

from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_seedream.accounts.reading import each_record
from airflow_provider_seedream.cli.resolving import Say, settle_one
from airflow_provider_seedream.cli.resolving_by_wallet import settle_all_by_wallet
from airflow_provider_seedream.exceptions import SeedreamError
from airflow_provider_seedream.ledger.record import Record
from airflow_provider_seedream.ledger.records import Ledger
from tests.simulation.api import SimHook
from tests.simulation.checks import Checks
from tests.simulation.night import KilledError, Machine, Night

How = Literal["truth", "wallet"]


class Person:
    """Settles what is unknown in the destination of a night."""

    def __init__(self, night: Night, checks: Checks, destination: str) -> None:
        self._night = night
        self._checks = checks
        self._destination = destination

    def begin(self, how: How, machine: Machine) -> None:
        settle = self._by_truth if how == "truth" else self._by_wallet

        def body() -> None:
            try:
                self._night.interlude("the command")
                settle()
            except SeedreamError as error:
                self._night.tell(f"FAILS: {type(error).__name__}: {error.message[:150]}")
            except AirflowTaskTimeout:
                raise KilledError from None

        self._night.start("person", body, machine)

    def _by_truth(self) -> None:
        ledger = Ledger(self._destination)
        for found in list(each_record(ledger)):
            if found.record and not found.is_late and found.record.outcome in ("intent", "unknown"):
                self._settle(ledger, found.record)

    def _settle(self, ledger: Ledger, record: Record) -> None:
        """As the vendor's pages show it, after some thought."""
        paid = next((charge.id for charge in self._checks.charges if charge.claim == record.claim), None)
        confirm = lambda plan: self._night.interlude("the answer of the person")  # noqa: E731
        self._night.tell(f"RESOLVES {record.file} as {'paid' if paid else 'not paid'}")
        try:
            settle_one(ledger, record, Say(seedream_task_id=paid, hook=SimHook("sim"), confirm=confirm))
        except SeedreamError as error:
            self._night.tell(f"  (refused: {error.message[:150]})")

    def _by_wallet(self) -> None:
        options = argparse.Namespace(all=self._destination, also=[], yes=True, conn_id="sim")
        done, _ = settle_all_by_wallet(SimHook("sim"), self._destination, None, options)
        for one in done:
            self._night.tell(
                f"RESOLVES {one['record'].removeprefix(self._destination)} by the wallet: {one['verdict']}"
            )
