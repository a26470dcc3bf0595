"""The rows of a table one after the other, checked, each with a digest of the table up to it.

Reads, and sends nothing. The digest tells a later wave that the table is still the one that was begun: a row
that moved would be paid under the number of another.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from airflow_provider_seedream.batch.prompts import PromptTemplate
from airflow_provider_seedream.batch.requests import RawRow, read_table
from airflow_provider_seedream.batch.rows import Row, build_row, columns_of_refused
from airflow_provider_seedream.exceptions import SeedreamBatchError, SeedreamError, SeedreamInputError
from airflow_provider_seedream.ledger.records import file_stem
from airflow_provider_seedream.model.names import composed
from airflow_provider_seedream.model.submissions import sha256_json

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
