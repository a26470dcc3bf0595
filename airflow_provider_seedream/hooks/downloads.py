"""Result bytes from pre-signed links, on a session that carries no key.

Only http(s) to public hosts is contacted, redirects included (loopback only beside a loopback API). A link is
a credential: no error, log line or result names more of it than its host.
"""

import socket
from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy
from typing import Self
from urllib.parse import urlsplit

import requests
import tenacity
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import HTTPError

from airflow_provider_seedream.exceptions import SeedreamLandingError
from airflow_provider_seedream.hooks.bodies import read_body
from airflow_provider_seedream.hooks.exact_targets import ExactTargets
from airflow_provider_seedream.hooks.extra_values import Network
from airflow_provider_seedream.hooks.failures import PROXY_WANTS_CREDENTIALS, proxy_refusal, refused_by_proxy
from airflow_provider_seedream.hooks.link_text import Link, sending
from airflow_provider_seedream.hooks.resending import say_again
from airflow_provider_seedream.hooks.settings import CONNECT_TIMEOUT_SECONDS, USER_AGENT
from airflow_provider_seedream.hooks.targets import refuse_target
from airflow_provider_seedream.hooks.transport import cut_after, session_through
from airflow_provider_seedream.model import clock

MAX_REDIRECTS = 5
MIN_BYTES_PER_SECOND = 100_000  # a body that drips slower than this is given up
WHOLE_STATUS_CODES = (200, 203)  # 203: a proxy on the way changed something of it (RFC 9110, 15.3.4)
# what storage hosts answer to an expired link; a fresh one may help
STALE_STATUS_CODES = (400, 401, 403, 404, 410)


class _Transient(SeedreamLandingError):
    """Worth another attempt with the same link."""


