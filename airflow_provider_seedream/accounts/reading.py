"""All records of one or more ledgers, read a few at a time: for sums, exports and the statement of a night.

It only reads. A file that cannot be read is named and never counted as "no payment". Memory holds some
hundred records, however many the ledgers have.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

from airflow_provider_seedream.exceptions import SeedreamInputError, SeedreamLedgerError
from airflow_provider_seedream.ledger.records import LATE, RECORDS, Ledger, Record, record_file
from airflow_provider_seedream.manifest import Manifest, manifest_file
from airflow_provider_seedream.model import threads
from airflow_provider_seedream.storage.uris import place_of

PARALLEL_READS = 8
FILES_AT_ONCE = 64
FOLDERS_DEEP = 4  # s3://bucket/team/product/{{ ds }} and one more
MAX_NAMED = 10

T = TypeVar("T")
Tracked = Callable[[list[str]], Iterable[str]]


class Found(NamedTuple):
    """A file of a ledger, as it was read::

        Found("s3://my_conn@bucket/watches/_seedream/ledger/3f...9a.json", None)  # it cannot be read

    :param uri: of the file.
    :param record: None if the file cannot be read or understood: it may hide a payment.
    :param is_late: True for news that lies beside a record, as that record tells of another POST: a second
        payment.
    """

    uri: str
    record: Record | None
    is_late: bool = False


def each_record(ledger: Ledger, *, tracked: Tracked = iter, skip: Container[str] = ()) -> Iterator[Found]:
    """Read the records of a ledger, 8 files at a time, and the news in ``_seedream/late`` that no record
    tells.

    ::

        sum(
            found.record.cost_credits
            for found in each_record(Ledger("s3://my_conn@bucket/watches"))
            if found.record
        )

    A file that is deleted meanwhile was a claim that bought nothing, so it is left out.

    :param tracked: gets the list of files and gives them back one by one: for a progress bar.
    :param skip: URIs of files that are not to be read.
    :raises SeedreamLedgerError: a folder cannot be listed.
    """
    files = [
        file
        for file in (*record_files(ledger), *_files_in(ledger, LATE))
        if ledger.folder.uri(file) not in skip
    ]
    with threads.pool(PARALLEL_READS, "seedream-ledger") as pool:
        for some in batched(tracked(files), FILES_AT_ONCE):
            yield from filter(None, pool.map(partial(_read, ledger), some))


def record_files(ledger: Ledger) -> list[str]:
    """The file names of a ledger's records, relative to the destination.

    :raises SeedreamLedgerError: when the folder cannot be listed.
    """
    return _files_in(ledger, RECORDS)


def _files_in(ledger: Ledger, folder: str) -> list[str]:
    """The JSON files of a folder, relative to the destination."""
    try:
        names = ledger.folder.list(folder)
    except Exception as error:  # each store has error classes of its own
        raise _cannot_list(ledger.folder.uri(folder), error) from error
    return [f"{folder}/{name}" for name in names if name.endswith(".json")]


def _cannot_list(uri: str, error: Exception) -> SeedreamLedgerError:
    return SeedreamLedgerError(f"Cannot list {uri} ({type(error).__name__}: {error}"[:300] + ").")


def ledgers_of(destinations: Iterable[str], *, recursive: bool) -> list[Ledger]:
    """The ledgers of some folders, each once, also if a folder is named in two ways: ``/data/watches`` and
    ``file:///data/watches``.

    :param recursive: also those in the folders below, to a depth of 4.
    :raises SeedreamInputError: a folder has no ledger. The answer "0 credits" to a mistyped folder would be
        wrong and believed.
    :raises SeedreamLedgerError: a folder cannot be listed.
    """
    ledgers: dict[str, Ledger] = {}
    for destination in destinations:
        for ledger in _ledgers_in(Ledger(destination), recursive=recursive):
            if ledger.folder.base not in ledgers and not any(
                _is_same(ledger, other) for other in ledgers.values()
            ):
                ledgers[ledger.folder.base] = ledger
    return list(ledgers.values())


def _is_same(one: Ledger, other: Ledger) -> bool:
    """True if two URIs name one ledger. Two connections may reach two stores with one bucket name each, so
    a record decides.
    """
    if place_of(one.folder.base) != place_of(other.folder.base):
        return False
    file = min(record_files(one), default=LATE)  # the name of no file: an empty ledger may be counted twice
    with suppress(Exception):
        # each store has error classes of its own, and what cannot be read is reported when it is added up
        there = one.folder.read(file)
        return there is not None and there == other.folder.read(file)
    return False


def _ledgers_in(ledger: Ledger, *, recursive: bool) -> list[Ledger]:
    """The folder's own ledger, or all in and below it."""
    if not recursive and record_files(ledger):
        return [ledger]
    folders = ledgers_below(ledger)
    if recursive and folders:
        return [Ledger(f"{ledger.folder.base}/{folder}".rstrip("/")) for folder in folders]
    if "" in folders:
        return [ledger]
    below = [f"{ledger.folder.base}/{folder}" for folder in folders]
    where = (
        f" Ledgers below it: {', '.join(below[:MAX_NAMED])}{' and more' if below[MAX_NAMED:] else ''}."
        if below
        else ""
    )
    hint = " Add --recursive to add them up." if below else " Is this the destination of the tasks?"
    raise SeedreamInputError(f"There is no ledger in {ledger.folder.base}.{where}{hint}")


def ledgers_below(ledger: Ledger) -> list[str]:
    """The folders with a ledger, relative to this one; its own is "".

    :returns: for example ``["", "2026-11-22", "team/product"]``, down to 4 folders deep.
    :raises SeedreamLedgerError: when they cannot be listed.
    """
    try:
        return list(ledger.folder.folders_holding(RECORDS, depth=FOLDERS_DEEP))
    except Exception as error:  # each store has error classes of its own
        raise _cannot_list(ledger.folder.base, error) from error


def manifest_of(ledger: Ledger, record: Record, *, bare: bool = False) -> Manifest | None:
    """The manifest of a record's images in its folder; None if it lies elsewhere, cannot be read, or is
    another generation's.

    :param bare: the images landed by the bare id, as those of a second payment do: its name belongs to the
        first one.
    """
    with suppress(Exception):  # each store has error classes of its own
        generation = ledger.generation(record)
        data = ledger.folder.read(manifest_file(generation.seedream_task_id if bare else generation.name))
        manifest = Manifest.from_json(data or b"null")
        return manifest if manifest.seedream_task_id == record.seedream_task_id else None
    return None


def images_landed(ledger: Ledger, record: Record) -> int | None:
    """How many images of a record have landed. A partial one says it in its manifest alone; None if that
    cannot be read.
    """
    if record.outcome == "partial":
        manifest = manifest_of(ledger, record)
        return len(manifest.images) if manifest else None
    return int(record.submission["num_images"]) if record.outcome == "landed" else 0


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """As ``itertools.batched``, which came with Python 3.12."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _read(ledger: Ledger, file: str) -> Found | None:
    """One file; None if it was freed since the listing, or is late news that its record tells by now."""
    uri, is_late = ledger.folder.uri(file), file.startswith(f"{LATE}/")
    try:
        record = ledger.read(file)
        if record is None:
            return None
        there = ledger.read(record_file(record.key, record.attempt)) if is_late else None
    except SeedreamLedgerError:
        return Found(uri, None, is_late)
    return None if there and record.is_told_by(there) else Found(uri, record, is_late)
