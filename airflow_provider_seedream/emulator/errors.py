"""Refusals and the bodies they come in: every shape of the contract, chosen by name.

Pure: no server in here. Handlers raise ``RefusalError`` or ``HangupError``; the bookkeeping around them turns
these into bytes or a dead socket.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from math import ceil
from typing import Any

from airflow_provider_seedream.emulator.settings import ErrorShape, RetryAfterForm


class RefusalError(Exception):
    """Raised by a handler to answer with an error; the request then has no effect::

        raise RefusalError(429, "rate_limited", throttled_text(21), retry_after_seconds=21)

    :param code: the API's error code in lower case; the shape may write it in upper case.
    :param field: the field of the body that broke a rule, for the shapes that name one.
    :param shape: of the body; None for that of the settings.
    :param retry_after_seconds: None for an answer without the header.
    :param status: of the answer, 400 to 599.
    :param message: the sentence for people.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        field: str | None = None,
        shape: ErrorShape | None = None,
        retry_after_seconds: float | None = None,
        retry_after_form: RetryAfterForm | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.shape = shape
        self.retry_after_seconds = retry_after_seconds
        self.retry_after_form = retry_after_form


class HangupError(Exception):
    """Raised by a handler to end the connection without an answer::

        raise HangupError(reset=True)  # the client sees a reset, not an orderly end

    :param reset: send a TCP reset.
    """

    def __init__(self, *, reset: bool) -> None:
        super().__init__("reset" if reset else "close")
        self.reset = reset


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBody:
    """Bytes and media type of an error answer::

        ErrorBody(content=b"not_found: No such task.", content_type="text/plain")

    The media type of a body may be wrong on purpose, as the empty one that calls itself JSON.

    :param content: the body as it is sent.
    :param content_type: of the ``Content-Type`` header.
    """

    content: bytes
    content_type: str


_Shape = Callable[[str, str, str], Any]

_JSON_SHAPES: dict[str, _Shape] = {
    "sentence": lambda code, message, field: {"error": message, "error_code": code.upper()},
    "error_code": lambda code, message, field: {"error_code": code, "message": message},
    "code_detail": lambda code, message, field: {"code": code, "detail": message},
    "error_message": lambda code, message, field: {"error": code, "message": message},
    "nested": lambda code, message, field: {"error": {"code": code, "message": message}},
    "detail": lambda code, message, field: {"detail": message},
    "detail_list": lambda code, message, field: {
        "detail": [{"loc": ["body", field], "msg": message, "type": code}]
    },
    "fields": lambda code, message, field: {field: [message]},
}


def error_body(shape: ErrorShape, code: str, message: str, field: str | None = None) -> ErrorBody:
    """The body of an error in one of the shapes that clients must understand::

        error_body(
            "sentence", "not_found", "No such task."
        ).content == b'{"error": "No such task.", "error_code": "NOT_FOUND"}'

    Only ``sentence`` is attested by live clients [seen]; the vendor publishes none.

    :param field: the name of the broken field; ``non_field_errors`` where there is none, as Django REST
        framework has it.
    """
    if shape in _JSON_SHAPES:
        value = _JSON_SHAPES[shape](code, message, field or "non_field_errors")
        return ErrorBody(content=json.dumps(value).encode(), content_type="application/json")
    if shape == "text":
        return ErrorBody(content=f"{code}: {message}".encode(), content_type="text/plain")
    if shape == "html":
        page = (
            f"<!DOCTYPE html><html><head><title>{code}</title></head><body><h1>{message}</h1></body></html>"
        )
        return ErrorBody(content=page.encode(), content_type="text/html")
    return ErrorBody(content=b"", content_type="application/json")


def throttled_text(seconds: float) -> str:
    """The sentence of Django REST framework with a 429, as live clients met it [seen]."""
    whole = max(0, ceil(seconds))
    return f"Request was throttled. Expected available in {whole} second{'' if whole == 1 else 's'}."


def retry_after_value(form: RetryAfterForm, seconds: float, real_now: float) -> str | None:
    """The value of a ``Retry-After`` header, or None for the form ``none``.

    :param seconds: from now; rounded up to whole seconds, the finest that both forms can say.
    :param real_now: epoch seconds by the real clock, from which a date counts.
    """
    if form == "none":
        return None
    # HTTP's dates have no fractions: rounded up, so that a client which obeys does not come back too early.
    if form == "date":
        return formatdate(ceil(real_now + seconds), usegmt=True)
    return str(max(0, ceil(seconds)))
