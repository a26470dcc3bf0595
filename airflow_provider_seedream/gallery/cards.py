"""From a row to what a page shows of it. Storage is read here, through ``reading``, and nothing is believed without a look.

Images are shown at the place that the manifest says landed them: another task may have found them landed already. Its pages are
guarded like all others, so an edited XCom leads nobody to images of a DAG that he may not read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.gallery.reading import CannotShowError, read_manifest, read_record
from airflow_provider_seedream.gallery.rows import Row
from airflow_provider_seedream.generations import Generation, LandedGeneration
from airflow_provider_seedream.ledger import Outcome, Record
from airflow_provider_seedream.manifest import Manifest
from airflow_provider_seedream.places import Place

MayRead = Callable[[str], bool]
_NOT_LANDED = "Submitted and paid; not landed in this run so far."
_ENDINGS: dict[Outcome, str] = {
    "landed": "Landed by another task.",
    "partial": "Landed in part.",
    "failed": "The generation failed.",
    "expired": "Its images have expired before they were landed.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row that is about a generation: landed, or only submitted."""

    row: Row
    generation: LandedGeneration | Generation

    @property
    def landed(self) -> LandedGeneration | None:
        return self.generation if isinstance(self.generation, LandedGeneration) else None

    @property
    def submitted(self) -> Generation | None:
        return self.generation if isinstance(self.generation, Generation) else None

    @property
    def seedream_task_id(self) -> str:
        return self.generation.seedream_task_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One generation on a page.

    :param owner: the place whose pages serve the images. :param record: of one that is not landed, if it can be read.
    :param trouble: why there are no images, as a sentence.
    """

    entry: Entry
    owner: Place | None
    manifest: Manifest | None
    record: Record | None
    trouble: str | None

    @property
    def place(self) -> Place:
        return self.entry.row.place

    @property
    def prompt(self) -> str:
        prompt = self.submission.get("prompt")
        return prompt if isinstance(prompt, str) else ""

    @property
    def submission(self) -> dict[str, Any]:
        known = self.manifest or self.record
        return (known and known.submission) or {}

    @property
    def sources(self) -> list[str]:
        """Where the input images of an edit came from."""
        sources = self.submission.get("sources")
        found = [source.get("uri") for source in sources if isinstance(source, dict)] if isinstance(sources, list) else []
        return [uri for uri in found if isinstance(uri, str)]

    @property
    def folder(self) -> str:
        """The storage URI of the folder; only of a landed generation."""
        return self.entry.landed.manifest.rpartition("/")[0] if self.entry.landed else ""


def entry_of(row: Row) -> Entry | None:
    """What a row says of a generation; None when it is about something else, or has been edited into nonsense."""
    try:
        if isinstance(row.value, dict) and "manifest" in row.value:
            landed = LandedGeneration.from_dict(row.value)
            return Entry(row=row, generation=landed) if _is_text(landed.seedream_task_id, landed.manifest) else None
        return Entry(row=row, generation=Generation.from_dict(row.value))
    except SeedreamInputError:
        return None


def card_of(entry: Entry, roots: tuple[str, ...], may_read: MayRead) -> Card:
    """The card of an entry, with its manifest or the reason why there is none."""
    if isinstance(entry.generation, Generation):
        return _open_card(entry, entry.generation, roots, may_read)
    try:
        manifest = read_manifest(entry.generation, roots)
        owner = _readable(manifest.landed_by, may_read)
    except CannotShowError as error:
        return Card(entry=entry, owner=None, manifest=None, record=None, trouble=str(error))
    return Card(entry=entry, owner=owner, manifest=manifest, record=None, trouble=None)


def _open_card(entry: Entry, submitted: Generation, roots: tuple[str, ...], may_read: MayRead) -> Card:
    """Of a generation that was not landed: what became of it, if its record can be read."""
    try:
        record = read_record(submitted, roots)
        _readable(record.made_by, may_read)
    except CannotShowError:
        return Card(entry=entry, owner=None, manifest=None, record=None, trouble=_NOT_LANDED)
    ending = _ENDINGS.get(record.outcome, _NOT_LANDED) + (" Its credits were refunded." if record.refunded else "")
    return Card(entry=entry, owner=None, manifest=None, record=record, trouble=ending)


def _readable(made_by: Any, may_read: MayRead) -> Place:
    """The task instance that a file says it is of. :raises CannotShowError: when the user may not read that one's DAG."""
    place = Place.of(made_by)
    if place is None or not may_read(place.dag_id):
        raise CannotShowError("Its files belong to a DAG that you may not read.")
    return place


def _is_text(*values: object) -> bool:
    return all(isinstance(value, str) and value for value in values)
