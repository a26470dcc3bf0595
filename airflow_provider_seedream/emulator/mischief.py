"""Faults acted out on the API origin: before acceptance, after it, and inside a status answer.

Each function gets the fault that strikes; choosing it, and moving credits, happen elsewhere.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

from aiohttp import web

from airflow_provider_seedream.emulator.clock import iso
from airflow_provider_seedream.emulator.errors import HangupError, RefusalError, throttled_text
from airflow_provider_seedream.emulator.faults import Fault
from airflow_provider_seedream.emulator.generations import Generation

MODERATION_TEXT = "The prompt was rejected by content moderation."
_CODES = {
    400: "validation_failed",
    401: "invalid_api_key",
    402: "insufficient_credits",
    403: "forbidden",
    404: "not_found",
    413: "request_too_large",
    422: "validation_failed",
    429: "rate_limited",
}
_INTERIM = {102: "Processing", 103: "Early Hints"}


async def instead_of_answer(fault: Fault, request: web.Request) -> web.StreamResponse | None:
    """Act out a fault of stage ``answer``.

    :returns: the answer, or None to go on as normal after a delay or an informational answer.
    :raises HangupError: the connection ends without an answer.
    :raises RefusalError: the answer is an error.
    :param request: its Authorization header is repeated by ``echo-key``: such an answer must not get into a
        log.
    """
    match fault.kind:
        case "stall":
            await asyncio.sleep(fault.number("seconds"))
            return None
        case "interim":
            # As 102 while a server works and 103 with links to load meanwhile: the real answer follows.
            status = int(fault.number("status"))
            head = (
                f"HTTP/1.1 {status} {_INTERIM.get(status, 'Interim')}\r\nLink: </style.css>; "
                "rel=preload\r\n\r\n"
            )
            for _ in range(fault.count or 1):
                # Below aiohttp's responses, which know no informational answers.
                await request.writer.write(head.encode())
            return None
        case "drop" | "reset":
            raise HangupError(reset=fault.kind == "reset")
        case "html":
            return html_page()
        case "bad-json":
            return web.Response(body=b'{"status": "FINI', content_type="application/json")
        case "empty":
            return web.Response()
    raise _refusal(fault, request)


def early_refusal(fault: Fault) -> RefusalError:
    """The refusal of a fault of stage ``early``: judged by the headers alone, before the body was read."""
    status = int(fault.number("status"))
    return refusal(
        fault, status, _CODES.get(status, "server_error"), f"Refused with {status} before the body was read."
    )


def _refusal(fault: Fault, request: web.Request) -> RefusalError:
    """The refusal of the kinds that answer with an error status."""
    if fault.kind == "moderation":
        return refusal(fault, 400, "validation_failed", MODERATION_TEXT)
    if fault.kind == "echo-key":
        got = request.headers.get("Authorization", "")
        return refusal(fault, 401, "invalid_api_key", f"Authorization {got!r} is not valid.")
    if fault.kind == "rate-limited":
        return refusal(fault, 429, "rate_limited", throttled_text(fault.number("seconds")))
    status = int(fault.number("status"))
    return refusal(
        fault, status, _CODES.get(status, "server_error"), f"Answered {status} because a fault said so."
    )


def refusal(fault: Fault, status: int, code: str, message: str) -> RefusalError:
    """A refusal with the details that the fault gives: code, message, shape and wait replace the usual ones.

    :param status: of the answer.
    :param code: the API's error code, unless the fault names one.
    :param message: the sentence for people, unless the fault has one.
    """
    # A 429 without a wait would be a fault of another kind, so this kind always has one.
    wait = fault.number("seconds") if fault.kind == "rate-limited" else fault.retry_after_seconds
    return RefusalError(
        status,
        fault.code or code,
        fault.message or message,
        shape=fault.shape,
        retry_after_seconds=wait,
        retry_after_form=fault.retry_after_form,
    )


async def after_accept(fault: Fault, generation: Generation) -> web.StreamResponse | None:
    """Act out a fault of stage ``accepted``: the submission is paid, and the client may not learn of it.

    :returns: the answer, or None to confirm as normal after a delay.
    :raises HangupError: the connection ends without an answer.
    :raises RefusalError: the answer is an error although the submission is paid.
    :param generation: is charged already, and runs on whatever the client is told.
    """
    match fault.kind:
        case "drop-after-accept" | "reset-after-accept":
            raise HangupError(reset=fault.kind == "reset-after-accept")
        case "stall-after-accept":
            await asyncio.sleep(fault.number("seconds"))
            return None
        case "error-after-accept":
            raise refusal(fault, int(fault.number("status")), "server_error", "Bad gateway.")
        case "html-after-accept":
            return html_page()
    # no-id: a success without the one field that leads to the images.
    return web.json_response({"created_at": iso(generation.created_at)})


def status_answer(fault: Fault | None, body: dict[str, Any]) -> web.Response:
    """A status answer after a fault of stage ``status``.

    :param fault: None for the answer as it is.
    :param body: the JSON that the generation has earned.
    """
    if fault is None:
        return web.json_response(body)
    match fault.kind:
        case "long-header":
            return web.json_response(
                body, headers={"Content-Security-Policy": "x" * int(fault.number("size_bytes"))}
            )
        case "x-gzip":
            content = gzip.compress(json.dumps(body).encode())
            return web.Response(
                body=content, headers={"Content-Type": "application/json", "Content-Encoding": "x-gzip"}
            )
    return web.json_response(_changed(fault, body))


def _changed(fault: Fault, body: dict[str, Any]) -> dict[str, Any]:
    """The JSON with one field changed or left out, as clients have met it."""
    if fault.kind == "unknown-status":
        return {**body, "status": fault.message or "MODERATING", "results": []}
    if fault.kind == "zero-progress":
        return {**body, "progress": 0}
    return {key: value for key, value in body.items() if key != "progress"}


def html_page() -> web.Response:
    """A page as a proxy in the way would answer it, with status 200.

    :returns: a success by its status, with a body that no client of the API can read.
    """
    page = (
        "<!DOCTYPE html><html><head><title>One moment</title></head><body><h1>One moment, "
        "please</h1></body></html>"
    )
    return web.Response(text=page, content_type="text/html")
