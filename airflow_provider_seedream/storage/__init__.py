"""The user's object storage: one folder in it (``folder``), its files (``files``), and how stores and disks
compare and list.

"Cannot read" is never "does not exist". Knows nothing of images or records. A DAG file loads ``uris`` alone,
so no other module is imported here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_seedream.storage.exclusive import NotExclusiveError as NotExclusiveError
    from airflow_provider_seedream.storage.folder import Folder as Folder
    from airflow_provider_seedream.storage.uris import check_destination as check_destination
    from airflow_provider_seedream.storage.uris import split_uri as split_uri

_HOMES = {
    "Folder": "folder",
    "NotExclusiveError": "exclusive",
    "check_destination": "uris",
    "split_uri": "uris",
}


def __getattr__(name: str) -> Any:
    """The names that users may have imported from here, each from its module when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
