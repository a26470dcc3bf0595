"""From a row to its card on a page. Storage is read here, through ``reading``, and each file is checked
before it is shown.

Images are shown at the task instance whose XCom names them; another one may have landed them before. Readers
need the right to both DAGs, that of the address and that of the manifest, so an edited XCom leads no reader
to images of a DAG that he may not read. Queries no database itself, and knows no HTML.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.gallery.batches import Batch, Line, is_table_of, read_lines
from airflow_provider_seedream.gallery.reading import CannotShowError, read_manifest, read_record
from airflow_provider_seedream.gallery.rows import Row
from airflow_provider_seedream.generations import Generation, LandedGeneration
from airflow_provider_seedream.ledger.records import Record
from airflow_provider_seedream.manifest import Manifest, ManifestImage, manifest_file
from airflow_provider_seedream.model.task_ref import TaskRef

_log = logging.getLogger(__name__)
MayRead = Callable[[str], bool]
_FIRST_ROWS = 4
_NOT_LANDED = "Submitted and paid; not landed in this run so far."
_ENDINGS: dict[str, str] = {
    "landed": "Landed by another task.",
    "partial": "Landed in part.",
    "failed": "The generation failed.",
    "expired": "Its images have expired before they were landed.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row that is about a generation, landed or only submitted, or about a batch of them::

        entry = entry_of(row)
        entry.landed or entry.submitted or entry.batch  # exactly one of the three

    :param row: the task instance and the value that it returned or pushed.
    :param about: that value, checked.
    """

    row: Row
    about: LandedGeneration | Generation | Batch

    @property
    def landed(self) -> LandedGeneration | None:
        """The generation, if its images are landed."""
        return self.about if isinstance(self.about, LandedGeneration) else None

    @property
    def submitted(self) -> Generation | None:
        """The generation, if it is submitted and this task did not land it."""
        return self.about if isinstance(self.about, Generation) else None

    @property
    def batch(self) -> Batch | None:
        """The batch, if it is one."""
        return self.about if isinstance(self.about, Batch) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One generation on a page, or one batch::

        card = card_of(entry, gallery_roots(), may_read)
        card.pictures or card.trouble  # its images, or the reason why there are none

    :param entry: the row that this card shows.
    :param owner: the task instance that landed the images; None without a manifest.
    :param manifest: of the images; None if it cannot be shown, then ``trouble`` says why.
    :param uri: of the manifest.
    :param name: of the row that it is within a batch; a row without images has its number as ``row``.
    :param row: number of a batch's row that has no images.
    :param record: of a generation that is not landed, if it can be read.
    :param trouble: why there are no images, as a sentence.
    :param first: of a batch, the cards of its first rows, up to 4.
    :param line: of one row of a batch, its line in the table of results.
    :param hashes: of the images that the tile shows; empty for all of them.
    """

    entry: Entry
    owner: TaskRef | None = None
    manifest: Manifest | None = None
    uri: str = ""
    name: str | None = None
    row: int | None = None
    record: Record | None = None
    trouble: str | None = None
    first: tuple["Card", ...] = ()
    line: Line | None = None
    hashes: frozenset[str] = frozenset()

    @property
    def place(self) -> TaskRef:
        """The task instance whose page this card links to."""
        return self.entry.row.place

    @property
    def label(self) -> str:
        """The text in place of a missing prompt: the row's name or number, or the seedream task id."""
        if isinstance(self.entry.about, Batch):
            return self.name or f"Row {self.row}"
        return self.entry.about.seedream_task_id

    @property
    def is_batch(self) -> bool:
        """True if it is a whole batch, not one row of it."""
        return self.entry.batch is not None and self.name is None and self.row is None

    @property
    def prompt(self) -> str:
        """The prompt of the submission, else that of the table's line; empty if neither is known."""
        prompt = self.submission.get("prompt")
        known = self.line.prompt if self.line else ""
        return prompt if isinstance(prompt, str) else known

    @property
    def columns(self) -> Mapping[str, str]:
        """The free columns of a row of a batch."""
        return self.line.columns if self.line else {}

    @property
    def submission(self) -> dict[str, Any]:
        """The parameters that were sent, from the manifest or the record; empty if neither could be read."""
        known = self.manifest or self.record
        return (known and known.submission) or {}

    @property
    def sources(self) -> list[str]:
        """The URIs of an edit's input images. A data URI is shown as ``data: (image 2)``, as its text is not
        kept.
        """
        sources = self.submission.get("sources")
        found = (
            [source.get("uri") for source in sources if isinstance(source, dict)]
            if isinstance(sources, list)
            else []
        )
        return [uri for uri in found if isinstance(uri, str)]

    @property
    def folder(self) -> str:
        """The storage URI of the images' folder."""
        return self.uri.rpartition("/")[0]

    @property
    def pictures(self) -> list[tuple["Card", ManifestImage]]:
        """The images of a tile, each with the card that it belongs to: of a batch the first image of its
        first rows.
        """
        own = [(self, image) for image in self.manifest.images] if self.manifest else []
        # landed anew, the same image may have another hash
        own = [one for one in own if one[1].sha256 in self.hashes] or own
        return own + [(card, card.manifest.images[0]) for card in self.first if card.manifest]


