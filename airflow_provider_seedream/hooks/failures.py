"""Sentences for calls that failed on their way: at the proxy, or at an address where the API is not.

Imports no HTTP library: an error is recognised by the name of its class or by its text. No sentence holds the
key.
"""

import os
import re
import socket
import ssl
from typing import Any

from airflow_provider_seedream.exceptions import (
    SeedreamAPIError,
    SeedreamConnectionError,
    SeedreamError,
    SeedreamNotFoundError,
)

PROXY_WANTS_CREDENTIALS = 407
MAX_CHAIN = 20  # errors that are searched for the reason
NO_ENDPOINT_STATUS_CODES = (404, 405, 410)
# urllib3 and http.client, for a CONNECT that was refused
_TUNNEL = re.compile(r"Tunnel connection failed: (?P<status>\d{3})")


def proxy_refusal(status_code: int) -> SeedreamConnectionError:
    """The error of a proxy that let no request through. The API has not seen it, so it is not paid.

    :param status_code: of the proxy's answer; a 407 gets the settings that mend it.
    """
    what = f"The proxy answered {status_code}, so the request did not reach its host."
    if status_code == PROXY_WANTS_CREDENTIALS:
        what += (
            " It wants a user and a password: name them in HTTPS_PROXY (HTTP_PROXY for http hosts) in the "
            "environment of workers and triggerers, as http://USER:PASSWORD@HOST:PORT."
        )
    return SeedreamConnectionError(what)


def refused_by_proxy(error: BaseException) -> SeedreamConnectionError | None:
    """The error of the proxy, if a CONNECT through it failed; None for any other failure.

    :param error: of requests or of aiohttp.
    """
    if type(error).__name__ == "ClientHttpProxyError":  # aiohttp's
        status: Any = getattr(error, "status", 0)
        return proxy_refusal(status)
    found = _TUNNEL.search(str(error))
    return proxy_refusal(int(found["status"])) if found else None


def no_answer(base_url: str, error: BaseException) -> SeedreamConnectionError:
    """The error of a free call without an answer: the address, and the system's reason if there is one."""
    if refused := refused_by_proxy(error):
        return refused
    why = _why(error)
    reason = f"{why} " if why else ""
    return SeedreamConnectionError(f"No answer from {base_url}: {reason}({type(error).__name__}).")


def unsent(base_url: str, error: BaseException, *, cause: str) -> SeedreamConnectionError:
    """The error of a POST whose first byte did not leave, so it is not paid.

    :param cause: the library's own words, without the key in them.
    """
    why = _why(error)
    reason = f": {why}" if why else ""
    return SeedreamConnectionError(f"The request could not be sent to {base_url}{reason}.", cause=cause)


def _why(error: BaseException) -> str:
    """The system's reason in lower case, e.g. ``connection refused``; empty without one."""
    return next((reason.lower() for reason in map(_reason, reversed(_chain(error))) if reason), "")


def _chain(error: BaseException) -> list[BaseException]:
    """An error and those it was made of, the innermost last, as requests, urllib3 and aiohttp keep them."""
    found = [error]
    for one in found:
        inner = (*one.args, getattr(one, "reason", None), one.__cause__, one.__context__)
        found += [
            other
            for other in inner
            if isinstance(other, BaseException) and other not in found and len(found) < MAX_CHAIN
        ]
    return found


def _reason(error: BaseException) -> str | None:
    """ "connection refused", "name or service not known", or what TLS objects to."""
    if not isinstance(error, OSError) or error.errno is None:
        return None
    return error.strerror if isinstance(error, socket.gaierror | ssl.SSLError) else os.strerror(error.errno)


def no_endpoint(url: str, error: SeedreamError) -> SeedreamError:
    """The answer to a POST that found no endpoint. It is no lost generation, as the same status is on a
    status call.
    """
    code = getattr(error, "code", None)
    found = SeedreamNotFoundError(
        f"There is no such endpoint: POST {url}. Either the connection's host (base URL) is wrong, or the "
        "vendor no longer offers this model.",
        status_code=getattr(error, "status_code", None),
        code=code,
        paid="no",
    )
    found.verdict, found.cause = "WRONG HOST", error.message
    found.on_retry = (
        "A retry would find the same: correct the host, or look for the model at the vendor, "
        "then clear the task."
    )
    return found


def is_no_endpoint(error: SeedreamError) -> bool:
    """True for a 404, 405 or 410 of a POST: this API has no such endpoint."""
    return isinstance(error, SeedreamAPIError) and error.status_code in NO_ENDPOINT_STATUS_CODES
