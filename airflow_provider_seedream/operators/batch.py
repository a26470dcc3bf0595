"""The batch operator: a table of requests in, images and a table of results out, thousands of rows in one
task.

The engine is imported when the task runs: this module is loaded with every DAG.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import Context, conf

from airflow_provider_seedream.bounds import Sample, StopWhen, as_sample, as_stop_when
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.links import SeedreamImagesLink
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.contract import ImageSize
from airflow_provider_seedream.model.field_checks import (
    check_image_size,
    check_num_images,
    check_safety,
    check_take,
)
from airflow_provider_seedream.model.labels import check_labels
from airflow_provider_seedream.model.names import check_name
from airflow_provider_seedream.provider_info import DEFAULT_CONN_ID
from airflow_provider_seedream.storage.uris import check_destination
from airflow_provider_seedream.tables import ResultsTable, SqlTable, check_results_table
from airflow_provider_seedream.tasks.backstop import resumed, started_epoch
from airflow_provider_seedream.tasks.fields import CheckedFields, check_budget, check_callbacks, one_of
from airflow_provider_seedream.tasks.wait_options import (
    DEFAULT_MAX_IMAGE_BYTES,
    DEFAULT_MAX_IN_FLIGHT,
    DEFAULT_TIMEOUT_SECONDS,
    OnPartial,
    as_interval,
    as_seconds,
    check_flag,
    check_max_image_bytes,
    check_max_in_flight,
    check_max_posts_at_once,
    check_on_partial,
)

if TYPE_CHECKING:
    from airflow_provider_seedream.batch.runner import BatchTry, Ended


def check_requests(value: Any) -> None:
    """Check a table when the DAG is parsed, without reading it. Its rows are checked when the task runs."""
    from airflow_provider_seedream.batch.requests import check_table

    check_table(value)


class SeedreamBatchOperator(CheckedFields):
    """Works through a table of requests: 10 credits per image [doc], each row paid at most once::

        SeedreamBatchOperator(
            task_id="catalogue",
            requests="s3://my_conn@bucket/requests.csv",
            max_credits=5000,
            deferrable=True,
        )

    Every row is checked before the first POST. Then the batch goes in waves: land finished images, submit
    rows as the rate limit, ``max_in_flight`` and the budget allow, and wait in the triggerer for the rest.
    After a kill, a retry or a clear the ledger knows the paid rows, even if the table was reordered or has
    grown; a new try pays only rows that were refunded or never sent.

    Returns a summary (dict): ``rows``, ``count`` by status, ``credits``, ``images``, and the URI of
    ``results``: a table of JSON lines with one row for each request, its columns and its outcome.

    :param requests: a list of dicts, the URI of a table (JSON lines, CSV, Parquet; a file or a folder), or a
        :class:`~airflow_provider_seedream.tables.SqlTable`. Columns are ``prompt``, ``image_size``,
        ``num_images``, ``seed``, ``enable_safety_checker``, ``take``, ``name``, ``images`` (makes it an
        edit), and any others, which are copied to the results.
    :param template: a Jinja template of the prompt, rendered for each row with its columns and Airflow's
        context, e.g. ``"a {{ colour }} watch"``.
    :param image_size: for rows without one, as are the next three; ``auto_2K``.
    :param num_images: 1 to 6; 1.
    :param enable_safety_checker: True.
    :param take: 1; raise it to buy another set of every row deliberately.
    :param destination: storage URI of the folder for images, ledger and results; the connection's by default.
    :param results: stem of the table of results, unique in its destination; ``results``, in a mapped task
        ``results_<map index>``, in a loop ``results_loop_<loop index>``.
    :param results_table: a :class:`~airflow_provider_seedream.tables.ResultsTable`: the results also go into
        a database, by key.
    :param parquet: also write the results as ``.parquet``; by default when ``requests`` is one.
    :param max_in_flight: the most generations that are paid and not yet landed; 100, up to 1,000.
    :param max_posts_at_once: the most submissions under way at the same time, 1 to 16; None (default): as
        many as the rate limit takes while one of them is answered, up to 16. After a kill at most so many
        rows have an unknown outcome.
    :param max_credits: credits that this task may spend in this DAG run, all its mapped instances together;
        rows beyond it are not sent.
    :param max_credits_per_run: credits that all Seedream tasks of the DAG run may spend in this destination.
    :param labels: up to 8 short texts, e.g. ``{"team": "shop"}``, for records and manifests, and for caps. No
        part of a request: another label never pays again.
    :param stop_when: the brake, a :class:`~airflow_provider_seedream.bounds.StopWhen` or a share: no more
        rows are sent when more than half of the last 50 endings failed, were refused by moderation or
        expired. The task fails without retries, and a clear sends the rows that were ``skipped``. None for no
        brake.
    :param sample: so many rows, or a :class:`~airflow_provider_seedream.bounds.Sample`, are sent and landed
        first; then a person is asked, with their pictures, whether the rest is sent. None (default): nobody
        is asked.
    :param on_budget: rows for which a cap of the connection leaves no room: ``fail`` (default) skips them,
        ``wait`` sends them when the UTC day or month has ended.
    :param on_budget_warning: a function of the context, a notifier, or a list of them, called when
        ``warn_at`` of a cap is spent.
    :param on_error: ``fail`` (default): an invalid row stops the task before the first POST, and a row that
        did not land fails it at the end, when all others have landed; ``continue``: the results show both,
        and the task succeeds.
    :param fail_on_unknown: with ``on_error="continue"``: fail the task at its end if rows have an unknown
        outcome, which a person has to settle. False (default): a warning names those rows and their credits.
    :param on_partial: rows with fewer images than asked for count as not landed: ``fail`` (default), or as
        landed: ``accept``.
    :param on_unknown_submit: rows whose POST had an unknown outcome in an earlier try: ``fail`` (default)
        leaves them ``unknown``, ``resubmit`` may pay them twice.
    :param reuse: ``run`` (default) or ``content``, as for one request.
    :param dry_run: check and price the table without sending a request.
    :param deferrable: wait in the triggerer; Airflow's ``[operators] default_deferrable`` by default.
    :param poke_interval: seconds between polls of one generation; None (default): more often when it is
        probably ready.
    :param timeout: seconds, or a timedelta, that one generation may take; one hour. ``execution_timeout``
        bounds the whole.
    :param max_image_bytes: larger images are refused; 64 MiB.
    :param embed_metadata: say inside the image files that AI made them; needs the extra ``metadata``.
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
        "results_table",
        "max_credits",
        "max_credits_per_run",
        "labels",
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
        "results_table": check_results_table,
        "max_credits": lambda value: check_budget("max_credits", value),
        "max_credits_per_run": lambda value: check_budget("max_credits_per_run", value),
        "labels": check_labels,
    }
    # `requests` is not among them: a template of it may give a list of dicts, which must keep its types.
    text_fields = ("destination", "results", "labels", "seedream_conn_id")
    # A budget whose template gives nothing is an error: an empty budget would mean "no limit".
    given_fields = (*text_fields, "max_credits", "max_credits_per_run")
    ui_color = "#e8eaf6"
    operator_extra_links = (SeedreamImagesLink(),)
    # OpenLineage asks after the task has ended, so the task keeps them.
    _tables: tuple[Sequence[str], Sequence[str]] = ((), ())  # that were read and written

    def __init__(
        self,
        *,
        requests: list[dict[str, Any]] | str | SqlTable,
        template: str | None = None,
        image_size: ImageSize | str = contract.DEFAULT_IMAGE_SIZE,
        num_images: int | str = 1,
        enable_safety_checker: bool | str = True,
        take: int | str = 1,
        destination: str | None = None,
        results: str | None = None,
        results_table: ResultsTable | None = None,
        parquet: bool | None = None,
        max_in_flight: int = DEFAULT_MAX_IN_FLIGHT,
        max_posts_at_once: int | None = None,
        max_credits: int | str | None = None,
        max_credits_per_run: int | str | None = None,
        labels: dict[str, str] | None = None,
        on_budget: str = "fail",
        on_budget_warning: Any = None,
        stop_when: StopWhen | float | None = 0.5,
        sample: Sample | int | None = None,
        on_error: str = "fail",
        fail_on_unknown: bool = False,
        on_partial: OnPartial = "fail",
        on_unknown_submit: str = "fail",
        reuse: str = "run",
        dry_run: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: timedelta | float | None = None,
        timeout: timedelta | float = DEFAULT_TIMEOUT_SECONDS,
        max_image_bytes: int = DEFAULT_MAX_IMAGE_BYTES,
        embed_metadata: bool = False,
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
        self.results_table = results_table
        self.parquet = parquet
        self.max_in_flight = self.checked(check_max_in_flight, max_in_flight)
        self.max_posts_at_once = self.checked(check_max_posts_at_once, max_posts_at_once)
        self.max_credits = max_credits
        self.max_credits_per_run = max_credits_per_run
        self.labels = labels
        self.on_budget = self.checked(one_of, "on_budget", on_budget, "fail", "wait")
        self.on_budget_warning = on_budget_warning
        self.checked(check_callbacks, on_budget_warning)
        self.stop_when = self.checked(as_stop_when, stop_when)
        self.sample = self.checked(as_sample, sample)
        self.on_error = self.checked(one_of, "on_error", on_error, "fail", "continue")
        self.fail_on_unknown = self.checked(check_flag, "fail_on_unknown", fail_on_unknown)
        self.on_partial = self.checked(check_on_partial, on_partial)
        self.on_unknown_submit = self.checked(
            one_of, "on_unknown_submit", on_unknown_submit, "fail", "resubmit"
        )
        self.reuse = self.checked(one_of, "reuse", reuse, "run", "content")
        # Each argument above is stored under its own name, as Airflow copies operators by the arguments of
        # their constructor.
        self.is_dry_run = dry_run  # BaseOperator has a method of the other name
        self.deferrable = deferrable
        self.poke_interval = self.checked(as_interval, poke_interval)
        self.timeout = self.checked(as_seconds, "timeout", timeout)
        self.max_image_bytes = self.checked(check_max_image_bytes, max_image_bytes)
        self.embed_metadata = embed_metadata
        self.settling_seconds = self.checked(as_seconds, "settling_seconds", settling_seconds)
        self.seedream_conn_id = seedream_conn_id
        self.check_static_fields()

    def execute(self, context: Context) -> dict[str, Any]:
        """Begin a try: check every row, then submit and land them. Returns the summary, or defers."""
        return self._begin(context)

    def _begin(self, context: Context, *, started_epoch: float | None = None) -> dict[str, Any]:
        """Begin a try.

        :param started_epoch: when it began, for one that Airflow resumed without its progress; now by
            default.
        """
        self.check_rendered_fields()
        return self._go_on(context, self._part(context).begin(started_epoch=started_epoch))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Called by Airflow after a deferral. A wait that no triggerer has ended goes on as well."""
        go_on = partial(super().resume_execution, next_method, next_kwargs, context)
        return resumed(self, go_on, self.resume_unheard, context)

    def resume_unheard(self, context: Context) -> dict[str, Any]:
        """Continue a batch that no triggerer has woken: from its progress, as if it had been woken without
        news.

        Without the XCom that names the progress it begins with the first row: the ledger knows the paid rows.
        """
        ti: Any = context["ti"]
        # The XCom of this very try: Airflow deletes XComs before a retry, and the ledger knows the paid rows.
        progress = ti.xcom_pull(task_ids=ti.task_id, key="seedream_progress", map_indexes=ti.map_index)
        if isinstance(progress, str):
            return self.resume_waves(context, None, progress)
        # From the start of the try: a resumption must not give `execution_timeout` a second time.
        return self._begin(context, started_epoch=started_epoch(context))

    def resume_waves(self, context: Context, event: Any, progress: str | None = None) -> dict[str, Any]:
        """Continue after a deferral.

        :param event: the trigger's polls of the generations in flight.
        :param progress: the file with the progress; the event names it too, for a resumption without
            arguments.
        """
        try:
            self.check_rendered_fields()
            invalid = None
        # Rows in flight are paid: they land even if an argument gives nothing any more. Only the sending
        # stops.
        except SeedreamInputError as error:
            invalid = error
        return self._go_on(context, self._part(context).resume(event, progress, invalid=invalid))

    def resume_answered(self, context: Context, event: Any, progress: str | None = None) -> dict[str, Any]:
        """Continue when a person has answered the question about the sample. The file of the progress is
        in an XCom, too.
        """
        ti: Any = context["ti"]
        file = progress or ti.xcom_pull(
            task_ids=ti.task_id, key="seedream_progress", map_indexes=ti.map_index
        )
        self.check_rendered_fields()
        return self._go_on(context, self._part(context).answered(event, str(file)))

    def _part(self, context: Context) -> "BatchTry":
        """The batch with the arguments as they are rendered now."""
        from airflow_provider_seedream.batch.asked import AskedBatch
        from airflow_provider_seedream.batch.runner import BatchTry

        return BatchTry(AskedBatch.of(self), context)

    def _go_on(self, context: Context, ended: "Ended") -> dict[str, Any]:
        """Defer if the batch has to wait, ask if it has a question; else announce its results and return
        the summary.
        """
        # The batch does neither itself, as only an operator can: it returns the wait, or the question.
        if not isinstance(ended, dict):
            from airflow_provider_seedream.tasks.asking import Question, ask

            kwargs = {"progress": ended.progress}
            if isinstance(ended, Question):
                ask(self, context, ended, method="resume_answered", kwargs=kwargs)
            self.defer(
                trigger=ended.trigger, method_name="resume_waves", kwargs=kwargs, timeout=ended.timeout
            )
        if not self.is_dry_run:
            from airflow_provider_seedream.batch.telling import tell

            # a batch that fails does not come here, so it announces no table
            self._tables = tell(context, self, ended)
        return ended

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Called by OpenLineage's listener, if it is installed, when the task has ended."""
        from airflow_provider_seedream.observability.openlineage import lineage_of_files

        return lineage_of_files(*self._tables)
