"""Bodies of error answers: the code, the sentence for people and the seconds to wait, in any of the
contract's shapes.

Live clients attest one shape [seen, three authors]: ``{"error": sentence, "error_code": CODE}``; the others
are tolerated. Does no I/O, and reads a body that no longer holds the key.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from airflow_provider_seedream.generations import without_queries

MAX_MESSAGE_CHARACTERS = 300
MAX_CODE_CHARACTERS = 60
_CODES = ("error_code", "code", "error")
_SENTENCES = ("error", "message", "detail", "error_description", "title")
_REQUEST_FIELDS = ("prompt", "image_size", "num_images", "seed", "enable_safety_checker", "image_urls")
_CODE_WORD = re.compile(r"[A-Za-z][\w.\-]*")
_WAIT = re.compile(
    r"(?:available|again|retry|wait)[^.\d]{0,30}(?P<number>\d{1,7}(?:\.\d{1,6})?)"
    r"\s*(?P<unit>s|m|h)(?:ec(?:ond)?s?|in(?:ute)?s?|(?:ou)?rs?)?\b",
    re.IGNORECASE,
)
_UNIT_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorWords:
    """The parts of an error body::

        ErrorWords(
            code="rate_limited",
            message="Request was throttled. Expected available in 21 seconds.",
            wait_seconds=21,
        )

    :param code: in lower case, at most 60 characters; None without one.
    :param message: one line of at most 300 characters; empty without one. Links in it have lost their
        queries.
    :param wait_seconds: from the message, such as "available in 21 seconds"; None without.
    """

    code: str | None
    message: str
    wait_seconds: float | None


def parsed(body: bytes) -> Any:
    """The JSON of an answer, its texts as :func:`storable`. :raises ValueError: it is no JSON. :raises
    RecursionError: likewise.
    """
    return storable(json.loads(body))


def storable(value: Any) -> Any:
    """The same value with "?" for half of a surrogate pair, as a server that cuts an emoji in two sends it,
    and for NUL.

    JSON can spell both. UTF-8 has no bytes for the one, and PostgreSQL none for the other: no record, no
    event of a trigger and no table of results could hold them, so a refund would stay unknown.
    """
    if isinstance(value, str):
        text = value if value.isascii() else value.encode(errors="replace").decode()
        return text.replace("\0", "?")
    if isinstance(value, list):
        return [storable(item) for item in value]
    return (
        {storable(name): storable(item) for name, item in value.items()} if isinstance(value, dict) else value
    )


def read_error_body(body: bytes) -> ErrorWords:
    """Code, sentence and seconds of an error body of any shape: JSON or plain text. HTML gives no sentence.

    It never raises: an answer that cannot be read is still an answer, classified by its status.
    """
    try:
        code, message = _code_and_message(parsed(body))
    except (ValueError, RecursionError):
        text = body[:2000].decode("utf-8", "replace")
        code, message = None, "" if "<html" in text.lower() else storable(text)
    message = " ".join(message.split())
    found = _WAIT.search(message)  # as in Django REST framework's "Expected available in 21 seconds."
    return ErrorWords(
        code=code.lower()[:MAX_CODE_CHARACTERS] if code else None,
        message=without_queries(message)[:MAX_MESSAGE_CHARACTERS],
        wait_seconds=float(found["number"]) * _UNIT_SECONDS[found["unit"].lower()] if found else None,
    )


def _code_and_message(value: Any) -> tuple[str | None, str]:
    """The code, and one line of sentences and details. The code may be missing, the line may be empty."""
    if not isinstance(value, dict):
        return None, "null" if value is None else _flat(value)
    fields = _unnested({str(name).lower(): item for name, item in value.items()})
    code = next((fields[name] for name in _CODES if _is_code(fields, name)), None)
    sentences = [
        _flat(fields[name]) for name in _SENTENCES if isinstance(fields.get(name), str | list | dict)
    ]
    sentences = [sentence for sentence in sentences if sentence and sentence != code]
    details = {name: item for name, item in fields.items() if _is_detail(name, item)}
    if code is None and not sentences:
        details = fields
    parts = [part.strip().rstrip(".") for part in [*sentences, _flat(details)]]
    return code, "; ".join(dict.fromkeys(part for part in parts if part))


def _unnested(fields: dict[str, Any]) -> dict[str, Any]:
    """``{"error": {"code": .., "message": ..}}``, and the same in ``detail``, as if it stood one level
    higher.
    """
    for name in ("error", "detail"):
        inner = fields.get(name)
        if isinstance(inner, dict):
            return {other: item for other, item in fields.items() if other != name} | {
                str(k).lower(): v for k, v in inner.items()
            }
    return fields


def _is_code(fields: dict[str, Any], name: str) -> bool:
    """True if a field can hold the code. ``error`` can only if it is one word: else it is the sentence."""
    value = fields.get(name)
    return isinstance(value, str) and (name != "error" or _CODE_WORD.fullmatch(value) is not None)


def _is_detail(name: str, value: Any) -> bool:
    """True if a field beside the sentence says more, e.g. which field of the request was wrong."""
    known = name in _CODES or name in _SENTENCES
    return not known and (name in _REQUEST_FIELDS or isinstance(value, list | dict)) and bool(value)


def _flat(message: Any) -> str:
    """A validation list or a map of fields as one line."""
    if isinstance(message, list):
        return "; ".join(_flat(item) for item in message)
    if isinstance(message, dict) and "msg" in message:
        where = message.get("loc")
        return f"{'.'.join(map(str, where if isinstance(where, list) else [where]))}: {_flat(message['msg'])}"
    if isinstance(message, dict):
        return "; ".join(f"{name}: {_flat(value)}" for name, value in message.items())
    return "" if message is None else str(message)
