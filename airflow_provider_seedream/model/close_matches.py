"""Close matches for misspelt values: ``Did you mean 'landscape_16_9'?``. Does no I/O.

difflib takes its time to import, so modules that DAG files load import this one only to make an error.
"""

import difflib
from collections.abc import Iterable
from typing import Any

CLOSE = 0.6  # difflib's own default: "landscape_16:9" and "aws_defualt" are close, "tall" is not


def did_you_mean(value: Any, choices: Iterable[str]) -> str:
    """A sentence with the closest choice and a space before it; empty where none is close, or the value is
    not text.

    :param value: as a user wrote it; case and blanks around it do not count.
    :param choices: the values that are allowed.
    """
    if not isinstance(value, str):
        return ""
    by_letters = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(value.strip().lower(), list(by_letters), n=1, cutoff=CLOSE)
    return f" Did you mean {by_letters[close[0]]!r}?" if close else ""
