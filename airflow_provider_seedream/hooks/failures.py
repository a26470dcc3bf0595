"""Sentences for calls that failed on their way: at the proxy, or at an address where the API is not. Imports no HTTP library."""

import re
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamAPIError, SeedreamConnectionError, SeedreamError, SeedreamNotFoundError

PROXY_WANTS_CREDENTIALS = 407
NO_ENDPOINT_STATUS_CODES = (404, 405, 410)
_TUNNEL = re.compile(r"Tunnel connection failed: (?P<status>\d{3})")  # urllib3 and http.client, for a CONNECT that was refused


def proxy_refusal(status_code: int) -> SeedreamConnectionError:
    """A proxy that let nothing through; the API has not seen the request."""
    what = f"The proxy answered {status_code}, so the request did not reach its host."
    if status_code == PROXY_WANTS_CREDENTIALS:
        what += (
            " It wants a user and a password: name them in HTTPS_PROXY (HTTP_PROXY for http hosts) in the environment of workers"
            " and triggerers, as http://USER:PASSWORD@HOST:PORT."
        )
    return SeedreamConnectionError(what)


def refused_by_proxy(error: BaseException) -> SeedreamConnectionError | None:
    """The same, if a CONNECT to the proxy is what failed: an error of requests or of aiohttp."""
    if type(error).__name__ == "ClientHttpProxyError":  # aiohttp's
        status: Any = getattr(error, "status", 0)
        return proxy_refusal(status)
    found = _TUNNEL.search(str(error))
    return proxy_refusal(int(found["status"])) if found else None


def no_endpoint(url: str, error: SeedreamError) -> SeedreamError:
    """The answer to a POST that found no endpoint. It is no lost generation, as the same status is on a status call."""
    code = getattr(error, "code", None)
    found = SeedreamNotFoundError(
        f"There is no such endpoint: POST {url}. {error.message} Either the connection's host (base URL) is wrong, or the vendor "
        "no longer offers this model.",
        status_code=getattr(error, "status_code", None),
        code=code,
        paid="no",
    )
    found.on_retry = "A retry would find the same: correct the host, or look for the model at the vendor, then clear the task."
    return found


def is_no_endpoint(error: SeedreamError) -> bool:
    return isinstance(error, SeedreamAPIError) and error.status_code in NO_ENDPOINT_STATUS_CODES
