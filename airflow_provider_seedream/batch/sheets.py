"""Rows of a table of results as markdown for a person: their pictures side by side, and the rows without a
picture with the reason.

Reads manifests, never images. A row without a readable manifest is named, and does not keep the others from
being shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from airflow_provider_seedream.batch.rows import PARAMETERS, RESULT_COLUMNS
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.landing.pictures import picture, place_of
from airflow_provider_seedream.manifest import Manifest, ManifestImage, read_manifest
from airflow_provider_seedream.model.counting import counted
from airflow_provider_seedream.model.markdown import as_text, cut

_ACROSS = 3  # thumbnails of up to 300 pixels side by side
_READERS = 8  # manifests that are read at once
_HASH_LETTERS = 6
_LABEL_CHARACTERS = 60
# of a prompt or a column: a page must stay below the 64 KiB that MySQL keeps of a text
_TEXT_CHARACTERS = 300
_LINES_NAMED = 20  # reasons for rows without a picture that the first page names
_ROWS_NAMED = 20  # rows of one reason
Line = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One picture of a sheet: its option, its cell, and the facts below it::

        Shown(option="4 · a leather watch · 3f2a9b", cell="![...](...)", facts=("a leather watch", "sku: A7"))

    :param facts: the prompt and the user's own columns, each cut to 300 characters.
    """

    option: str
    cell: str
    facts: tuple[str, ...]


def shown_of(lines: Sequence[Line], label: str | None) -> tuple[list[Shown], dict[int, str]]:
    """The pictures of all rows in the order of the table, and the rows whose images cannot be shown, with
    the reason.
    """
    with_images = [line for line in lines if line.get("images")]
    with ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="seedream-sheets") as pool:
        # The task's context belongs to its thread, and the place of a picture asks for it: only the reading
        # is shared out.
        manifests = list(pool.map(lambda line: manifest_at(str(line.get("manifest"))), with_images))
    shown: list[Shown] = []
    odd: dict[int, str] = {}
    for line, manifest in zip(with_images, manifests, strict=True):
        try:
            if isinstance(manifest, ValueError):
                raise manifest
            shown += _pictures(line, manifest, label)
        except ValueError as error:  # one file that is gone must not keep the others from being published
            odd[line["row"]] = str(error)
    return shown, odd


def _pictures(line: Line, manifest: Manifest, label: str | None) -> list[Shown]:
    """All pictures of one row. :raises ValueError: its manifest names no DAG."""
    place, prompt = place_of(manifest), str(line.get("prompt") or manifest.name)
    words = cut(str(line.get(label) or prompt if label else prompt), _LABEL_CHARACTERS)
    ours = {*PARAMETERS, *RESULT_COLUMNS}
    facts = [
        prompt,
        *(f"{name}: {value}" for name, value in line.items() if name not in ours and value not in (None, "")),
    ]
    if manifest.missing_images:
        facts.append(f"Only {len(manifest.images)} of {manifest.images_requested} images came.")
    return [
        Shown(
            option=_option(line["row"], image, words, is_one=len(manifest.images) == 1),
            cell=picture(place, image, cut(prompt, _LABEL_CHARACTERS), name=manifest.name),
            facts=tuple(cut(fact, _TEXT_CHARACTERS) for fact in facts),
        )
        for image in manifest.images
    ]


def _option(row: int, image: ManifestImage, words: str, *, is_one: bool) -> str:
    """``4 · a leather watch · 3f2a9b``: row, label, and the begin of the hash; of several images of a row
    ``4.2``.
    """
    which = str(row) if is_one else f"{row}.{image.number}"
    return f"{which} · {words} · {image.sha256[:_HASH_LETTERS]}"


def tables(page: Sequence[Shown]) -> Iterator[str]:
    """Three pictures side by side are one table: the options, the pictures, and the facts of each row."""
    for first in range(0, len(page), _ACROSS):
        some = page[first : first + _ACROSS]
        facts = [as_text(" · ".join(one.facts)) for one in some]
        lines = [[as_text(one.option) for one in some], ["---"] * _ACROSS, [one.cell for one in some], facts]
        yield "\n".join(f"| {' | '.join([*cells, *[''] * (_ACROSS - len(cells))])} |" for cells in lines)


def summary(lines: Sequence[Line]) -> str:
    """All rows in one line: ``20 rows: 17 landed, 3 moderated. 170 credits.``"""
    count: dict[str, int] = {}
    for line in lines:
        count[line["status"]] = count.get(line["status"], 0) + 1
    statuses = ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in count.items())
    spent = sum(line.get("credits") or 0 for line in lines)
    return f"{counted(len(lines), 'row')}: {statuses}. {counted(spent, 'credit')}."


def without_pictures(lines: Sequence[Line], odd: Mapping[int, str]) -> list[str]:
    """The rows that have no picture, as a list. The others can be published all the same, and the person
    should know.
    """
    left = [line for line in lines if not line.get("images") or line["row"] in odd]
    if not left:
        return []
    alike: dict[str, list[int]] = {}
    for line in left:
        why = odd.get(line["row"]) or line.get("detail") or ""
        status = "cannot be shown" if line["row"] in odd else line["status"].replace("_", " ")
        alike.setdefault(f"{status}: {why}" if why else status, []).append(line["row"])
    named = [f"- {_numbered(rows)}: {as_text(cut(words, _TEXT_CHARACTERS))}" for words, rows in alike.items()]
    more = (
        [f"- and {counted(len(named) - _LINES_NAMED, 'other reason')}"] if len(named) > _LINES_NAMED else []
    )
    return ["**Rows without a picture**", "\n".join([*named[:_LINES_NAMED], *more])]


def _numbered(rows: list[int]) -> str:
    """``Row 3``, or ``Rows 3, 4``, of many the first ones."""
    more = f" and {len(rows) - _ROWS_NAMED} more" if len(rows) > _ROWS_NAMED else ""
    return f"{'Row' if len(rows) == 1 else 'Rows'} {', '.join(map(str, rows[:_ROWS_NAMED]))}{more}"


def manifest_at(uri: str) -> Manifest | ValueError:
    """A manifest, or why it cannot be read: as a value, so that a thread of the pool can hand it over."""
    try:
        manifest = read_manifest(uri)
        return manifest if manifest.images else ValueError("Its manifest names no image.")
    except (ValueError, SeedreamInputError) as error:
        return ValueError(str(error))
