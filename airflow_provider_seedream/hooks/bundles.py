"""CA bundles that a connection or the environment names: read, or refused with the name of the setting.
Imports no HTTP library.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_seedream.exceptions import SeedreamInputError

BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # as in requests, and in this order


@contextmanager
def reading(bundle: str) -> Iterator[tuple[str | None, str | None]]:
    """Context manager: ``cafile`` and ``capath`` for ssl's own functions, which are called in the block.

    :param bundle: a PEM file, or a folder of certificates, named by OpenSSL's hashes.
    :raises SeedreamInputError: it cannot be read; names the setting and the file.
    """
    is_folder = os.path.isdir(bundle)
    try:
        yield None if is_folder else bundle, bundle if is_folder else None
    except OSError as error:  # also ssl.SSLError, which a file without PEM raises
        # The error says which setting names the bundle: the connection or the environment.
        variable = next((name for name in BUNDLE_VARIABLES if os.environ.get(name) == bundle), None)
        setting = f"{variable} of the environment" if variable else "Connection extra verify"
        others = "." if variable else "; true and false are the other values."
        why = error.strerror or type(error).__name__
        raise SeedreamInputError(
            f"{setting} names the CA bundle {bundle[:200]!r}, which cannot be read ({why}). It must be a PEM "
            f"file, or a folder of certificates, on every worker and triggerer{others}"
        ) from None
