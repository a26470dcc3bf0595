"""Sets the scene for the gallery: landed folders as the provider makes them, and rows in Airflow's database.

Rows are written past Airflow, as an edited XCom may hold anything; only what a page needs is there.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from airflow_provider_seedream.emulator.render import Subject, draw
from airflow_provider_seedream.ledger.records import Record
from airflow_provider_seedream.manifest import Manifest, ManifestImage, landed_generation
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.gallery.xcom_tables import TABLES, as_sqlite, dag_run_id, rows_of

LINK_KEY = "_link_SeedreamImagesLink"
# The run of an XCom ends with the last of its XComs.
_RUN = """
    INSERT INTO dag_run (id, dag_id, run_id, run_type, state, run_after, end_date)
    VALUES (:id, :dag_id, :run_id, 'scheduled', 'success', :at, :at)
    ON CONFLICT (id) DO UPDATE SET
        run_after = min(run_after, excluded.run_after), end_date = max(end_date, excluded.end_date)
"""
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@cache
def picture(width: int, height: int, prompt: str, index: int = 0) -> bytes:
    return draw(
        Subject(width=width, height=height, prompt=prompt, seed=index, index=index, image_format="PNG")
    )


def image_on_disk(
    folder: Path, file: str, data: bytes, number: int, thumbnail: str | None, *, size: tuple[int, int]
) -> ManifestImage:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(data)
    return ManifestImage(
        number=number,
        file=file,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        width=size[0],
        height=size[1],
        media_type="image/png",
        thumbnail=thumbnail,
    )


def land(
    folder: Path,
    place: TaskRef,
    *,
    name: str = "hero",
    prompt: str = "a leather watch on a wet stone",
    images: int = 2,
    size: tuple[int, int] = (160, 90),
    thumbnails: bool = True,
    **fields: Any,
) -> dict[str, Any]:
    """A landed folder; returns what the sensor's XCom would be."""
    landed = []
    for number in range(1, images + 1):
        thumbnail = f"{name}_{number}.thumb.png" if thumbnails else None
        if thumbnail:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / thumbnail).write_bytes(picture(256, 256 * size[1] // size[0], prompt, number))
        data = picture(*size, prompt, number)
        landed.append(image_on_disk(folder, f"{name}_{number}.png", data, number, thumbnail, size=size))
    manifest = Manifest(**{**manifest_fields(place, name, prompt, images), "images": tuple(landed), **fields})
    (folder / f"{name}.json").write_bytes(manifest.to_json())
    return landed_generation(manifest, folder.as_uri()).to_dict()


def manifest_fields(place: TaskRef, name: str, prompt: str, images: int) -> dict[str, Any]:
    by = _made_by(place)
    submission = {
        "prompt": prompt,
        "image_size": "landscape_16_9",
        "num_images": images,
        "enable_safety_checker": True,
        "seed": 42,
        "kind": "generate",
        "take": 1,
        "sources": [],
    }
    return {
        "seedream_task_id": f"id-of-{name}",
        "name": name,
        "kind": "generate",
        "endpoint": "/v1/images/seedream/v5/lite/generate/",
        "submission": submission,
        "credits": 10 * images,
        "images_requested": images,
        "digital_source_type": None,
        "created_at": "2026-03-01T11:59:00Z",
        "landed_at": "2026-03-01T12:00:00Z",
        "made_by": by,
        "landed_by": by,
        "record": None,
    }


def _made_by(place: TaskRef) -> dict[str, Any]:
    return replace(place, try_number=1).to_dict()


def submitted(name: str = "hero", **fields: Any) -> dict[str, Any]:
    """What the generate operator's XCom would be."""
    return {
        "schema_version": 1,
        "seedream_task_id": f"id-of-{name}",
        "kind": "generate",
        "created_at": "2026-03-01T11:59:00Z",
        "num_images": 2,
        "credits": 20,
        "destination": "s3://bucket/watches",
        "name": name,
        "record": f"s3://bucket/watches/_seedream/ledger/{'0' * 64}.json",
        "image_size": "auto_2K",
        **fields,
    }


def record(folder: Path, place: TaskRef, **fields: Any) -> str:
    """The ledger record of ``submitted()``; returns its URI."""
    kept = Record(
        **{
            "key": "0" * 64,
            "attempt": 1,
            "outcome": "submitted",
            "claim": "token",
            "destination": folder.as_uri(),
            "name": "hero",
            "submission": {"prompt": "a walrus", "num_images": 2},
            "fingerprint": "0" * 64,
            "credits": 20,
            "made_by": replace(place, try_number=1),
            "intent_at": "2026-03-01T11:59:00Z",
            "settles_at": "2026-03-01T12:01:00Z",
            "seedream_task_id": "id-of-hero",
            **fields,
        }
    )
    file = folder / kept.file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(kept.to_json())
    return file.as_uri()


@dataclass(slots=True, kw_only=True)
class Database:
    """Airflow's SQLite file, written to directly.

    :param is_written: called after each write: a gallery in this process remembers an answer that was slow,
        as on a busy machine.
    """

    file: Path
    is_written: Callable[[], None] = lambda: None
    _written: int = 0

    def returned(
        self,
        place: TaskRef,
        value: Any,
        *,
        at: datetime | None = None,
        linked: bool = True,
        key: str = "return_value",
    ) -> None:
        """A task of ours that returned this; each a second newer than the one before."""
        self._written += 1
        moment = at or NOON + timedelta(seconds=self._written)
        self._put(place, key, value, moment)
        if linked:
            self._put(place, LINK_KEY, place.address("task"), moment)

    def failed(self, places: list[TaskRef]) -> None:
        """Tasks of ours that returned nothing; each newer than all others."""
        with self._writing() as connection:
            for number, place in enumerate(places):
                _put(
                    connection,
                    place,
                    LINK_KEY,
                    place.address("task"),
                    NOON + timedelta(days=1, seconds=number),
                )

    def forget(self) -> None:
        with self._writing() as connection:
            for table in reversed(TABLES):
                connection.execute(f"DELETE FROM {table}")

    def _put(self, place: TaskRef, key: str, value: Any, at: datetime) -> None:
        with self._writing() as connection:
            _put(connection, place, key, value, at)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.file, timeout=30)) as connection, connection:
            yield connection
        self.is_written()


def _put(connection: sqlite3.Connection, place: TaskRef, key: str, value: Any, at: datetime) -> None:
    """One XCom, and what it belongs to."""
    for table, row in rows_of(place, key, json.dumps(value), at):
        values = [as_sqlite(one) for one in row.values()]
        connection.execute(
            f"INSERT OR REPLACE INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", values
        )
    run = {"id": dag_run_id(place), "dag_id": place.dag_id, "run_id": place.run_id, "at": as_sqlite(at)}
    connection.execute(_RUN, run)
