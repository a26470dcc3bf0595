"""The rows of a table one after the other, checked, each with a digest of the table up to it.

Reads, and sends nothing. The digest tells a later wave that the table is still the one that was begun: a row
that moved would be paid under the number of another.
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
from airflow_provider_seedream.model.counting import counted, verb_for
from airflow_provider_seedream.model.names import composed
from airflow_provider_seedream.model.submissions import sha256_json
from airflow_provider_seedream.tables import ResultsTable

NAMED_ERRORS = 10  # of a table with many bad rows
_log = logging.getLogger(__name__)
_NOT_OF_THE_REQUEST = ("number", "where", "extra", "name_as_written")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRow:
    """A row that breaks a rule, with its error::

        RefusedRow(
            number=2, error=SeedreamInputError("line 3: prompt must not be blank"), columns={"sku": "A7"}
        )

    :param number: of the row in the table, from 1.
    :param where: the row for people, e.g. ``line 3 of requests.csv``.
    :param error: names the column and its rule.
    :param columns: for its line in the results: right values as they would be sent, others as they stand in
        the table.
    """

    number: int
    where: str
    error: SeedreamInputError
    columns: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTable:
    """A table of requests with its template and the defaults of its rows::

        RequestTable(source="s3://my_conn@bucket/requests.csv", defaults={"num_images": 2}, template=None)

    :param source: as for ``read_table``.
    :param defaults: parameters of rows without them.
    :param template: makes the prompts.

    The rows are read anew for each pass, and never held: a table may be longer than memory.
    """

    source: Any
    defaults: Mapping[str, Any]
    template: PromptTemplate | None

    def rows(self) -> Iterator[tuple[Row | RefusedRow, str]]:
        """Every row, with the digest of the table up to it."""
        for raw, digest in self._digested():
            yield self._judged(raw), digest

    def compared(self) -> Iterator["tuple[Row | RefusedRow, Duplicate]"]:
        """Every row, and how it relates to the rows before it. Holds some 200 bytes per row for that."""
        duplicates = Duplicates()
        for row, _ in self.rows():
            yield row, duplicates.judge(row)

    def rows_after(
        self, number: int, digest: str, *, of: int, waiting: Collection[int] = ()
    ) -> Iterator[tuple[Row | RefusedRow, str]]:
        """The rows behind the given one, if the table is still the one that was begun.

        :param number: the last row that is done; 0 for all rows.
        :param digest: of the table up to that row, as it was then.
        :param of: rows of the whole table.
        :param waiting: numbers of rows up to that number which are wanted all the same. They come when the
            digest has been checked.
        :raises SeedreamBatchError: rows have changed since, have come or gone, or the table cannot be read
            any more.
        """
        changed = SeedreamBatchError(
            "The table was changed while it was worked on.", paid="yes" if number else "no"
        )
        held: list[tuple[RawRow, str]] = []
        try:
            for raw, upto in self._unchanged(number, digest, of=of, changed=changed):
                if raw.number > number:
                    yield self._judged(raw), upto
                elif raw.number in waiting:
                    # The digest stands at a later row: until it was compared, this row may be another one
                    # than was begun.
                    held.append((raw, upto))
                if raw.number == number:
                    yield from ((self._judged(one), its) for one, its in held)
        except SeedreamBatchError:
            raise
        except SeedreamError as error:
            changed.message = f"The rest of the table cannot be read: {error.message}"
            raise changed from error

    def _unchanged(
        self, number: int, digest: str, *, of: int, changed: SeedreamBatchError
    ) -> Iterator[tuple[RawRow, str]]:
        """Every row, until the table turns out to differ from the one that was begun.

        :raises SeedreamBatchError: ``changed``, at the row that shows it; at the end if rows are missing.
        """
        last = 0
        for raw, upto in self._digested():
            last = raw.number
            if last > of or (last == number and upto != digest):
                raise changed
            yield raw, upto
        if last < of:
            raise changed

    def _digested(self) -> Iterator[tuple[RawRow, str]]:
        """Each row with a chain of hashes: the digest of a row depends on all rows before it."""
        upto = ""
        for raw in read_table(self.source):
            upto = sha256_json([upto, json.dumps(raw.columns, sort_keys=True, default=str)])
            yield raw, upto

    def _judged(self, raw: RawRow) -> Row | RefusedRow:
        """The row as a request, or with the error that refuses it. One bad row does not end the reading."""
        try:
            return build_row(*raw, defaults=self.defaults, template=self.template)
        except SeedreamInputError as error:
            # The header comes first, so that an empty column of a CSV is a column of the results, too.
            return RefusedRow(
                number=raw.number,
                where=raw.where,
                error=error,
                columns=columns_of_refused(dict.fromkeys(raw.header) | raw.columns),
            )


@dataclass(slots=True, kw_only=True)
class TableSummary:
    """The totals of a table, counted without sending a request::

        summarise(table, credits_per_image=10).credits  # 5000: the most that the table can cost

    :param images: that it can make, at most.
    :param credits: that it can cost, at most.
    :param credits_per_image: the price that the sum is made with.
    :param repeats: numbers of rows that equal an earlier one: they share its generation and its price.
    :param rows: of the table, invalid ones among them.
    :param invalid: rows that break a rule.
    :param errors: the first 10 of their errors.
    """

    rows: int = 0
    invalid: int = 0
    images: int = 0
    credits: int = 0
    credits_per_image: int = contract.CREDITS_PER_IMAGE
    repeats: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON for the XCom of a dry run. ``repeats`` is their number, as there may be thousands."""
        return {one.name: getattr(self, one.name) for one in fields(self)} | {"repeats": len(self.repeats)}

    def add(self, row: Row) -> None:
        """Count a row that would be paid."""
        self.images += row.num_images
        self.credits += row.num_images * self.credits_per_image

    def counting(
        self, rows: "Iterator[tuple[Row | RefusedRow, Duplicate]]"
    ) -> "Iterator[tuple[Row | RefusedRow, Duplicate]]":
        """The same rows, each counted as it passes."""
        for row, duplicate in rows:
            self.rows += 1
            if isinstance(row, RefusedRow):
                self.refuse(row.number, row.error.message)
            # An equal row is not counted in images and credits: the run sends one POST for both.
            elif duplicate.is_repeat:
                self.repeats.append(row.number)
            elif duplicate.error:
                self.refuse(row.number, duplicate.error)
            else:
                self.add(row)
            yield row, duplicate

    def refuse(self, number: int, message: str) -> None:
        """Count an invalid row. Its message says where the row stands (a line of a file), its number is
        that of the results.
        """
        self.invalid += 1
        if self.invalid <= NAMED_ERRORS:
            self.errors.append(f"Row {number}: {message}")

    def check(self, on_error: str) -> None:
        """Log the totals.

        :param on_error: the operator's argument: with ``fail`` one invalid row refuses the table.
        :raises SeedreamInputError: rows are invalid; the first of them are named with their errors.
        """
        if self.invalid and on_error == "fail":
            more = f" and {self.invalid - len(self.errors)} more" if self.invalid > len(self.errors) else ""
            rows = f"{self.invalid} of {counted(self.rows, 'row')} {verb_for(self.invalid, 'are')} invalid"
            raise SeedreamInputError(f"{rows}. {' '.join(self.errors)}{more}")
        rows, images = counted(self.rows, "row"), counted(self.images, "image")
        _log.info("%s, %s, %s at most.", rows, images, counted(self.credits, "credit"))
        if self.repeats:
            rows = (
                f"{counted(len(self.repeats), 'row', 'repeat')} an earlier row (first: row {self.repeats[0]})"
            )
            _log.warning(
                "%s. Such a row gets the same images, at no extra cost. For variations use num_images, seed "
                "or take.",
                rows,
            )


