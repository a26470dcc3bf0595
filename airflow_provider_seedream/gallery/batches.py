"""A batch in the gallery: its summary from XCom, and its table of results, read by pieces: a page costs the
same at any length.

An XCom can be edited, so the URI in it may lead to the table of a DAG that the reader may not read. Prompts,
reasons and columns of a table are shown only if the ledger beside it says that the name of this table is
reserved for this very task instance. Of another table only row numbers and statuses are shown, and images
whose own manifests say that the reader may see them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self, get_args

from airflow_provider_seedream.batch.results_name import owner_keys
from airflow_provider_seedream.batch.rows import PARAMETERS, RESULT_COLUMNS
from airflow_provider_seedream.batch.statuses import Status
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.gallery.reading import CannotShowError, read_piece
from airflow_provider_seedream.gallery.roots import is_bare
from airflow_provider_seedream.ledger.records import NAMES, name_note
from airflow_provider_seedream.model.commands import command
from airflow_provider_seedream.model.markdown import cut
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.tasks.installation import describe_installation

_NOTE_BYTES = 1024  # a reservation has some 100
_PROMPT_CHARACTERS, _TEXT_CHARACTERS, _COLUMNS = 2000, 300, 12  # of a row, so that a page stays small
_PIECE_BYTES = 128 * 1024  # some hundred lines
_STATUSES = frozenset(get_args(Status))


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The summary of a batch. A batch that failed has only ``results``, the URI of its table::

        Batch.from_value(
            {
                "results": "s3://my_conn@bucket/night/results.jsonl",
                "rows": 2,
                "count": {"landed": 2},
                "credits": 20,
            }
        )

    :param results: storage URI of the table of results, a ``.jsonl`` file in the batch's folder.
    :param rows: how many rows the table of requests had; None if the XCom does not say it.
    :param count: rows by their status; a status without rows is left out.
    :param credits: the credits of all rows; None if it is not known.
    """

    results: str
    rows: int | None
    count: dict[str, int]
    credits: int | None = None

    @classmethod
    def from_value(cls, value: Any) -> Self | None:
        """Read an XCom's value as the summary of a batch.

        A field of a wrong type counts as missing, because a person can edit an XCom.

        :param value: the XCom as plain JSON.
        :returns: None if the value has no ``results``, so is about something else.
        """
        if not isinstance(value, dict) or not isinstance(value.get("results"), str):
            return None
        rows, count = value.get("rows"), value.get("count")
        known = count.items() if isinstance(count, dict) else ()
        counted = {
            status: number
            for status, number in known
            if status in _STATUSES and isinstance(number, int) and number
        }
        spent = value.get("credits")
        return cls(
            results=value["results"],
            rows=rows if isinstance(rows, int) else None,
            count=counted,
            credits=spent if isinstance(spent, int) else None,
        )

    @property
    def unknown(self) -> int:
        """The number of rows that may be paid: no answer to their request came."""
        return self.count.get("unknown", 0)

    @property
    def settling(self) -> str:
        """The command that asks about each record of an unknown outcome."""
        return command("resolve", "--all", self.folder)

    @property
    def folder(self) -> str:
        """The storage URI of the folder that holds the table, the images and the ledger."""
        return self.results.rpartition("/")[0]

    def manifest(self, name: str) -> str:
        """The URI of a row's manifest.

        :param name: file stem of the row's images, one plain file name.
        """
        return f"{self.folder}/{name}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of a table of results::

        Line(
            row=7,
            status="moderated",
            name=None,
            detail="refused by the safety checker",
            columns={"sku": "W-100"},
        )

    :param row: the row's number in the table of requests, from 1.
    :param status: one of ``batch.results.Status``.
    :param name: file stem of its images; None if there are none.
    :param detail: the reason why it has no image, or not all, up to 300 characters.
    :param prompt: up to 2,000 characters.
    :param columns: the free columns that are not empty, up to 12, as text.

    ``detail``, ``prompt`` and ``columns`` are empty unless the table is the task's own.
    """

    row: int
    status: str
    name: str | None
    detail: str = ""
    prompt: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def ending(self) -> str:
        """The end of a row without images as a sentence or two, for the place of its pictures."""
        return f"{self.status.replace('_', ' ').capitalize()}. {self.detail}".strip()


def is_table_of(place: TaskRef, batch: Batch, roots: tuple[str, ...]) -> bool:
    """True if the ledger beside the table has its name reserved for this task instance.

    The reservation is the proof that this task wrote the table: an edited XCom can name another task's table,
    but cannot write a ledger.

    :param roots: the folders that the gallery may read.
    :returns: False also if the reservation cannot be read.
    """
    folder, _, file = batch.results.rpartition("/")
    try:
        note = read_piece(
            f"{folder}/{NAMES}/{file.removesuffix('.jsonl')}.json", roots, start=0, max_bytes=_NOTE_BYTES
        )
        installation = describe_installation().get("installation")
    except (CannotShowError, SeedreamInputError):
        return False
    return note in [name_note(key) for key in owner_keys(replace(place, installation=installation))]


def read_lines(
    batch: Batch, roots: tuple[str, ...], *, start: int, limit: int, with_texts: bool = False
) -> tuple[list[Line], int | None]:
    """Read some lines of a table of results, so that a page costs the same at any length of the table.

    :param start: the byte to begin at: 0, or the second value of an earlier call.
    :param limit: the most lines to return; one call reads 128 KiB at most.
    :param with_texts: with reasons, prompts and free columns; only of a table of :func:`is_table_of`.
    :returns: the lines, and the byte where the next ones begin; None at the end of the table.
    :raises CannotShowError: the table may not be read, or cannot be read.
    """
    piece = read_piece(batch.results, roots, start=start, max_bytes=_PIECE_BYTES)
    lines, at = [], start
    for text in piece.split(b"\n")[:-1]:
        at += len(text) + 1
        if line := _line(text, with_texts=with_texts):
            lines.append(line)
        if len(lines) == limit:
            break
    # The last line of a piece may be cut in two: only bytes up to the last line feed count as read.
    is_all = len(piece) < _PIECE_BYTES and at >= start + len(piece)
    return lines, None if is_all or at == start else at


def _line(text: bytes, *, with_texts: bool) -> Line | None:
    """One line of the file; None if it is not a row of a table of results, as the file may be any file below
    the roots.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get("row"), int):
        return None
    if not isinstance(fields.get("status"), str) or fields["status"] not in _STATUSES:
        return None
    has_images = fields.get("images") and is_bare(fields.get("name"))
    line = Line(row=fields["row"], status=fields["status"], name=fields["name"] if has_images else None)
    return _with_texts(line, fields) if with_texts else line


def _with_texts(line: Line, fields: dict[str, Any]) -> Line:
    """The line with its reason, prompt and free columns, each cut to its bound."""
    free = {
        name: value
        for name, value in fields.items()
        if name not in {*PARAMETERS, *RESULT_COLUMNS} and value not in (None, "")
    }
    return replace(
        line,
        detail=cut(str(fields.get("detail") or ""), _TEXT_CHARACTERS),
        prompt=cut(str(fields.get("prompt") or ""), _PROMPT_CHARACTERS),
        columns={
            cut(name, _TEXT_CHARACTERS): cut(str(value), _TEXT_CHARACTERS)
            for name, value in list(free.items())[:_COLUMNS]
        },
    )
