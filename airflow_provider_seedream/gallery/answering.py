"""How requests are answered: each route in one of the gallery's few threads, each answer with the security
headers, each error as a page. It knows no route, and never imports storage or the database.
"""

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync
from fastapi import Request, Response

from airflow_provider_seedream.gallery.pages import render_error
from airflow_provider_seedream.gallery.shell import SECURITY_HEADERS, is_document, login

PAGES_AT_ONCE = 8
_log = logging.getLogger(__name__)
_limiter: RunVar[CapacityLimiter] = RunVar("seedream_gallery_threads")


def threaded(route: Callable[..., Response]) -> Callable[..., Awaitable[Response]]:
    """A route that waits for storage in one of the gallery's threads. Airflow's own routes share 40, which
    must stay free.
    """

    @functools.wraps(route)
    async def run(**values: Any) -> Response:
        return await run_sync(functools.partial(route, **values), limiter=_threads())

    return run


def _threads() -> CapacityLimiter:
    """The bound of this event loop."""
    try:
        return _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(PAGES_AT_ONCE)
        _limiter.set(limiter)
        return limiter


async def secured(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Every answer gets the security headers, and an error of ours a page and a line in the log."""
    # No id and no prompt holds NUL, and PostgreSQL takes no text with it.
    has_nul = "\0" in request.scope["path"] or b"%00" in request.scope["query_string"]
    try:
        response = render_error(request, 404) if has_nul else await call_next(request)
    except Exception:
        _log.exception("The gallery failed at %s.", request.url.path)
        response = render_error(request, 500)
    response.headers.update(SECURITY_HEADERS)
    return response


def refused(request: Request, error: Any) -> Response:
    """Errors as pages, or the frame would show JSON."""
    if error.status_code < 400:
        return Response(status_code=error.status_code, headers=error.headers)
    if error.status_code == 401 and is_document(request):
        return login(request)
    return render_error(request, error.status_code)


def misread(request: Request, error: Any) -> Response:
    """A parameter of a wrong type means a page that does not exist."""
    return render_error(request, 404)
