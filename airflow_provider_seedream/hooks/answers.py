"""The API's answers, classified once: by the HTTP status first, so that an error body may have any shape.

Does no I/O, and never imports an HTTP library. Repeats the server's words only without the key in them.
"""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from airflow_provider_seedream.exceptions import (
    SeedreamAPIError,
    SeedreamAuthenticationError,
    SeedreamBadRequestError,
    SeedreamError,
    SeedreamInsufficientCreditsError,
    SeedreamNotFoundError,
    SeedreamRateLimitError,
    SeedreamResponseError,
    SeedreamServerError,
)
from airflow_provider_seedream.hooks.error_bodies import parsed, read_error_body
from airflow_provider_seedream.hooks.failures import PROXY_WANTS_CREDENTIALS, proxy_refusal
from airflow_provider_seedream.polling.policy import FailedPoll, Trouble

MIN_KEY_LENGTH = 12
MAX_RETRY_AFTER_SECONDS = 24 * 3600.0  # results live no longer [doc]; a wait without an end would be none
_SECONDS = re.compile(r"\d{1,9}(\.\d{0,9})?", re.ASCII)  # whole seconds by RFC 9110; some servers send 1.5
_CLASSES: dict[int, type[SeedreamAPIError]] = {
    401: SeedreamAuthenticationError,
    402: SeedreamInsufficientCreditsError,
    403: SeedreamAuthenticationError,
    404: SeedreamNotFoundError,
    410: SeedreamNotFoundError,
    # the server gave up waiting: as transient on a GET, and as unclear on a POST, as a 5xx
    408: SeedreamServerError,
    429: SeedreamRateLimitError,
}
_TROUBLES: dict[type[SeedreamError], Trouble] = {
    SeedreamRateLimitError: "throttled",
    SeedreamNotFoundError: "missing",
    SeedreamBadRequestError: "missing",  # a status call has nothing to be wrong but its id
    SeedreamAuthenticationError: "refused",
}


def read_json(body: bytes, *, key: str) -> Any:
    """The JSON of an answer 2xx.

    :param key: the API key; it is replaced in the body, as a failure reason may repeat it and is shown to
        people.
    :raises SeedreamResponseError: the body is no JSON.
    """
    try:
        return parsed(_without_key(body, key))  # a failure reason may repeat it, and is shown
    except (ValueError, RecursionError):
        raise SeedreamResponseError("The API answered with something that is no JSON.") from None


def error_from_answer(
    status_code: int, headers: Mapping[str, str], body: bytes, *, key: str, now_epoch: float
) -> SeedreamError:
    """The error that an answer outside 2xx means.

    :param key: the API key, for its removal from the server's words.
    :param now_epoch: the wall clock, for a ``Retry-After`` that is a date and an answer without ``Date``.
    :returns: an error with ``status_code``, ``code`` and ``retry_after_seconds``; of a redirect a
        SeedreamResponseError.
    """
    if status_code < 400:
        # A redirect, which may come from a base URL that is almost right, or 101.
        location = (headers.get("Location") or "").replace(key, "***")
        if status_code < 300:
            return SeedreamResponseError(
                f"The API answered {status_code}, which is no answer to this request."
            )
        where = f" to {' '.join(location.split()).partition('?')[0][:200]}" if location else ""
        return SeedreamResponseError(
            f"The API answered with a redirect ({status_code}){where}; redirects are not followed."
        )
    if status_code == PROXY_WANTS_CREDENTIALS:
        return proxy_refusal(status_code)
    words = read_error_body(_without_key(body, key))  # before anything of it is cut or changed
    text = f"The API answered {status_code}" + (f" {words.code}" if words.code else "")
    text += f": {words.message}" if words.message else ""
    asked_seconds = _retry_after_seconds(headers, now_epoch)
    if asked_seconds is None and status_code == 429 and words.wait_seconds is not None:
        asked_seconds = _within_a_day(words.wait_seconds)
    fallback = SeedreamServerError if status_code >= 500 else SeedreamBadRequestError
    return _CLASSES.get(status_code, fallback)(
        text.replace(key, "***").rstrip(".") + ".",
        status_code=status_code,
        code=words.code,
        retry_after_seconds=asked_seconds,
    )


def _without_key(body: bytes, key: str) -> bytes:
    """A body that does not repeat the key. A text below 12 characters is not searched for, as it would be
    found in ids.
    """
    if len(key) < MIN_KEY_LENGTH:
        return body
    # codes come in upper case, and are made lower
    return re.sub(re.escape(key.encode()), b"***", body, flags=re.IGNORECASE)


def failed_poll(error: SeedreamError) -> FailedPoll:
    """A status call's error, as the decision core takes it.

    :returns: its trouble: ``throttled``, ``missing``, ``refused``, and ``transient`` for any other error.
    """
    trouble: Trouble = next((word for cls, word in _TROUBLES.items() if isinstance(error, cls)), "transient")
    return FailedPoll(
        trouble=trouble,
        detail=error.message,
        retry_after_seconds=getattr(error, "retry_after_seconds", None),
    )


def _retry_after_seconds(headers: Mapping[str, str], now_epoch: float) -> float | None:
    """Seconds, or an HTTP date; None for anything else. A date is by the clock of the answer's ``Date``,
    which need not be ours.
    """
    value = (headers.get("Retry-After") or "").strip()
    if _SECONDS.fullmatch(value):
        return _within_a_day(float(value))
    until_epoch, sent_epoch = _http_epoch(value), _http_epoch(headers.get("Date") or "")
    return (
        None
        if until_epoch is None
        else _within_a_day(until_epoch - (now_epoch if sent_epoch is None else sent_epoch))
    )


def _within_a_day(seconds: float) -> float:
    """A wait between 0 s and a day: a server may ask for years, or for a moment that is over."""
    return min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS)


def _http_epoch(value: str) -> float | None:
    """An HTTP date in epoch seconds; None for anything else."""
    try:
        instant = parsedate_to_datetime(value)
    except ValueError:
        return None
    in_zone = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return in_zone.timestamp()
