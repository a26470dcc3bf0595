"""The command that writes the ledgers of folders as one Parquet file, for a warehouse or a data frame.

It reads the folders and writes that one file; it does not call the API, so it needs no key. Memory holds a
thousand rows.
"""

import argparse
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from airflow_provider_seedream.accounts.amounts import Sum, amounts_of, labels_of
from airflow_provider_seedream.accounts.reading import Found, images_landed, ledgers_of
from airflow_provider_seedream.batch.parquet import ColumnType, require_pyarrow, write_parquet
from airflow_provider_seedream.cli.pricing import absolute
from airflow_provider_seedream.cli.printing import print_facts, print_json, print_lines
from airflow_provider_seedream.cli.records import paid
from airflow_provider_seedream.cli.running import FAILED
from airflow_provider_seedream.cli.spending import found_in, period_of
from airflow_provider_seedream.exceptions import SeedreamInputError, SeedreamLedgerError
from airflow_provider_seedream.ledger.records import Ledger, Record
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.storage.folder import Folder

SUFFIX = ".parquet"
LOCAL = "export.parquet"  # whatever its final name: a local file system may not take that
COLUMNS: dict[str, ColumnType] = {
    "destination": "text",
    "record": "text",
    "is_late": "boolean",
    "key": "text",
    "attempt": "integer",
    "outcome": "text",
    "paid": "text",
    "charged_credits": "integer",
    "refunded_credits": "integer",
    "at_risk_credits": "integer",
    "quoted_credits": "integer",
    "billed_credits": "integer",
    "images_requested": "integer",
    "images_landed": "integer",
    "seedream_task_id": "text",
    "kind": "text",
    "prompt": "text",
    "image_size": "text",
    "name": "text",
    "take": "integer",
    "dag_id": "text",
    "run_id": "text",
    "task_id": "text",
    "map_index": "integer",
    "try_number": "integer",
    "installation": "text",
    "labels": "labels",
    "intent_at": "instant",
    "created_at": "instant",
    "updated_at": "instant",
    "wallet_balance": "text",
    "detail": "text",
}


def export(options: argparse.Namespace) -> int:
    """`airflow seedream export`: one row for each record, with typed columns. The file gets its name when it
    is whole.

    JSON: ``file``, ``rows``, the sums of the credits, and ``unreadable``.

    :param options: ``destinations``, ``file``, ``since``, ``until``, ``recursive`` and ``output``.
    :returns: 1 if a record cannot be read, as it may hide a payment, else 0. The file holds all others.
    :raises SeedreamInputError: a folder has no ledger, an option is wrong, or pyarrow is not installed.
    :raises SeedreamLedgerError: a ledger cannot be listed, or the file cannot be written.
    """
    folder, name = _target(options.file)
    period = period_of(options)
    require_pyarrow()
    ledgers = ledgers_of(options.destinations, recursive=options.recursive)
    total, unreadable = Sum(), list[str]()
    with tempfile.TemporaryDirectory(prefix="seedream-") as local:
        rows = _rows(found_in(ledgers, period), total, unreadable)
        write_parquet(f"{local}/{LOCAL}", rows, COLUMNS)
        _publish(folder, name, f"{local}/{LOCAL}")
    facts = {"file": folder.uri(name), "rows": total.requests}
    facts |= {f"{what}_credits": getattr(total, what) for what in ("charged", "refunded", "at_risk")}
    if options.output == "json":
        print_json({**facts, "unreadable": unreadable})
    else:
        print_facts(facts)
        print_lines("Not readable, each may hide a payment and is not in the file:", unreadable)
    return FAILED if unreadable else 0


def _target(file: str) -> tuple[Folder, str]:
    """The folder and the name of the file to write.

    :raises SeedreamInputError: the name does not end in ``.parquet``, or the folder is no storage URI.
    """
    base, _, name = absolute(file).rpartition("/")
    if not name.endswith(SUFFIX) or name == SUFFIX:
        raise SeedreamInputError(f"FILE must end in {SUFFIX}; got {file[:200]!r}.")
    return Folder(base), name


def _publish(folder: Folder, name: str, local: str) -> None:
    """Give the whole file its name.

    :raises SeedreamLedgerError: the storage refuses it.
    """
    try:
        folder.publish(name, local)
    except Exception as error:  # each store has error classes of its own
        raise SeedreamLedgerError(
            f"Cannot write {folder.uri(name)} ({type(error).__name__}: {error}"[:400] + ")."
        ) from error


def _rows(
    founds: Iterator[tuple[Ledger, Found]], total: Sum, unreadable: list[str]
) -> Iterator[dict[str, Any]]:
    """The rows of the file. :param total: adds them up. :param unreadable: gets the URIs of the others."""
    for ledger, found in founds:
        if found.record is None:
            unreadable.append(found.uri)
            continue
        images = images_landed(ledger, found.record)
        total.add(amounts_of(found.record), images or 0)
        yield _row(found.record, found, ledger.folder.base, images)


def _row(record: Record, found: Found, destination: str, images: int | None) -> dict[str, Any]:
    """One record under the names of the columns. Request and maker are columns of their own, as people ask
    by them.
    """
    amounts, request = amounts_of(record), record.submission
    instants = {name: _instant(getattr(record, name)) for name in ("intent_at", "created_at", "updated_at")}
    own = (
        "key",
        "attempt",
        "outcome",
        "billed_credits",
        "seedream_task_id",
        "name",
        "wallet_balance",
        "detail",
    )
    return {
        **{name: getattr(record, name) for name in own},
        **{name: request.get(name) for name in ("kind", "prompt", "image_size", "take")},
        **record.made_by.ids(),
        **instants,
        "destination": destination,
        "record": found.uri,
        "is_late": found.is_late,
        "paid": paid(record),
        "charged_credits": amounts.charged,
        "refunded_credits": amounts.refunded,
        "at_risk_credits": amounts.at_risk,
        "quoted_credits": record.credits,
        "images_requested": request.get("num_images"),
        "images_landed": images,
        "installation": record.made_by.installation,
        "labels": labels_of(record),
    }


def _instant(text: str | None) -> datetime | None:
    """An instant of a record as a time in UTC; None for one that is not known."""
    epoch = clock.to_epoch(text)
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC)
