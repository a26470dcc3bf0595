"""How others name the same file: a storage URI without the connection that reads it, and without anything secret. Pure.

No ``asset-uris`` of our own go with it: the schemes belong to the providers of the stores.
"""

import os.path
from urllib.parse import urlsplit, urlunsplit

_LOCAL = ("", "file", "local")


def asset_uri(uri: str) -> str:
    """Scheme, bucket and path. A query may be a credential, and ``my_conn@`` is how we read it, not what it is."""
    parts = urlsplit(uri)
    if parts.scheme in _LOCAL:
        return f"file://{os.path.abspath(parts.path)}"
    return urlunsplit((parts.scheme.lower(), parts.netloc.rpartition("@")[2], parts.path, "", ""))
