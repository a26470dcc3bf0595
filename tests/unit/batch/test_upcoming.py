"""The rows of a table that was begun: which come again after a deferral, and what is noticed when it has
changed.
"""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_seedream.batch.upcoming import RequestTable
from airflow_provider_seedream.exceptions import SeedreamBatchError


def table(number: int, **changed: str) -> RequestTable:
    """Rows of which some are changed: `row_2="another prompt"`."""
    rows: list[dict[str, Any]] = [
        {"prompt": changed.get(f"row_{row}", f"watch {row}")} for row in range(1, number + 1)
    ]
    return RequestTable(source=rows, defaults={}, template=None)


def numbers(rows: RequestTable, cursor: int, *, of: int, waiting: tuple[int, ...] = ()) -> list[int]:
    digest = next(upto for row, upto in table(6).rows() if row.number == cursor)
    return [row.number for row, _ in rows.rows_after(cursor, digest, of=of, waiting=waiting)]


class TestRowsAfterTheCursor:
    def test_rows_behind_the_cursor_follow(self) -> None:
        assert numbers(table(6), 4, of=6) == [5, 6]

    def test_rows_that_wait_before_the_cursor_come_first(self) -> None:
        assert numbers(table(6), 4, of=6, waiting=(1, 3)) == [1, 3, 5, 6]

    def test_all_rows_of_a_table_that_is_begun_at_its_end_may_wait(self) -> None:
        assert numbers(table(6), 6, of=6, waiting=(6, 2)) == [2, 6]

    @pytest.mark.parametrize("row", [1, 2, 4])
    def test_no_row_that_waits_comes_when_the_table_was_changed(self, row: int) -> None:
        digest = next(upto for one, upto in table(6).rows() if one.number == 4)
        rows = table(6, **{f"row_{row}": "another"}).rows_after(4, digest, of=6, waiting=(2,))
        with pytest.raises(SeedreamBatchError, match="changed while it was worked on"):
            next(rows)
