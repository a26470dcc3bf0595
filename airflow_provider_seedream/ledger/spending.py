"""What was spent, as names of tiny files: ``_seedream/spent/<run>/<task>/<key>.<attempt>.<credits>.<claim>``.

The name says it all, so what a task or a DAG run has spent is one listing. An attempt counts once, however many tries have noted
it, as only one of them can claim it. Pure; never imports an HTTP library, storage or Airflow.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model.submissions import sha256_json

SPENT = "_seedream/spent"
SPENDERS = "_seedream/spenders"
_NAME = re.compile(r"(?P<key>[0-9a-f]{64})\.(?P<attempt>\d+)\.(?P<credits>\d+)\..+", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """An attempt at a request, as a try notes it before it claims the record.

    :param made_by: dag_id, run_id and task_id say whose it is; the rest is for people who look into the file.
    :param claim: random token of the try: two tries of one attempt note it apart, so that each can withdraw its own.
    """

    made_by: dict[str, Any]
    key: str
    attempt: int
    credits: int
    claim: str

    @property
    def name(self) -> str:
        return f"{self.key}.{self.attempt}.{self.credits}.{self.claim}"

    @property
    def file(self) -> str:
        return f"{task_folder(self.made_by)}/{self.name}"

    def to_json(self) -> bytes:
        """Whom it belongs to; nobody but people reads it."""
        return (json.dumps(self.made_by, ensure_ascii=False) + "\n").encode()


def attempt_of(name: str) -> tuple[str, int] | None:
    """The key and the attempt that a file name tells of; None when it is no spending."""
    found = _NAME.fullmatch(name)
    return (found["key"], int(found["attempt"])) if found else None


class Tally:
    """Adds up spendings, each attempt once: if it was noted at two prices, at the larger.

    Names that are none are not counted: a folder may hold other files.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.credits = 0
        self._attempts: dict[tuple[str, int], int] = {}
        for name in names:
            if found := _NAME.fullmatch(name):
                self._add((found["key"], int(found["attempt"])), int(found["credits"]))

    def add(self, spending: Spending) -> None:
        self._add((spending.key, spending.attempt), spending.credits)

    def discard(self, spending: Spending) -> None:
        self.credits -= self._attempts.pop((spending.key, spending.attempt), 0)

    def without(self, spending: Spending) -> int:
        """The credits of all other attempts."""
        return self.credits - self._attempts.get((spending.key, spending.attempt), 0)

    def _add(self, attempt: tuple[str, int], price: int) -> None:
        more = price - self._attempts.get(attempt, 0)
        if more > 0:
            self._attempts[attempt] = price
            self.credits += more


def run_folder(made_by: dict[str, Any]) -> str:
    """Of a DAG run, and of its installation where that has a name: other installations' runs of the same id are other runs."""
    named = [{"installation": name}] if (name := made_by.get("installation")) else []
    return f"{SPENT}/{sha256_json([*named, made_by['dag_id'], made_by['run_id']])[:16]}"


def unnamed(made_by: dict[str, Any]) -> list[dict[str, Any]]:
    """The maker as 0.2.0 noted it, where its installation has got a name since."""
    return [{field: value for field, value in made_by.items() if field != "installation"}] if made_by.get("installation") else []


def task_folder(made_by: dict[str, Any]) -> str:
    return f"{run_folder(made_by)}/{sha256_json(made_by['task_id'])[:16]}"


def spender_file(made_by: dict[str, Any]) -> str:
    """Where it stands which process of the task counted last what it has spent."""
    return f"{SPENDERS}/{task_folder(made_by).removeprefix(f'{SPENT}/').replace('/', '.')}"


def check_budget(field: str, value: Any) -> int | None:
    """Credits, or None for no limit.

    :raises SeedreamInputError: for anything but an integer of at least 0.
    """
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"\s*\d+\s*", value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SeedreamInputError(f"{field} must be an integer of credits, at least 0, or None for no limit; got {value!r}.")
    return value
