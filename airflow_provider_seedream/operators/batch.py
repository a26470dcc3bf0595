"""The batch operator: a table of requests in, images and a table of results out, thousands of rows in one task.

Imports what works on rows only when it runs: this module is loaded with every DAG.
"""

import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, Context, conf

from airflow_provider_seedream import contract, times
from airflow_provider_seedream.contract import ImageSize
from airflow_provider_seedream.exceptions import (
    SeedreamBatchError,
    SeedreamError,
    SeedreamInputError,
    SeedreamInsufficientCreditsError,
    SeedreamLedgerError,
    final,
)
from airflow_provider_seedream.operators.fields import CheckedFields, one_of
from airflow_provider_seedream.polling import MIN_FIRST_POLL_SECONDS, Rules
from airflow_provider_seedream.provider_info import DEFAULT_CONN_ID
from airflow_provider_seedream.sensors.waiting import (
    DEFAULT_MAX_IMAGE_BYTES,
    DEFAULT_TIMEOUT_SECONDS,
    OUTAGE_SECONDS,
    OnPartial,
    as_interval,
    as_seconds,
    check_max_image_bytes,
    check_on_partial,
    describe_task,
)
from airflow_provider_seedream.spending import check_budget
from airflow_provider_seedream.storage import check_destination
from airflow_provider_seedream.submissions import (
    build_submission,
    check_image_size,
    check_name,
    check_num_images,
    check_safety,
    check_take,
    sha256_json,
)

if TYPE_CHECKING:
    from airflow_provider_seedream.batch.progress import Progress
    from airflow_provider_seedream.batch.rows import Row
    from airflow_provider_seedream.batch.upcoming import RequestTable
    from airflow_provider_seedream.hooks.seedream import SeedreamHook
    from airflow_provider_seedream.ledger import Ledger, Reuse
    from airflow_provider_seedream.operators.submitting import Request
    from airflow_provider_seedream.operators.waves import Waves

DEFAULT_MAX_IN_FLIGHT = 100
MAX_MAX_IN_FLIGHT = 1000  # their ids travel in the trigger's row
SUMMARY_VERSION = 1
_BUDGETS = ("max_credits", "max_credits_per_run")
_PAGES = "_seedream/batch"


def check_requests(value: Any) -> None:
    from airflow_provider_seedream.batch.tables import check_table

    check_table(value)


