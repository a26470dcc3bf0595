"""Caps: the most credits that requests through one connection may cost in a UTC day or month, in all or under
one label.

Read from the extras of the connection, and checked before anything is sent. Does no I/O and reads no clock.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model.labels import check_labels, spelled

Period = Literal["day", "month"]
DEFAULT_WARN_AT = 0.8
_FIELDS = ("max_credits_per_day", "max_credits_per_month", "label_caps", "warn_at", "books")
# a misspelt price would let a cap and a budget admit several times what they say
_MONEY = (*_FIELDS, "credits_per_image")
_OTHER_FIELDS = ("destination", "requests_per_minute", "request_timeout_seconds", "verify")
_CLOSE = 0.82  # of difflib: one or two letters more, less or elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """One cap of a connection::

        Cap(period="day", credits=500, label="team=shop").name  # "label_caps team=shop day=500"

    :param period: a ``day`` or a ``month`` of UTC.
    :param credits: the most that may be spent in it.
    :param label: only what was spent under this label counts; None: everything.
    """

    period: Period
    credits: int
    label: str | None = None

    @property
    def name(self) -> str:
        """As people find it in the connection: ``max_credits_per_day=500``."""
        field = (
            f"max_credits_per_{self.period}"
            if self.label is None
            else f"label_caps {self.label} {self.period}"
        )
        return f"{field}={self.credits}"

    @property
    def key(self) -> str:
        """Names the cap in a page, whatever its number: ``day``, ``month team=shop``."""
        return self.period if self.label is None else f"{self.period} {self.label}"

    def ends_epoch(self, at_epoch: float) -> float:
        """The end of the period that holds this instant: the next midnight of UTC, or that of the next
        month's first day.
        """
        day = datetime.fromtimestamp(at_epoch, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if self.period == "day":
            return (day + timedelta(days=1)).timestamp()
        in_next_month = day.replace(day=1) + timedelta(days=32)
        return in_next_month.replace(day=1).timestamp()


def caps_of(
    *, day: int | None, month: int | None, labels: Mapping[str, Mapping[Period, int]]
) -> tuple[Cap, ...]:
    """The caps of a connection: of everything in a ``day`` and a ``month``, and of ``labels``; empty
    without any.
    """
    whole: dict[Period, int | None] = {"day": day, "month": month}
    caps = [Cap(period=period, credits=most) for period, most in whole.items() if most is not None]
    return (
        *caps,
        *(
            Cap(period=period, credits=most, label=label)
            for label, of in labels.items()
            for period, most in of.items()
        ),
    )


def read_max_credits(extra: Mapping[str, Any], field: str) -> int | None:
    """A whole number of credits, at least 0; None without one. :raises SeedreamInputError: naming the
    field.
    """
    value = extra.get(field)
    return None if value in (None, "") else _credits(field, value)


def read_label_caps(extra: Mapping[str, Any]) -> dict[str, dict[Period, int]]:
    """``{"team=shop": {"day": 500, "month": 9000}}``, also from the JSON text that a form gives.

    :raises SeedreamInputError: the extra ``label_caps`` has another form.
    """
    value = extra.get("label_caps")
    if value in (None, "", {}):
        return {}
    try:
        caps = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        caps = None
    if not isinstance(caps, dict):
        raise _wrong_label_caps(value)
    return dict(_label_cap(label, limits) for label, limits in caps.items())


def check_spelling(extra: Mapping[str, Any]) -> None:
    """Refuse an extra that is probably a misspelt cap or price: credits would be spent as if there was none.

    :raises SeedreamInputError: naming the extra and the field that is probably meant.
    """
    for name in extra:
        if name in _OTHER_FIELDS or name in _MONEY:
            continue
        import difflib  # takes its time, and most connections need none of it

        word = str(name).strip().lower()
        meant = difflib.get_close_matches(
            word, _MONEY, n=1, cutoff=0.0 if word.startswith("max_credit") else _CLOSE
        )
        if meant:
            raise SeedreamInputError(
                f"Connection extra {str(name)!r:.60} is not one of this provider's, so it has no effect. "
                f"Did you mean {meant[0]!r}? If it is your own, give it another name."
            )


def check_caps(caps: Iterable[Cap], *, books: str | None, labels: Iterable[str], conn_id: str) -> None:
    """Check that the caps of a connection can hold for a task. Otherwise its requests would be refused, or
    pass uncounted.

    :param books: the place for the books. :param labels: of the task, each as ``team=shop``. :param conn_id:
        for the error.
    :raises SeedreamInputError: no place is named, or a label misses the one of a cap by the case of letters
        alone.
    """
    capped, mine = list(caps), list(labels)
    if capped and not books:
        raise SeedreamInputError(
            f"Connection {conn_id!r} has caps, and no place for their books: name one storage URI in its "
            "extra `books` (its `destination` by default)."
        )
    known = {cap.label for cap in capped}
    missed = {label.casefold() for label in mine if label not in known}
    if cap := next((cap for cap in capped if cap.label and cap.label.casefold() in missed), None):
        raise SeedreamInputError(
            f"labels: {', '.join(mine):.200}: connection {conn_id!r} has a cap of the label {cap.label!r}, "
            "and the case of letters counts. Write both in the same way, or give that cap to both."
        )


def read_warn_at(extra: Mapping[str, Any]) -> float:
    """The share of a cap at which one warning a day is given, above 0 and at most 1; 0.8 by default."""
    value = extra.get("warn_at")
    if value in (None, ""):
        return DEFAULT_WARN_AT
    try:
        share = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        share = 0.0
    if not 0 < share <= 1:
        raise SeedreamInputError(
            f"Connection extra warn_at must be a share above 0 and at most 1, e.g. 0.8; got {value!r:.40}."
        )
    return share


def _credits(field: str, value: Any) -> int:
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    if isinstance(number, float) and number.is_integer():  # a form's JSON may give 500.0
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise SeedreamInputError(
            f"Connection extra {field} must be a whole number of credits, at least 0; got {value!r:.40}."
        )
    return number


def _label_cap(label: Any, limits: Any) -> tuple[str, dict[Period, int]]:
    key, equals, text = str(label).partition("=")
    if not equals or not isinstance(limits, dict) or not limits or not set(limits) <= {"day", "month"}:
        raise _wrong_label_caps({label: limits})
    try:
        [known] = spelled(check_labels({key: text}))
    except SeedreamInputError as error:
        raise SeedreamInputError(f"Connection extra label_caps: {error.message}") from None
    return known, {
        period: _credits(f"label_caps {known!r} {period}", most) for period, most in limits.items()
    }


def _wrong_label_caps(value: Any) -> SeedreamInputError:
    return SeedreamInputError(
        'Connection extra label_caps must be a JSON object such as {"team=shop": {"day": 500, "month": '
        "9000}}; "
        f"got {value!r:.80}."
    )
