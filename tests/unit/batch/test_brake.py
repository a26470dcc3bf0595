"""When a batch stops because too many of its last rows did not land, and what it says then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.batch.brake import Stop, count_ending
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.batch.row_result import RowResult
from airflow_provider_seedream.batch.statuses import Status
from airflow_provider_seedream.batch.tries import Tries
from airflow_provider_seedream.bounds import StopWhen, as_stop_when
from airflow_provider_seedream.exceptions import SeedreamError, SeedreamInputError
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.storage import Folder

HALF_OF_FOUR = StopWhen(share=0.5, of_last=4)


class Endings:
    """A batch whose rows end as the test says, one after the other."""

    def __init__(self, rule: StopWhen | None = HALF_OF_FOUR) -> None:
        self.progress = Progress(started_epoch=0.0, rows=1000)
        self.rule = rule
        self._row = 0

    def end(self, *statuses: Status, reason: str = "internal error", row: int | None = None) -> Stop | None:
        stop = None
        for status in statuses:
            self._row = row or self._row + 1
            error = None if status in ("landed", "partial") else SeedreamError(reason)
            stop = stop or count_ending(
                self.progress, RowResult(row=self._row, status=status), error, self.rule
            )
        return stop


class TestTheRule:
    @pytest.mark.parametrize(
        ("failed", "stops"),
        [
            ([True] * 3, False),
            ([True, True, False, False], False),
            ([True, True, True, False], True),
            ([True] * 3 + [False] * 3, False),
        ],
        ids=["too few endings", "just the share", "more than the share", "the bad ones are long ago"],
    )
    def test_it_looks_at_so_many_endings_and_no_fewer(self, failed: list[bool], stops: bool) -> None:
        assert HALF_OF_FOUR.is_exceeded(failed) is stops

    def test_a_share_of_zero_stops_at_the_first(self) -> None:
        assert StopWhen(share=0, of_last=1).is_exceeded([True])
        assert not StopWhen(share=0, of_last=1).is_exceeded([False])

    def test_by_default_more_than_25_of_the_last_50_rows_stop_a_batch(self) -> None:
        assert not StopWhen().is_exceeded([True] * 49)
        assert not StopWhen().is_exceeded([True] * 25 + [False] * 25)
        assert StopWhen().is_exceeded([False] * 24 + [True] * 26)

    def test_a_number_is_a_share_of_the_last_50_and_none_is_no_brake(self) -> None:
        assert as_stop_when(0.2) == StopWhen(share=0.2, of_last=50)
        assert as_stop_when(None) is None
        assert as_stop_when(HALF_OF_FOUR) is HALF_OF_FOUR

    @pytest.mark.parametrize("wrong", [1, 1.5, -0.1, "50%", True, [0.5]])
    def test_a_share_is_below_one(self, wrong: Any) -> None:
        with pytest.raises(SeedreamInputError, match="stop_when: share must be a number from 0 to below 1"):
            as_stop_when(wrong)

    @pytest.mark.parametrize("wrong", [0, 1001, 2.5, True])
    def test_the_window_is_one_to_a_thousand(self, wrong: Any) -> None:
        with pytest.raises(SeedreamInputError, match="of_last must be an integer from 1 to 1000"):
            StopWhen(of_last=wrong)


class TestEndings:
    def test_failed_moderated_and_expired_count_against_landed_and_partial(self) -> None:
        assert Endings().end("landed", "failed", "moderated", "expired")
        assert not Endings().end("landed", "partial", "moderated", "expired")

    def test_rows_that_were_not_sent_or_may_have_landed_do_not_count(self) -> None:
        endings = Endings()
        assert not endings.end(
            "invalid", "skipped_budget", "unknown", "skipped", "failed", "failed", "failed"
        )
        assert endings.end("failed")

    def test_a_row_that_ends_again_counts_once(self) -> None:
        endings = Endings()
        assert not endings.end(*["failed"] * 10, row=7)  # as in ten retries
        assert endings.progress.endings == [[7, "failed", "internal error"]]

    def test_without_a_rule_nothing_is_kept(self) -> None:
        endings = Endings(None)
        assert not endings.end(*["failed"] * 100)
        assert endings.progress.endings == []

    def test_the_window_survives_the_progress_file(self) -> None:
        endings = Endings()
        endings.end("failed", "failed")
        endings.progress = Progress.from_json(endings.progress.to_json())
        assert endings.end("failed", "landed")

    def test_it_says_how_many_why_and_which_rows(self) -> None:
        endings = Endings()
        endings.end("failed", reason="internal   error\nof the model")
        endings.end("failed", reason="internal error of the model")
        endings.end("landed")
        stop = endings.end("moderated", reason="unsafe content")
        assert stop
        assert stop["by"] == "stop_when"
        assert stop["message"] == (
            "3 of the last 4 rows that ended did not land (2 failed, 1 moderated), more than 50% "
            "(`stop_when`), so no more rows were sent. Most common: 2 x 'internal error of the model'; 1 x "
            "'unsafe content'. First rows: 1, 2, 4."
        )
        assert stop["detail"] == (
            "Not sent: 3 of the last 4 rows that ended did not land (2 failed, 1 moderated) (`stop_when`)."
        )


class TestTheTriesOfOneRequest:
    STOP: dict[str, Any] = {"by": "stop_when", "message": "too many", "detail": "not sent"}  # noqa: RUF012  # never changed

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Folder:
        return Folder(tmp_path.as_uri())

    def tries(self, folder: Folder, try_number: int, *, max_tries: int = 2, map_index: int = -1) -> Tries:
        by = TaskRef(dag_id="d", run_id="r", task_id="t", map_index=map_index, try_number=try_number)
        return Tries(folder, by, max_tries=max_tries)

    def kept(self, folder: Folder, **fields: Any) -> None:
        self.tries(folder, 1).keep(Progress(started_epoch=0.0, rows=9, **fields))

    def recalled(self, folder: Folder, try_number: int, **task: Any) -> Progress:
        progress = Progress(started_epoch=0.0, rows=9)
        self.tries(folder, try_number, **task).recall(progress)
        return progress

    def test_a_retry_knows_the_window_and_the_stop(self, folder: Folder) -> None:
        self.kept(folder, endings=[[1, "failed", "why"]], stop=self.STOP)
        progress = self.recalled(folder, 2)
        assert (progress.endings, progress.stop) == ([[1, "failed", "why"]], self.STOP)

    @pytest.mark.parametrize(
        ("try_number", "task"),
        [(2, {"max_tries": 3}), (1, {}), (2, {"map_index": 1})],
        ids=["a clear", "a first try", "another instance"],
    )
    def test_another_request_of_a_person_begins_anew(
        self, try_number: int, task: dict[str, Any], folder: Folder
    ) -> None:
        self.kept(folder, stop=self.STOP)
        assert self.recalled(folder, try_number, **task).stop is None

    def test_what_has_not_changed_is_not_written_again(self, folder: Folder, tmp_path: Path) -> None:
        progress, tries = Progress(started_epoch=0.0, rows=9), self.tries(folder, 1)
        tries.keep(progress)
        [file] = tmp_path.rglob("tries-*.json")
        file.unlink()
        tries.keep(progress)
        assert not file.exists()
        progress.endings = [[1, "failed", "why"]]
        tries.keep(progress)
        assert file.exists()

    def test_a_file_that_is_not_ours_is_no_word_of_an_earlier_try(
        self, folder: Folder, tmp_path: Path
    ) -> None:
        self.kept(folder, stop=self.STOP)
        [file] = tmp_path.rglob("tries-*.json")
        for text in ("{", "[]", json.dumps({"schema_version": 99, "max_tries": 2, "stop": self.STOP})):
            file.write_text(text)
            assert self.recalled(folder, 2).stop is None

    def test_success_deletes_the_file(self, folder: Folder, tmp_path: Path) -> None:
        progress = Progress(started_epoch=0.0, rows=9, endings=[[1, "landed", None]])
        tries = self.tries(folder, 1)
        tries.keep(progress)
        assert list(tmp_path.rglob("tries-*.json"))
        tries.forget()
        assert not list(tmp_path.rglob("tries-*.json"))
