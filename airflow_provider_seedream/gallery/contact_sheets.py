"""The pictures of a batch as questions to a person, and the rows that the answers chose.

A sheet is one page of pictures with the arguments of Airflow's ``HITLOperator``, so a batch of any length is
asked about page by page. Loaded with every DAG that asks for it: the storage and the batch are imported when
it runs.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_seedream.manifest import Manifest
from airflow_provider_seedream.model.markdown import unrendered

ALL = "All on this page"
NONE = "None on this page"
PICTURES_PER_PAGE = 24
SUBJECT = "Which of these images are to be published?"
# As `batch/sheets.py` writes it. The words in the middle come from the table, so they may hold dots and
# numbers, too.
_OPTION = re.compile(r"(?P<row>\d+)(?:\.(?P<number>\d+))? · .* · (?P<hash>[0-9a-f]+)", re.DOTALL)
_AGAIN = "Nothing was published. Clear the task that makes the contact sheets: the person is asked again."
Line = dict[str, Any]


def contact_sheets(
    results: str | Mapping[str, Any],
    *,
    subject: str = SUBJECT,
    label: str | None = None,
    per_page: int = PICTURES_PER_PAGE,
) -> list[dict[str, Any]]:
    """The images of a batch as pages of thumbnails, each page with the options of one question to a person::

        @task
        def sheets(results: str) -> list[dict]:
            return contact_sheets(results, label="sku")

        pages = sheets(XComArg(images, "results"))  # images is a SeedreamBatchOperator
        choose = HITLOperator.partial(task_id="choose", multiple=True).expand_kwargs(pages)

    Each dict has ``subject``, ``body`` and ``options``, so ``expand_kwargs`` asks one question for each page.
    An option is one image: ``4 · W-100 · 9f86d0`` is row 4, ``7.2 · ...`` is the second image of row 7. The
    six letters begin the image's SHA-256, so an image that was replaced after the question is never published
    by its answer. The first two options are ``All on this page`` and ``None on this page``, as Airflow takes
    no empty answer.

    Rows that landed in part are shown, too. The first page counts all rows, and names those without a picture
    with the reason. A batch without a single image has no page: Airflow then skips the question and what
    follows it.

    Runs on the worker: reads the table of results and one manifest for each row with images, 8 at once. The
    pictures come from the gallery, see :func:`approval_markdown`. A page of 24 pictures has some 20 KB.

    :param results: URI of the table of results, or the summary that the batch returned.
    :param subject: the headline; with several pages it ends with ``(page 2 of 9)``.
    :param label: the column that names an image in the options, a column of your own or ``name``; by default
        its prompt.
    :param per_page: pictures on a page, 1 to 100; 24 by default.
    :raises ValueError: the table is missing, is no table of results, or ``per_page`` is out of range.
    """
    if not 1 <= per_page <= 100:
        raise ValueError(f"per_page must be from 1 to 100; got {per_page!r}.")
    from airflow_provider_seedream.batch.sheets import shown_of, summary, tables, without_pictures

    lines = _table(results)
    shown, odd = shown_of(lines, label)
    pages = [shown[first : first + per_page] for first in range(0, len(shown), per_page)]
    counted = summary(lines)
    return [
        {
            "subject": subject if len(pages) == 1 else f"{subject} (page {number} of {len(pages)})",
            # expand_kwargs renders mapped texts: a prompt of a table must not run as a template.
            "body": unrendered(
                "\n\n".join([counted, *tables(page), *(without_pictures(lines, odd) if number == 1 else [])])
            ),
            "options": [ALL, NONE, *(one.option for one in page)],
        }
        for number, page in enumerate(pages, 1)
    ]


def chosen_rows(
    results: str | Mapping[str, Any],
    sheets: Mapping[str, Any] | Iterable[Mapping[str, Any]],
    answers: Mapping[str, Any] | Iterable[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The rows that a person chose on the contact sheets, in the order of the table::

        @task
        def publish(results: str, pages: list[dict], answers: list[dict]) -> list[dict]:
            chosen = chosen_rows(results, pages, answers)
            for row in chosen:
                copy_to_the_shop(row["sku"], row["images"])
            return chosen

    A row is its line of the table of results, your own columns included; its ``images`` are only the chosen
    ones.

    :param results: as for :func:`contact_sheets`.
    :param sheets: what that returned.
    :param answers: what ``HITLOperator`` returned for each sheet, in the same order: the list of the mapped
        task.
    :raises ValueError: the answers are not one for each sheet, an answer holds ``None on this page`` beside
        an image, or an image is not the one that the person saw. Publish nothing then. Clear the task that
        makes the sheets: the person is asked again.
    """
    picks = _picks(_listed(sheets), _listed(answers))
    lines = {line["row"]: line for line in _table(results)}
    return [_only(lines.get(row), wanted) for row, wanted in sorted(picks.items())]


