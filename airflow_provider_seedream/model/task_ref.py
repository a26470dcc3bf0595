"""The task instance that acts: that pays for a generation, lands its images, or owns them in the gallery.

Does no I/O. It is the only module that spells these fields, which records, manifests, spendings and pages all
hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self
from urllib.parse import quote, urlencode

PREFIX = "seedream"
Page = Literal["task", "image", "thumb", "file"]
_IDS = ("dag_id", "run_id", "task_id")
_NUMBERS = ("map_index", "try_number", "loop_index")
_KNOWN = ("installation", "airflow", "command")  # written only where they are known


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRef:
    """A task instance, one try of it, and the Airflow installation that it belongs to::

        ref = TaskRef(dag_id="watches", run_id="manual__1", task_id="land", try_number=1)
        # {"dag_id": "watches", "run_id": "manual__1", "task_id": "land", "map_index": -1, "try_number": 1}
        ref.to_dict()
        ref.address("task")  # "seedream/task/watches/manual__1/land/-1"

    An empty id is one that is not known: a person who lands images on the command line belongs to no task.
    JSON has null for it.

    :param map_index: -1 if the task is not mapped.
    :param loop_index: the round of a task in a loop, from 0, as Airflow's ``loop.index``; None outside of
        loops, which Airflow has from 3.4 on. A clear gives a round another ``region_id`` and leaves it this
        number.
    :param try_number: counts from 1; None where no try is meant, as on the gallery's pages.
    :param installation: the name that ``[seedream] installation`` gives to this Airflow; part of the identity
        of a request.
    :param airflow: the address of its user interface, unless that is this machine.
    :param command: the command line that landed the images, if a person did.
    :param more: fields of files that this version does not know; they are kept when the file is written
        again.
    """

    dag_id: str = ""
    run_id: str = ""
    task_id: str = ""
    map_index: int = -1
    loop_index: int | None = None
    try_number: int | None = None
    installation: str | None = None
    airflow: str | None = None
    command: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, value: object) -> Self | None:
        """The task instance that a manifest's ``made_by`` or ``landed_by`` names in full; None where it does
        not.

        The try and the installation are left out, so two that are equal name the same instance.

        :param value: of any type, as a file may hold anything.
        """
        match value:
            case {
                "dag_id": str(dag_id),
                "run_id": str(run_id),
                "task_id": str(task_id),
                "map_index": int(map_index),
                **more,
            }:
                loop_index = more.get("loop_index")
                known = loop_index if isinstance(loop_index, int) else None
                return cls(
                    dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index, loop_index=known
                )
        return None

    @classmethod
    def running(cls, context: Mapping[str, Any], **known: Any) -> Self:
        """The task instance that runs now.

        :param context: Airflow's, of the running task.
        :param known: further fields, e.g. ``installation``.
        """
        ti, loop = context["ti"], context.get("loop")
        return cls(
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            task_id=ti.task_id,
            map_index=-1 if ti.map_index is None else ti.map_index,
            loop_index=None if loop is None else loop.index,
            **known,
        )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Read the fields of a file. Missing ones, and those of another type, are not known; others are
        kept in ``more``.
        """
        types = {**dict.fromkeys((*_IDS, *_KNOWN), str), **dict.fromkeys(_NUMBERS, int)}
        read: dict[str, Any] = {
            name: value for name, value in fields.items() if isinstance(value, types.get(name, ()))
        }
        return cls(**read, more={name: value for name, value in fields.items() if name not in types})

    def to_dict(self) -> dict[str, Any]:
        """The fields as files hold them: always the first five ids; the rest only where it is known."""
        known = {name: getattr(self, name) for name in _KNOWN if getattr(self, name) is not None}
        return {**self.ids(), **known, **self.more}

    def ids(self) -> dict[str, Any]:
        """dag_id, run_id, task_id, map_index and try_number; None for each that is not known. In a loop
        also loop_index.
        """
        named = {name: getattr(self, name) or None for name in _IDS}
        in_loop = {} if self.loop_index is None else {"loop_index": self.loop_index}
        return {
            **named,
            "map_index": self.map_index if self.task_id else None,
            "try_number": self.try_number,
            **in_loop,
        }

    @property
    def without_installation(self) -> Self:
        """As 0.2.0 wrote it: that version did not name installations."""
        return replace(self, installation=None)

    def is_same_task(self, other: "TaskRef") -> bool:
        """True for every try, every mapped instance and every round of one task in one DAG run."""
        return (self.dag_id, self.run_id, self.task_id) == (other.dag_id, other.run_id, other.task_id)

    def is_same_round(self, other: "TaskRef") -> bool:
        """False if both name a round of a loop and the rounds differ; True otherwise."""
        return None in (self.loop_index, other.loop_index) or self.loop_index == other.loop_index

    def is_same_airflow(self, other: "TaskRef") -> bool:
        """False if both name their installation and the names differ; True otherwise."""
        pairs = ((self.installation, other.installation), (self.airflow, other.airflow))
        return all(mine is None or theirs is None or mine == theirs for mine, theirs in pairs)

    def address(
        self, page: Page, number: int | None = None, name: str | None = None, sha256: str | None = None
    ) -> str:
        """``seedream/<page>/<dag>/<run>/<task>/<map index>``, with the image's number for all but the task's
        own page, and ``?loop=<loop index>`` for a round of a loop.

        It has no leading slash, so it follows the web server's base path. Run ids hold colons and plus signs,
        which stay as they are: Airflow's page takes another spelling for another address, and would load the
        frame twice.

        :param page: ``task``, ``image``, ``thumb`` or ``file``.
        :param number: of the image, as the API counts, from 1.
        :param name: of which row's images, where the task is a batch.
        :param sha256: of the image that is meant: the address then leads to this image or nowhere, whatever
            the task lands later.
        """
        parts = [PREFIX, page, self.dag_id, self.run_id, self.task_id, str(self.map_index)]
        which = [str(part) for part in (number, sha256) if part is not None]
        path = "/".join(quote(part, safe=":+") for part in [*parts, *which])
        query = {} if self.loop_index is None else {"loop": str(self.loop_index)}
        query |= {"name": name} if name else {}
        return f"{path}?{urlencode(query)}" if query else path


NOBODY = TaskRef()