def judge(
    table: RequestTable, credits_per_image: int, *, on_error: str, results_table: ResultsTable | None = None
) -> TableSummary:
    """Check a table and log its totals, before the first request.

    :param on_error: the operator's argument: with ``fail`` one invalid row refuses the table.
    :param results_table: the database table that the results go to; it is checked in the same pass.
    :raises SeedreamInputError: rows are invalid; the first of them are named with their errors.
    :param table: is read once, from begin to end.
    :param credits_per_image: the price of the connection, for the sum.
    """
    summary = TableSummary(credits_per_image=credits_per_image)
    check = None
    if results_table:
        from airflow_provider_seedream.batch.results_table_check import TargetCheck

        check = TargetCheck(results_table)
    for row, _ in summary.counting(table.compared()):
        if check:
            check.add(row)
    summary.check(on_error)
    if check:
        check.finish()
    return summary


def summarise(table: RequestTable, credits_per_image: int = contract.CREDITS_PER_IMAGE) -> TableSummary:
    """Judge every row, and all of them together: two requests cannot have one name. Holds some 200 bytes per
    row for that.

    :param table: is read once, from begin to end; no request is sent.
    :raises SeedreamInputError: the table itself cannot be read.
    """
    summary = TableSummary(credits_per_image=credits_per_image)
    for _ in summary.counting(table.compared()):
        pass
    return summary


class Duplicate(NamedTuple):
    """How a row relates to the rows before it::

        Duplicate(is_repeat=True)  # asks for the same as an earlier row, and shares its generation

    :param error: the sentence that refuses a row which has the name of another one; None if there is no such
        row.
    :param is_repeat: True if an earlier row asks for the same; its generation serves both.
    """

    is_repeat: bool = False
    error: str | None = None


class Duplicates:
    """Judges the rows of one table against each other, in their order. Memory holds two hashes per row, not
    the rows.

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
        # Two takes of one name write files of different stems, so they do not collide.
        if row.name and self._names.setdefault(hash(file_stem(row.name, row.take)), request) != request:
            return Duplicate(error=f"{row.where}: name {row.name!r} is that of another row.")
        self._requests.add(request)
        return Duplicate()


def identity(row: Row) -> int:
    """A number that is equal for rows that ask for the same: of text in two Unicode forms as well.

    Two forms of a letter look alike, and the ledger composes them before it compares: so must the table. The
    number holds for one process only, as Python salts its hashes.
    """
    values = {one.name: getattr(row, one.name) for one in fields(row) if one.name not in _NOT_OF_THE_REQUEST}
    return hash(tuple((values | {"prompt": composed(row.prompt)}).values()))
