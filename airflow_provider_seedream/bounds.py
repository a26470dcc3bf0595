"""The bounds that stop a batch before its whole table is paid: values and decisions, no I/O.

Loaded with every DAG that uses one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamInputError

MAX_OF_LAST = 1000  # endings travel in the progress file of a batch
MAX_SAMPLE = 500  # a person looks at them


@dataclass(frozen=True, slots=True, kw_only=True)
class StopWhen:
    """The brake of a batch: no more rows are sent when too many of the last rows did not land.

    ::

        SeedreamBatchOperator(..., stop_when=StopWhen(share=0.2, of_last=100))  # more than 20 of the last 100
        SeedreamBatchOperator(..., stop_when=0.2)  # more than 10 of the last 50
        SeedreamBatchOperator(..., stop_when=None)  # no brake

    A row counts when it ends: as landed, or as failed, refused by moderation or expired. Rows that were not
    sent, and rows with an unknown outcome, do not count.

    :param share: more than this share of them stops the sending; from 0 (one is enough) to below 1; 0.5 by
        default.
    :param of_last: the number of endings that are looked at, 1 to 1,000; 50 by default. Before so many rows
        have ended, the batch is not stopped.
    :raises SeedreamInputError: a number is out of range.
    """

    share: float = 0.5
    of_last: int = 50

    def __post_init__(self) -> None:
        if isinstance(self.share, bool) or not isinstance(self.share, int | float) or not 0 <= self.share < 1:
            raise SeedreamInputError(
                f"stop_when: share must be a number from 0 to below 1, e.g. 0.5; got {self.share!r}."
            )
        if (
            isinstance(self.of_last, bool)
            or not isinstance(self.of_last, int)
            or not 1 <= self.of_last <= MAX_OF_LAST
        ):
            raise SeedreamInputError(
                f"stop_when: of_last must be an integer from 1 to {MAX_OF_LAST}; got {self.of_last!r}."
            )

    def is_exceeded(self, failed: Sequence[bool]) -> bool:
        """True if too many of the last endings are failures.

        :param failed: the endings in their order, True for each row that did not land.
        """
        last = failed[-self.of_last :]
        return len(last) == self.of_last and sum(last) > self.share * self.of_last


def as_stop_when(value: Any) -> StopWhen | None:
    """The argument ``stop_when`` as a value: a share means that share of the last 50 endings.

    :param value: a StopWhen, a share as a number, or None for no brake.
    :raises SeedreamInputError: it is something else, or out of range.
    """
    if value is None or isinstance(value, StopWhen):
        return value
    return StopWhen(share=value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Some rows of a batch that are sent and landed first. Then a person sees them, and says whether the rest
    is sent.

    ::

        SeedreamBatchOperator(..., sample=20)  # the first 20 rows
        # 20 random ones
        SeedreamBatchOperator(..., sample=Sample(rows=20, seed=7, response_timeout=timedelta(hours=10)))

    :param rows: how many, 1 to 500; 20 by default. Rows that repeat an earlier one do not count. A table that
        has no more rows needs no question.
    :param seed: picks random rows, the same ones for the same seed and table; None (default): the first rows.
    :param response_timeout: how long the person has, as of Airflow's ``HITLOperator``; None (default): as
        long as it takes. Without an answer in that time the task fails, having paid for the sample only.
    :param notifiers: Airflow notifiers that are sent when the question is asked.
    :param assigned_users: the people who may answer, as dicts with ``id`` and ``name``, as Airflow's; empty:
        all who may edit.
    :raises SeedreamInputError: a value is of another type or out of range.
    """

    rows: int = 20
    seed: int | None = None
    response_timeout: timedelta | None = None
    notifiers: Sequence[Any] = ()
    assigned_users: Sequence[Mapping[str, str]] = ()

    def __post_init__(self) -> None:
        if isinstance(self.rows, bool) or not isinstance(self.rows, int) or not 1 <= self.rows <= MAX_SAMPLE:
            raise SeedreamInputError(
                f"sample must be an integer from 1 to {MAX_SAMPLE}, or a Sample; got {self.rows!r}."
            )
        if self.seed is not None and (isinstance(self.seed, bool) or not isinstance(self.seed, int)):
            raise SeedreamInputError(f"sample: seed must be an integer or None; got {self.seed!r}.")
        if self.response_timeout is not None and not isinstance(self.response_timeout, timedelta):
            raise SeedreamInputError(
                f"sample: response_timeout must be a timedelta or None; got {self.response_timeout!r}."
            )
        # Both are used when the sample is paid: too late for a mistake.
        if not isinstance(self.notifiers, list | tuple) or not all(map(callable, self.notifiers)):
            raise SeedreamInputError(
                f"sample: notifiers must be a list of Airflow's notifiers; got {self.notifiers!r:.80}."
            )
        if not isinstance(self.assigned_users, list | tuple) or not all(map(_is_user, self.assigned_users)):
            raise SeedreamInputError(
                f'sample: assigned_users must be a list such as [{{"id": "1", "name": "anna"}}]; got '
                f"{self.assigned_users!r:.80}."
            )

    def pick(self, rows: Sequence[int]) -> list[int]:
        """The numbers of the sample's rows, in the order of the table; none if the sample would be the whole
        table.

        :param rows: numbers of the rows that can be picked.
        """
        if len(rows) <= self.rows:
            return []
        return sorted(rows[: self.rows] if self.seed is None else Random(self.seed).sample(rows, self.rows))


def _is_user(value: Any) -> bool:
    """Whether Airflow can store this person beside a question."""
    return isinstance(value, Mapping) and all(isinstance(value.get(name), str) for name in ("id", "name"))


def as_sample(value: Any) -> Sample | None:
    """The argument ``sample`` as a value: a number means the first so many rows.

    :param value: a Sample, a number of rows, or None for no sample.
    :raises SeedreamInputError: it is something else, or out of range.
    """
    if value is None or isinstance(value, Sample):
        return value
    return Sample(rows=value)
