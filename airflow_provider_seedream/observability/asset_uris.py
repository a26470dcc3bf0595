"""How others name the same file: a storage URI without the connection that reads it, and without anything secret. Pure.

No ``asset-uris`` of our own go with it: the schemes belong to the providers of the stores.
"""

import os.path

from airflow_provider_seedream.storage.uris import LOCAL, split_uri


def asset_uri(uri: str) -> str:
    """Scheme, bucket and path, e.g. ``s3://bucket/watches%231/hero_1.png`` for ``s3://my_conn@bucket/watches#1/hero_1.png``.

    ``my_conn@`` says who reads the file, and a query may be a credential: both are left out. ``#`` is escaped, as Airflow cuts an
    asset's URI there: all images of ``watches#1`` would be one asset.
    """
    scheme, place = split_uri(uri)
    if scheme in LOCAL:
        return f"file://{_escaped(os.path.abspath(place))}"
    return f"{scheme}://{_escaped(place.partition('?')[0])}"


def _escaped(path: str) -> str:
    return path.replace("#", "%23").replace("?", "%3F")
