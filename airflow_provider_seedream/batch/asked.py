"""The values between a batch and its operator: the arguments go in, and the wait that the operator has to
begin comes out.

The batch does not import its operator and does not defer: values go in, a summary or a :class:`DeferUntil`
comes out.
"""

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_seedream.bounds import Sample, StopWhen
from airflow_provider_seedream.model.names import check_name
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.tables import ResultsTable, SqlTable
from airflow_provider_seedream.tasks.wait_options import OnPartial

if TYPE_CHECKING:
    from airflow_provider_seedream.triggers.batch import SeedreamBatchTrigger


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedBatch:
    """The rendered arguments of a batch operator, frozen for one part of a try. Durations are seconds, money
    is credits.

    ::

        AskedBatch.of(operator).max_in_flight  # 100

    The fields have the names and the meanings of the arguments of ``SeedreamBatchOperator``. The object lives
    as long as its process: after a deferral Airflow renders the templates again, and the operator makes
    another one.
    """

    seedream_conn_id: str
    requests: list[dict[str, Any]] | str | SqlTable
    template: str | None
    image_size: Any
    num_images: Any
    enable_safety_checker: Any
    take: Any
    destination: str | None
    results: str | None
    parquet: bool | None
    results_table: ResultsTable | None
    max_in_flight: int
    max_posts_at_once: int | None
    max_credits: Any
    max_credits_per_run: Any
    labels: Any
    on_budget: str
    on_budget_warning: Any
    stop_when: StopWhen | None
    sample: Sample | None
    on_error: str
    on_partial: OnPartial
    fail_on_unknown: bool
    on_unknown_submit: str
    reuse: str
    is_dry_run: bool
    deferrable: bool
    poke_interval: float | None
    timeout: float
    max_image_bytes: int
    embed_metadata: bool
    settling_seconds: float
    execution_timeout: timedelta | None
    retry_policy: Any

    @property
    def wants_parquet(self) -> bool:
        """True if the results are also written as ``.parquet``: by the argument, else if the requests are
        a Parquet file.
        """
        return (
            self.parquet
            if self.parquet is not None
            else str(self.requests).strip().lower().endswith(".parquet")
        )

    def results_name(self, by: TaskRef) -> str:
        """The stem of the table of results, e.g. ``results_3`` of the fourth mapped instance,
        ``results_loop_0`` of a first round.

        :raises SeedreamInputError: the given name is not a valid file name.
        """
        in_loop = "" if by.loop_index is None else f"_loop_{by.loop_index}"
        in_mapping = "" if by.map_index < 0 else f"_{by.map_index}"
        return check_name(self.results) or f"results{in_loop}{in_mapping}"

    @classmethod
    def of(cls, operator: Any) -> Self:
        """The attributes of an operator at this moment. Before Airflow 3.3 operators have no
        ``retry_policy``: then it is None.
        """
        # Asked for by name: an attribute that the operator forgot to set is an error here, not a silent
        # default.
        given = {one.name: getattr(operator, one.name) for one in fields(cls) if one.name != "retry_policy"}
        return cls(retry_policy=getattr(operator, "retry_policy", None), **given)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferUntil:
    """The wait that a batch asks its operator for: the operator defers, and a later process resumes the
    batch.

    ::

        ended = BatchTry(asked, context).begin()
        if isinstance(ended, DeferUntil):
            operator.defer(trigger=ended.trigger, timeout=ended.timeout, ...)

    :param trigger: polls the generations in flight and wakes the batch.
    :param progress: the file with the progress of the batch, for ``BatchTry.resume``.
    :param timeout: after this time Airflow wakes the task even if no triggerer has run the trigger.
    """

    trigger: "SeedreamBatchTrigger"
    progress: str
    timeout: timedelta
