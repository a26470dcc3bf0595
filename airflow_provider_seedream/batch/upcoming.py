"""The rows of a table one after the other, judged, each with a digest of the table up to it.

Reads, and sends nothing. The digest tells a later wave that the table is still the one that was begun.
"""

import json
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from airflow_provider_seedream.batch.prompts import PromptTemplate
from airflow_provider_seedream.batch.requests import RawRow, read_table
from airflow_provider_seedream.batch.rows import Row, build_row, columns_of_refused
from airflow_provider_seedream.exceptions import SeedreamBatchError, SeedreamError, SeedreamInputError
from airflow_provider_seedream.ledger.records import file_stem
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.names import composed
from airflow_provider_seedream.model.submissions import sha256_json

NAMED_ERRORS = 10  # of a table with many bad rows
_log = logging.getLogger(__name__)
_NOT_OF_THE_REQUEST = ("number", "where", "extra", "name_as_written")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRow:
    """A row that breaks a rule, with its error::

        RefusedRow(number=2, error=SeedreamInputError("line 3: prompt must not be blank"), columns={"sku": "A7"})

    :param columns: for its line in the results: right values as they would be sent, others as they stand in the table.
    """

    number: int
    where: str
    error: SeedreamInputError
    columns: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTable:
    """A table of requests with its template and the defaults of its rows::

        RequestTable(source="s3://my_conn@bucket/requests.csv", defaults={"num_images": 2}, template=None)

    :param source: as for ``read_table``. :param defaults: parameters of rows without them. :param template: makes the prompts.
    """

    source: Any
    defaults: Mapping[str, Any]
    template: PromptTemplate | None

    def rows(self) -> Iterator[tuple[Row | RefusedRow, str]]:
        """Every row, with the digest of the table up to it."""
        for raw, digest in self._digested():
            yield self._judged(raw), digest

    def rows_after(
        self, number: int, digest: str, *, of: int, waiting: Collection[int] = ()
    ) -> Iterator[tuple[Row | RefusedRow, str]]:
        """The same without those up to a number, which had this digest, in a table of so many rows.

        :param waiting: numbers of rows up to that number which are wanted all the same. They come when the digest has been checked.
        :raises SeedreamBatchError: when they have changed since, rows have come or gone, or the table cannot be read any more.
        """
        changed = SeedreamBatchError("The table was changed while it was worked on.", paid="yes" if number else "no")
        held: list[tuple[RawRow, str]] = []
        try:
            for raw, upto in self._unchanged(number, digest, of=of, changed=changed):
                if raw.number > number:
                    yield self._judged(raw), upto
                elif raw.number in waiting:
                    held.append((raw, upto))
                if raw.number == number:
                    yield from ((self._judged(one), its) for one, its in held)
        except SeedreamBatchError:
            raise
        except SeedreamError as error:
            changed.message = f"The table cannot be read on: {error.message}"
            raise changed from error

    def _unchanged(self, number: int, digest: str, *, of: int, changed: SeedreamBatchError) -> Iterator[tuple[RawRow, str]]:
        """Every row, until the table turns out to differ from the one that was begun: then raise `changed`."""
        last = 0
        for raw, upto in self._digested():
            last = raw.number
            if last > of or (last == number and upto != digest):
                raise changed
            yield raw, upto
        if last < of:
            raise changed

    def _digested(self) -> Iterator[tuple[RawRow, str]]:
        upto = ""
        for raw in read_table(self.source):
            upto = sha256_json([upto, json.dumps(raw.columns, sort_keys=True, default=str)])
            yield raw, upto

    def _judged(self, raw: RawRow) -> Row | RefusedRow:
        try:
            return build_row(*raw, defaults=self.defaults, template=self.template)
        except SeedreamInputError as error:
            return RefusedRow(
                number=raw.number, where=raw.where, error=error, columns=columns_of_refused(dict.fromkeys(raw.header) | raw.columns)
            )


