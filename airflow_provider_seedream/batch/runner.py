"""One try of a batch, from a table to its results: judged, worked off in waves, deferred in between, summed up.

Loaded when a batch runs. What must survive a deferral is in ``Progress``, a file beside the results: rows of the table stay out of
the metadata database.
"""

import logging
import math
import time
import uuid
from contextlib import suppress
from functools import cached_property
from typing import Any, cast

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout, Context

from airflow_provider_seedream.batch.asked import AskedBatch, DeferUntil
from airflow_provider_seedream.batch.attending import Attendant
from airflow_provider_seedream.batch.brakes import DEFERRED_LOOK_SECONDS, LOOK_SECONDS, Brakes
from airflow_provider_seedream.batch.deferring import defer_until, seconds_left
from airflow_provider_seedream.batch.dry_run import dry_run
from airflow_provider_seedream.batch.endings import FOUND_AGAIN, halted, summed_up
from airflow_provider_seedream.batch.halts import halt_by
from airflow_provider_seedream.batch.limits import Limits
from airflow_provider_seedream.batch.pace import Pace
from airflow_provider_seedream.batch.parquet import require_pyarrow
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.batch.progress_file import read_progress, store_progress
from airflow_provider_seedream.batch.prompts import PromptTemplate
from airflow_provider_seedream.batch.results import Results
from airflow_provider_seedream.batch.results_name import reserve_results
from airflow_provider_seedream.batch.row_request import request_of_row
from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.batch.tries import Tries
from airflow_provider_seedream.batch.upcoming import RequestTable, judge
from airflow_provider_seedream.batch.width import PostWidth
from airflow_provider_seedream.batch.worker import Waves
from airflow_provider_seedream.exceptions import (
    SeedreamAuthenticationError,
    SeedreamError,
    SeedreamInputError,
    SeedreamLedgerError,
)
from airflow_provider_seedream.hooks.downloads import Downloads
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.landing.memory import MEMORY
from airflow_provider_seedream.ledger.admission import Admission
from airflow_provider_seedream.ledger.books import flush_books
from airflow_provider_seedream.ledger.budgets import Budget
from airflow_provider_seedream.ledger.records import Ledger, Reuse
from airflow_provider_seedream.ledger.submit import OnUnknownSubmit, Request, Submitter
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.labels import check_labels, spelled
from airflow_provider_seedream.polling.policy import OUTAGE_SECONDS, PollPolicy
from airflow_provider_seedream.rate_limit.limiter import limiter_for
from airflow_provider_seedream.storage import check_destination
from airflow_provider_seedream.tasks.landing_operator import describe_task
from airflow_provider_seedream.tasks.memory import TaskMemory
from airflow_provider_seedream.tasks.wait_options import beyond_defaults, check_embed_metadata, interval_of

SUMMARY_VERSION = 1
_DEFAULTS = ("image_size", "num_images", "enable_safety_checker", "take")
_PAGES = "_seedream/batch"
_log = logging.getLogger(__name__)


