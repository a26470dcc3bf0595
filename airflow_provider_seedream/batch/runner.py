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

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, Context

from airflow_provider_seedream.batch.asked import AskedBatch
from airflow_provider_seedream.batch.attending import Attendant
from airflow_provider_seedream.batch.halts import error_of, halt_by
from airflow_provider_seedream.batch.pace import Pace
from airflow_provider_seedream.batch.parquet import require_pyarrow
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.batch.prompts import PromptTemplate
from airflow_provider_seedream.batch.results import Results
from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.batch.upcoming import RequestTable, TableSummary, summarise
from airflow_provider_seedream.batch.worker import Waves
from airflow_provider_seedream.exceptions import (
    SeedreamBatchError,
    SeedreamError,
    SeedreamInputError,
    SeedreamInsufficientCreditsError,
    SeedreamLedgerError,
    final,
)
from airflow_provider_seedream.hooks.downloads import Downloads
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.landing.xmp import check_embed_metadata
from airflow_provider_seedream.ledger.budgets import Budget
from airflow_provider_seedream.ledger.records import Ledger, Reuse
from airflow_provider_seedream.ledger.spending import check_budget
from airflow_provider_seedream.ledger.submit import OnUnknownSubmit, Request, Submitter
from airflow_provider_seedream.model import clock, contract
from airflow_provider_seedream.model.names import check_name
from airflow_provider_seedream.model.submissions import sha256_json, submission_of
from airflow_provider_seedream.polling.decision import MIN_FIRST_POLL_SECONDS, Rules
from airflow_provider_seedream.rate_limit.limiter import pacer_for
from airflow_provider_seedream.storage import check_destination
from airflow_provider_seedream.tasks.backstop import backstop
from airflow_provider_seedream.tasks.landing_operator import describe_task
from airflow_provider_seedream.tasks.memory import TaskMemory
from airflow_provider_seedream.tasks.sources import read_sources
from airflow_provider_seedream.tasks.wait_options import (
    OUTAGE_SECONDS,
    beyond_defaults,
    interval_of,
)
from airflow_provider_seedream.triggers.batch import SeedreamBatchTrigger

SUMMARY_VERSION = 1
FOUND_AGAIN = "A retry finds the paid rows in the ledger and pays no row twice."
_DEFAULTS = ("image_size", "num_images", "enable_safety_checker", "take")
_BUDGETS = ("max_credits", "max_credits_per_run")
_PAGES = "_seedream/batch"
_log = logging.getLogger(__name__)


