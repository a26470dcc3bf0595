"""A row of a table of requests: columns in, validated values out. Each ``Row`` has passed all checks.

Pure: reads no file, not even the images of an edit. An empty cell, a null and a missing column are the same.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from airflow_provider_seedream.batch.cells import as_integer, free, free_column, is_absent, parsed, whole
from airflow_provider_seedream.batch.prompts import PromptTemplate
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.contract import ImageSize, Kind
from airflow_provider_seedream.model.field_checks import (
    check_image_size,
    check_num_images,
    check_prompt,
    check_safety,
    check_seed,
    check_take,
    is_template,
)
from airflow_provider_seedream.model.names import check_name, uncomposed
from airflow_provider_seedream.model.source_texts import check_no_link, is_data_uri, source_list

RESULT_COLUMNS = (
    *(
        "row",
        "status",
        "name",
        "seedream_task_id",
        "credits",
        "billed_credits",
        "paid",
        "images",
        "manifest",
        "detail",
        "sources",
    ),
)
_ALIASES = {"image_urls": "images", "image_url": "images", "safety_checker": "enable_safety_checker"}
# of difflib: one letter more, less or elsewhere; "promt", "num_image", "imageSize", not "file_name"
_CLOSE = 0.82
_MAX_REFUSED = 1000  # characters of a refused value that the results show


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request of a table, checked. The line ``prompt,num_images`` / ``a watch,2`` becomes::

        Row(number=1, where="line 2 of requests.csv", kind="generate", prompt="a watch", num_images=2, ...)

    :param number: counts rows from 1.
    :param where: the row for people, e.g. ``line 7 of requests.csv``.
    :param kind: ``edit`` if the row has images, else ``generate``.
    :param prompt: as it is sent, rendered if the table has a template.
    :param take: which set of images of an equal request; each take is paid once.
    :param name: the file stem of the images; None for the seedream task id.
    :param name_as_written: the name before its letters were composed, where that changed it.
    :param images: the sources of an edit, as the row names them; not read yet.
    :param extra: the free columns, plain JSON.
    """

    number: int
    where: str
    kind: Kind
    prompt: str
    image_size: ImageSize
    num_images: int
    seed: int | None
    enable_safety_checker: bool
    take: int
    name: str | None
    images: tuple[str, ...]
    extra: dict[str, Any]
    name_as_written: str | None = None

    def columns(self) -> dict[str, Any]:
        """The columns that travel to the row's result: those that are sent, and the free ones.

        A source given as a data URI stands there as ``data:``, or one line would hold a whole image.
        """
        sent = {
            "prompt": self.prompt,
            "image_size": self.image_size,
            "num_images": self.num_images,
            "seed": self.seed,
            "enable_safety_checker": self.enable_safety_checker,
            "take": self.take,
        }
        return sent | _as_sources(self.images) | self.extra


def build_row(
    number: int,
    where: str,
    raw: Mapping[str, Any],
    header: Sequence[str] = (),
    *,
    defaults: Mapping[str, Any],
    template: PromptTemplate | None = None,
) -> Row:
    """A :class:`Row` from the cells of a table.

    :param header: names of columns that the row may leave empty; free ones are null in its result.
    :param defaults: values of parameters for rows without them.
    :param template: makes the prompt of every row; a prompt of its own is a variable like any other column.
    :raises SeedreamInputError: naming the row, the column and its rule.
    :param number: counts rows from 1.
    :param where: the row for people; each error begins with it.
    :param raw: the cells by column. Missing, null and empty ones take the default.
    """
    try:
        raw = {**dict.fromkeys(header), **raw}
        given = _present(raw)
        for column in given:
            check_column(column)
        merged = _DEFAULTS | _present(defaults) | given
        prompt = _prompt(merged, template)
        extra = _empty_columns(raw) | {
            name: free_column(name, value) for name, value in given.items() if name not in PARAMETERS
        }
        values = {
            column: check(merged.get(column))
            for column, check in PARAMETERS.items()
            if column not in ("prompt", "images")
        }
        images = tuple(_images(merged["images"])) if "images" in merged else ()
        kind: Kind = "edit" if images else "generate"
        written = uncomposed(merged.get("name"))
        return Row(
            number=number,
            where=where,
            kind=kind,
            prompt=prompt,
            images=images,
            extra=extra,
            name_as_written=written,
            **values,
        )
    except SeedreamInputError as error:
        raise SeedreamInputError(f"{where}: {error.message}") from None


