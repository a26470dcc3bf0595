"""Requests of a person to stop the batches of a destination: one small file that running batches read every
30 s.

A request concerns the batches that run when it is written. A batch that begins later finds it there and
ignores it, so the clocks of two machines are never compared. Never imports the hook or Airflow.
"""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.storage.folder import Folder

FILE = "_seedream/stops.json"
SCHEMA_VERSION = 1
MAX_KEPT = 50  # a batch misses a request only if 50 more are made before it reads the file again
_FILTERS = ("dag_id", "run_id", "task_id", "results")
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequest:
    """One request to stop::

        StopRequest(id="5f...", at="2026-11-29T23:10:00Z", by="anna", dag_id="campaign")

    :param id: tells requests apart; a batch keeps the ids that it found when it began.
    :param at: when it was made, ISO 8601 UTC, for people. :param by: who made it; None if that is not known.
    :param dag_id: only batches of this DAG; None for all. :param run_id: likewise. :param task_id: likewise.
    :param results: only the batch whose table of results has this stem.
    """

    id: str
    at: str
    by: str | None = None
    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    results: str | None = None

    def concerns(self, by: TaskRef, results: str) -> bool:
        """True if a batch is one of those that are to stop.

        :param by: its task instance. :param results: the stem of its table of results.
        """
        its = {"dag_id": by.dag_id, "run_id": by.run_id, "task_id": by.task_id, "results": results}
        return all(getattr(self, name) in (None, its[name]) for name in _FILTERS)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON, for the file and for ``airflow seedream stop --output json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """The request again. Fields of a later version are ignored."""
        return cls(**{one.name: value[one.name] for one in fields(cls) if one.name in value})


def read_stops(folder: Folder) -> list[StopRequest]:
    """The requests of a destination, the oldest first. One GET.

    :raises ValueError: the file is not one of ours. :raises Exception: of the store's own class.
    """
    return _parsed(folder.read(FILE))


def add_stop(folder: Folder, request: StopRequest) -> None:
    """Write a request beside the earlier ones.

    :raises ValueError: the file is not one of ours. :raises OSError: other writers came in between, five
        times.
    """
    for _ in range(_ATTEMPTS):
        there = folder.read(FILE)
        requests = [*_parsed(there), request][-MAX_KEPT:]
        data = json.dumps(
            {"schema_version": SCHEMA_VERSION, "stops": [one.to_dict() for one in requests]}
        ).encode()
        is_written = folder.create(FILE, data) if there is None else folder.replace_if(FILE, there, data)
        if is_written:
            return
    raise OSError(f"{folder.uri(FILE)} was changed by others at the same time; try again")


def _parsed(data: bytes | None) -> list[StopRequest]:
    """The requests in the file; none if there is no file. :raises ValueError: the file is not one of ours."""
    if data is None:
        return []
    there = json.loads(data)
    if not isinstance(there, dict) or there.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"no stops of schema version {SCHEMA_VERSION}")
    return [StopRequest.from_dict(one) for one in there["stops"]]