def _picks(sheets: list[Mapping[str, Any]], answers: list[Mapping[str, Any]]) -> dict[int, dict[int, str]]:
    """The chosen images by their row: the number of each, 0 for the only one of its row, and how its hash
    begins.
    """
    if len(sheets) != len(answers):
        raise ValueError(
            f"There are {len(sheets)} contact sheets and {len(answers)} answers; expected one for each."
        )
    picks: dict[int, dict[int, str]] = {}
    for sheet, answer in zip(sheets, answers, strict=True):
        for option in _chosen(sheet, answer):
            found = _OPTION.fullmatch(option)
            if found is None:
                raise ValueError(f"{option!r:.120} is no option of a contact sheet.")
            picks.setdefault(int(found["row"]), {})[int(found["number"] or 0)] = found["hash"]
    return picks


def _chosen(sheet: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
    """The images of one page that were chosen.

    :raises ValueError: the answer says "none" beside something else. Too few published images can be mended,
        too many cannot.
    """
    chosen = list(answer.get("chosen_options") or [])
    if NONE in chosen and len(chosen) > 1:
        raise ValueError(
            f"The answer holds {NONE!r} beside other options, so it is unclear: {', '.join(chosen):.200}."
        )
    if ALL in chosen:
        return [option for option in sheet["options"] if option not in (ALL, NONE)]
    return [option for option in chosen if option != NONE]


def _only(line: Line | None, wanted: Mapping[int, str]) -> Line:
    """A row with the chosen images alone.

    :raises ValueError: one of them is no longer the one that was shown.
    """
    from airflow_provider_seedream.batch.sheets import manifest_at

    manifest = manifest_at(str(line.get("manifest"))) if line else None
    if line is None or not isinstance(manifest, Manifest):
        raise ValueError(
            f"A row that was chosen is no longer in the table of results, or has no images any more. {_AGAIN}"
        )
    folder, images = str(line["manifest"]).rpartition("/")[0], []
    for number, begins in sorted(wanted.items()):
        same = [one for one in manifest.images if one.sha256.startswith(begins) and number in (0, one.number)]
        if not same:
            raise ValueError(
                f"An image of row {line['row']} is not the one that was shown to the person. {_AGAIN}"
            )
        images.append(f"{folder}/{same[0].file}")
    return {**line, "images": images}


def _table(results: str | Mapping[str, Any]) -> list[Line]:
    """The lines of a table of results. :raises ValueError: the file is missing, or is not a table of
    results.
    """
    from airflow_provider_seedream.storage.folder import Folder

    uri = results.get("results") if isinstance(results, Mapping) else results
    if not isinstance(uri, str) or "/" not in uri:
        raise ValueError(
            f"Expected the URI of a table of results, or what a batch returned; got {str(results)[:80]!r}."
        )
    folder, _, file = uri.rpartition("/")
    data = Folder(folder).read(file)
    if data is None:
        raise ValueError(f"{uri} is not there.")
    try:
        lines = [json.loads(line) for line in data.decode().split("\n") if line]
        if not all(isinstance(line["row"], int) and isinstance(line["status"], str) for line in lines):
            raise ValueError("a row has no number or no status")
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(f"{uri} is no table of results of a batch ({error}).") from None
    return lines


def _listed(several: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [several] if isinstance(several, Mapping) else list(several)
