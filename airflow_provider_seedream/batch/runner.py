"""One try of a batch, from a table to its results: checked, worked through in waves, deferred in between,
summed up.

Loaded when a batch runs. The state that must survive a deferral is in ``Progress``, a file beside the
results: rows of the table stay out of the metadata database.
"""

import logging
import uuid
from contextlib import suppress
from functools import partial
from typing import Any, cast

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, Context

from airflow_provider_seedream.batch.asked import AskedBatch, DeferUntil
from airflow_provider_seedream.batch.brakes import DEFERRED_LOOK_SECONDS, LOOK_SECONDS
from airflow_provider_seedream.batch.deferring import defer_until, seconds_left
from airflow_provider_seedream.batch.dry_run import dry_run
from airflow_provider_seedream.batch.endings import amid_rows
from airflow_provider_seedream.batch.finishing import SUMMARY_VERSION, finish
from airflow_provider_seedream.batch.halts import halt_by
from airflow_provider_seedream.batch.parquet import require_pyarrow
from airflow_provider_seedream.batch.parts import Parts
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.batch.progress_file import read_progress, store_progress
from airflow_provider_seedream.batch.question import question_about, sample_table
from airflow_provider_seedream.batch.results import Results
from airflow_provider_seedream.batch.results_name import check_apart, reserve_results
from airflow_provider_seedream.batch.sampling import RestOf, begin_rest, settle
from airflow_provider_seedream.batch.table_summary import TableSummary, judge
from airflow_provider_seedream.batch.worker import Waves
from airflow_provider_seedream.bounds import Sample
from airflow_provider_seedream.exceptions import (
    SeedreamAuthenticationError,
    SeedreamError,
    SeedreamInputError,
    SeedreamLedgerError,
)
from airflow_provider_seedream.hooks.downloads import Downloads
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.landing.memory import MEMORY
from airflow_provider_seedream.ledger.books import flush_books
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.counting import counted
from airflow_provider_seedream.rate_limit.limiter import limiter_for
from airflow_provider_seedream.tasks.asking import Answer, Question
from airflow_provider_seedream.tasks.wait_options import check_embed_metadata

_PAGES = "_seedream/batch"
_log = logging.getLogger(__name__)

# a summary, or the wait or the question that the operator has to begin
Ended = dict[str, Any] | DeferUntil | Question


