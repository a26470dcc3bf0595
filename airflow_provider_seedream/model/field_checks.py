"""The checks of a request's single fields, as an operator, a row of a table and the command line call them.
Never imports HTTP, storage or Airflow.
"""

import re
from typing import Any, get_args

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.contract import ImageSize

_TEMPLATE = re.compile(r"\{\{|\{%|\{#")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# How Python, pandas, NumPy, JavaScript, JSON and databases print a missing value: nobody wants that drawn.
_MISSING = frozenset(
    ("None", "none", "NONE", "nan", "NaN", "<NA>", "NaT", "null", "NULL", "undefined", "\\N")
)


def is_template(value: Any) -> bool:
    """True if Jinja would still change this value, so that it cannot be checked yet."""
    return isinstance(value, str) and _TEMPLATE.search(value) is not None


def is_static(value: Any) -> bool:
    """True if a value is final when the DAG is parsed: plain data without templates, nothing that resolves
    later.
    """
    if isinstance(value, dict | list | tuple):
        return all(is_static(item) for item in (value.values() if isinstance(value, dict) else value))
    return value is None or (isinstance(value, str | int | float) and not is_template(value))


def check_prompt(value: Any) -> str:
    """A prompt as it is sent. :raises SeedreamInputError: it is blank, is a printed missing value such as
    "nan", or is no text.
    """
    if not isinstance(value, str):
        raise SeedreamInputError(f"prompt must be a string, not {type(value).__name__}.")
    if not value.strip() or value.strip() in _MISSING:
        raise SeedreamInputError(f"prompt must not be blank; got {value!r:.80}.")
    if _SURROGATE.search(value):  # neither the ledger's UTF-8 nor the API can hold it
        raise SeedreamInputError(
            "prompt must be text; it holds half of a surrogate pair, which is no character."
        )
    return value


def check_image_size(value: Any) -> ImageSize:
    """One of the API's names of sizes. :raises SeedreamInputError: another one; the error names a close
    one.
    """
    if value not in get_args(ImageSize):
        # difflib is not for every DAG that is parsed
        from airflow_provider_seedream.model.close_matches import did_you_mean

        sizes = get_args(ImageSize)
        raise SeedreamInputError(
            f"image_size must be one of {', '.join(sizes)}; got {_short(value)}.{did_you_mean(value, sizes)}"
        )
    return value  # type: ignore[no-any-return]  # narrowed by the membership test


def check_num_images(value: Any) -> int:
    """1 to 6, also as the text that a template renders."""
    return _integer("num_images", value, contract.MIN_IMAGES, contract.MAX_IMAGES)


def check_seed(value: Any) -> int | None:
    """An integer from 0 on; None for none, also as the texts that a template renders."""
    return None if value is None or value in ("", "None") else _integer("seed", value, 0, None)


def check_take(value: Any) -> int:
    """An integer from 1 on."""
    return _integer("take", value, 1, None)


def check_safety(value: Any) -> bool:
    """True or False, also as the texts that a template renders. :raises SeedreamInputError: anything else, 0
    and 1 too.
    """
    as_text = str(value).strip().lower()  # a template renders to text
    if isinstance(value, bool | str) and as_text in ("true", "false"):
        return as_text == "true"
    raise SeedreamInputError(f"enable_safety_checker must be true or false; got {_short(value)}.")


def _integer(field: str, value: Any, low: int, high: int | None) -> int:
    """A number within its bounds, also as text. :raises SeedreamInputError: naming field and rule; True is no
    number.
    """
    rule = f"an integer from {low} to {high}" if high is not None else f"an integer of at least {low}"
    number = int(value) if isinstance(value, str) and re.fullmatch(r"\s*\d{1,18}\s*", value) else value
    if (
        isinstance(number, bool)
        or not isinstance(number, int)
        or number < low
        or (high is not None and number > high)
    ):
        raise SeedreamInputError(f"{field} must be {rule}; got {_short(value)}.")
    return number


def _short(value: Any) -> str:
    return repr(value)[:80]
