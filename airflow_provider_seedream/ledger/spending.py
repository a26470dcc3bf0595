"""Spendings, as names of tiny files: ``_seedream/spent/<run>/<task>/<key>.<attempt>.<credits>.<claim>``.

The file name holds every number, so one listing gives the sum of a task or of a DAG run. Several tries may
note the same attempt, but only one of them can claim it, so it counts once. Does no I/O; never imports an
HTTP library, storage or Airflow.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from airflow_provider_seedream.model.submissions import sha256_json
from airflow_provider_seedream.model.task_ref import TaskRef

SPENT = "_seedream/spent"
SPENDERS = "_seedream/spenders"
_NAME = re.compile(r"(?P<key>[0-9a-f]{64})\.(?P<attempt>\d+)\.(?P<credits>\d+)\.(?P<claim>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """The price of one attempt, written by a try before it claims the record.

    ::

        # "3f...9a.1.20.7c...01"
        Spending(made_by=made_by, key="3f...9a", attempt=1, credits=20, claim="7c...01").name

    :param made_by: dag_id, run_id and task_id decide which budget it counts in; the other fields are for
        people.
    :param key: of the request's record.
    :param attempt: of that record.
    :param credits: the price that counts.
    :param claim: random token of the try. Two tries of one attempt write two files, so that each can delete
        its own.
    """

    made_by: TaskRef
    key: str
    attempt: int
    credits: int
    claim: str

    @property
    def name(self) -> str:
        """The file name, which holds every number."""
        return f"{self.key}.{self.attempt}.{self.credits}.{self.claim}"

    @property
    def file(self) -> str:
        """The file, relative to the destination."""
        return f"{task_folder(self.made_by)}/{self.name}"

    def to_json(self) -> bytes:
        """The content of the file: the task that spends, for people. The provider itself only reads file
        names.
        """
        return (json.dumps(self.made_by.to_dict(), ensure_ascii=False) + "\n").encode()


def attempt_of(name: str) -> tuple[str, int] | None:
    """The key and the attempt in the file name of a spending; None for the name of another file."""
    found = _NAME.fullmatch(name)
    return (found["key"], int(found["attempt"])) if found else None


class Tally:
    """The sum of spendings. An attempt counts once; if it was noted at two prices, the larger one counts.

    A folder may hold other files, so names of another form are skipped::

        Tally(ledger.spent_by_task(made_by)).credits  # 40
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.credits = 0
        # the price by claim: several tries may note one attempt
        self._attempts: dict[tuple[str, int], dict[str, int]] = {}
        for name in names:
            if found := _NAME.fullmatch(name):
                self._add((found["key"], int(found["attempt"])), found["claim"], int(found["credits"]))

    def add(self, spending: Spending) -> None:
        """Count a note, at its price or at the larger one of the same attempt."""
        self._add((spending.key, spending.attempt), spending.claim, spending.credits)

    def discard(self, spending: Spending) -> None:
        """Remove one note. The attempt still counts if another try has noted it, too."""
        attempt = (spending.key, spending.attempt)
        before, claims = self.without(spending), self._attempts.get(attempt, {})
        claims.pop(spending.claim, None)
        self.credits = before + max(claims.values(), default=0)

    def without(self, spending: Spending) -> int:
        """The credits of all other attempts."""
        return self.credits - max(
            self._attempts.get((spending.key, spending.attempt), {}).values(), default=0
        )

    def _add(self, attempt: tuple[str, int], claim: str, price: int) -> None:
        """Count a price for an attempt. Of several tries of one attempt the largest price counts."""
        claims = self._attempts.setdefault(attempt, {})
        before = max(claims.values(), default=0)
        claims[claim] = max(price, claims.get(claim, 0))
        self.credits += max(claims.values()) - before


def run_folder(made_by: TaskRef) -> str:
    """The folder of a DAG run. A named installation is part of it: its runs differ from another
    installation's of the same id.
    """
    named = [{"installation": made_by.installation}] if made_by.installation else []
    return f"{SPENT}/{sha256_json([*named, made_by.dag_id, made_by.run_id])[:16]}"


def unnamed(made_by: TaskRef) -> list[TaskRef]:
    """The task as 0.2.0 noted it (without an installation), if its installation has been named since; else
    an empty list.
    """
    return [made_by.without_installation] if made_by.installation else []


def task_folder(made_by: TaskRef) -> str:
    """The folder of a task's spendings, below that of its DAG run."""
    return f"{run_folder(made_by)}/{sha256_json(made_by.task_id)[:16]}"


def spender_file(made_by: TaskRef) -> str:
    """The file that names the process which counted this task's spendings last."""
    return f"{SPENDERS}/{task_folder(made_by).removeprefix(f'{SPENT}/').replace('/', '.')}"
