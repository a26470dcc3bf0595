"""All records of a ledger, read a few at a time, and their sums.

It only reads. A file that cannot be read is reported by its URI and never counted as "no payment".
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from airflow_provider_seedream.accounts.reading import (
    FILES_AT_ONCE,
    PARALLEL_READS,
    batched,
    each_record,
    record_files,
)
from airflow_provider_seedream.cli.printing import tracked
from airflow_provider_seedream.exceptions import Paid, SeedreamLedgerError
from airflow_provider_seedream.ledger.records import RECORDS, Ledger, Record
from airflow_provider_seedream.manifest import Manifest, manifest_file
from airflow_provider_seedream.model import threads

READING = "Reading the ledger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The records of a ledger, and the files that hide some::

        books = read_books(Ledger("s3://my_conn@bucket/watches"))
        credits_by_paid(books.records)  # {"yes": 120, "refunded": 10, "unknown": 10}

    :param records: in the order of their intents.
    :param unreadable: URIs of the files that are no records, or could not be read: each may hide a payment.
    """

    records: tuple[Record, ...]
    unreadable: tuple[str, ...]


def read_books(ledger: Ledger) -> Books:
    """Read all records of a ledger, 8 files at a time.

    :returns: the records in the order of their intents. A file that is deleted meanwhile was a claim that
        bought nothing.
    :raises SeedreamLedgerError: the folder cannot be listed.
    """
    found = [each for each in each_record(ledger, tracked=with_bar) if not each.is_late]
    records = sorted(
        (each.record for each in found if each.record), key=lambda record: (record.intent_at, record.file)
    )
    return Books(records=tuple(records), unreadable=tuple(each.uri for each in found if each.record is None))


def with_bar(files: list[str]) -> Iterable[str]:
    """The files, with a bar on a terminal: a ledger of 100,000 records takes minutes."""
    return tracked(files, total=len(files), label=READING)


def find_record(ledger: Ledger, seedream_task_id: str) -> Record | None:
    """The record of a generation, or None when this ledger surely has none.

    It reads first where the generation's manifest points, then the records until it is found, 64 at a
    time.

    :param seedream_task_id: the API's id.
    :raises SeedreamLedgerError: a record cannot be read: it may be the one. A record that names the id must
        be sound.
    """
    if found := _by_manifest(ledger, seedream_task_id):
        return found
    files, unread = record_files(ledger), []
    with threads.pool(PARALLEL_READS, "seedream-ledger") as pool:
        for some in batched(tracked(files, total=len(files), label=READING), FILES_AT_ONCE):
            for file, data in zip(some, pool.map(lambda file: _bytes(ledger, file), some), strict=True):
                if data is None:
                    unread.append(ledger.folder.uri(file))
                # Only a file that holds the id is parsed: a ledger may have thousands.
                elif seedream_task_id.encode() in data and _is_of(
                    record := ledger.read(file), seedream_task_id
                ):
                    return record
    # "No record" would let the id be used for a second request.
    if unread:
        raise SeedreamLedgerError(
            f"Cannot read {', '.join(unread[:3])}{' and more' if unread[3:] else ''}: one may be the record."
        )
    return None


def paid(record: Record) -> Paid:
    """The payment of a record's request: ``yes``, ``refunded`` or ``unknown``.

    An intent without an outcome counts as unknown: its process may have died between the POST and the record.
    """
    if record.outcome in ("intent", "unknown"):
        return "unknown"
    # A failure without a refund in the API's answer counts as paid.
    return "refunded" if record.outcome == "failed" and record.refunded else "yes"


def credits_by_paid(records: Iterable[Record]) -> dict[str, int]:
    """The credits of records: ``{"yes": 120, "refunded": 10, "unknown": 10}``. The larger of quoted and
    billed price counts.

    A refunded request is counted under ``refunded`` alone.
    """
    totals = {"yes": 0, "refunded": 0, "unknown": 0}
    for record in records:
        totals[paid(record)] += record.cost_credits
    return totals


def summarize(records: Iterable[Record]) -> list[dict[str, Any]]:
    """One row for each DAG, run and outcome, in the order of the first request.

    :returns: dicts of ``dag_id``, ``run_id``, ``outcome``, ``paid``, ``requests`` and ``credits``.
    """
    groups: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in records:
        groups[(record.made_by.dag_id, record.made_by.run_id, record.outcome, paid(record))].append(record)
    names = ("dag_id", "run_id", "outcome", "paid")
    return [
        {
            **dict(zip(names, group, strict=True)),
            "requests": len(members),
            "credits": sum(one.cost_credits for one in members),
        }
        for group, members in groups.items()
    ]


def describe(record: Record, uri: str) -> dict[str, Any]:
    """A record as one row: all of its facts, and of the request the prompt, which is enough to recognise it.

    :param uri: of the record; becomes the last field, ``record``.
    """
    return {
        "outcome": record.outcome,
        "paid": paid(record),
        "credits": record.credits,
        "billed_credits": record.billed_credits,
        "seedream_task_id": record.seedream_task_id,
        "name": record.name,
        **record.made_by.ids(),
        "intent_at": record.intent_at,
        "settles_at": record.settles_at,
        "wallet_balance": record.wallet_balance,
        "prompt": record.submission.get("prompt"),
        "detail": record.detail,
        "record": uri,
    }


def _by_manifest(ledger: Ledger, seedream_task_id: str) -> Record | None:
    """The record that the manifest of a landed generation names; None if it cannot be found that way.

    Images that were landed under their id have such a manifest, and one read replaces the search through all
    records.
    """
    try:
        manifest = Manifest.from_json(ledger.folder.read(manifest_file(seedream_task_id)) or b"null")
        record = (
            ledger.read(manifest.record)
            if manifest.record and manifest.record.startswith(f"{RECORDS}/")
            else None
        )
    except Exception:  # then all records are searched
        return None
    return record if _is_of(record, seedream_task_id) else None


def _is_of(record: Record | None, seedream_task_id: str) -> bool:
    """True if the record names this generation."""
    return record is not None and record.seedream_task_id == seedream_task_id


def _bytes(ledger: Ledger, file: str) -> bytes | None:
    """A record's bytes, empty where it was freed since the listing; None when the store does not say."""
    try:
        return ledger.folder.read(file) or b""
    except Exception:  # each store has error classes of its own
        return None