def columns_of_refused(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a refused row for its result.

    :returns: right values as they would be sent, others as text of at most 1,000 characters.
    """
    columns = _empty_columns(raw)
    for column, value in _present(raw).items():
        if column == "images":
            columns |= _attempt(lambda value: _as_sources(_images(value)), value, {})
        elif isinstance(column, str) and column not in RESULT_COLUMNS:
            text = str(value)
            # An image that stands in the wrong column would make a line of many megabytes.
            shortened = (
                text if len(text) <= _MAX_REFUSED else f"{text[:_MAX_REFUSED]}... ({len(text):,} characters)"
            )
            columns[column] = _attempt(PARAMETERS.get(column, free), value, shortened)
    return columns


@lru_cache(maxsize=1024)  # a table repeats its columns in every row
def check_column(column: Any) -> None:
    """:raises SeedreamInputError: the column may be a misspelt parameter, or is one of the results' own.

    A misspelt parameter would be taken for a free column, and the row paid for without it.
    """
    if not isinstance(column, str) or not column.strip():
        raise SeedreamInputError(f"{column!r:.80} is not a column name.")
    if column in PARAMETERS:
        return
    if column.casefold() in RESULT_COLUMNS:
        raise SeedreamInputError(f"column {column!r} is one of the results' own; give it another name.")
    words = "_".join(re.findall(r"[^\W\d_]+|\d+", column.lower()))
    if any(words.startswith(f"{name}_") for name in PARAMETERS):
        # prompt_de, image_size_cm: meant as they are
        return
    if close := difflib.get_close_matches(words, [*PARAMETERS, *_ALIASES], n=1, cutoff=_CLOSE):
        meant = _ALIASES.get(close[0], close[0])
        raise SeedreamInputError(
            f"unknown column {column!r:.80}. Did you mean {meant!r}? If it is your own column, rename it."
        )


def _prompt(merged: Mapping[str, Any], template: PromptTemplate | None) -> str:
    """The prompt as it is sent: rendered by the template if there is one, else the cell."""
    if template:
        return check_prompt(template.render(merged))
    if "prompt" not in merged:
        raise SeedreamInputError("prompt is missing.")
    if is_template(merged["prompt"]):  # it would be paid for as it stands
        raise SeedreamInputError(
            "prompt contains {{ or {%, and table cells are not rendered. Use template=. "
            "To send the braces as they stand, use template='{{ prompt }}'."
        )
    return check_prompt(merged["prompt"])


def _present(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The cells that hold a value."""
    return {column: value for column, value in raw.items() if not is_absent(value)}


def _empty_columns(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The free columns, all null: one that is empty in every row is a column of the results too."""
    named = [column for column in raw if isinstance(column, str) and column.strip()]
    return {column: None for column in named if column not in PARAMETERS and column not in RESULT_COLUMNS}


def _images(value: Any) -> list[str]:
    """The sources of an edit. Links are refused: nothing here downloads them, as they could lead into your
    own network.
    """
    return [check_no_link(image) for image in source_list(parsed(value))]


def _as_sources(images: Any) -> dict[str, Any]:
    """The column ``sources`` of a result; a data URI stands there as ``data:``."""
    return {"sources": ["data:" if is_data_uri(uri) else uri for uri in images]} if images else {}


def _stem(value: Any) -> str | None:
    """A name; a whole number counts as its digits, as in a column of article numbers."""
    number = as_integer(value)
    return check_name(str(number) if isinstance(number, int) and not isinstance(number, bool) else value)


def _attempt(check: Callable[[Any], Any], value: Any, otherwise: Any) -> Any:
    """The checked value, or another one if the check refuses it."""
    try:
        return check(value)
    except (TypeError, ValueError, RecursionError):  # SeedreamInputError is a ValueError
        return otherwise


# The columns that are the request, each with its check.
PARAMETERS: dict[str, Callable[[Any], Any]] = {
    "prompt": check_prompt,
    "image_size": check_image_size,
    "num_images": whole(check_num_images),
    "seed": whole(check_seed),
    "enable_safety_checker": check_safety,
    "take": whole(check_take),
    "name": _stem,
    "images": _images,
}
_DEFAULTS: dict[str, Any] = {
    "image_size": contract.DEFAULT_IMAGE_SIZE,
    "num_images": 1,
    "enable_safety_checker": True,
    "take": 1,
}
