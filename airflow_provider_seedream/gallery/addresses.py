"""The parts of the gallery's addresses: which of them FastAPI reads, their bounds, and the task instance that
they name.

Asks neither the database nor the storage.
"""

import re
from typing import Annotated

from fastapi import Depends, HTTPException, Path, Query, Request

from airflow_provider_seedream.gallery.cursor import MOST_INTEGER
from airflow_provider_seedream.model.task_ref import TaskRef

_HASH = re.compile(r"[0-9a-f]{64}")
Text = Annotated[str, Query(max_length=500)]
Prompt = Annotated[str, Query(max_length=20_000)]  # a whole prompt, copied
Start = Annotated[int, Query(ge=0, le=2**40)]
Loop = Annotated[int | None, Query(ge=0, le=MOST_INTEGER)]
Number = Annotated[int, Path(ge=1)]  # the API's own number, looked up, never an index


def place_of(dag_id: str, run_id: str, task_id: str, map_index: str, loop: Loop = None) -> TaskRef:
    """The task instance of an address. Airflow leaves ``{MAP_INDEX}`` as it is on tasks that are not mapped.

    Without ``loop``, as in Airflow's own tab, the last round of a task in a loop is meant.
    """
    # Python reads 4,300 digits at most
    index = int(map_index[:20]) if map_index.isascii() and map_index.isdecimal() else -1
    if index > MOST_INTEGER:  # no database has such a row, and some raise
        raise HTTPException(404)
    return TaskRef(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=index, loop_index=loop)


def hash_of(request: Request) -> str | None:
    """The hash in a path, if its address has one."""
    sha256 = request.path_params.get("sha256")
    if sha256 is not None and not _HASH.fullmatch(sha256):
        raise HTTPException(404)
    return sha256


def asset_of(asset_id: str) -> int:
    """Airflow's number of an asset. Checked before the guard, as Airflow's own reads numbers that no
    database has.
    """
    number = int(asset_id[:20]) if asset_id.isascii() and asset_id.isdecimal() else 0
    if not 0 < number <= MOST_INTEGER:
        raise HTTPException(404)
    return number


AssetDep = Annotated[int, Depends(asset_of)]
PlaceDep = Annotated[TaskRef, Depends(place_of)]
HashDep = Annotated[str | None, Depends(hash_of)]
