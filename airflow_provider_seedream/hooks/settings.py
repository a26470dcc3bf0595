"""A Seedream connection as checked values, for the hook and the trigger.

It reads a connection object that was already read, and does no I/O. The repr leaves out the key.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from airflow_provider_seedream import __version__
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.hooks.extra_values import Network, flag, network, positive, verify
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.caps import (
    DEFAULT_WARN_AT,
    Cap,
    Period,
    caps_of,
    check_spelling,
    read_label_caps,
    read_max_credits,
    read_warn_at,
)

USER_AGENT = f"airflow-provider-seedream/{__version__}"
CONNECT_TIMEOUT_SECONDS = 10.0
DEFAULT_REQUEST_TIMEOUT_SECONDS = 60.0
UPLOAD_BYTES_PER_SECOND = 1_000_000  # ten inputs are ~130 MB, so about two minutes more for their answer
MIN_UPLOAD_BYTES_PER_SECOND = 100_000  # slower than this is broken off
_HALF_SCHEME = re.compile(r"https?[:/]")  # "https//api.example", and "https://" without a host
_KEY = re.compile(r"[\x21-\x7e]+")


class ConnectionLike(Protocol):
    """The attributes of an Airflow connection that are read.

    ::

        SeedreamSettings.from_connection(BaseHook.get_connection("seedream_default"))

    Airflow has two classes of connections, of tasks and of the database, so this names the fields that both
    have.
    """

    conn_id: Any
    host: Any
    port: Any
    schema: Any
    password: Any

    @property
    def extra_dejson(self) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedreamSettings:
    """The settings of one connection::

        SeedreamHook("seedream_default").settings.destination  # "s3://my_conn@bucket/campaign"

    :param base_url: scheme, host and port, perhaps with a path; without ``/v1`` and without a trailing slash.
    :param key: the API key; the repr leaves it out.
    :param destination: default storage folder, or None.
    :param requests_per_minute: the rate limit of the key; None if the connection does not say it.
    :param credits_per_image: the price of an image in credits; 10 [doc].
    :param status_counts_toward_limit: True if status calls count toward the limit. Reports differ [seen], so
        the connection decides.
    :param request_timeout_seconds: how long one answer may take, 60 by default; uploads get more
        (:meth:`post_timeout_seconds`).
    :param verify: True, False, or the path of a CA bundle: the connection's, else ``REQUESTS_CA_BUNDLE`` of
        the environment.
    :param download_networks: addresses that images may be downloaded from although they are not public.
    :param books: where the books of the caps lie: the extra of this name, else ``destination``.
    :param max_credits_per_day: a cap for all requests that are paid through this connection, by UTC day;
        None: no cap.
    :param max_credits_per_month: the same by UTC month. :param label_caps: the same for requests with a
        label.
    :param warn_at: the share of a cap at which one warning a day is given; 0.8.
    """

    base_url: str
    key: str = field(repr=False)
    destination: str | None
    requests_per_minute: float | None
    credits_per_image: int
    status_counts_toward_limit: bool
    request_timeout_seconds: float
    verify: bool | str
    download_networks: tuple[Network, ...] = ()
    books: str | None = None
    max_credits_per_day: int | None = None
    max_credits_per_month: int | None = None
    label_caps: Mapping[str, Mapping[Period, int]] = field(default_factory=dict, hash=False)
    warn_at: float = DEFAULT_WARN_AT

    @classmethod
    def from_connection(cls, connection: ConnectionLike) -> Self:
        """Take the values of a connection that was already read.

        :raises SeedreamInputError: a field is wrong; the message names it, never its key.
        """
        extra = connection.extra_dejson or {}
        base_url = _base_url(connection)
        # A key that a header cannot carry is refused here, as the error of an HTTP library would print it.
        key = str(connection.password or "").strip()
        if not key:
            raise _no_key(f"Connection {connection.conn_id!r} has no password: put the API key there.")
        if _KEY.fullmatch(key) is None:
            raise _no_key(
                f"Connection {connection.conn_id!r}: the password holds characters that no API key has."
            )
        check_spelling(extra)
        networks = extra.get("download_networks")  # a list, or text with commas
        items = (
            networks
            if isinstance(networks, list | tuple)
            else re.split(r"[,\s]+", str(networks or "").strip())
        )
        price = positive(extra, "credits_per_image") or contract.CREDITS_PER_IMAGE
        if price != int(price):
            raise SeedreamInputError(
                f"Connection extra credits_per_image must be a whole number; got {price}."
            )
        return cls(
            base_url=base_url,
            key=key,
            destination=extra.get("destination") or None,
            requests_per_minute=positive(extra, "requests_per_minute"),
            credits_per_image=int(price),
            status_counts_toward_limit=flag(extra, "status_counts_toward_limit"),
            request_timeout_seconds=positive(extra, "request_timeout_seconds")
            or DEFAULT_REQUEST_TIMEOUT_SECONDS,
            verify=verify(extra.get("verify")),
            download_networks=tuple(network(str(item).strip()) for item in items if item not in (None, "")),
            books=extra.get("books") or extra.get("destination") or None,
            max_credits_per_day=read_max_credits(extra, "max_credits_per_day"),
            max_credits_per_month=read_max_credits(extra, "max_credits_per_month"),
            label_caps=read_label_caps(extra),
            warn_at=read_warn_at(extra),
        )

    @property
    def caps(self) -> tuple[Cap, ...]:
        """All caps of the connection; empty: nothing is counted in books."""
        return caps_of(day=self.max_credits_per_day, month=self.max_credits_per_month, labels=self.label_caps)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of each call, with the key in them: for the API host alone."""
        return {"Authorization": f"Bearer {self.key}", "Accept": "application/json", "User-Agent": USER_AGENT}

    @property
    def is_loopback(self) -> bool:
        """True if the API itself is on this machine, as the emulator is: then downloads from loopback are
        allowed.
        """
        return urlsplit(self.base_url).hostname in ("127.0.0.1", "::1", "localhost")

    @property
    def proxy(self) -> str | None:
        """The proxy that the environment names for the API host, as a URL: often a bare host and port is
        named.
        """
        parts = urlsplit(self.base_url)
        if proxy_bypass(parts.netloc):
            return None
        proxies = getproxies()
        proxy = proxies.get(parts.scheme) or proxies.get("all")
        return f"http://{proxy}" if proxy and "://" not in proxy else proxy

    def url(self, path: str) -> str:
        """The URL of a path of the API. The trailing slash is a part of each path [doc]."""
        return self.base_url + path

    def status_url(self, seedream_task_id: str) -> str:
        """The URL of the status of a generation."""
        return self.url(contract.STATUS_PATH.format(seedream_task_id=seedream_task_id))

    def post_timeout_seconds(self, body_bytes: int) -> float:
        """The time that the answer to a POST of this size may take, in seconds: the timeout, and a second for
        each MB of the body.
        """
        return self.request_timeout_seconds + body_bytes / UPLOAD_BYTES_PER_SECOND

    def upload_seconds(self, body_bytes: int) -> float:
        """The time that a body of this size may be on its way, in seconds: the timeout, and 10 s for each
        MB.
        """
        return self.request_timeout_seconds + body_bytes / MIN_UPLOAD_BYTES_PER_SECOND