@dataclass(slots=True, kw_only=True)
class TableSummary:
    """The totals of a table, counted without sending a request::

        summarise(table, credits_per_image=10).credits  # 5000: the most that the table can cost

    :param images: that it can make, at most. :param credits: that it can cost, at most. :param credits_per_image: as reckoned.
    :param repeats: numbers of rows that equal an earlier one: they share its generation and its price.
    """

    rows: int = 0
    invalid: int = 0
    images: int = 0
    credits: int = 0
    credits_per_image: int = contract.CREDITS_PER_IMAGE
    repeats: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)} | {"repeats": len(self.repeats)}

    def add(self, row: Row) -> None:
        self.images += row.num_images
        self.credits += row.num_images * self.credits_per_image

    def refuse(self, number: int, message: str) -> None:
        """Count an invalid row. Its message says where the row stands (a line of a file), its number is that of the results."""
        self.invalid += 1
        if self.invalid <= NAMED_ERRORS:
            self.errors.append(f"Row {number}: {message}")


def judge(table: RequestTable, credits_per_image: int, *, on_error: str) -> TableSummary:
    """The totals of a table, said in the log before the first request.

    :param on_error: the operator's argument: with ``fail`` one invalid row refuses the table.
    :raises SeedreamInputError: rows are invalid; the first of them are named with their errors.
    """
    summary = summarise(table, credits_per_image)
    if summary.invalid and on_error == "fail":
        more = f" and {summary.invalid - len(summary.errors)} more" if summary.invalid > len(summary.errors) else ""
        raise SeedreamInputError(f"{summary.invalid} of {summary.rows} rows are invalid. {' '.join(summary.errors)}{more}")
    _log.info("%d rows, %d images, %d credits at most.", summary.rows, summary.images, summary.credits)
    if summary.repeats:
        rows = f"{len(summary.repeats)} rows repeat an earlier row (first: row {summary.repeats[0]})"
        _log.warning("%s and get the same images, at no extra cost. For variations use num_images, seed or take.", rows)
    return summary


def summarise(table: RequestTable, credits_per_image: int = contract.CREDITS_PER_IMAGE) -> TableSummary:
    """Judge every row, and all of them together: two requests cannot have one name. Holds some 200 bytes per row for that.

    :raises SeedreamInputError: when the table itself cannot be read.
    """
    summary = TableSummary(credits_per_image=credits_per_image)
    duplicates = Duplicates()
    for row, _ in table.rows():
        summary.rows += 1
        duplicate = duplicates.judge(row)
        if isinstance(row, RefusedRow):
            summary.refuse(row.number, row.error.message)
        elif duplicate.is_repeat:
            summary.repeats.append(row.number)
        elif duplicate.error:
            summary.refuse(row.number, duplicate.error)
        else:
            summary.add(row)
    return summary


class Duplicate(NamedTuple):
    """How a row relates to the rows before it::

        Duplicate(is_repeat=True)  # asks for the same as an earlier row, and shares its generation

    :param error: the sentence that refuses a row which has the name of another one; None if there is no such row.
    """

    is_repeat: bool = False
    error: str | None = None


class Duplicates:
    """Judges the rows of one table against each other, in their order.

    Example::

        Duplicates().judge(row).is_repeat  # False: the first row repeats no other
    """

    def __init__(self) -> None:
        self._requests: set[int] = set()
        self._names: dict[int, int] = {}

    def judge(self, row: Row | RefusedRow) -> Duplicate:
        """Two rows that ask for the same share a generation; two different requests cannot have one name."""
        if isinstance(row, RefusedRow):
            return Duplicate()
        request = identity(row)
        if request in self._requests:
            return Duplicate(is_repeat=True)
        if row.name and self._names.setdefault(hash(file_stem(row.name, row.take)), request) != request:
            return Duplicate(error=f"{row.where}: name {row.name!r} is that of another row.")
        self._requests.add(request)
        return Duplicate()


def identity(row: Row) -> int:
    """Equal for rows that ask for the same: of text in two Unicode forms as well."""
    values = {one.name: getattr(row, one.name) for one in fields(row) if one.name not in _NOT_OF_THE_REQUEST}
    return hash(tuple((values | {"prompt": composed(row.prompt)}).values()))