class BatchTry:
    """One try of a batch: check the table, work through it in waves, defer between them, publish the results.

    ::

        BatchTry(task, context).begin()  # and after each deferral: BatchTry(task, context).resume(event, file)

    :param task: the operator's arguments; it also defers. :param context: of the task instance.
    """

    def __init__(self, task: AskedBatch, context: Context) -> None:
        self._task = task
        self._context = context
        self._by = describe_task(context)
        self._memory = TaskMemory(context, pushes_id=False)
        self._hook = SeedreamHook(task.seedream_conn_id)

    def begin(self, *, started_epoch: float | None = None) -> dict[str, Any]:
        """Check every row of the table, then submit and land them.

        :param started_epoch: when the try began; now by default.
        :raises SeedreamInputError: a row or an argument is invalid; no row was sent.
        """
        check_embed_metadata(self._task.embed_metadata)
        if self._wants_parquet:
            require_pyarrow()  # now, not when all is paid
        asked = self._judge()
        if self._task.is_dry_run:
            return {"schema_version": SUMMARY_VERSION, "dry_run": True, **asked.to_dict()}
        self._reserve_results()
        results = Results(self._ledger.folder, f"{_PAGES}/{uuid.uuid4().hex}")  # no two tries write the same pages
        began = clock.now_epoch() if started_epoch is None else started_epoch
        return self._work(Progress(started_epoch=began, rows=asked.rows, repeats=asked.repeats, results=results.state()))

    def resume(self, event: Any, file: str | None) -> dict[str, Any]:
        """Continue after a deferral. If the event is not one of our trigger's, each generation is polled when it is due.

        :param file: the progress file; None if Airflow did not keep it (``dag.test()``): then the event names it.
        """
        heard = event if isinstance(event, dict) else {}
        progress = self._read_progress(str(heard.get("progress") if file is None else file))
        try:
            self._task.check_rendered_fields()  # a budget that is gone is no permission; what is in flight is landed all the same
        except SeedreamInputError as error:
            progress.halt = progress.halt or halt_by(error)
        progress.hear(heard.get("seconds_to_look", []), heard.get("silent_seconds", []), clock.now_epoch())
        return self._work(progress)

    def _judge(self) -> TableSummary:
        asked = summarise(self._table, self._credits_per_image)
        if asked.invalid and self._task.on_error == "fail":
            more = f" and {asked.invalid - len(asked.errors)} more" if asked.invalid > len(asked.errors) else ""
            raise SeedreamInputError(f"{asked.invalid} of {asked.rows} rows are invalid: {' '.join(asked.errors)}{more}")
        _log.info("%d rows, %d images, %d credits at most.", asked.rows, asked.images, asked.credits)
        if asked.repeats:
            rows = f"{len(asked.repeats)} rows repeat an earlier row (first: row {asked.repeats[0]})"
            _log.warning("%s and get the same images, at no extra cost. For variations use num_images, seed or take.", rows)
        return asked

    @property
    def _credits_per_image(self) -> int:
        """As the connection says. A dry run sends nothing, so it needs none."""
        try:
            return self._hook.settings.credits_per_image
        except Exception:
            if self._task.is_dry_run:
                return contract.CREDITS_PER_IMAGE
            raise

    def _work(self, progress: Progress) -> dict[str, Any]:
        for entry in progress.in_flight.values():  # before anything else finds the connection incomplete: these are paid for
            self._hook.check_connection(entry.generation.seedream_task_id)
        with self._hook.downloads(max_bytes=self._task.max_image_bytes) as downloads:
            waves = self._waves(progress, downloads)
            try:
                self._run(waves)
            except AirflowTaskTimeout:  # ours, or Airflow's own in the middle of it
                waves.land_ready()
                raise
            except SeedreamLedgerError as error:
                raise self._amid_rows(error, progress) from error.__cause__
        return self._finish(waves)

    def _run(self, waves: Waves) -> None:
        """Work until every row has ended, or defer."""
        while (idle_seconds := waves.run()) is not None:
            idle_seconds = min(idle_seconds, self._seconds_left(waves.progress))
            if self._task.deferrable:
                self._defer(waves)
            time.sleep(idle_seconds)
            pacer_for(self._task.seedream_conn_id, self._hook.requests_per_minute)  # takes over what the wallet says by now

    def _amid_rows(self, error: SeedreamLedgerError, progress: Progress) -> SeedreamLedgerError:
        """The error of a storage that failed when rows may be paid for."""
        if progress.cursor or progress.in_flight or (self._by.try_number or 1) > 1:
            error.paid = "yes" if progress.in_flight else "unknown"
            error.on_retry = FOUND_AGAIN
        return error

    def _waves(self, progress: Progress, downloads: Downloads) -> Waves:
        task, hook, ledger = self._task, self._hook, self._ledger
        budget = Budget(ledger, self._by, **{field: check_budget(field, getattr(task, field)) for field in _BUDGETS})
        return Waves(
            progress,
            self._table.rows_after(progress.cursor, progress.digest, of=progress.rows),
            request=self._request,
            submitter=Submitter(hook, ledger, cast(OnUnknownSubmit, task.on_unknown_submit), budget, memory=self._memory),
            attendant=Attendant(hook, downloads, self._rules, landed_by=self._by, embed_metadata=task.embed_metadata),
            results=Results.from_state(ledger.folder, progress.results),
            pace=self._pace,
        )

    def _request(self, row: Row) -> Request:
        """:raises SeedreamInputError: when a source of an edit is no image that the API takes."""
        submission = submission_of(row, read_sources(list(row.images)) if row.images else ())
        reuse, base = cast(Reuse, self._task.reuse), self._ledger.folder.base
        return Request(
            submission=submission,
            destination=base,
            name=row.name,
            name_as_written=row.name_as_written,
            made_by=self._by,
            reuse=reuse,
            **beyond_defaults(embed_metadata=self._task.embed_metadata, max_image_bytes=self._task.max_image_bytes),
        )

    def _defer(self, waves: Waves) -> None:
        """Wait in the triggerer. Where looks count and rows are left, the worker looks: the triggerer would take their turns."""
        progress, now, task = waves.pause(), clock.now_epoch(), self._task
        file = f"{progress.results['prefix']}/progress.json"
        self._store(file, progress.to_json())
        post_epoch = waves.next_post_epoch(now)
        wake_epoch = min(math.inf if post_epoch is None else post_epoch, now + self._seconds_left(progress))
        looks_itself = self._pace.counts_looks and post_epoch is not None
        interval = interval_of(task.poke_interval)
        trigger = SeedreamBatchTrigger(
            seedream_conn_id=task.seedream_conn_id,
            in_flight=[] if looks_itself else self._pace.for_trigger(progress.in_flight.values(), now),
            wake_epoch=None if math.isinf(wake_epoch) else wake_epoch,
            not_before_epoch=now + min(MIN_FIRST_POLL_SECONDS, interval or math.inf),
            poke_interval=interval,
            settling_seconds=task.settling_seconds,
            outage_seconds=OUTAGE_SECONDS,
            progress=file,
        )
        _log.info("%d of %d rows begun, %d in flight; waiting.", progress.cursor, progress.rows, len(progress.in_flight))
        with suppress(Exception):  # whatever Airflow raises: only a wait that no triggerer takes up needs it
            self._context["ti"].xcom_push("seedream_progress", file)
        limit = backstop(self._speaks_epoch(trigger), now_epoch=now)
        task.defer(trigger=trigger, method_name="resume_waves", kwargs={"progress": file}, timeout=limit)

    def _speaks_epoch(self, trigger: SeedreamBatchTrigger) -> float:
        """When the trigger speaks at the latest: when the worker wants to go on, else when the last generation must have ended."""
        if trigger.wake_epoch is not None:
            return trigger.wake_epoch
        deadlines: list[float] = [one[2] for one in trigger.in_flight]
        return max([trigger.not_before_epoch, *deadlines])

    def _finish(self, waves: Waves) -> dict[str, Any]:
        """The summary, or the error that the rows add up to."""
        folder, progress = self._ledger.folder, waves.progress
        if progress.halt:
            raise self._halted(progress)
        made = waves.results.finish(progress.rows, self._results_name, parquet=self._wants_parquet)
        with suppress(Exception):  # whatever a store raises: it is never read again
            folder.delete(f"{progress.results['prefix']}/progress.json")
        summary = {"schema_version": SUMMARY_VERSION, "destination": folder.base, **made}
        _log.info("%d rows: %s.", made["rows"], _counted(made["count"]))
        self._context["ti"].xcom_push("results", made["results"])
        if error := self._error(progress, summary):
            raise error
        return summary

    def _error(self, progress: Progress, summary: dict[str, Any]) -> SeedreamError | None:
        count, task = summary["count"], self._task
        fine = count["landed"] + count["skipped_budget"] + (count["partial"] if task.on_partial == "accept" else 0)
        if progress.unlanded:
            what = f"{progress.unlanded} rows are paid for and not landed"
        elif task.on_error == "fail" and fine < summary["rows"]:
            what = f"{summary['rows'] - fine} of {summary['rows']} rows did not land"
        else:
            return None
        error = SeedreamBatchError(f"{what} ({_counted(count)}), {summary['credits']} credits: see {summary['results']}.")
        return error if progress.retryable else final(error)

    def _halted(self, progress: Progress) -> SeedreamError:
        """The error that stopped the submissions. All paid rows have ended by now."""
        unsent = progress.unsent + progress.rows - progress.cursor
        error = error_of(progress.halt or {}, unsent=unsent, unlanded=progress.unlanded, rows=progress.rows)
        is_timed = progress.retryable or getattr(self._task, "retry_policy", None)
        return error if is_timed or not isinstance(error, SeedreamInsufficientCreditsError) else final(error)

    def _seconds_left(self, progress: Progress) -> float:
        """:raises AirflowTaskTimeout: when ``execution_timeout`` is over, which Airflow does not see while a task is deferred."""
        if self._task.execution_timeout is None:
            return math.inf
        left: float = progress.started_epoch + self._task.execution_timeout.total_seconds() - clock.now_epoch()
        if left <= 0:
            raise AirflowTaskTimeout("The batch was not done within execution_timeout; a retry goes on, and pays for no row twice.")
        return left

    def _reserve_results(self) -> None:
        mine = ["results", self._by.dag_id, self._by.run_id, self._by.task_id, self._by.map_index]
        named = [*mine, self._by.installation] if self._by.installation else mine
        keys = [sha256_json(key) for key in (named, mine)]  # in the second form where it had no name when it began
        if not any(self._ledger.reserve_name(self._results_name, key) for key in keys):
            raise SeedreamInputError(
                f"results {self._results_name!r} in {self._ledger.folder.base} belong to another batch. "
                "Make the name unique, e.g. with {{ dag_run.run_after | ts_nodash }}."
            )

    @property
    def _results_name(self) -> str:
        map_index = self._by.map_index
        return check_name(self._task.results) or ("results" if map_index < 0 else f"results_{map_index}")

    @property
    def _wants_parquet(self) -> bool:
        task = self._task
        return task.parquet if task.parquet is not None else str(task.requests).strip().lower().endswith(".parquet")

    @cached_property
    def _pace(self) -> Pace:
        return Pace(
            pacer=pacer_for(self._task.seedream_conn_id, self._hook.requests_per_minute),
            counts_looks=self._hook.settings.status_counts_toward_limit,
            max_in_flight=self._task.max_in_flight,
            timeout_seconds=self._task.timeout,
        )

    @cached_property
    def _table(self) -> RequestTable:
        task = self._task
        template = PromptTemplate(task.template, cast(dict[str, Any], self._context)) if task.template else None
        return RequestTable(source=task.requests, defaults={field: getattr(task, field) for field in _DEFAULTS}, template=template)

    @cached_property
    def _rules(self) -> Rules:
        return Rules(
            deadline_epoch=math.inf,  # each generation has its own
            poke_interval_seconds=interval_of(self._task.poke_interval),
            num_images=None,
            settling_seconds=self._task.settling_seconds,
            outage_seconds=OUTAGE_SECONDS,
        )

    @cached_property
    def _ledger(self) -> Ledger:
        asked = self._task.destination
        return Ledger(check_destination(self._hook.settings.destination if asked is None else asked))

    def _store(self, file: str, data: bytes) -> None:
        try:
            self._ledger.folder.replace(file, data)
        except Exception as error:  # whatever a store raises
            raise SeedreamLedgerError(f"Cannot write {self._ledger.folder.uri(file)} ({type(error).__name__}: {error}).") from error

    def _read_progress(self, file: str) -> Progress:
        try:
            return Progress.from_json(self._ledger.folder.read(file) or b"")
        except Exception as error:  # whatever a store raises, or what is there is not ours
            failed = SeedreamLedgerError(
                f"Cannot read {self._ledger.folder.uri(file)} ({type(error).__name__}: {error}).", paid="yes"
            )
            failed.on_retry = "A retry finds in the ledger what is paid for, and pays for no row twice."
            raise failed from error


def _counted(count: dict[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in count.items() if number) or "none"
