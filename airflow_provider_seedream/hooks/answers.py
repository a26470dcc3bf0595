"""The API's answers, classified once: HTTP status first, whatever shape the error body has.

Pure; never imports an HTTP library. Repeats the server's words only without the key in them.
"""

import json
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
from airflow_provider_seedream.generations import without_queries
from airflow_provider_seedream.polling.decision import FailedLook, Trouble

MIN_KEY_LENGTH = 12
_CLASSES: dict[int, type[SeedreamAPIError]] = {
    401: SeedreamAuthenticationError,
    402: SeedreamInsufficientCreditsError,
    403: SeedreamAuthenticationError,
    404: SeedreamNotFoundError,
    408: SeedreamServerError,  # the server gave up waiting: as transient on a GET, and as unclear on a POST, as a 5xx
    429: SeedreamRateLimitError,
}
_TROUBLES: dict[type[SeedreamError], Trouble] = {
    SeedreamRateLimitError: "throttled",
    SeedreamNotFoundError: "missing",
    SeedreamBadRequestError: "missing",  # a status call has nothing to be wrong but its id
    SeedreamAuthenticationError: "refused",
}


def read_json(body: bytes, *, key: str) -> Any:
    """:raises SeedreamResponseError: when the body of a 2xx is no JSON."""
    try:
        return json.loads(_without_key(body, key))  # a failure reason may repeat it, and is shown
    except (ValueError, RecursionError):
        raise SeedreamResponseError("The API answered with something that is no JSON.") from None


def error_from_answer(status_code: int, headers: Mapping[str, str], body: bytes, *, key: str, now_epoch: float) -> SeedreamError:
    """The error that an answer outside 2xx means."""
    if status_code < 400:
        return SeedreamResponseError(f"The API answered with a redirect ({status_code}); redirects are not followed.")
    code, message = _code_and_message(_without_key(body, key))  # before anything of it is cut or changed
    text = f"The API answered {status_code}" + (f" {code}" if code else "") + (f": {message}" if message else "")
    fallback = SeedreamServerError if status_code >= 500 else SeedreamBadRequestError
    return _CLASSES.get(status_code, fallback)(
        text.replace(key, "***").rstrip(".") + ".",
        status_code=status_code,
        code=code,
        retry_after_seconds=_retry_after_seconds(headers, now_epoch),
    )


def _without_key(body: bytes, key: str) -> bytes:
    """A body that does not repeat the key. What is too short to be one would be found in ids."""
    return body.replace(key.encode(), b"***") if len(key) >= MIN_KEY_LENGTH else body


def failed_look(error: SeedreamError) -> FailedLook:
    """A status call's error, as the decision core takes it."""
    trouble: Trouble = next((word for cls, word in _TROUBLES.items() if isinstance(error, cls)), "transient")
    return FailedLook(
        trouble=trouble,
        detail=error.message,
        retry_after_seconds=getattr(error, "retry_after_seconds", None),
    )


def _retry_after_seconds(headers: Mapping[str, str], now_epoch: float) -> float | None:
    """Seconds, or an HTTP date; None for anything else. A date is by the clock of the answer's ``Date``, which need not be ours."""
    value = headers.get("Retry-After") or ""
    if value.strip().isdecimal():
        return float(value)
    until_epoch, sent_epoch = _http_epoch(value), _http_epoch(headers.get("Date") or "")
    return None if until_epoch is None else max(0.0, until_epoch - (now_epoch if sent_epoch is None else sent_epoch))


def _http_epoch(value: str) -> float | None:
    try:
        instant = parsedate_to_datetime(value)
    except ValueError:
        return None
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()


def _code_and_message(body: bytes) -> tuple[str | None, str]:
    """The code and the message in any of the contract's shapes, in any case; plain text and HTML are cut short."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        text = body[:2000].decode("utf-8", "replace")
        return None, "" if "<html" in text.lower() else _cut(text)
    fields = {str(name).lower(): value for name, value in fields.items()}
    error = fields.get("error")
    if isinstance(error, dict):
        fields, error = {str(name).lower(): value for name, value in error.items()}, None
    code = next((value for value in (fields.get("error_code"), fields.get("code"), error) if isinstance(value, str)), None)
    message = fields.get("message") or fields.get("detail")
    if message is None and code is None:
        message = fields
    return (code.lower()[:60] if code else None), _cut(_flat(message))


def _flat(message: Any) -> str:
    """A validation list or a field map as one line."""
    if isinstance(message, list):
        return "; ".join(_flat(item) for item in message)
    if isinstance(message, dict) and "msg" in message:
        where = message.get("loc")
        return f"{'.'.join(map(str, where if isinstance(where, list) else [where]))}: {_flat(message['msg'])}"
    if isinstance(message, dict):
        return "; ".join(f"{name}: {_flat(value)}" for name, value in message.items())
    return "" if message is None else str(message)


def _cut(text: str) -> str:
    return without_queries(" ".join(text.split()))[:300]
