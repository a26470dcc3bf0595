"""The table of results: one line per request, written page by page while a batch runs and published as one
file at its end.

A page holds 500 rows and memory holds a few pages, so the table may be long. The published file is complete:
every row once and counts that reconcile, or an error.
"""

import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from airflow_provider_seedream.batch.parquet import ColumnType, column_type, write_parquet
from airflow_provider_seedream.batch.row_result import COLUMN_TYPES, RowResult
from airflow_provider_seedream.batch.statuses import Status, no_results
from airflow_provider_seedream.exceptions import SeedreamError
from airflow_provider_seedream.model.counting import counted, verb_for
from airflow_provider_seedream.storage.folder import Folder

SCHEMA_VERSION = 1
ROWS_PER_PAGE = 500
PAGES_HELD = 4  # in memory, before they are written
_MISSING_NAMED = 5
_LINE_ENDS = {ord(mark): f"\\u{ord(mark):04x}" for mark in "\x85\u2028\u2029"}
_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Totals:
    """The counts of the whole table, from its lines."""

    count: dict[Status, int] = field(default_factory=lambda: no_results())
    credits: int = 0
    images: int = 0
    missing: int = 0
    first_missing: list[int] = field(default_factory=list)
    free_columns: dict[str, ColumnType | None] = field(default_factory=dict)

    def take(self, line: Mapping[str, Any]) -> None:
        self.count[line["status"]] += 1
        self.credits += line["credits"]
        self.images += len(line["images"])
        for column, value in line.items():
            if column not in COLUMN_TYPES:
                self.free_columns[column] = column_type(value, self.free_columns.get(column))

    def miss(self, row: int) -> None:
        self.missing += 1
        if len(self.first_missing) < _MISSING_NAMED:
            self.first_missing.append(row)

    def columns(self) -> dict[str, ColumnType]:
        return COLUMN_TYPES | {column: kind or "text" for column, kind in self.free_columns.items()}


