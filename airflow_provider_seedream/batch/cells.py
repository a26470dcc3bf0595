"""What the cells of a table hold, however its writer spells it: nothing, a list of images, a whole number, or
any value as plain JSON. Pure: knows no rule of a request, reads no file and imports no module of ours but the
errors.
"""

import json
import math
import re
from collections.abc import Callable
from decimal import Decimal
from numbers import Integral, Number
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamInputError

_MAX_EXACT_FLOAT = 2.0**53
_WHOLE_TEXT = re.compile(r"\s*\d{1,15}\.0+\s*")


def is_absent(value: Any) -> bool:
    """Null, empty text, and NaN, which is how pandas spells null: of floats, NumPy's numbers and decimals."""
    return (
        value is None
        or (isinstance(value, str) and not value)
        or (isinstance(value, Number) and value != value)
    )


def parsed(value: Any) -> Any:
    """Text is the JSON of a list, or a single URI."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith(("[", "{")):
        return [value.strip()]
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise SeedreamInputError(
            f"images must be a list of images, its JSON, or a single URI; got {value!r:.80}."
        ) from None


def free_column(column: str, value: Any) -> Any:
    """The value of a free column as plain JSON.

    :raises SeedreamInputError: JSON cannot hold it; the error names the column.
    """
    try:
        return free(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise SeedreamInputError(
            f"column {column!r:.80} has a value that JSON cannot hold ({error})."
        ) from None


def free(value: Any) -> Any:
    """Plain JSON; dates and the like as text."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, default=str)
    text.encode()  # half of a surrogate pair is no text
    return value if isinstance(value, str | int) else json.loads(text)


def whole(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A check that takes a whole number in any form that writers of tables give it."""
    return lambda value: check(as_integer(value))


def as_integer(value: Any) -> Any:
    """2 for 2.0 and "2.0", which pandas makes of a column with gaps, for a decimal (Snowflake, Oracle),
    for a NumPy integer.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.strip().partition(".")[0] if _WHOLE_TEXT.fullmatch(value) else value
    if isinstance(value, float) and abs(value) >= _MAX_EXACT_FLOAT:  # so large a float is not exact
        return value
    is_whole = isinstance(value, Integral | Decimal | float) and math.isfinite(value) and value == int(value)
    return int(value) if is_whole else value
