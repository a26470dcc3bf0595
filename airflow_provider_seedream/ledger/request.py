"""What is asked for, and which record it has: its key, and the keys that earlier versions gave it. Reads and writes nothing."""

from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamLedgerError
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.ledger.record import Reuse, file_stem, record_key
from airflow_provider_seedream.model.names import earlier_forms, is_composed
from airflow_provider_seedream.model.submissions import Submission


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A submission and where it belongs.

    :param made_by: dag_id, run_id, task_id, map_index, try_number; installation and airflow where they are known.
    :param reuse: how far the same request is paid once: within its ``run``, or by its ``content`` for ever.
    :param is_as_written: whether its record has the key of 0.2.0, which did not compose the prompt's letters.
    """

    submission: Submission
    destination: str
    name: str | None
    made_by: dict[str, Any]
    reuse: Reuse = "run"
    is_as_written: bool = False

    @property
    def key(self) -> str:
        return record_key(
            dag_id=self.made_by["dag_id"],
            run_id=self.made_by["run_id"],
            task_id=self.made_by["task_id"],
            destination=self.destination,
            name=self.name,
            fingerprint=self.submission.fingerprint_as_written if self.is_as_written else self.submission.fingerprint,
            reuse=self.reuse,
            installation=self.made_by.get("installation"),
        )

    def as_of_0_2(self) -> "list[Request]":
        """This request under the other keys that 0.2.0 may have given it: text counted as written, installations had no name."""
        names = [self.name, *earlier_forms(self.name)]
        forms = [False] if is_composed(self.submission.prompt) else [False, True]
        unnamed = {field: value for field, value in self.made_by.items() if field != "installation"}
        makers = [self.made_by] if unnamed == self.made_by or self.reuse == "content" else [self.made_by, unnamed]
        return [
            replace(self, name=name, is_as_written=form, made_by=maker) for maker in makers for name in names for form in forms
        ][1:]

    @property
    def stem(self) -> str | None:
        return file_stem(self.name, self.submission.take)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """:param is_new: whether this call paid for it. :param is_mine: whether that, or an earlier try of this task, did."""

    generation: Generation
    is_new: bool
    is_mine: bool = True


def is_of_one_airflow(made_by: dict[str, Any], mine: dict[str, Any]) -> bool:
    """Whether two tries are of one installation, as far as both say which they are of."""
    pairs = [(made_by.get(field), mine.get(field)) for field in ("installation", "airflow")]
    return all(theirs is None or ours is None or theirs == ours for theirs, ours in pairs)


def unread(error: SeedreamLedgerError, made_by: dict[str, Any]) -> SeedreamLedgerError:
    """The error of a record that cannot be read. Whether an earlier try paid stands in it; a first try knows that none did."""
    if made_by.get("try_number", 1) > 1:
        error.paid = "unknown"
        error.on_retry = "This try sent nothing; whether an earlier one paid stands in the record, which a retry reads again."
    return error
