"""The totals of a table, and the verdict on it before the first request: what it can cost at most, which rows
are invalid and which repeat others. Sends nothing, and imports no ledger. SQLAlchemy comes only with a table
of a database for the results.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.batch.upcoming import Duplicate, RefusedRow, RequestTable
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.counting import counted, verb_for
from airflow_provider_seedream.tables import ResultsTable

NAMED_ERRORS = 10  # of a table with many bad rows
_log = logging.getLogger(__name__)


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
