"""Which row of a table begins next and when, with submissions that end only when a test says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_seedream.batch.pace import Pace
from airflow_provider_seedream.batch.posting import Posting
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.batch.row_result import RowResult
from airflow_provider_seedream.batch.rows import Row, build_row
from airflow_provider_seedream.batch.sending import Sender
from airflow_provider_seedream.batch.width import PostWidth
from airflow_provider_seedream.exceptions import (
    SeedreamAmbiguousSubmissionError,
    SeedreamBudgetError,
    SeedreamError,
    SeedreamLedgerError,
    SeedreamRateLimitError,
)
from airflow_provider_seedream.ledger.admission import Admission
from airflow_provider_seedream.ledger.budgets import Budget
from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.ledger.submit import Request, Submitted
from airflow_provider_seedream.model.task_ref import NOBODY
from airflow_provider_seedream.rate_limit.limiter import RateLimiter
from tests.unit.values import generation, submission


class Ending(threading.Event):
    """The end of one POST: waited for by its thread, said by the test."""

    error: SeedreamError | None = None


class Submissions:
    """In place of a Submitter and its prices: each POST lasts until the test ends it."""

    measures_next = False

    def __init__(self) -> None:
        self.endings: dict[int, Ending] = {}
        self._here = threading.local()
        self.late_seconds = 0.0  # between the turn of a row and its POST

    @property
    def posts(self) -> int:
        return getattr(self._here, "posts", 0)

    @property
    def sent_epoch(self) -> float:
        epoch: float = self._here.sent_epoch
        return epoch

    def quote(self, num_images: int) -> int:
        return 10 * num_images

    def submit_row(self, request: Request) -> Submitted:
        self._here.posts, self._here.sent_epoch = self.posts + 1, time.time() + self.late_seconds
        ending = self.endings[request.row or 0]
        assert ending.wait(60)
        if ending.error:
            raise ending.error
        return Submitted(generation=replace(generation(), seedream_task_id=f"id-{request.row}"), is_new=True)

    def find(self, request: Request) -> Submitted | None:
        return None


WITHOUT_CAPS: Any = SimpleNamespace(settings=SimpleNamespace(caps=()))  # of a hook it needs no more


class Table:
    """A Sender over rows, with what has become of them."""

    def __init__(
        self,
        rows: list[Row],
        folder: Path,
        *,
        most: int = 16,
        max_in_flight: int = 100,
        repeats: Sequence[int] = (),
    ) -> None:
        self.submissions: Any = Submissions()
        self.flown: list[int] = []
        self.noted: list[tuple[int, str]] = []
        self.progress = Progress(started_epoch=time.time(), rows=len(rows), repeats=frozenset(repeats))
        self.posting = Posting(self.submissions, self._request)
        self.limiter = RateLimiter(6000)
        self.sender = Sender(
            self.progress,
            iter([(row, f"digest {row.number}") for row in rows]),
            posting=self.posting,
            prices=self.submissions,
            budget=Budget(Ledger(folder.as_uri()), NOBODY),
            admission=Admission(WITHOUT_CAPS, folder.as_uri()),
            pace=Pace(
                limiter=self.limiter, counts_polls=False, max_in_flight=max_in_flight, timeout_seconds=60
            ),
            width=PostWidth(most, seconds=10.0),
            fly=lambda row, _: self.flown.append(row.number),
            note=self._note,
        )
        self.submissions.endings = {row.number: Ending() for row in rows}

    def _request(self, row: Row) -> Request:
        """Sources are read until the test ends the row."""
        assert not row.images or self.submissions.endings[row.number].wait(60)
        made = submission(prompt=row.prompt)
        return Request(submission=made, destination="file:///out", name=None, made_by=NOBODY, row=row.number)

    def _note(self, result: RowResult, error: SeedreamError | None) -> None:
        self.noted.append((result.row, result.status))

    def begin(self, *, later_seconds: float = 0.0) -> list[int]:
        """The rows under way when no more may begin."""
        while self.sender.begin(time.time() + later_seconds):
            pass
        return self.under_way

    @property
    def under_way(self) -> list[int]:
        return [one.number for one in self.posting.under_way.values()]

    def end(self, number: int, error: SeedreamError | None = None) -> None:
        """The POST of a row ends, and the loop takes it in."""
        [future] = [future for future, one in self.posting.under_way.items() if one.number == number]
        self.submissions.endings[number].error = error
        self.submissions.endings[number].set()
        wait([future], timeout=60)
        self.submissions.endings[number].clear()
        self.sender.collect()


def row(number: int, **columns: Any) -> Row:
    return build_row(number, f"row {number}", {"prompt": f"watch {number}", **columns}, defaults={})


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Any]:
    made: list[Table] = []

    def table(*rows: Row, **more: Any) -> Table:
        one = Table(list(rows), tmp_path, **more)
        one.posting.__enter__()
        made.append(one)
        return one

    yield table
    for one in made:
        for ending in one.submissions.endings.values():
            ending.set()
        one.posting.__exit__(None, None, None)


class TestTurns:
    def test_a_row_whose_claim_took_long_holds_its_turn_from_the_moment_of_its_post(self, table: Any) -> None:
        one = table(row(1))
        one.submissions.late_seconds = 40.0
        one.begin()
        one.end(1)
        [gone] = one.limiter.memory()["gone"]
        assert 20 < gone - time.time() <= 40

    def test_a_row_that_a_429_refused_holds_none(self, table: Any) -> None:
        one = table(row(1))
        one.submissions.late_seconds = 40.0
        one.begin()
        one.end(1, SeedreamRateLimitError("slow down", retry_after_seconds=1))
        assert one.limiter.memory()["gone"] == []


class TestHowManyBegin:
    def test_rows_begin_in_the_order_of_the_table_until_the_width_is_full(self, table: Any) -> None:
        one = table(*map(row, range(1, 9)), most=3)
        assert one.begin() == [1, 2, 3]
        one.end(2)
        assert (one.begin(), one.flown) == ([1, 3, 4], [2])

    def test_what_is_under_way_counts_as_in_flight(self, table: Any) -> None:
        assert table(*map(row, range(1, 9)), max_in_flight=2).begin() == [1, 2]

    def test_sources_under_way_are_bounded_by_their_bytes(self, table: Any) -> None:
        """Ten sources may have 10 MiB each until they are read: two such rows fit into 256 MiB."""
        sources = [f"file:///source{number}.png" for number in range(10)]
        one = table(*(row(number, images=sources) for number in range(1, 5)), row(5))
        assert one.begin() == [1, 2]

    def test_an_equal_row_waits_for_the_first(self, table: Any) -> None:
        one = table(row(1), row(2), row(3, prompt="watch 1"), row(4), repeats=[3])
        assert one.begin() == [1, 2]
        one.end(1)
        assert one.begin() == [2, 3, 4]

    def test_a_row_with_the_name_of_one_under_way_waits_so_that_the_first_of_them_gets_it(
        self, table: Any
    ) -> None:
        one = table(row(1, name="hero"), row(2), row(3, name="hero"), row(4))
        assert one.begin() == [1, 2]
        one.end(2)
        assert one.begin() == [1]
        one.end(1)
        assert one.begin() == [3, 4]


class TestRowsThatComeBack:
    def test_a_row_that_a_429_put_back_goes_first_and_alone(self, table: Any) -> None:
        one = table(*map(row, range(1, 9)), most=4)
        one.begin()
        for number in (2, 3):
            one.end(number, SeedreamRateLimitError("slow down", retry_after_seconds=1))
        assert one.limiter.share == pytest.approx(0.85), "two 429s at once are one signal"
        assert one.begin() == [1, 4], "the pause is not over"
        one.end(1)
        one.end(4)
        assert one.begin(later_seconds=5) == [2]
        assert (one.progress.cursor, one.flown) == (4, [1, 4])
        one.sender.pause()
        assert one.progress.waiting == [3]

    def test_a_row_that_the_budget_refused_beside_others_is_tried_again_alone(self, table: Any) -> None:
        one = table(*map(row, range(1, 5)), most=3)
        one.begin()
        one.end(2, SeedreamBudgetError("full"))
        assert (one.begin(), one.noted) == ([1, 3], []), "it waits until it can be alone"
        one.end(1)
        one.end(3)
        assert one.begin() == [2]
        one.end(2, SeedreamBudgetError("full"))
        assert one.noted == [(2, "skipped_budget")]
        assert one.begin() == [4]


class TestErrorsOfTheWholeBatch:
    def test_an_unreadable_ledger_ends_the_batch_when_the_other_answers_are_taken_in(
        self, table: Any
    ) -> None:
        one = table(*map(row, range(1, 4)))
        one.begin()
        futures = list(one.posting.under_way)
        one.submissions.endings[1].error = SeedreamLedgerError("Cannot read")
        for ending in one.submissions.endings.values():
            ending.set()
        wait(futures, timeout=60)
        with pytest.raises(SeedreamLedgerError):
            one.sender.collect()
        assert sorted(one.flown) == [2, 3]

    def test_three_unknown_outcomes_halt_and_an_answer_in_between_starts_the_count_anew(
        self, table: Any
    ) -> None:
        one = table(*map(row, range(1, 12)), most=4)
        one.begin()
        lost = SeedreamAmbiguousSubmissionError("no answer")
        one.end(1, lost)
        one.end(2, lost)
        one.end(3)
        one.end(4, lost)
        assert (one.progress.halt, len(one.begin())) == (None, 2), "as many as may still be unknown"
        one.end(5, lost)
        assert one.progress.halt is None
        one.end(6, lost)
        assert one.progress.halt is not None
        assert [status for _, status in one.noted] == ["unknown"] * 5