class BatchTry:
    """One try of a batch: check the table, work through it in waves, defer between them, publish the results.

    ::

        BatchTry(AskedBatch.of(operator), context).begin()  # a summary (dict), or a DeferUntil
        BatchTry(AskedBatch.of(operator), context).resume(event, file)  # after each deferral

    A try may be several processes: each deferral ends one, and the next goes on from the progress file. A
    retry is another try. It begins with the first row, and the ledger tells it which rows are paid.

    :param asked: the operator's arguments. :param context: of the task instance.
    :param hook: of the connection; a new one by default.
    """

    def __init__(self, asked: AskedBatch, context: Context, hook: SeedreamHook | None = None) -> None:
        self._asked = asked
        self._context = context
        self._parts = Parts(asked, context, hook)
        self._by = self._parts.by

    def begin(self, *, started_epoch: float | None = None) -> Ended:
        """Check every row of the table, then submit and land them.

        Returns the summary, or the wait that the operator has to begin. A dry run returns the totals and the
        plan, and sends nothing.

        :param started_epoch: when the try began; now by default.
        :raises SeedreamInputError: a row or an argument is invalid; no row was sent.
        :raises SeedreamBatchError: rows did not land, or something has stopped the sending; all others have
            ended.
        :raises SeedreamLedgerError: the storage does not answer; a retry finds the paid rows again.
        """
        check_embed_metadata(self._asked.embed_metadata)
        if self._asked.wants_parquet:
            require_pyarrow()  # now, not when all is paid
        asked, parts = self._asked, self._parts
        if asked.is_dry_run:
            totals = dry_run(
                parts.table,
                parts.limits,
                on_error=asked.on_error,
                ledger=lambda: parts.ledger,
                request_of=parts.request,
                made_by=self._by,
            )
            return {"schema_version": SUMMARY_VERSION, "dry_run": True, **totals}
        table, refused = self._judge()
        reserve_results(self._parts.ledger, self._asked.results_name(self._by), self._by)
        # no two tries write the same pages
        results = Results(self._parts.ledger.folder, f"{_PAGES}/{uuid.uuid4().hex}")
        began = clock.now_epoch() if started_epoch is None else started_epoch
        progress = Progress(
            started_epoch=began, rows=table.rows, repeats=frozenset(table.repeats), results=results.state()
        )
        self._parts.tries.recall(progress)
        if refused:
            progress.halt = halt_by(refused)
        if self._asked.sample and progress.may_send and not progress.approved:
            progress.sample = self._asked.sample.pick(
                [row for row in range(1, table.rows + 1) if row not in progress.repeats]
            )
        if progress.sample:
            reserve_results(self._parts.ledger, sample_table(self._asked.results_name(self._by)), self._by)
        return self._work(progress)

    def _judge(self) -> tuple[TableSummary, SeedreamError | None]:
        """The totals of the table, checked against caps and results table; and the error that lets a retry
        send no row.

        A retry goes on without the checks: rows that are paid must land while the API keeps their images.
        """
        asked, parts = self._asked, self._parts
        of_table = partial(judge, parts.table, parts.limits.credits_per_image, on_error=asked.on_error)
        try:
            check_apart(asked.requests, parts.ledger.folder, asked.results_name(self._by))
            parts.admission.check()
            if asked.results_table:
                from airflow_provider_seedream.batch.results_table_check import check_key

                check_key(asked.results_table, self._by)
            return of_table(results_table=asked.results_table), None
        except SeedreamError as error:
            refused = amid_rows(error, self._by)
            if refused.paid == "no":
                raise
        try:
            return of_table(), refused
        except SeedreamError as error:
            raise amid_rows(error, self._by) from error.__cause__

    def resume(self, event: Any, file: str | None, *, invalid: SeedreamInputError | None = None) -> Ended:
        """Continue after a deferral. If the event is not one of our trigger's, each generation is polled when
        it is due.

        :param file: the progress file; None if Airflow did not keep it (``dag.test()``): then the event names
            it.
        :param invalid: the error of an argument whose template gives nothing any more. A budget that is gone
            is no permission, so no more rows are sent; paid rows land all the same.
        """
        heard = event if isinstance(event, dict) else {}
        progress = read_progress(
            self._parts.ledger.folder, str(heard.get("progress") if file is None else file)
        )
        self._parts.tries.resume(progress)
        if invalid:
            progress.halt = progress.halt or halt_by(invalid)
        polls = heard.get("seconds_to_look", []), heard.get("silent_seconds", [])
        progress.hear(*polls, clock.now_epoch(), turns=heard.get("turns", []))
        return self._work(progress)

    def answered(self, event: Any, file: str) -> Ended:
        """Continue when a person has answered the question about the sample.

        :param event: Airflow's, with the answer. :param file: the progress file.
        """
        progress = read_progress(self._parts.ledger.folder, file)
        self._parts.tries.resume(progress)
        if progress.is_sampling:  # else the answer is known already
            answer = Answer.from_event(event)
            settle(progress, answer, now_epoch=clock.now_epoch())
            _log.info(
                "%s",
                progress.stop["message"]
                if progress.stop
                else f"Approved by {answer.by or 'a person'}: going on.",
            )
            self._parts.tries.keep(progress)  # before the first POST: a retry does not ask again
        return self._work(progress)

    def _work(self, progress: Progress) -> Ended:
        """Work until the batch ends or has to wait. Paid rows are safe in the ledger, however this ends."""
        for entry in progress.in_flight.values():
            # first, so that an incomplete connection is reported with a paid id
            self._parts.hook.check_connection(entry.generation.seedream_task_id)
        with self._parts.hook.downloads(max_bytes=self._asked.max_image_bytes, hold=MEMORY.hold) as downloads:
            try:
                ended = self._go_through(progress, downloads)
            except (SeedreamLedgerError, SeedreamAuthenticationError) as error:
                raise amid_rows(error, self._by, progress) from error.__cause__
            finally:
                flush_books()
        if not isinstance(ended, Waves):
            return ended
        try:
            summary = finish(self._parts, ended)
        except SeedreamError:
            self._parts.tries.keep(progress)
            raise
        self._parts.tries.forget()
        return summary

    def _go_through(self, progress: Progress, downloads: Downloads) -> Waves | DeferUntil | Question:
        """Go through the table: with a sample twice, with a question in between. Returns the waves when
        every row has ended.
        """
        while True:
            waves = self._parts.waves(progress, downloads)
            try:
                if wait := self._run(waves):
                    return wait
            except AirflowTaskTimeout:  # ours, or Airflow's own in the middle of it
                waves.land_ready()
                raise
            if progress.halt or not progress.is_sampling:
                return waves
            if progress.may_send:
                return self._ask(waves)
            begin_rest(waves.pause())  # stopped: the other rows are skipped, or found to be paid

    def _run(self, waves: Waves) -> DeferUntil | None:
        """Work until every row has ended (None), or until it is time to defer.

        A batch that may not defer sleeps here, in its worker slot.
        """
        while (idle_seconds := waves.run()) is not None:
            idle_seconds = min(idle_seconds, self._seconds_left(waves), waves.seconds_to_look(LOOK_SECONDS))
            if self._asked.deferrable:
                return self._wait(waves)
            clock.sleep(idle_seconds)
            # The limiter takes over the limit that the wallet reports by now.
            limiter_for(self._asked.seedream_conn_id, self._parts.hook.requests_per_minute)
        return None

    def _wait(self, waves: Waves) -> DeferUntil:
        """Write down the progress, and wait in the triggerer."""
        progress, now = waves.pause(), clock.now_epoch()
        file = self._store(progress)
        _log.info(
            "%d of %s begun, %d in flight; waiting.",
            waves.begun,
            counted(progress.rows, "row"),
            len(progress.in_flight),
        )
        post_epoch = waves.next_post_epoch(now)
        ends_epoch = now + min(self._seconds_left(waves), waves.seconds_to_look(DEFERRED_LOOK_SECONDS))
        return defer_until(
            self._asked,
            progress,
            self._parts.pace,
            file=file,
            post_epoch=post_epoch,
            ends_epoch=ends_epoch,
            now=now,
        )

    def _store(self, progress: Progress) -> str:
        """Write the progress, and return the name of its file."""
        file = f"{progress.results['prefix']}/progress.json"
        store_progress(self._parts.ledger.folder, file, progress)
        with suppress(Exception):  # best effort: only a wait that no triggerer takes up needs it
            self._context["ti"].xcom_push("seedream_progress", file)
        return file

    def _ask(self, waves: Waves) -> Question:
        """Publish the sample, so that the gallery can show it, and return the question about the rest."""
        lines, progress = waves.results.lines(waves.progress.sample), waves.pause()
        progress.asked_epoch = clock.now_epoch()
        file = self._store(progress)
        table = sample_table(self._asked.results_name(self._by))
        made = waves.results.publish_lines(f"{table}.jsonl", lines)
        summary = {"results": made, "rows": len(lines), "count": dict(waves.results.count)}
        # A dict, for the credits so far in the gallery; at its end the batch pushes the URI alone.
        self._context["ti"].xcom_push(
            "results", summary | {"credits": sum(line["credits"] for line in lines)}
        )
        plan = self._parts.plan_of(RestOf(table=self._parts.table, sample=frozenset(progress.sample)))
        per_minute = self._parts.pace.limiter.requests_per_minute
        sample = cast(Sample, self._asked.sample)
        return question_about(
            lines, progress, plan, by=self._by, sample=sample, file=file, per_minute=per_minute
        )

    def _seconds_left(self, waves: Waves) -> float:
        """The rest of ``execution_timeout``. :raises AirflowTaskTimeout: it is over."""
        return seconds_left(
            waves.progress, self._asked.execution_timeout, clock.now_epoch(), begun=waves.begun
        )