class BatchTry:
    """One try of a batch: check the table, work through it in waves, defer between them, publish the results.

    ::

        BatchTry(AskedBatch.of(operator), context).begin()  # a summary (dict), or a DeferUntil
        BatchTry(AskedBatch.of(operator), context).resume(event, file)  # after each deferral

    A try may be several processes: each deferral ends one, and the next goes on from the progress file. A retry is another try. It
    begins with the first row, and the ledger tells it which rows are paid.

    :param asked: the operator's arguments. :param context: of the task instance.
    """

    def __init__(self, asked: AskedBatch, context: Context) -> None:
        self._asked = asked
        self._context = context
        self._by = describe_task(context)
        self._repeats: frozenset[int] = frozenset()
        self._memory = TaskMemory(context, pushes_id=False)
        self._hook = SeedreamHook(asked.seedream_conn_id)
        self._limits = Limits(asked, self._hook)

    def begin(self, *, started_epoch: float | None = None) -> dict[str, Any] | DeferUntil:
        """Check every row of the table, then submit and land them.

        Returns the summary, or the wait that the operator has to begin. A dry run returns the totals and the plan, and sends
        nothing.

        :param started_epoch: when the try began; now by default.
        :raises SeedreamInputError: a row or an argument is invalid; no row was sent.
        :raises SeedreamBatchError: rows did not land, or something has stopped the sending; all others have ended.
        :raises SeedreamLedgerError: the storage does not answer; a retry finds the paid rows again.
        """
        check_embed_metadata(self._asked.embed_metadata)
        if self._asked.wants_parquet:
            require_pyarrow()  # now, not when all is paid
        asked, limits = self._asked, self._limits
        if asked.is_dry_run:
            totals = dry_run(
                self._table,
                limits,
                on_error=asked.on_error,
                ledger=lambda: self._ledger,
                request_of=self._request,
                made_by=self._by,
            )
            return {"schema_version": SUMMARY_VERSION, "dry_run": True, **totals}
        table = judge(self._table, limits.credits_per_image, on_error=asked.on_error, results_table=asked.results_table)
        reserve_results(self._ledger, self._asked.results_name(self._by), self._by)
        results = Results(self._ledger.folder, f"{_PAGES}/{uuid.uuid4().hex}")  # no two tries write the same pages
        began = clock.now_epoch() if started_epoch is None else started_epoch
        progress = Progress(started_epoch=began, rows=table.rows, repeats=frozenset(table.repeats), results=results.state())
        self._tries.recall(progress)
        return self._work(progress)

    def resume(self, event: Any, file: str | None, *, invalid: SeedreamInputError | None = None) -> dict[str, Any] | DeferUntil:
        """Continue after a deferral. If the event is not one of our trigger's, each generation is polled when it is due.

        :param file: the progress file; None if Airflow did not keep it (``dag.test()``): then the event names it.
        :param invalid: the error of an argument whose template gives nothing any more. A budget that is gone is no permission, so
            no more rows are sent; paid rows land all the same.
        """
        heard = event if isinstance(event, dict) else {}
        progress = read_progress(self._ledger.folder, str(heard.get("progress") if file is None else file))
        self._tries.resume(progress)
        if invalid:
            progress.halt = progress.halt or halt_by(invalid)
        progress.hear(heard.get("seconds_to_look", []), heard.get("silent_seconds", []), clock.now_epoch())
        return self._work(progress)

    def _work(self, progress: Progress) -> dict[str, Any] | DeferUntil:
        """Work until the batch ends or has to wait. Paid rows are safe in the ledger, however this is left."""
        for entry in progress.in_flight.values():  # before anything else finds the connection incomplete: these are paid for
            self._hook.check_connection(entry.generation.seedream_task_id)
        with self._hook.downloads(max_bytes=self._asked.max_image_bytes, hold=MEMORY.hold) as downloads:
            waves = self._waves(progress, downloads)
            try:
                if wait := self._run(waves):
                    return wait
            except AirflowTaskTimeout:  # ours, or Airflow's own in the middle of it
                waves.land_ready()
                raise
            except (SeedreamLedgerError, SeedreamAuthenticationError) as error:
                raise self._amid_rows(error, progress) from error.__cause__
            finally:
                flush_books()
        try:
            summary = self._finish(waves)
        except SeedreamError:
            self._tries.keep(progress)
            raise
        self._tries.forget()
        return summary

    def _run(self, waves: Waves) -> DeferUntil | None:
        """Work until every row has ended (None), or until it is time to defer.

        A batch that may not defer sleeps here, in its worker slot.
        """
        while (idle_seconds := waves.run()) is not None:
            idle_seconds = min(idle_seconds, self._seconds_left(waves.progress), waves.seconds_to_look(LOOK_SECONDS))
            if self._asked.deferrable:
                return self._wait(waves)
            time.sleep(idle_seconds)
            limiter_for(self._asked.seedream_conn_id, self._hook.requests_per_minute)  # takes over what the wallet says by now
        return None

    def _amid_rows(self, error: SeedreamError, progress: Progress) -> SeedreamError:
        """The error of a storage or a key that failed when rows may be paid for."""
        if progress.cursor or progress.in_flight or (self._by.try_number or 1) > 1:
            error.paid = "yes" if progress.in_flight else "unknown"
            error.on_retry = f"{error.on_retry} {FOUND_AGAIN}" if isinstance(error, AirflowFailException) else FOUND_AGAIN
        return error

    def _waves(self, progress: Progress, downloads: Downloads) -> Waves:
        """The loop over the rows that have not begun, with all that it needs."""
        self._repeats = progress.repeats  # their records exist once the first of them is sent
        asked, hook, ledger = self._asked, self._hook, self._ledger
        budget = Budget(ledger, self._by, **self._limits.budgets())
        admission = Admission(hook, ledger.folder.base, labels=spelled(check_labels(asked.labels)))
        return Waves(
            progress,
            self._table.rows_after(progress.cursor, progress.digest, of=progress.rows, waiting=tuple(progress.waiting)),
            request=self._request,
            submitter=Submitter(
                hook, ledger, cast(OnUnknownSubmit, asked.on_unknown_submit), budget, admission=admission, memory=self._memory
            ),
            budget=budget,
            admission=admission,
            width=PostWidth(asked.max_posts_at_once, progress.post_seconds),
            attendant=Attendant(
                hook, downloads, self._policy, landed_by=self._by, embed_metadata=asked.embed_metadata, ledger=ledger
            ),
            results=Results.from_state(ledger.folder, progress.results),
            pace=self._pace,
            brakes=Brakes(
                progress, self._tries, folder=ledger.folder, by=self._by, results=asked.results_name(self._by), rule=asked.stop_when
            ),
        )

    def _request(self, row: Row) -> Request:
        """The request of a row. Runs in the thread that submits it, as it reads the sources of an edit.

        :raises SeedreamInputError: a source is no image that the API takes; the row ends as ``invalid``.
        :raises SeedreamError: a storage does not answer; the row ends as ``failed``, and a retry reads it again.
        """
        reuse = cast(Reuse, self._asked.reuse)
        return request_of_row(
            row,
            destination=self._ledger.folder.base,
            made_by=self._by,
            reuse=reuse,
            is_new=reuse == "run" and self._by.try_number == 1 and row.number not in self._repeats,
            row=row.number,
            labels=check_labels(self._asked.labels),
            **beyond_defaults(embed_metadata=self._asked.embed_metadata, max_image_bytes=self._asked.max_image_bytes),
        )

    def _wait(self, waves: Waves) -> DeferUntil:
        """Write down the progress, and wait in the triggerer."""
        progress, now, asked = waves.pause(), clock.now_epoch(), self._asked
        file = f"{progress.results['prefix']}/progress.json"
        store_progress(self._ledger.folder, file, progress)
        _log.info("%d of %d rows begun, %d in flight; waiting.", progress.cursor, progress.rows, len(progress.in_flight))
        with suppress(Exception):  # whatever Airflow raises: only a wait that no triggerer takes up needs it
            self._context["ti"].xcom_push("seedream_progress", file)
        post_epoch = waves.next_post_epoch(now)
        ends_epoch = now + min(self._seconds_left(progress), waves.seconds_to_look(DEFERRED_LOOK_SECONDS))
        return defer_until(asked, progress, self._pace, file=file, post_epoch=post_epoch, ends_epoch=ends_epoch, now=now)

    def _finish(self, waves: Waves) -> dict[str, Any]:
        """Publish the results and return the summary, or raise the error that the rows add up to.

        After a halt nothing is published: rows that were not sent have no result. A retry goes on.
        """
        folder, progress = self._ledger.folder, waves.progress
        if progress.halt:
            raise halted(progress, has_retry_policy=self._asked.retry_policy is not None)
        made = waves.results.finish(progress.rows, self._asked.results_name(self._by), parquet=self._asked.wants_parquet)
        with suppress(Exception):  # whatever a store raises: it is never read again
            folder.delete(f"{progress.results['prefix']}/progress.json")
        summary = {"schema_version": SUMMARY_VERSION, "destination": folder.base, **made}
        self._context["ti"].xcom_push("results", made["results"])
        error = summed_up(progress, summary, self._asked, host=self._hook.settings.base_url, now_epoch=clock.now_epoch())
        if self._asked.results_table:
            from airflow_provider_seedream.batch.results_table import with_table

            error = with_table(self._asked.results_table, folder, summary, error)
        if error:
            raise error
        return summary

    def _seconds_left(self, progress: Progress) -> float:
        """The rest of ``execution_timeout``. :raises AirflowTaskTimeout: it is over."""
        return seconds_left(progress, self._asked.execution_timeout, clock.now_epoch())

    @cached_property
    def _tries(self) -> Tries:
        return Tries(self._ledger.folder, self._by, max_tries=getattr(self._context["ti"], "max_tries", 0))

    @cached_property
    def _pace(self) -> Pace:
        return Pace(
            limiter=limiter_for(self._asked.seedream_conn_id, self._hook.requests_per_minute),
            counts_polls=self._hook.settings.status_counts_toward_limit,
            max_in_flight=self._asked.max_in_flight,
            timeout_seconds=self._asked.timeout,
        )

    @cached_property
    def _table(self) -> RequestTable:
        asked = self._asked
        template = PromptTemplate(asked.template, cast(dict[str, Any], self._context)) if asked.template else None
        defaults = {field: getattr(asked, field) for field in _DEFAULTS}
        return RequestTable(source=asked.requests, defaults=defaults, template=template)

    @cached_property
    def _policy(self) -> PollPolicy:
        return PollPolicy(
            deadline_epoch=math.inf,  # each generation has its own
            poke_interval_seconds=interval_of(self._asked.poke_interval),
            num_images=None,
            settling_seconds=self._asked.settling_seconds,
            outage_seconds=OUTAGE_SECONDS,
        )

    @cached_property
    def _ledger(self) -> Ledger:
        destination = self._asked.destination
        return Ledger(check_destination(self._hook.settings.destination if destination is None else destination))
