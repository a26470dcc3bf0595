"""Labels: short plain words that say on whose behalf credits are spent, e.g. ``team=shop``.

They stand in the ledger record, in the manifest and in the metrics. They are no part of the identity of a
request, so a changed label never pays again. Does no I/O.
"""

import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model.names import composed

MAX_LABELS = 8
MAX_CHARACTERS = 63  # of a key and of a value, as labels of Kubernetes have it
_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")


def check_labels(value: Any) -> dict[str, str] | None:
    """Labels as the record keeps them, sorted by key; None for none.

    ::

        check_labels({"team": "shop", "product": "watch 7"})

    :raises SeedreamInputError: more than 8, a key that is not plain (letters, digits, ``_``, ``-``, ``.``),
        or a value that is not 1 to 63 printable characters.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping) or len(value) > MAX_LABELS:
        raise SeedreamInputError(f"labels must be a dict of at most {MAX_LABELS} texts; got {value!r:.80}.")
    return dict(sorted(map(_checked, value.items()))) or None


def spelled(labels: Mapping[str, str] | None) -> tuple[str, ...]:
    """Labels as one text each, as caps and pages name them: ``("product=watch 7", "team=shop")``."""
    return tuple(f"{key}={value}" for key, value in sorted((labels or {}).items()))


def _checked(item: tuple[Any, Any]) -> tuple[str, str]:
    key, value = item
    if not isinstance(key, str) or len(key) > MAX_CHARACTERS or _KEY.fullmatch(key) is None:
        raise SeedreamInputError(
            f"labels: a key must be 1 to {MAX_CHARACTERS} letters, digits, '_', '-' or '.', with a letter or "
            f"digit at both ends; got {key!r:.80}."
        )
    text = composed(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if (
        not 0 < len(text) <= MAX_CHARACTERS
        or not text.isprintable()
        or text != text.strip()
        or text == "None"
    ):
        raise SeedreamInputError(
            f"labels: the value of {key!r} must be 1 to {MAX_CHARACTERS} printable characters without blanks "
            f"at its ends; got {value!r:.80}."
        )
    return key, text
