"""The task instance that landed images, and the addresses of its pages in Airflow's user interface.

Pure: no I/O. Addresses have no leading slash, so that they follow the web server's base path wherever Airflow resolves them.
"""

from dataclasses import dataclass
from typing import Any, Literal, Self
from urllib.parse import quote, urlencode

PREFIX = "seedream"
Page = Literal["task", "image", "thumb", "file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A task instance. ``map_index`` is -1 if the task is not mapped::

        Place(dag_id="watches", run_id="manual__1", task_id="land", map_index=-1).address("task")

    Run ids hold colons and plus signs. They stay as they are in an address: Airflow's page takes another spelling for another
    address, and would load the frame twice.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    @classmethod
    def of(cls, made_by: Any) -> Self | None:
        """The place that a manifest's ``made_by`` or ``landed_by`` names; None where it names none."""
        match made_by:
            case {"dag_id": str(dag_id), "run_id": str(run_id), "task_id": str(task_id), "map_index": int(map_index)}:
                return cls(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index)
        return None

    def address(self, page: Page, number: int | None = None, name: str | None = None, sha256: str | None = None) -> str:
        """``seedream/<page>/<dag>/<run>/<task>/<map index>``, with the image's number for all but the task's own page.

        :param name: of which row's images, where the task is a batch.
        :param sha256: of the image that is meant: the address then leads to this image or nowhere, whatever the task lands later.
        """
        parts = [PREFIX, page, self.dag_id, self.run_id, self.task_id, str(self.map_index)]
        which = [str(part) for part in (number, sha256) if part is not None]
        path = "/".join(quote(part, safe=":+") for part in [*parts, *which])
        return f"{path}?{urlencode({'name': name})}" if name else path
