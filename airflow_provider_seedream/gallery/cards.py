"""From a row to what a page shows of it. Storage is read here, through ``reading``, and nothing is believed without a look.

Images are shown at the place that the manifest says landed them: another task may have found them landed already. Its pages are
guarded like all others, so an edited XCom leads nobody to images of a DAG that he may not read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.gallery.reading import CannotShowError, read_manifest
from airflow_provider_seedream.gallery.rows import Row
from airflow_provider_seedream.generations import Generation, LandedGeneration
from airflow_provider_seedream.manifest import Manifest
from airflow_provider_seedream.places import Place

MayRead = Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row that is about a generation: landed, or only submitted."""

    row: Row
    landed: LandedGeneration | None
    submitted: Generation | None

    @property
    def seedream_task_id(self) -> str:
        return (self.landed or self.submitted).seedream_task_id  # type: ignore[union-attr]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One generation on a page.

    :param owner: the place whose pages serve the images. :param trouble: why there are none, as a sentence.
    """

    entry: Entry
    owner: Place | None
    manifest: Manifest | None
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
        return (self.manifest and self.manifest.submission) or {}

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
            return Entry(row=row, landed=landed, submitted=None) if _is_text(landed.seedream_task_id, landed.manifest) else None
        return Entry(row=row, landed=None, submitted=Generation.from_dict(row.value))
    except SeedreamInputError:
        return None


def card_of(entry: Entry, roots: tuple[str, ...], may_read: MayRead) -> Card:
    """The card of an entry, with its manifest or the reason why there is none."""
    if entry.landed is None:
        return Card(entry=entry, owner=None, manifest=None, trouble="Submitted and paid; not landed in this run so far.")
    try:
        manifest = read_manifest(entry.landed, roots)
        owner = Place.of(manifest.landed_by)
        if owner is None or not may_read(owner.dag_id):
            raise CannotShowError("Its manifest belongs to a DAG that you may not read.")
    except CannotShowError as error:
        return Card(entry=entry, owner=None, manifest=None, trouble=str(error))
    return Card(entry=entry, owner=owner, manifest=manifest, trouble=None)


def _is_text(*values: object) -> bool:
    return all(isinstance(value, str) and value for value in values)
