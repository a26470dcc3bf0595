"""Turns a storage URI into the URI that assets and lineage use: without the connection id and without the
query.

Does no I/O. The provider registers no ``asset-uris`` for it: the schemes (s3, gs, ...) belong to the
providers of the stores.
"""

import os.path

from airflow_provider_seedream.storage.uris import LOCAL, split_uri


def asset_uri(uri: str) -> str:
    """Scheme, bucket and path::

        asset_uri("s3://my_conn@bucket/watches#1/hero_1.png")  # "s3://bucket/watches%231/hero_1.png"

    The connection id only says which credentials read the file, and a query may itself be a credential, so
    both are left out. ``#`` is escaped, as Airflow cuts an asset's URI there: all images of ``watches#1``
    would become one asset.

    :param uri: a storage URI, or a path, which becomes an absolute ``file://`` URI.
    """
    scheme, place = split_uri(uri)
    if scheme in LOCAL:
        return f"file://{_escaped(os.path.abspath(place))}"
    return f"{scheme}://{_escaped(place.partition('?')[0])}"


def _escaped(path: str) -> str:
    return path.replace("#", "%23").replace("?", "%3F")