class Downloads:
    """Fetches bodies whole into memory, each at most ``max_bytes``; from several threads, if you like, until
    it is closed::

        with SeedreamHook("seedream_default").downloads(max_bytes=64 * 1024 * 1024) as downloads:
            data = downloads.fetch(link)

    One session serves them all, as a new connection costs round trips.

    :param timeout_seconds: silence longer than this ends an attempt.
    :param verify: as in requests.
    :param allow_loopback: for an API that is itself on loopback.
    :param networks: addresses that count as public although they are not.
    :param max_attempts: how often one link is tried, with pauses of up to 5 s; 3.
    :param hold: called with the size of a body before it is read into memory, in bytes; it may wait until
        there is room. A size that the host does not say is ``max_bytes``.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        timeout_seconds: float,
        verify: bool | str,
        allow_loopback: bool,
        networks: tuple[Network, ...] = (),
        max_attempts: int = 3,
        hold: Callable[[int], None] | None = None,
    ) -> None:
        self._max_bytes = max_bytes
        self._timeout = (CONNECT_TIMEOUT_SECONDS, timeout_seconds)
        self._max_seconds = timeout_seconds + max_bytes / MIN_BYTES_PER_SECOND
        self._verify = verify
        self._allow_loopback = allow_loopback
        self._networks = networks
        self._max_attempts = max_attempts
        self._hold = hold or (lambda size: None)  # without it bodies of any size may be in memory together
        self._session = session_through(ExactTargets)
        self._session.auth = lambda request: request  # else requests takes one out of a user's .netrc
        self._session.trust_env = False  # requests would search the environment twice for each download
        self._proxies: dict[str, dict[str, str]] = {}  # of the environment, by origin
        # no download tells of another
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Close the session. Downloads that are still under way in other threads end with an error."""
        self._session.close()

    def fetch(self, link: str) -> bytes:
        """The body behind a link.

        :param link: as the API wrote it: a rewritten link no longer fits its signature.
        :raises SeedreamLandingError: refused, cut, too large or unreachable; ``stale_link`` when a fresh link
            may help.
        """
        retrying = tenacity.Retrying(
            sleep=clock.sleep,
            retry=tenacity.retry_if_exception_type(_Transient),
            stop=tenacity.stop_after_attempt(self._max_attempts),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
            before_sleep=say_again,
            reraise=True,
        )
        try:
            body: bytes = retrying(self._fetch_once, link)
        except _Transient as error:  # the caller's error tree has public names only
            raise SeedreamLandingError(error.message) from None
        return body

    def _fetch_once(self, text: str) -> bytes:
        """One attempt: follow redirects by hand, as each target must be checked before it is contacted.

        :param text: the link as the API wrote it.
        :raises _Transient: another attempt may succeed.
        :raises SeedreamLandingError: no attempt can succeed.
        """
        link = Link.parse(text)
        for _ in range(MAX_REDIRECTS + 1):
            if link.origin not in self._proxies:
                self._proxies[link.origin] = get_environ_proxies(link.origin)
            self._check_target(link.origin)
            try:
                with self._get(link) as answer:
                    if not answer.is_redirect:
                        return self._body(answer)
                    link = link.redirected(answer.headers["Location"])
            except (requests.RequestException, HTTPError) as error:  # the second while the body is read
                # It names the host alone, as the rest of a link is a credential.
                refused = refused_by_proxy(error)
                broke_off = f"Download from {_host(link.origin)} broke off ({type(error).__name__})."
                raise _Transient(refused.message if refused else broke_off) from None
        raise SeedreamLandingError(
            f"Download from {_host(link.origin)} was redirected more than {MAX_REDIRECTS} times."
        )

    def _check_target(self, origin: str) -> None:
        """Refuse addresses of your own network, before a connection is opened.

        :raises SeedreamLandingError: the address is not public.
        :raises _Transient: the name cannot be resolved now.
        """
        try:
            refuse_target(
                origin,
                allow_loopback=self._allow_loopback,
                networks=self._networks,
                proxied=select_proxy(origin, self._proxies[origin]) is not None,
            )
        except socket.gaierror:
            raise _Transient(f"The host {_host(origin)} of a result link cannot be resolved.") from None

    def _get(self, link: Link) -> requests.Response:
        """The answer. requests gets the origin alone, so that neither its logs nor its errors can hold the
        link.
        """
        with sending(link):
            return self._session.get(
                link.origin,
                headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
                timeout=self._timeout,
                proxies=self._proxies[link.origin],
                verify=self._verify,  # here, as a session's own yields to the environment's
                stream=True,
                allow_redirects=False,
            )

    def _body(self, answer: requests.Response) -> bytes:
        """The whole body of an answer, or the error that its status means.

        A refusal of the store (403 and its kind) may be an expired link, so the error asks for a fresh one.
        The body ends at ``max_bytes`` and one more: enough to know that it is too large.
        """
        host = _host(answer.url)
        if answer.status_code == PROXY_WANTS_CREDENTIALS:
            raise _Transient(proxy_refusal(answer.status_code).message)
        if answer.status_code in STALE_STATUS_CODES:
            raise SeedreamLandingError(
                f"{host} answered {answer.status_code} to a download.", stale_link=True
            )
        if answer.status_code not in WHOLE_STATUS_CODES:
            raise _Transient(f"{host} answered {answer.status_code} to a download.")
        # A compressed body may grow, so it counts as the largest that is allowed.
        length = answer.headers.get("Content-Length", "")
        is_known = length.isascii() and length.isdigit() and not answer.headers.get("Content-Encoding")
        self._hold(min(int(length), self._max_bytes) if is_known else self._max_bytes)
        try:
            with cut_after(self._max_seconds, answer.raw.shutdown):
                body = read_body(answer, self._max_bytes + 1)
        except TimeoutError:
            raise _Transient(f"Download from {host} took longer than {self._max_seconds:.0f} s.") from None
        if len(body) > self._max_bytes:
            raise SeedreamLandingError(
                f"The image from {host} is larger than max_image_bytes={self._max_bytes}."
            )
        return body


def _host(link: str) -> str:
    return urlsplit(link).hostname or "?"