def entry_of(row: Row) -> Entry | None:
    """The entry of a row; None if the row is about another thing, or a person has edited it into an invalid
    one.

    :param row: its value is user input, so every field is checked here.
    """
    if batch := Batch.from_value(row.value):
        return Entry(row=row, about=batch)
    try:
        if isinstance(row.value, dict) and "manifest" in row.value:
            landed = LandedGeneration.from_dict(row.value)
            texts = (landed.seedream_task_id, landed.manifest)
            return (
                Entry(row=row, about=landed)
                if all(isinstance(text, str) and text for text in texts)
                else None
            )
        return Entry(row=row, about=Generation.from_dict(row.value))
    except SeedreamInputError:
        return None


def card_of(entry: Entry, roots: tuple[str, ...], may_read: MayRead) -> Card:
    """The card of an entry, with its manifest or the reason why there is none. It never raises: one odd file
    is one odd card.

    :param roots: the folders that the gallery may read; none are shown from others.
    :param may_read: True for a DAG id whose XComs the user may read.
    """
    try:
        return _card_of(entry, roots, may_read)
    except Exception:
        _log.exception("The gallery cannot show %s.", entry.row.place)
        return Card(entry=entry, trouble="Its files hold something that this page does not understand.")


def _card_of(entry: Entry, roots: tuple[str, ...], may_read: MayRead) -> Card:
    """As :func:`card_of`; may raise."""
    match entry.about:
        case LandedGeneration() as landed:
            card = Card(entry=entry, uri=landed.manifest)
            return _with_manifest(card, roots, may_read, seedream_task_id=landed.seedream_task_id)
        case Generation() as submitted:
            # No XCom names images: the card shows the outcome, and the images that the record knows of.
            try:
                record = read_record(submitted, roots)
                _readable(record.made_by.ids(), may_read)
            except CannotShowError:
                return Card(entry=entry, trouble=_NOT_LANDED)
            ending = _ENDINGS.get(record.outcome, _NOT_LANDED) + (
                " Its credits were refunded." if record.refunded else ""
            )
            card = Card(entry=entry, record=record, trouble=ending)
            if record.outcome not in ("landed", "partial"):
                return card
            there = replace(card, uri=f"{submitted.destination}/{manifest_file(submitted.name)}")
            # The manifest must name this generation: another task may have landed its own images under the
            # same name.
            found = _with_manifest(there, roots, may_read, seedream_task_id=submitted.seedream_task_id)
            return found if found.manifest else card
        case Batch():
            rows, _, trouble = cards_of_rows(entry, roots, may_read, start=0, limit=_FIRST_ROWS)
            return Card(entry=entry, first=tuple(rows), trouble=trouble)


def card_of_row(entry: Entry, batch: Batch, name: str, roots: tuple[str, ...], may_read: MayRead) -> Card:
    """The card of one row of a batch.

    :param name: file stem of the row's images, checked by ``is_bare``: it becomes a part of a URI.
    """
    return _with_manifest(Card(entry=entry, uri=batch.manifest(name), name=name), roots, may_read)


def cards_of_rows(
    entry: Entry, roots: tuple[str, ...], may_read: MayRead, *, start: int, limit: int
) -> tuple[list[Card], int | None, str | None]:
    """The cards of a batch's rows, from a byte of its table on.

    :param start: the byte to begin at, 0 for the first page.
    :param limit: the most rows.
    :returns: the cards, the byte at which the next ones begin (None at the end), and the trouble as a
        sentence (None without).
    """
    batch = entry.batch
    if batch is None:
        return [], None, None
    try:
        is_its = is_table_of(entry.row.place, batch, roots)
        lines, more = read_lines(batch, roots, start=start, limit=limit, with_texts=is_its)
    except CannotShowError as error:
        return [], None, str(error)
    cards = [
        replace(card_of_row(entry, batch, line.name, roots, may_read), line=line)
        if line.name
        else Card(entry=entry, row=line.row, line=line, trouble=line.ending)
        for line in lines
    ]
    return cards, more, None


def _with_manifest(
    card: Card, roots: tuple[str, ...], may_read: MayRead, *, seedream_task_id: str | None = None
) -> Card:
    """The card with its manifest, or with the reason why that cannot be shown."""
    try:
        manifest = read_manifest(card.uri, roots, seedream_task_id=seedream_task_id)
        return replace(card, manifest=manifest, owner=_readable(manifest.belongs_to, may_read))
    except CannotShowError as error:
        return replace(card, trouble=str(error))


def _readable(made_by: Any, may_read: MayRead) -> TaskRef:
    """The task instance that a file says it is of.

    :raises CannotShowError: the file names none, or the user may not read that one's DAG.
    """
    place = TaskRef.of(made_by)
    if place is None:
        raise CannotShowError(
            "Its files do not say which DAG they belong to, so nobody can be shown them here."
        )
    if not may_read(place.dag_id):
        raise CannotShowError("Its files belong to a DAG that you may not read.")
    return place