class Results:
    """The results of one try of one batch::

        results.add(RowResult(row=4, status="landed", credits=10, paid="yes"))
        results.flush()

    :param prefix: folder of the pages, relative to ``folder``. Each try has its own, so it cannot read the
        pages of another try.
    """

    def __init__(self, folder: Folder, prefix: str) -> None:
        self._folder = folder
        self._prefix = prefix
        self._pages: dict[int, dict[int, str]] = {}
        self.count = no_results()

    def state(self) -> dict[str, Any]:
        """The state for :meth:`from_state` in another process, as small, plain JSON. Call :meth:`flush`
        before.
        """
        return {"schema_version": SCHEMA_VERSION, "prefix": self._prefix, "count": dict(self.count)}

    @classmethod
    def from_state(cls, folder: Folder, state: Mapping[str, Any]) -> Self:
        """The results as another process has flushed them. A state of another version is a
        ``SeedreamError``.
        """
        if state.get("schema_version") != SCHEMA_VERSION:
            raise _error("This batch was begun by another version of the provider.")
        results = cls(folder, state["prefix"])
        results.count.update(state["count"])
        return results

    def add(self, result: RowResult) -> None:
        """Note the result of a row; a later result of the same row replaces the earlier one."""
        page = self._page(page_of(result.row))
        if before := page.get(result.row):
            self.count[json.loads(before)["status"]] -= 1
        page[result.row] = json.dumps(result.to_dict(), ensure_ascii=False, allow_nan=False)
        self.count[result.status] += 1

    def flush(self) -> None:
        """Write the results added since the last flush; until then they are in memory only."""
        for number, lines in self._pages.items():
            text = "".join(f"{lines[row]}\n" for row in sorted(lines))
            with _storage("written", self._uri(number)):
                # half a surrogate pair is no text
                self._folder.replace(self._file(number), text.encode(errors="replace"))
        self._pages.clear()

    def lines(self, rows: Iterable[int]) -> list[dict[str, Any]]:
        """The lines of some rows that have ended, in the order of the table; a row without a result has
        none.
        """
        found = ((row, self._page(page_of(row)).get(row)) for row in sorted(rows))
        return [json.loads(line) for _, line in found if line]

    def landed(self, rows: int) -> tuple[int, int]:
        """How many of the rows have landed by now, and the credits that those with a result have cost."""
        if not any(self.count.values()):
            return 0, 0
        return self.count["landed"] + self.count["partial"], sum(
            line["credits"] for line in self.lines(range(1, rows + 1))
        )

    def publish_lines(self, file: str, lines: Iterable[Mapping[str, Any]]) -> str:
        """Publish some lines as a table of their own, and return its URI. The pages stay."""
        text = "".join(f"{_one_line(json.dumps(line, ensure_ascii=False))}\n" for line in lines)
        with _storage("written", self._folder.uri(file)):
            self._folder.replace(file, text.encode(errors="replace"))
        return self._folder.uri(file)

    def finish(self, expected_rows: int, name: str, *, parquet: bool = False) -> dict[str, Any]:
        """Publish ``<name>.jsonl``, and ``<name>.parquet`` when asked; then delete the pages.

        :returns: ``results`` (URI), ``results_parquet`` (URI or None), ``rows``, ``count`` by status,
            ``credits``, ``images``.
        :raises SeedreamError: when a row is missing or counts do not reconcile; nothing is published then.
        """
        self.flush()
        last_page = page_of(expected_rows) if expected_rows else 0
        with tempfile.TemporaryDirectory(prefix="seedream-results-") as local:
            lines = f"{local}/results.jsonl"
            totals = self._collect(lines, expected_rows)
            self._reconcile(totals, expected_rows)
            self._publish(f"{name}.jsonl", lines)
            if parquet:
                with open(lines, encoding="utf-8", newline="\n") as file:
                    write_parquet(f"{local}/results.parquet", map(json.loads, file), totals.columns())
                self._publish(f"{name}.parquet", f"{local}/results.parquet")
        self._delete_pages(last_page)
        return {
            "results": self._folder.uri(f"{name}.jsonl"),
            "results_parquet": self._folder.uri(f"{name}.parquet") if parquet else None,
            "rows": expected_rows,
            "count": dict(self.count),
            "credits": totals.credits,
            "images": totals.images,
        }

    def _page(self, number: int) -> dict[int, str]:
        if number not in self._pages:
            if len(self._pages) >= PAGES_HELD:
                self.flush()
            self._pages[number] = self._load(number)
        return self._pages[number]

    def _load(self, number: int) -> dict[int, str]:
        """The lines of a page by row; empty if the page was not written."""
        with _storage("read", self._uri(number)):
            data = self._folder.read(self._file(number))
        try:
            lines = (data or b"").decode().split("\n")[:-1]  # splitlines() would split at U+2028 too
            page = {json.loads(line)["row"]: line for line in lines}
            # each row once, and in its page
            is_whole = len(page) == len(lines) and all(page_of(row) == number for row in page)
        except (TypeError, LookupError, ValueError):
            is_whole = False
        if not is_whole:
            raise _error(f"{self._uri(number)} is not as it was written.")
        return page

    def _collect(self, path: str, expected_rows: int) -> _Totals:
        """All pages as one local file."""
        totals = _Totals()
        with open(path, "x", encoding="utf-8", newline="\n") as file:
            for first in range(1, expected_rows + 1, ROWS_PER_PAGE):
                page = self._load(page_of(first))
                for row in range(first, min(first + ROWS_PER_PAGE, expected_rows + 1)):
                    if line := page.get(row):
                        totals.take(json.loads(line))
                        file.write(f"{_one_line(line)}\n")
                    else:
                        totals.miss(row)
        return totals

    def _reconcile(self, totals: _Totals, expected_rows: int) -> None:
        if totals.missing:
            named = ", ".join(map(str, totals.first_missing)) + (
                ", ..." if totals.missing > _MISSING_NAMED else ""
            )
            raise _error(
                f"{totals.missing} of {counted(expected_rows, 'row')} {verb_for(totals.missing, 'have')} no "
                f"result: {named}."
            )
        if totals.count != self.count:
            raise _error(f"The results do not reconcile: {self.count} were noted, {totals.count} are there.")

    def _publish(self, file: str, local_path: str) -> None:
        with _storage("written", self._folder.uri(file)):
            self._folder.publish(file, local_path)

    def _delete_pages(self, last_page: int) -> None:
        """Delete the pages, best effort: a page that stays takes space and is not read again."""
        try:
            for number in range(1, last_page + 1):
                self._folder.delete(self._file(number))
        except Exception as error:  # each store has its own error classes
            _log.warning(
                "Pages below %s could not be deleted (%s).",
                self._folder.uri(self._prefix),
                type(error).__name__,
            )

    def _file(self, number: int) -> str:
        return f"{self._prefix}/page-{number:06d}.jsonl"

    def _uri(self, number: int) -> str:
        return self._folder.uri(self._file(number))


def page_of(row: int) -> int:
    """Rows and pages count from 1."""
    return (row - 1) // ROWS_PER_PAGE + 1


def _one_line(text: str) -> str:
    """JSON that every reader takes for one line: ``str.splitlines`` and others also split at these three."""
    return text.translate(_LINE_ENDS)


@contextmanager
def _storage(verb: str, uri: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each store has its own error classes
        raise _error(f"{uri} cannot be {verb} ({type(error).__name__}: {error}).") from error


def _error(message: str) -> SeedreamError:
    error = SeedreamError(message, paid="yes")
    error.on_retry = "A retry finds the paid rows in the ledger and pays no row twice."
    return error
