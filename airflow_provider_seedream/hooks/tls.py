"""One SSL context per CA bundle and process. requests would read the bundle for every connection (~30 ms of
CPU).

``verify`` means the same as in requests, including ``REQUESTS_CA_BUNDLE`` of the environment.
"""

import ssl
from functools import lru_cache
from typing import Any

from requests.adapters import DEFAULT_CA_BUNDLE_PATH, HTTPAdapter
from urllib3.util.ssl_ import create_urllib3_context

from airflow_provider_seedream.hooks.bundles import reading

# the context holds them; as arguments urllib3 would read them again
_ALREADY_READ = ("ca_certs", "ca_cert_dir")


class SharedTrust(HTTPAdapter):
    """A requests adapter with a shared SSL context. Threads may share it, as it is complete before the first
    connection.

    Example::

        session.mount("https://", SharedTrust())
    """

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        """The key of a connection pool, with the shared context instead of the path of the bundle.

        A pool whose key has the path would read the bundle again for each new connection.
        """
        host, tls = super().build_connection_pool_key_attributes(request, verify, cert)
        if not verify or host["scheme"] != "https":
            return host, tls
        trusted = {name: value for name, value in tls.items() if name not in _ALREADY_READ}
        return host, trusted | {"ssl_context": _context(DEFAULT_CA_BUNDLE_PATH if verify is True else verify)}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Let requests check that the bundle exists, then take its path away: the context holds what was
        read.
        """
        # is there a bundle at all?
        super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]
        conn.ca_certs = conn.ca_cert_dir = None


def check_bundle(verify: bool | str) -> None:
    """Read the CA bundle that a connection names, if it names one. So a wrong path fails before a claim is
    written.

    :param verify: of the settings; True and False name no bundle.
    :raises SeedreamInputError: it cannot be read.
    """
    if isinstance(verify, str):
        _context(verify)


@lru_cache(maxsize=8)
def _context(bundle: str) -> ssl.SSLContext:
    """The context of one bundle, read once per process. The last eight bundles are kept."""
    context = create_urllib3_context()
    with reading(bundle) as (cafile, capath):
        context.load_verify_locations(cafile, capath)
    return context
