"""A batch in the gallery: its summary from XCom, and its table of results, read by pieces: a page costs the same at any length.

An XCom can be edited, and a table of results does not say whose it is. So nothing of a line is shown but its number and its status:
what else there is to show comes from the row's manifest, which does say.
"""

import json
from dataclasses import dataclass
from typing import Any, Self, get_args

from airflow_provider_seedream.batch.results import Status
from airflow_provider_seedream.gallery.reading import read_piece
from airflow_provider_seedream.gallery.roots import is_bare

_PIECE_BYTES = 128 * 1024  # some hundred lines
_STATUSES = frozenset(get_args(Status))


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch's summary, as its XCom tells it::

        batch = Batch.from_value({"results": "s3://bucket/night/results.jsonl", "rows": 200, "count": {"landed": 198, "failed": 2}})
        batch.manifest("hero")  # "s3://bucket/night/hero.json"

    A batch that has failed has pushed only ``results``.

    :param results: URI of the table. :param rows: how many rows it has; None if not told. :param count: rows by status, above 0.
    """

    results: str
    rows: int | None
    count: dict[str, int]

    @classmethod
    def from_value(cls, value: Any) -> Self | None:
        """The batch that an XCom is about, if it is about one."""
        if not isinstance(value, dict) or not isinstance(value.get("results"), str):
            return None
        rows, count = value.get("rows"), value.get("count")
        known = count.items() if isinstance(count, dict) else ()
        counted = {status: number for status, number in known if status in _STATUSES and isinstance(number, int) and number}
        return cls(results=value["results"], rows=rows if isinstance(rows, int) else None, count=counted)

    def manifest(self, name: str) -> str:
        """The URI of a row's manifest."""
        return f"{self.results.rpartition('/')[0]}/{name}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of a table of results::

        Line(row=4, status="landed", name="hero")

    :param row: its number, from 1. :param status: one of the statuses of the results. :param name: the file stem of its images;
        None where there are none.
    """

    row: int
    status: str
    name: str | None


def read_lines(batch: Batch, roots: tuple[str, ...], *, start: int, limit: int) -> tuple[list[Line], int | None]:
    """Lines from a byte of the table on, and the byte where the next ones begin; None at its end.

    :raises CannotShowError: when the table may not be read or cannot be.
    """
    piece = read_piece(batch.results, roots, start=start, max_bytes=_PIECE_BYTES)
    lines, at = [], start
    for text in piece.split(b"\n")[:-1]:
        at += len(text) + 1
        if line := _line(text):
            lines.append(line)
        if len(lines) == limit:
            break
    is_all = len(piece) < _PIECE_BYTES and at >= start + len(piece)
    return lines, None if is_all or at == start else at


def _line(text: bytes) -> Line | None:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get("row"), int):
        return None
    if not isinstance(fields.get("status"), str) or fields["status"] not in _STATUSES:
        return None
    has_images = fields.get("images") and is_bare(fields.get("name"))
    return Line(row=fields["row"], status=fields["status"], name=fields["name"] if has_images else None)