def _no_key(message: str) -> SeedreamInputError:
    """The error of a connection without a usable key. It never holds the key itself."""
    error = SeedreamInputError(message, verdict="KEY MISSING")
    error.on_retry = "Put the key of your account into the password of the connection, then clear the task."
    return error


def _wrong_host(conn_id: Any, rule: str) -> SeedreamInputError:
    """The error of a host. The request was not sent: a guess at the right host could send the key to a
    stranger.
    """
    error = SeedreamInputError(f"Connection {conn_id!r}: host must be {rule}", verdict="WRONG HOST")
    error.on_retry = (
        f"Correct the host of the connection (empty means {contract.DEFAULT_BASE_URL}), then clear the task."
    )
    return error


def _base_url(connection: ConnectionLike) -> str:
    """The host with what is missing, and without the ``/v1`` that other clients of the API have in it."""
    host = str(connection.host or contract.DEFAULT_BASE_URL).strip().rstrip("/")
    if "://" not in host and not _HALF_SCHEME.match(host):
        host = f"{_scheme(connection)}://{_bracketed(host)}"
    try:
        parts = urlsplit(host)
        has_port = parts.port is not None or not connection.port
    except ValueError:  # a port or an address that is none
        parts, has_port = urlsplit(""), True
    is_plain = bool(parts.hostname) and not (
        parts.username or parts.query or parts.fragment or re.search(r"\s", host)
    )
    if parts.scheme not in ("http", "https") or not is_plain:
        raise _wrong_host(
            connection.conn_id, f"a plain http(s) base URL, such as {contract.DEFAULT_BASE_URL}."
        )
    path = parts.path.removesuffix(contract.VERSION_PATH).rstrip("/")
    if f"{contract.VERSION_PATH}/" in path:
        rule = (
            f"the base URL alone, such as {contract.DEFAULT_BASE_URL}, without {contract.VERSION_PATH} "
            "and what follows it."
        )
        raise _wrong_host(connection.conn_id, rule)
    return parts._replace(
        netloc=parts.netloc if has_port else f"{parts.netloc}:{connection.port}", path=path
    ).geturl()


def _scheme(connection: ConnectionLike) -> str:
    """``http`` or ``https`` of the connection's schema field; https if it is empty.

    :raises SeedreamInputError: any other schema, e.g. the path of a connection URI, which Airflow reads as
        its schema.
    """
    scheme = str(connection.schema or "https").strip(" /").lower()
    if scheme not in ("http", "https"):
        raise SeedreamInputError(
            f"Connection {connection.conn_id!r}: schema must be http, https or empty; got {scheme[:40]!r}. "
            "In a connection URI the schema follows the host: a path does not belong there."
        )
    return scheme


def _bracketed(host: str) -> str:
    """An IPv6 address with its brackets, which Airflow takes off when it reads a connection URI."""
    try:
        return f"[{ipaddress.IPv6Address(host)}]"
    except ValueError:
        return host