class SeedreamBatchOperator(CheckedFields):
    """Works off a table of requests: 10 credits per image [doc], each row paid at most once.

    Every row is judged before the first POST. Then it goes in waves: land what is done, submit what the rate limit,
    ``max_in_flight`` and the budget allow, and wait in the triggerer for the rest. Rows are found again in the ledger after a
    kill, a retry or a clear, also when the table was reordered or has grown; a new try pays only for rows that were refunded or
    never sent.

    Returns a summary (dict): ``rows``, ``count`` by status, ``credits``, ``images``, and the URI of ``results``: a table of JSON
    lines with one row for each request, its columns and what became of it.

    :param requests: a list of dicts, or the URI of a ``.jsonl``, ``.csv`` or ``.parquet`` table. Columns are ``prompt``,
        ``image_size``, ``num_images``, ``seed``, ``enable_safety_checker``, ``take``, ``name``, ``images`` (makes it an edit), and
        any others, which travel to the results.
    :param template: a Jinja template of the prompt, rendered for each row with its columns and Airflow's context, e.g.
        ``"a {{ colour }} watch, {{ ds }}"``.
    :param image_size: for rows without one, as are the next three; ``auto_2K``.
    :param num_images: 1 to 6; 1.
    :param enable_safety_checker: True.
    :param take: 1; raise it to buy another set of every row on purpose.
    :param destination: storage URI of the folder for images, ledger and results; the connection's by default.
    :param results: stem of the table of results, unique in its destination; ``results``, in a mapped task ``results_<map index>``.
    :param parquet: also write the results as ``.parquet``; by default when ``requests`` is one.
    :param max_in_flight: generations that are paid and not yet landed, at most; 100, up to 1,000.
    :param max_credits: what this task may spend in this DAG run, all its mapped instances together; rows beyond it are not sent.
    :param max_credits_per_run: what all Seedream tasks of the DAG run with this destination may spend.
    :param on_error: ``fail`` (default): an invalid row stops the task before the first POST, and a row that did not land fails it
        at the end, when all others have landed; ``continue``: both only show in the results.
    :param on_partial: rows with fewer images than asked for count as not landed: ``fail`` (default), or as landed: ``accept``.
    :param on_unknown_submit: rows whose POST had an unknown outcome in an earlier try: ``fail`` (default) leaves them ``unknown``,
        ``resubmit`` pays again.
    :param reuse: ``run`` (default) or ``content``, as for one request.
    :param dry_run: judge and price the table, send nothing.
    :param deferrable: wait in the triggerer; Airflow's ``[operators] default_deferrable`` by default.
    :param poke_interval: seconds between looks at one generation; None (default): when a look pays.
    :param timeout: seconds, or a timedelta, that one generation may take; one hour. ``execution_timeout`` bounds the whole.
    :param max_image_bytes: larger images are refused; 64 MiB.
    :param settling_seconds: how long links may follow FINISHED before that is an error; 120 s [seen].
    :param seedream_conn_id: the connection.
    """

    template_fields: Sequence[str] = (
        "requests",
        "image_size",
        "num_images",
        "enable_safety_checker",
        "take",
        "destination",
        "results",
        "max_credits",
        "max_credits_per_run",
        "seedream_conn_id",
    )
    checks: ClassVar = {
        "requests": check_requests,
        "image_size": check_image_size,
        "num_images": check_num_images,
        "enable_safety_checker": check_safety,
        "take": check_take,
        "destination": lambda value: value is None or check_destination(value),
        "results": check_name,
        "max_credits": lambda value: check_budget("max_credits", value),
        "max_credits_per_run": lambda value: check_budget("max_credits_per_run", value),
    }
    ui_color = "#e8eaf6"

    def __init__(
        self,
        *,
        requests: list[dict[str, Any]] | str,
        template: str | None = None,
        image_size: ImageSize | str = contract.DEFAULT_IMAGE_SIZE,
        num_images: int | str = 1,
        enable_safety_checker: bool | str = True,
        take: int | str = 1,
        destination: str | None = None,
        results: str | None = None,
        parquet: bool | None = None,
        max_in_flight: int = DEFAULT_MAX_IN_FLIGHT,
        max_credits: int | str | None = None,
        max_credits_per_run: int | str | None = None,
        on_error: str = "fail",
        on_partial: OnPartial = "fail",
        on_unknown_submit: str = "fail",
        reuse: str = "run",
        dry_run: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: timedelta | float | None = None,
        timeout: timedelta | float = DEFAULT_TIMEOUT_SECONDS,
        max_image_bytes: int = DEFAULT_MAX_IMAGE_BYTES,
        settling_seconds: timedelta | float = contract.SETTLING_SECONDS,
        seedream_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.requests = requests
        self.template = template
        self.image_size = image_size
        self.num_images = num_images
        self.enable_safety_checker = enable_safety_checker
        self.take = take
        self.destination = destination
        self.results = results
        self.parquet = parquet
        self.max_in_flight = _check_max_in_flight(max_in_flight)
        self.max_credits = max_credits
        self.max_credits_per_run = max_credits_per_run
        self.on_error = one_of("on_error", on_error, "fail", "continue")
        self.on_partial = check_on_partial(on_partial)
        self.on_unknown_submit = one_of("on_unknown_submit", on_unknown_submit, "fail", "resubmit")
        self.reuse = one_of("reuse", reuse, "run", "content")
        self.is_dry_run = dry_run  # BaseOperator has a method of the other name
        self.deferrable = deferrable
        self.poke_interval = as_interval(poke_interval)
        self.timeout = as_seconds("timeout", timeout)
        self.max_image_bytes = check_max_image_bytes(max_image_bytes)
        self.settling_seconds = as_seconds("settling_seconds", settling_seconds)
        self.seedream_conn_id = seedream_conn_id
        self.check_static_fields()

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_provider_seedream.batch.progress import Progress
        from airflow_provider_seedream.batch.results import Results
        from airflow_provider_seedream.batch.upcoming import summarise

        self.check_rendered_fields()
        asked = summarise(self._table(context))
        if asked.errors and self.on_error == "fail":
            more = f" and {asked.invalid - len(asked.errors)} more" if asked.invalid > len(asked.errors) else ""
            raise SeedreamInputError(f"{asked.invalid} of {asked.rows} rows are invalid: {' '.join(asked.errors)}{more}")
        self.log.info("%d rows, %d images, %d credits at most.", asked.rows, asked.images, asked.credits)
        if self.is_dry_run:
            return {"schema_version": SUMMARY_VERSION, "dry_run": True, **asked.to_dict()}
        self._reserve_results(context)
        results = Results(self._ledger.folder, f"{_PAGES}/{uuid.uuid4().hex}")  # no two tries write the same pages
        return self._work(context, Progress(started_epoch=times.now_epoch(), rows=asked.rows, results=results.state()))

    def resume_waves(self, context: Context, event: Any, progress: str) -> dict[str, Any]:
        """Where a deferred batch goes on. The event says which generations have ended; without one, all are looked at when due."""
        known, now = self._read_progress(progress), times.now_epoch()
        ended = event.get("ended", []) if isinstance(event, dict) else []
        for position, number in enumerate(known.in_flight):
            if position in ended:
                known.in_flight[number] = replace(known.in_flight[number], due_epoch=now)
        return self._work(context, known)

    def _work(self, context: Context, progress: "Progress") -> dict[str, Any]:
        waves = self._waves(context, progress)
        while (idle_seconds := waves.run()) is not None:
            idle_seconds = min(idle_seconds, self._seconds_left(progress))
            if self.deferrable:
                self._defer(waves, idle_seconds)
            time.sleep(idle_seconds)
        return self._finish(context, waves)

    def _waves(self, context: Context, progress: "Progress") -> "Waves":
        from airflow_provider_seedream.batch.results import Results
        from airflow_provider_seedream.budgets import Budget
        from airflow_provider_seedream.operators.attending import Attendant
        from airflow_provider_seedream.operators.submitting import OnUnknownSubmit, Submitter
        from airflow_provider_seedream.operators.waves import Pace, Waves
        from airflow_provider_seedream.pacing import pacer_for

        hook, ledger, by = self._hook, self._ledger, describe_task(context)
        budget = Budget(ledger, by, **{field: check_budget(field, getattr(self, field)) for field in _BUDGETS})
        return Waves(
            progress,
            self._table(context).rows(after=progress.cursor, digest=progress.digest),
            request=partial(self._request, by),
            submitter=Submitter(hook, ledger, cast(OnUnknownSubmit, self.on_unknown_submit), budget),
            attendant=Attendant(hook, self._rules, max_image_bytes=self.max_image_bytes, landed_by=by),
            results=Results.from_state(ledger.folder, progress.results),
            pace=Pace(
                pacer=pacer_for(self.seedream_conn_id, hook.requests_per_minute),
                counts_looks=hook.settings.status_counts_toward_limit,
                max_in_flight=self.max_in_flight,
                timeout_seconds=self.timeout,
            ),
        )

    def _request(self, by: dict[str, Any], row: "Row") -> "Request":
        """:raises SeedreamInputError: when a source of an edit is no image that the API takes."""
        from airflow_provider_seedream.operators.sources import read_sources
        from airflow_provider_seedream.operators.submitting import Request

        submission = build_submission(
            kind=row.kind,
            prompt=row.prompt,
            image_size=row.image_size,
            num_images=row.num_images,
            seed=row.seed,
            enable_safety_checker=row.enable_safety_checker,
            take=row.take,
            sources=read_sources(list(row.images)) if row.images else (),
        )
        reuse, base = cast("Reuse", self.reuse), self._ledger.folder.base
        return Request(submission=submission, destination=base, name=row.name, made_by=by, reuse=reuse)

    def _defer(self, waves: "Waves", idle_seconds: float) -> None:
        from airflow_provider_seedream.triggers.batch import SeedreamBatchTrigger

        progress, now = waves.pause(), times.now_epoch()
        file = f"{progress.results['prefix']}/progress.json"
        self._store(file, progress.to_json())
        post_epoch = waves.next_post_epoch(now)
        deadline_epoch = now + self._seconds_left(progress)
        trigger = SeedreamBatchTrigger(
            seedream_conn_id=self.seedream_conn_id,
            in_flight=[entry.for_trigger() for entry in progress.in_flight.values()],
            wake_epoch=min(deadline_epoch, post_epoch or deadline_epoch) if math.isfinite(deadline_epoch) else post_epoch,
            not_before_epoch=now + min(idle_seconds, MIN_FIRST_POLL_SECONDS),
            poke_interval=self.poke_interval,
            settling_seconds=self.settling_seconds,
            outage_seconds=OUTAGE_SECONDS,
        )
        self.log.info("%d of %d rows begun, %d in flight; waiting.", progress.cursor, progress.rows, len(progress.in_flight))
        self.defer(trigger=trigger, method_name="resume_waves", kwargs={"progress": file})

    def _finish(self, context: Context, waves: "Waves") -> dict[str, Any]:
        """The summary, or the error that the rows add up to."""
        folder, prefix = self._ledger.folder, waves.progress.results["prefix"]
        if waves.halted_by:
            raise self._halted(waves, waves.halted_by)
        parquet = self.parquet if self.parquet is not None else str(self.requests).lower().endswith(".parquet")
        made = waves.results.finish(waves.progress.rows, self._results_name(context), parquet=parquet)
        folder.delete(f"{prefix}/progress.json")
        summary = {"schema_version": SUMMARY_VERSION, "destination": folder.base, **made}
        self.log.info("%d rows: %s", made["rows"], _counted(made["count"]))
        context["ti"].xcom_push("results", made["results"])
        if error := self._error(waves.progress, summary):
            raise error
        return summary

    def _error(self, progress: "Progress", summary: dict[str, Any]) -> SeedreamError | None:
        count = summary["count"]
        fine = count["landed"] + count["skipped_budget"] + (count["partial"] if self.on_partial == "accept" else 0)
        if progress.unlanded:
            what = f"{progress.unlanded} rows are paid for and not landed"
        elif self.on_error == "fail" and fine < summary["rows"]:
            what = f"{summary['rows'] - fine} of {summary['rows']} rows did not land"
        else:
            return None
        error = SeedreamBatchError(f"{what} ({_counted(count)}), {summary['credits']} credits: see {summary['results']}.")
        return error if progress.retryable else final(error)

    def _halted(self, waves: "Waves", error: SeedreamError) -> SeedreamError:
        """What stopped the submissions. Everything that was paid for has ended by now."""
        error.message = f"{error.message} {waves.unsent} of {waves.progress.rows} rows were not sent."
        if isinstance(error, SeedreamInsufficientCreditsError) and not getattr(self, "retry_policy", None):
            return final(error)
        return error

    def _seconds_left(self, progress: "Progress") -> float:
        """:raises AirflowTaskTimeout: when ``execution_timeout`` is over, which Airflow does not see while a task is deferred."""
        if self.execution_timeout is None:
            return math.inf
        left: float = progress.started_epoch + self.execution_timeout.total_seconds() - times.now_epoch()
        if left <= 0:
            raise AirflowTaskTimeout("The batch was not done within execution_timeout; a retry goes on, and pays for no row twice.")
        return left

    def _reserve_results(self, context: Context) -> None:
        name, by = self._results_name(context), describe_task(context)
        mine = sha256_json(["results", *(by[part] for part in ("dag_id", "run_id", "task_id", "map_index"))])
        if not self._ledger.reserve_name(name, mine):
            raise SeedreamInputError(
                f"results {name!r} in {self._ledger.folder.base} belong to another batch. "
                "Make the name unique, e.g. with {{ ds }}."
            )

    def _results_name(self, context: Context) -> str:
        map_index = describe_task(context)["map_index"]
        return check_name(self.results) or ("results" if map_index < 0 else f"results_{map_index}")

    def _table(self, context: Context) -> "RequestTable":
        from airflow_provider_seedream.batch.prompts import PromptTemplate
        from airflow_provider_seedream.batch.upcoming import RequestTable

        defaults = {field: getattr(self, field) for field in ("image_size", "num_images", "enable_safety_checker", "take")}
        template = PromptTemplate(self.template, cast(dict[str, Any], context)) if self.template else None
        return RequestTable(source=self.requests, defaults=defaults, template=template)

    @cached_property
    def _rules(self) -> Rules:
        return Rules(
            deadline_epoch=math.inf,  # each generation has its own
            poke_interval_seconds=self.poke_interval,
            num_images=None,
            settling_seconds=self.settling_seconds,
            outage_seconds=OUTAGE_SECONDS,
        )

    @cached_property
    def _ledger(self) -> "Ledger":
        from airflow_provider_seedream.ledger import Ledger

        return Ledger(check_destination(self.destination or self._hook.settings.destination))

    @cached_property
    def _hook(self) -> "SeedreamHook":
        from airflow_provider_seedream.hooks.seedream import SeedreamHook

        return SeedreamHook(self.seedream_conn_id)

    def _store(self, file: str, data: bytes) -> None:
        try:
            self._ledger.folder.replace(file, data)
        except Exception as error:  # whatever a store raises
            raise SeedreamLedgerError(f"Cannot write {self._ledger.folder.uri(file)} ({type(error).__name__}: {error}).") from error

    def _read_progress(self, file: str) -> "Progress":
        from airflow_provider_seedream.batch.progress import Progress

        try:
            return Progress.from_json(self._ledger.folder.read(file) or b"")
        except Exception as error:  # whatever a store raises, or what is there is not ours
            raise SeedreamLedgerError(f"Cannot read {self._ledger.folder.uri(file)} ({type(error).__name__}: {error}).") from error


def _counted(count: dict[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in count.items() if number) or "none"


def _check_max_in_flight(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_MAX_IN_FLIGHT:
        raise SeedreamInputError(f"max_in_flight must be an integer from 1 to {MAX_MAX_IN_FLIGHT}; got {value!r}.")
    return value
