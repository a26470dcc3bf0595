"""The credits of a wallet as numbers: the API and users write them as text or numbers. Pure: no I/O and no
clock.
"""

from decimal import Decimal, InvalidOperation
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamInputError


def credits_in(text: str) -> Decimal | None:
    """The number in a balance such as ``"149.50"``; None for text without one, and for ``NaN`` and
    ``Infinity``.
    """
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def check_min_credits(value: Any) -> Decimal:
    """The credits to wait for, as a number.

    :raises SeedreamInputError: unless it is a number of credits, at least 0.
    """
    may_be_number = isinstance(value, str | int | float | Decimal) and not isinstance(value, bool)
    number = credits_in(str(value)) if may_be_number else None
    if number is None or number < 0:
        raise SeedreamInputError(f"min_credits must be a number of credits, at least 0; got {value!r}.")
    return number
