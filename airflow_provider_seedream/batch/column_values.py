"""Converts a value of the results to the type of a database column.

Pure: no database. New and stored values are converted by the same rule, so that an unchanged row is not
written.
"""

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, CHAR, JSON, NCHAR, BigInteger, Enum, Integer, SmallInteger, String
from sqlalchemy.types import TypeEngine

_BITS = ((SmallInteger, 16), (BigInteger, 64), (Integer, 32))  # of PostgreSQL; subclasses first


def fitted(value: Any, column: TypeEngine[Any]) -> Any:
    """The value for a column of this type::

        fitted("7", Integer())  # 7
        fitted(["a.png"], Text())  # '["a.png"]': JSON, as the value is not text

    :param value: from the results, or as the database has returned it. None stays None.
    :param column: the type, as SQLAlchemy has read it from the table.
    :raises ValueError: the column cannot hold it.
    """
    if value is None or isinstance(column, JSON):
        return value
    if isinstance(column, ARRAY):
        if not isinstance(value, list):
            raise ValueError("it is not a list")  # noqa: TRY004 - one class for all values that do not fit
        # or of lists
        return [fitted(item, column if isinstance(item, list) else column.item_type) for item in value]
    kind = _kind(column)
    if kind in _FITS:
        return _FITS[kind](value, column)
    if kind is None:  # a type of a database's own: the driver knows it
        return _text(value) if isinstance(value, list | dict) else value
    if isinstance(value, kind):
        return value
    raise ValueError(f"{kind.__name__} cannot be made of it")


def check_bounds(value: Any, column: TypeEngine[Any], dialect: str) -> None:
    """Refuse, before any row is paid, a fitted value that the database would refuse or cut off::

        check_bounds("landed", String(5), "postgresql")  # ValueError: it has 6 characters

    :param dialect: SQLAlchemy's name of the database. SQLite takes text and numbers of any length, whatever
        its columns say.
    :raises ValueError: it is too long, too large, not in the column's enumeration, or has a character that
        PostgreSQL cannot store.
    """
    if isinstance(column, ARRAY):
        for item in value or ():
            check_bounds(item, column if isinstance(item, list) else column.item_type, dialect)
    elif isinstance(value, str) and isinstance(column, String):
        _check_text(value, column, dialect)
    elif isinstance(value, int) and isinstance(column, Integer):
        bits = (
            next(bits for kind, bits in _BITS if isinstance(column, kind)) if dialect == "postgresql" else 64
        )
        if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            raise ValueError(f"it has more than {bits} bits")
    elif isinstance(value, Decimal) and dialect != "sqlite":
        _check_digits(value, column)


def _check_text(value: str, column: String, dialect: str) -> None:
    """:raises ValueError: as :func:`check_bounds`."""
    if isinstance(column, Enum):
        if value not in column.enums:
            raise ValueError(f"it is none of {', '.join(column.enums):.200}")
    elif column.length and len(value) > column.length and dialect != "sqlite":
        raise ValueError(f"it has {len(value)} characters")
    if "\x00" in value and dialect == "postgresql":
        raise ValueError("it has the character NUL")


def _check_digits(value: Decimal, column: Any) -> None:
    """:raises ValueError: more digits stand before its point than the column has."""
    if (precision := getattr(column, "precision", None)) is not None:
        most = precision - (getattr(column, "scale", None) or 0)
        if abs(value) >= Decimal(10) ** most:
            raise ValueError(f"more than {most} digits stand before its point")


def _kind(column: TypeEngine[Any]) -> type | None:
    """The Python type of a column's values; None where SQLAlchemy does not know it."""
    try:
        return column.python_type
    except NotImplementedError:
        return None


def _text(value: Any, column: Any = None) -> str:
    """Text as it is, any other value as its JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    # the database fills such a column with blanks
    return text.rstrip(" ") if isinstance(column, CHAR | NCHAR) else text


def _integer(value: Any, _: Any) -> int:
    """``7`` for 7, "7" and 7.0. :raises ValueError: the number is not whole."""
    number = _number(value)
    if number != int(number):
        raise ValueError("it is not a whole number")
    return int(number)


def _decimal(value: Any, column: Any) -> Decimal:
    """A decimal with as many digits as the column keeps: with more it would differ from the stored one at
    each run.
    """
    number, scale = _number(value), getattr(column, "scale", None)
    return number if scale is None else round(number, scale)


def _number(value: Any) -> Decimal:
    """A number from a number or its text; True is 1. :raises ValueError: it is not a number, or is NaN or
    infinite.
    """
    try:
        number = Decimal(int(value)) if isinstance(value, bool) else Decimal(str(value))
    except ArithmeticError:
        raise ValueError("it is not a number") from None
    if not number.is_finite():
        raise ValueError("it is not finite")
    return number


def _boolean(value: Any, _: Any) -> bool:
    """A boolean, also from its text or from 1 and 0. :raises ValueError: any other value."""
    known = {"true": True, "1": True, "false": False, "0": False}
    if (text := str(value).strip().lower()) not in known:
        raise ValueError("it is neither true nor false")
    return known[text]


def _instant(value: Any, column: Any) -> datetime:
    """With a time zone if the column has one, in UTC; without one if it has none."""
    instant = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    if getattr(column, "timezone", False):
        return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return instant.astimezone(UTC).replace(tzinfo=None) if instant.tzinfo else instant


_FITS: dict[Any, Any] = {
    str: _text,
    int: _integer,
    float: lambda value, _: float(_number(value)),
    Decimal: _decimal,
    bool: _boolean,
    date: lambda value, _: value if isinstance(value, date) else date.fromisoformat(str(value)),
    datetime: _instant,
    time: lambda value, _: value if isinstance(value, time) else time.fromisoformat(str(value)),
    UUID: lambda value, _: value if isinstance(value, UUID) else UUID(str(value)),
}
