"""The page inside Airflow's own: where it is mounted, and the answer to a browser that opens an address by
itself.

Knows requests and addresses. Reads no data, and knows no permissions.
"""

from urllib.parse import quote

import airflow
from fastapi import HTTPException, Request
from packaging.version import Version
from starlette.responses import RedirectResponse

from airflow_provider_seedream.model.task_ref import PREFIX

URL_ROUTE = "seedream"
# the address bar then leads to a page within the frame
_HAS_DEEP_LINKS = Version(airflow.__version__) >= Version("3.3.2")
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def base_path(request: Request) -> str:
    """The path that Airflow is served under: empty, or with a leading slash and no trailing one."""
    return str(request.scope.get("root_path", "")).removesuffix(f"/{PREFIX}")


def is_document(request: Request) -> bool:
    """True if a browser opens this by itself, not within Airflow's page."""
    return request.headers.get("Sec-Fetch-Dest") == "document"


def into_the_shell(request: Request) -> None:
    """A dependency of the pages: an address opened by itself goes on within Airflow's page, where that can
    show it.

    Airflow has addresses within the frame from 3.3.2 on. Before, the page is shown alone.

    :raises HTTPException: 307, the redirect.
    """
    if is_document(request) and _HAS_DEEP_LINKS:
        query = f"?{request.url.query}" if request.url.query else ""
        path = quote(request.scope["path"], safe="/:+")  # as in places.py
        location = f"{base_path(request)}/plugin/{URL_ROUTE}{path}{query}"
        raise HTTPException(307, headers={"Location": location})


def login(request: Request) -> RedirectResponse:
    """Send a browser without a session to Airflow's login page, which shows the gallery afterwards."""
    return RedirectResponse(f"{base_path(request)}/plugin/{URL_ROUTE}", status_code=307)
