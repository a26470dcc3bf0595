"""The result of one row: a line of the table of results, and the types of its columns. Imports no storage:
another module keeps the lines and publishes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_seedream.batch.parquet import ColumnType
from airflow_provider_seedream.batch.statuses import Status
from airflow_provider_seedream.exceptions import Paid
from airflow_provider_seedream.generations import without_queries


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """The result of one row, as it stands in the table of results::

        images = ("s3://my_conn@bucket/hero_1.png",)
        RowResult(row=4, status="landed", name="hero", credits=10, paid="yes", images=images)

    :param row: its number, from 1.
    :param name: file stem of the images; None if the row was not sent and has no name.
    :param credits: the credits charged: 0 if refunded or never sent; the possible charge if ``paid`` is
        ``unknown``.
    :param billed_credits: the credits that the wallet lost, if that was measured.
    :param images: URIs of the landed images.
    :param manifest: URI of the manifest.
    :param detail: the reason, for people.
    :param columns: of the row, see ``Row.columns`` and ``columns_of_refused``.
    """

    row: int
    status: Status
    name: str | None = None
    seedream_task_id: str | None = None
    credits: int = 0
    billed_credits: int | None = None
    paid: Paid = "no"
    images: tuple[str, ...] = ()
    manifest: str | None = None
    detail: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """One line of the table: the result first, then the columns of the row."""
        own = {
            "row": self.row,
            "status": self.status,
            "name": self.name,
            "seedream_task_id": self.seedream_task_id,
            "credits": self.credits,
            "billed_credits": self.billed_credits,
            "paid": self.paid,
            "images": list(self.images),
            "manifest": self.manifest,
            "detail": without_queries(self.detail) if self.detail else None,
        }
        return {**own, **{column: value for column, value in self.columns.items() if column not in own}}


# Columns whose type is the same in every results.parquet; free columns get the type of their values.
COLUMN_TYPES: dict[str, ColumnType] = {
    "row": "integer",
    "status": "text",
    "name": "text",
    "seedream_task_id": "text",
    "credits": "integer",
    "billed_credits": "integer",
    "paid": "text",
    "images": "texts",
    "manifest": "text",
    "detail": "text",
    "prompt": "text",
    "image_size": "text",
    "num_images": "integer",
    "seed": "integer",
    "enable_safety_checker": "boolean",
    "take": "integer",
    "sources": "texts",
}
