"""An asset of Airflow: its name, the DAGs that have announced it, and the images that it stands for.

Asks Airflow's database, once for each question. Knows no permissions.
"""

import json
from dataclasses import dataclass
from typing import Any

from airflow.models.asset import AssetModel
from airflow.utils.session import create_session
from sqlalchemy import Text, cast, select

from airflow_provider_seedream.gallery.xcoms import events_of

# of the newest events: an asset that stands for one image has one for each time that it was landed
_MOST_EXTRAS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """An asset, and what its events say::

        announced_of(7).uri  # "s3://bucket/watches"

    :param name: empty if there is no such asset, and so is ``uri``.
    :param dag_ids: of the tasks that have made its newest 2,000 events.
    :param hashes: of the images that its newest 200 events name; empty for an asset that stands for whole
        generations or batches.
    """

    asset_id: int
    name: str
    uri: str
    dag_ids: frozenset[str]
    hashes: frozenset[str]


def announced_of(asset_id: int) -> Announced:
    """The asset of this number. One that does not exist has no events, and so nothing to show."""
    events = events_of(asset_id)
    with create_session(scoped=False) as session:
        asset = session.execute(
            select(AssetModel.name, AssetModel.uri).where(AssetModel.id == asset_id)
        ).first()
        dag_ids = frozenset(session.scalars(select(events.c.dag_id).distinct()))
        extras = session.scalars(select(cast(events.c.extra, Text)).limit(_MOST_EXTRAS)).all()
    name, uri = asset or ("", "")
    hashes = frozenset(filter(None, map(_hash, extras)))
    return Announced(asset_id=asset_id, name=name, uri=uri, dag_ids=dag_ids, hashes=hashes)


def _hash(extra: str | None) -> str | None:
    """The hash in the extra of an event, which may be of any program; None if it names no image."""
    try:
        fields: Any = json.loads(extra or "null")
    except (ValueError, RecursionError):
        return None
    sha256 = fields.get("sha256") if isinstance(fields, dict) else None
    return sha256 if isinstance(sha256, str) else None
