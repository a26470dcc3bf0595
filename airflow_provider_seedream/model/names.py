"""Names of files, and Unicode's forms of a text: two texts that look the same are the same here.

Does no I/O. Some systems compose accents and letters, others take them apart; a name must not become two by
that.
"""

import unicodedata
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamInputError

_MAX_NAME_BYTES = 150
_JOINERS = "\u200c\u200d"  # Persian and Indic words need them; alone they are invisible


def composed(text: str) -> str:
    """Text in Unicode's composed form (NFC), in which equal texts are equal strings. ASCII stays as it is."""
    return unicodedata.normalize("NFC", text)


def is_composed(text: str) -> bool:
    """True if the text is in the composed form (NFC) already."""
    return unicodedata.is_normalized("NFC", text)


def uncomposed(written: Any) -> str | None:
    """A name as it was written, where composing changes it, else None.

    0.2.0 kept Korean letters that were written in parts, and letters that Unicode always replaces by others
    (U+FA10, U+095B, U+2126), as they were. Its files and records are still found by that name.
    """
    return written if isinstance(written, str) and not is_composed(written) else None


def check_name(value: Any) -> str | None:
    """A bare file stem in its composed form (NFC), or None for the default (the seedream task id).

    :param value: as a user or a table wrote it. "None" is refused: a template renders a missing value so.
    :raises SeedreamInputError: it is not 1 to 150 bytes of letters, digits, ``-``, ``_``, ``.`` and blanks.
    """
    if value is None:
        return None
    name = composed(value) if isinstance(value, str) else ""
    if name == "None" or not _is_name(name) or len(name.encode()) > _MAX_NAME_BYTES:
        raise SeedreamInputError(
            f"name must be a bare file name of 1 to {_MAX_NAME_BYTES} bytes: letters, digits, '-', '_', '.' "
            f"or spaces, beginning with a letter or digit; got {value!r:.80}."
        )
    return name


def _is_name(text: str) -> bool:
    """Letters with the marks that belong to them: vowel signs, accents and points are no letters of their
    own in Unicode.
    """
    after = ""  # L: a letter or its mark, J: a joiner behind one, N: anything else that a name may hold
    for mark in text:
        after = _part_of_name(mark, after)
        if not after:
            return False
    return after in ("L", "N") and not text.endswith(" ")


def _part_of_name(mark: str, after: str) -> str:
    """The class of a character in a name, by the one before it; empty when it cannot stand there."""
    if mark.isalpha():
        return "L"
    if mark.isalnum():
        return "N" if after != "J" else ""
    if unicodedata.category(mark) in ("Mn", "Mc"):
        return "L" if after in ("L", "J") else ""
    if mark in _JOINERS:
        return "J" if after == "L" else ""
    return "N" if mark in "_.- " and after in ("L", "N") else ""
