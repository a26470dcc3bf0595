"""Start the GCS emulator of PyPI, taught the two answers it lacks. Usage: gcs_server.py PORT, with the
emulator's own Python.

It ignores ``ifGenerationMatch``, so that every one of 16 racing creates would win, and it has no notion of
access. Here a write whose precondition does not hold is 412, as Google documents it, and everything below
``/forbidden/`` is 403. It serves one request at a time, so a check and the write after it are one step. Its
multipart parser loses a file's last byte if that is a carriage return. Runs in an environment of its own:
imports nothing of the project.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from gcp_storage_emulator import server
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects

Handler = Callable[..., Any]


def refuse(response: Any, status: HTTPStatus, reason: str) -> None:
    response.status = status
    response.json({"error": {"code": int(status), "message": reason, "errors": [{"reason": reason}]}})


def generation(request: Any, storage: Any) -> str:
    """The generation of the object a write would replace; "0" when there is none, as in the API."""
    name = request.query["name"][0] if "name" in request.query else request.data["meta"]["name"]
    try:
        return str(storage.get_file_obj(request.params["bucket_name"], name)["generation"])
    except NotFound:
        return "0"


def with_preconditions(insert: Handler) -> Handler:
    def checked(request: Any, response: Any, storage: Any, *args: Any, **kwargs: Any) -> Any:
        wanted = request.query.get("ifGenerationMatch")
        if wanted and wanted[0] != generation(request, storage):
            return refuse(response, HTTPStatus.PRECONDITION_FAILED, "conditionNotMet")
        return insert(request, response, storage, *args, **kwargs)

    return checked


def forbidden(request: Any, response: Any, storage: Any) -> None:
    refuse(response, HTTPStatus.FORBIDDEN, "forbidden")


def taught(handler: Handler) -> Handler:
    return with_preconditions(handler) if handler is objects.insert else handler


if __name__ == "__main__":
    server.HANDLERS = (
        (
            r"^/forbidden/.*$",
            dict.fromkeys((server.GET, server.POST, server.PUT, server.DELETE, server.PATCH), forbidden),
        ),
        *(
            (pattern, {method: taught(handler) for method, handler in methods.items()})
            for pattern, methods in server.HANDLERS
        ),
    )
    server.create_server("127.0.0.1", int(sys.argv[1]), in_memory=True).run()
