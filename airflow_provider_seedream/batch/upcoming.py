"""The rows of a table one after the other, judged, each with a digest of the table up to it.

Reads, and sends nothing. The digest tells a later wave that the table is still the one that was begun.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_seedream.batch.prompts import PromptTemplate
from airflow_provider_seedream.batch.rows import Row, build_row, columns_of_refused
from airflow_provider_seedream.batch.tables import RawRow, read_table
from airflow_provider_seedream.exceptions import SeedreamError, SeedreamInputError
from airflow_provider_seedream.submissions import sha256_json

NAMED_ERRORS = 10  # of a table with many bad rows


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRow:
    """A row that is against the rules."""

    number: int
    error: SeedreamInputError
    columns: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTable:
    """A table of requests and what its rows have in common.

    :param source: as for ``read_table``. :param defaults: parameters of rows without them. :param template: makes the prompts.
    """

    source: Any
    defaults: Mapping[str, Any]
    template: PromptTemplate | None

    def rows(self, *, after: int = 0, digest: str = "") -> Iterator[tuple[Row | RefusedRow, str]]:
        """The rows after a number, each with the digest of the table up to it.

        :param digest: of the rows up to that number.
        :raises SeedreamError: when those have changed since.
        """
        upto = ""
        for raw in read_table(self.source):
            upto = sha256_json([upto, json.dumps(raw.columns, sort_keys=True, default=str)])
            if raw.number > after:
                yield self._judged(raw), upto
            elif raw.number == after and upto != digest:
                raise SeedreamError("The table was changed while it was worked on. A retry finds what is paid for and goes on.")

    def _judged(self, raw: RawRow) -> Row | RefusedRow:
        try:
            return build_row(*raw, defaults=self.defaults, template=self.template)
        except SeedreamInputError as error:
            return RefusedRow(number=raw.number, error=error, columns=columns_of_refused(raw.columns))


@dataclass(slots=True, kw_only=True)
class TableSummary:
    """What a table asks for, counted without sending anything. ``credits`` is the most that it can cost."""

    rows: int = 0
    invalid: int = 0
    images: int = 0
    credits: int = 0
    errors: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def summarise(table: RequestTable) -> TableSummary:
    """Judge every row.

    :raises SeedreamInputError: when the table itself cannot be read.
    """
    summary = TableSummary()
    for row, _ in table.rows():
        summary.rows += 1
        if isinstance(row, Row):
            summary.images += row.num_images
            summary.credits += row.credits
            continue
        summary.invalid += 1
        if summary.invalid <= NAMED_ERRORS:
            summary.errors.append(row.error.message)
    return summary
