"""What stops a batch before all of its table is paid. Loaded with every DAG that uses one: values and decisions, no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamInputError

MAX_OF_LAST = 1000  # endings travel in the progress file of a batch


@dataclass(frozen=True, slots=True, kw_only=True)
class StopWhen:
    """The brake of a batch: no more rows are sent when too many of the last rows did not land.

    ::

        SeedreamBatchOperator(..., stop_when=StopWhen(share=0.2, of_last=100))  # more than 20 of the last 100
        SeedreamBatchOperator(..., stop_when=0.2)  # more than 10 of the last 50
        SeedreamBatchOperator(..., stop_when=None)  # no brake

    A row counts when it ends: as landed, or as failed, refused by moderation or expired. Rows that were not sent, and rows with an
    unknown outcome, do not count.

    :param share: more than this share of them stops the sending; from 0 (one is enough) to below 1; 0.5 by default.
    :param of_last: the number of endings that are looked at, 1 to 1,000; 50 by default. Before so many rows have ended, the batch
        is not stopped.
    :raises SeedreamInputError: a number is out of range.
    """

    share: float = 0.5
    of_last: int = 50

    def __post_init__(self) -> None:
        if isinstance(self.share, bool) or not isinstance(self.share, int | float) or not 0 <= self.share < 1:
            raise SeedreamInputError(f"stop_when: share must be a number from 0 to below 1, e.g. 0.5; got {self.share!r}.")
        if isinstance(self.of_last, bool) or not isinstance(self.of_last, int) or not 1 <= self.of_last <= MAX_OF_LAST:
            raise SeedreamInputError(f"stop_when: of_last must be an integer from 1 to {MAX_OF_LAST}; got {self.of_last!r}.")

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
