"""A request and the key of its record, including the keys that earlier versions gave it. Does no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_seedream.exceptions import SeedreamLedgerError
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.ledger.record import Reuse, file_stem, record_key
from airflow_provider_seedream.ledger.spending import unnamed
from airflow_provider_seedream.model.names import is_composed
from airflow_provider_seedream.model.submissions import Submission
from airflow_provider_seedream.model.task_ref import TaskRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A submission, the task that makes it and the folder that it belongs to. Its ``key`` decides whether it
    is paid already::

        Request(
            submission=submission,
            destination="s3://my_conn@bucket/campaign",
            name="hero",
            made_by=describe_task(context),
        ).key

    :param made_by: the try that submits it.
    :param reuse: ``run``: equal requests are paid once per task and DAG run; ``content``: once ever in this
        destination.
    :param name_as_written: the name before its letters were composed, where that changed it.
    :param embed_metadata: the task's option for the landing, written into the record; None for the default.
        So is `max_image_bytes`.
    :param labels: of the task, written into the record. Not part of the key: two requests that differ only in
        labels are one.
    :param is_new: True if no earlier try can have begun this request, as far as the task knows: then its
        record is claimed without being read first. If the task is wrong, the claim fails, and the record is
        read then.
    :param row: of a batch's table, for the log; not a part of the key.
    :param is_as_written: True for the key of 0.2.0, which hashed the prompt without Unicode composition
        (NFC).
    """

    submission: Submission
    destination: str
    name: str | None
    made_by: TaskRef
    reuse: Reuse = "run"
    name_as_written: str | None = None
    embed_metadata: bool | None = None
    max_image_bytes: int | None = None
    labels: Mapping[str, str] | None = None
    is_as_written: bool = False
    is_new: bool = False
    row: int | None = None

    @property
    def label(self) -> str:
        """The beginning of a line of the log: ``Row 7: ``; empty for a task of one request."""
        return "" if self.row is None else f"Row {self.row}: "

    @property
    def key(self) -> str:
        """The identity of the request, which names its record."""
        return record_key(
            dag_id=self.made_by.dag_id,
            run_id=self.made_by.run_id,
            task_id=self.made_by.task_id,
            destination=self.destination,
            name=self.name,
            fingerprint=self.submission.fingerprint_as_written
            if self.is_as_written
            else self.submission.fingerprint,
            reuse=self.reuse,
            installation=self.made_by.installation,
        )

    def as_of_0_2(self) -> "list[Request]":
        """This request under the keys of 0.2.0, which composed neither prompts nor names and named no
        installations.
        """
        names = [self.name, *([self.name_as_written] if self.name_as_written else [])]
        forms = [False] if is_composed(self.submission.prompt) else [False, True]
        makers = [self.made_by, *(unnamed(self.made_by) if self.reuse == "run" else [])]
        every = [
            replace(self, name=name, is_as_written=form, made_by=maker)
            for maker in makers
            for name in names
            for form in forms
        ]
        return every[1:]  # the first is this request under its own key

    @property
    def stem(self) -> str | None:
        """The stem of its image files; None for the seedream task id."""
        return file_stem(self.name, self.submission.take)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """The generation that :meth:`Submitter.submit_row` returns, and who has paid for it::

        Submitted(generation=generation, is_new=False)  # an earlier try of this task has paid: no new charge

    :param is_new: True if this call paid for it.
    :param is_mine: True if this call, or an earlier try of the same task, paid.
    """

    generation: Generation
    is_new: bool
    is_mine: bool = True


def unread(error: SeedreamLedgerError, made_by: TaskRef) -> SeedreamLedgerError:
    """The error of a record that cannot be read. A first try has not paid; of a later try only the record
    knows.
    """
    if (made_by.try_number or 1) > 1:
        error.paid = "unknown"
        # a first mistake says what to do
        remedy = f"{error.on_retry} " if isinstance(error, AirflowFailException) else ""
        paid = (
            "This try sent nothing. An earlier try may have paid: the record says so, and the next try "
            "reads it again."
        )
        error.on_retry = f"{remedy}{paid}"
    return error
