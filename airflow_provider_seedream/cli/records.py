"""All records of a ledger, read a few at a time, and what they add up to. Reads only."""

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from airflow_provider_seedream.cli.printing import tracked
from airflow_provider_seedream.exceptions import Paid, SeedreamLedgerError
from airflow_provider_seedream.ledger.records import RECORDS, Ledger, Record

PARALLEL_READS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What lies in a ledger.

    :param unreadable: URIs of the files that are no records, or could not be read: each may hide a payment.
    """

    records: tuple[Record, ...]
    unreadable: tuple[str, ...]


def read_books(ledger: Ledger) -> Books:
    """:raises SeedreamLedgerError: when the folder cannot be listed."""
    files = _files(ledger)
    with ThreadPoolExecutor(max_workers=PARALLEL_READS, thread_name_prefix="seedream-ledger") as pool:
        found = list(tracked(pool.map(lambda file: _read(ledger, file), files), total=len(files), label="Reading the ledger"))
    records = sorted((one for one in found if isinstance(one, Record)), key=lambda record: (record.intent_at, record.file))
    return Books(records=tuple(records), unreadable=tuple(one for one in found if isinstance(one, str)))


def find_record(ledger: Ledger, seedream_task_id: str) -> Record | None:
    """The record of a generation, where this ledger has it."""
    return next((record for record in read_books(ledger).records if record.seedream_task_id == seedream_task_id), None)


def paid(record: Record) -> Paid:
    if record.outcome in ("intent", "unknown"):
        return "unknown"
    return "refunded" if record.outcome == "failed" and record.refunded else "yes"


def credits_by_paid(records: Iterable[Record]) -> dict[str, int]:
    totals = {"yes": 0, "refunded": 0, "unknown": 0}
    for record in records:
        totals[paid(record)] += record.credits
    return totals


def summarize(records: Iterable[Record]) -> list[dict[str, Any]]:
    """One row for each DAG, run and outcome, in the order of the first request."""
    groups: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in records:
        groups[(record.made_by.get("dag_id"), record.made_by.get("run_id"), record.outcome, paid(record))].append(record)
    names = ("dag_id", "run_id", "outcome", "paid")
    return [
        {**dict(zip(names, group, strict=True)), "requests": len(members), "credits": sum(one.credits for one in members)}
        for group, members in groups.items()
    ]


def describe(record: Record, uri: str) -> dict[str, Any]:
    """A record as one row: everything but the request itself, of which the prompt is enough."""
    who = {name: record.made_by.get(name) for name in ("dag_id", "run_id", "task_id", "map_index", "try_number")}
    return {
        "outcome": record.outcome,
        "paid": paid(record),
        "credits": record.credits,
        "seedream_task_id": record.seedream_task_id,
        "name": record.name,
        **who,
        "intent_at": record.intent_at,
        "settles_at": record.settles_at,
        "wallet_balance": record.wallet_balance,
        "prompt": record.submission.get("prompt"),
        "detail": record.detail,
        "record": uri,
    }


def _files(ledger: Ledger) -> list[str]:
    try:
        names = ledger.folder.list(RECORDS)
    except Exception as error:  # whatever a store raises
        what = f"{type(error).__name__}: {error}"[:300]
        raise SeedreamLedgerError(f"Cannot list {ledger.folder.uri(RECORDS)} ({what}).") from error
    return [f"{RECORDS}/{name}" for name in names if name.endswith(".json")]


def _read(ledger: Ledger, file: str) -> Record | str | None:
    try:
        return ledger.read(file)  # None: freed since the listing
    except SeedreamLedgerError:
        return ledger.folder.uri(file)
