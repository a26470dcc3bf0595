"""Result links as text: they go out as the API wrote them.

A pre-signed link may be signed over its exact text. requests and urllib3 rewrite it [requests 2.34, urllib3
2.8]: ``%7E`` becomes ``~``, ``%2f`` becomes ``%2F``, ``/a/../b`` becomes ``/b``. The store then answers 403.
So their parsers get scheme and host alone, and the connection sends the text.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urljoin

from airflow_provider_seedream.exceptions import SeedreamLandingError

_LINK = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]+)(?P<target>[^#]*)", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%-]+)(:\d*)?", re.ASCII)
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):")
_ILLEGAL = re.compile(rb"[^\x21-\x7e]")  # in a request line: blanks, control characters, raw UTF-8
_target: ContextVar[str | None] = ContextVar("seedream_request_target", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link of a result::

        Link.parse("https://store.example/a%2fb?sig=x").target  # "/a%2fb?sig=x"

    :param origin: scheme, host and port, as ``https://store.example:9000``.
    :param target: path and query, as they were written; only bytes that no request line can hold are
        percent-encoded.
    """

    origin: str
    target: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take a link apart without rewriting it. A fragment is dropped, as no request carries one.

        :param text: the link as the API or a redirect wrote it.
        :raises SeedreamLandingError: it is no plain http(s) link. One with a user name is refused: it would
            be sent as a password.
        """
        found = _LINK.fullmatch(text.strip().partition("#")[0])
        if found is None:
            named = _SCHEME.match(text.strip())
            raise refusal(named["scheme"] if named else "")
        authority = _ascii(found["authority"])
        if _AUTHORITY.fullmatch(authority) is None:  # also one with a user name
            raise refusal(found["scheme"])
        target = _encoded(found["target"].encode("utf-8", "surrogatepass"))
        return cls(
            origin=f"{found['scheme'].lower()}://{authority}",
            target=target if target.startswith("/") else f"/{target}",
        )

    @property
    def scheme(self) -> str:
        """``http`` or ``https``, in lower case."""
        return self.origin.partition(":")[0]

    def redirected(self, location: str) -> "Link":
        """The link that a ``Location`` header names.

        :param location: as http.client gives it: each byte one character (latin-1).
        :raises SeedreamLandingError: to another scheme, unless it is https.
        """
        target = Link.parse(self._absolute(_from_wire(location.strip())))
        if target.scheme not in (self.scheme, "https"):
            raise SeedreamLandingError(
                f"A download was redirected from {self.scheme} to {target.scheme!r}: refused."
            )
        return target

    def _absolute(self, reference: str) -> str:
        """A reference of a ``Location`` header as a whole link, without changing a letter that is in it.

        ``urljoin`` is left for the rest, as it normalises: ``/a/../b`` would no longer fit a signature.
        """
        if named := _SCHEME.match(reference):
            if named["scheme"].lower() not in ("http", "https"):
                scheme = named["scheme"][:20]
                raise SeedreamLandingError(
                    f"A download was redirected from {self.scheme} to {scheme!r}: refused."
                )
            return reference
        if reference.startswith("//"):
            return f"{self.scheme}:{reference}"
        if reference.startswith("/"):
            return f"{self.origin}{reference}"
        if reference.startswith("?"):
            return f"{self.origin}{self.target.partition('?')[0]}{reference}"
        return urljoin(f"{self.origin}{self.target}", reference)


class AsWritten:
    """Mixed into a connection class: inside :func:`sending`, its requests carry the target as text.

    ::

        with sending(link):
            session.get(link.origin)
    """

    def putrequest(self, method: str, url: str, *args: Any, **options: Any) -> None:
        """Write the request line with the exact target of the link that is being sent."""
        if target := _target.get():
            # a proxy for http gets the origin before it
            url = target if url.startswith("/") else f"{url.rstrip('/')}{target}"
        # of the connection class it is mixed into
        super().putrequest(method, url, *args, **options)  # type: ignore[misc]


@contextmanager
def sending(link: Link) -> Iterator[None]:
    """Requests to the origin of a link carry its target while this is open, in this thread."""
    before = _target.set(link.target)
    try:
        yield
    finally:
        _target.reset(before)


def refusal(scheme: str) -> SeedreamLandingError:
    """The error of a link that is not plain http(s). It names the scheme alone, as the rest may be a
    credential.
    """
    return SeedreamLandingError(f"A result link is no plain http(s) link (scheme {scheme[:20]!r}): refused.")


def _from_wire(text: str) -> str:
    """UTF-8 where the bytes are UTF-8; other bytes stay percent-encoded."""
    raw = text.encode("latin-1", "replace")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return _encoded(raw)


def _encoded(raw: bytes) -> str:
    """Bytes that no request line can hold, percent-encoded; everything else as it is."""
    return _ILLEGAL.sub(lambda found: b"%%%02X" % found[0][0], raw).decode("ascii")


def _ascii(authority: str) -> str:
    """The authority with its host in ASCII, as resolvers know it; unchanged where it is none (it is
    refused then).
    """
    if authority.isascii():
        return authority
    host, colon, port = authority.partition(":")
    try:
        return host.encode("idna").decode("ascii") + colon + port
    except UnicodeError:
        return authority
