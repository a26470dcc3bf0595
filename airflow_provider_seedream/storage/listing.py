"""Lists what is in and below a folder of a store. A folder that cannot be listed is an error, never an empty
folder.

fsspec's ``walk`` does not pass ``on_error`` on to the folders below, so each of them that the store refuses
counts as empty; so does each ``find`` that is made of ``walk`` [fsspec 2026.9,
findings/fsspec-walk-hides-errors.sh]. A ledger or the rows of a table would be missed without a word.
"""

from typing import Any


def folders_in(fs: Any, path: str) -> list[str]:
    """The paths of the folders directly in a folder; empty if it does not exist.

    :raises Exception: of the store's own class, if the folder cannot be listed.
    """
    return [entry["name"] for entry in _entries(fs, path) if entry["type"] == "directory"]


def files_below(fs: Any, path: str) -> list[str]:
    """The paths of all files below a folder; empty if it does not exist. An object store lists them in one
    go, 1,000 a request.

    :raises Exception: of the store's own class, if a folder cannot be listed.
    """
    if not _walks(fs):
        return list(fs.find(path))
    files: list[str] = []
    folders = [path]
    while folders:
        for entry in _entries(fs, folders.pop()):
            found = folders if entry["type"] == "directory" else files
            found.append(entry["name"])
    return files


def _entries(fs: Any, path: str) -> list[dict[str, Any]]:
    """A listing without the folder itself, which some stores name in it: their mark of an empty folder."""
    try:
        found = fs.ls(path, detail=True)
    except FileNotFoundError:
        return []
    return [entry for entry in found if entry["name"].strip("/") != path.strip("/")]


def _walks(fs: Any) -> bool:
    """True if the file system has no listing of its own for everything below a folder: disks, SFTP, SMB."""
    from fsspec import AbstractFileSystem
    from fsspec.asyn import AsyncFileSystem

    if isinstance(fs, AsyncFileSystem):
        return type(fs)._find is AsyncFileSystem._find
    return type(fs).find is AbstractFileSystem.find
