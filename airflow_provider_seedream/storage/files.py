"""The files of one folder in the user's object storage: read, list, write, delete, each by one call of the
store.

All calls go through the file system that Airflow attaches to the URI's connection. A file gets its final name
only when it is whole: by one PUT on an object store, by a link or a rename of the finished file on
``file://``. The writes here ask for nothing: of two writers the last one wins.
"""

import inspect
import os
import shutil
from collections.abc import Hashable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache, cached_property
from typing import Any

from airflow_provider_seedream.storage import disk
from airflow_provider_seedream.storage.airflow_paths import airflow_path
from airflow_provider_seedream.storage.listing import folders_in
from airflow_provider_seedream.storage.uris import LOCAL, check_destination

_COPY_BYTES = 1024 * 1024
# the field's name in s3fs; in gcsfs and local disks; in adlfs
_MODIFIED = ("LastModified", "mtime", "last_modified")


class Files:
    """The base of a :class:`~airflow_provider_seedream.storage.folder.Folder`. Names are relative to it and
    may contain ``/``.

    Errors of the store's library are raised unchanged, so callers must expect any class.
    """

    def __init__(self, uri: str, *, fs: Any = None) -> None:
        """:param uri: storage URI of the folder, or an absolute path; it need not exist yet.
        :param fs: an fsspec file system to use instead of the one that Airflow attaches to the URI's
            connection.
        :raises SeedreamInputError: the URI is not one that can hold images and records.
        """
        self.base = check_destination(uri)
        self._given_fs = fs

    def uri(self, name: str) -> str:
        """The storage URI of a file in this folder, with its connection id."""
        return f"{self.base}/{name}"

    def read(self, name: str, *, start: int | None = None, max_bytes: int | None = None) -> bytes | None:
        """The bytes of a file, or a piece of them. None: the store says clearly that the file (or its bucket)
        does not exist.

        Every other failure raises, as a record that cannot be read must not pass for a missing one.

        :param start: the first byte; 0 by default.
        :param max_bytes: the most bytes; fewer come at the end of the file. All of them by default.
        """
        self._fs.invalidate_cache()  # else an earlier listing in memory would answer instead of the store
        try:
            end = None if max_bytes is None else (start or 0) + max_bytes
            # One GET: s3fs 2026 asks for the size first, to read large files in parallel.
            at_once = (
                {"max_concurrency": 1} if _takes(self._fs.__class__, "cat_file", "max_concurrency") else {}
            )
            data: bytes = self._fs.cat_file(self._path(name), start=start, end=end, **at_once)
        except FileNotFoundError:
            return None
        return data

    def size_bytes(self, name: str) -> int | None:
        """The size of a file; None if the store says clearly that it does not exist."""
        info = self._info(name)
        return None if info is None else int(info["size"])

    def modified_at(self, name: str) -> float | None:
        """When a file was last written, by the store's own clock, in epoch seconds (object stores: whole
        seconds).

        None: the store says clearly that the file does not exist.

        :raises NotImplementedError: the file system does not date files.
        """
        info = self._info(name)
        if info is None:
            return None
        at = next((info[field] for field in _MODIFIED if field in info), None) or self._fs.modified(
            self._path(name)
        )
        return at.timestamp() if isinstance(at, datetime) else float(at)

    def _info(self, name: str) -> dict[str, Any] | None:
        self._fs.invalidate_cache()
        try:
            return dict(self._fs.info(self._path(name), refresh=True))  # refresh: as in `list`
        except FileNotFoundError:
            return None

    def list(self, name: str) -> list[str]:
        """The names of the files and folders directly in a folder; empty if the store says clearly that it
        does not exist.
        """
        self._fs.invalidate_cache()
        path = self._path(name)
        # Another thread may have filled the cache again, so ask for a fresh listing too. adlfs has its own
        # word for `refresh`.
        now = "invalidate_cache" if _takes(self._fs.__class__, "ls", "invalidate_cache") else "refresh"
        try:
            found = self._fs.ls(path, detail=False, **{now: True})
        except FileNotFoundError:
            return []
        paths = [str(entry).rstrip("/") for entry in found]
        return [entry.rsplit("/", 1)[-1] for entry in paths if entry.strip("/") != path.strip("/")]

    def folders_holding(self, name: str, *, depth: int) -> Sequence[str]:
        """The folders, up to ``depth`` levels down, that contain this subfolder; relative to this one, "" for
        itself.

        :raises Exception: of the store's own class, if one of the folders cannot be listed: it might hold
            one.
        """
        self._fs.invalidate_cache()
        found: list[str] = []
        paths = [str(self._root.path)]
        for _ in range(depth + name.count("/")):
            below = [folder.rstrip("/") for path in paths for folder in folders_in(self._fs, path)]
            found += [path for path in below if path.endswith(f"/{name}")]
            paths = [path for path in below if not path.endswith(f"/{name}")]
        base = str(self._root.path).strip("/")
        return sorted(
            path.strip("/").removesuffix(f"/{name}").removeprefix(base).strip("/") for path in found
        )

    def replace(self, name: str, data: bytes) -> None:
        """Write a file in one step, replacing an existing one. A reader sees the old or the new content,
        not a mixture.
        """
        if self._is_local:
            with disk.publishing(self._path(name), os.replace) as file:
                file.write(data)
        else:
            self._fs.pipe_file(self._path(name), data)

    def publish(self, name: str, local_path: str) -> None:
        """Like :meth:`replace`, with the content of a local file, which may be too large for memory.

        :param local_path: is copied; it stays where it is.
        """
        if self._is_local:
            with open(local_path, "rb") as source, disk.publishing(self._path(name), os.replace) as file:
                shutil.copyfileobj(source, file, _COPY_BYTES)
        else:
            self._fs.put_file(local_path, self._path(name))

    def delete(self, name: str) -> None:
        """Delete a file; one that does not exist is no error, as an answer may have been lost."""
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    @cached_property
    def _root(self) -> Any:
        return airflow_path(self.base)

    @cached_property
    def _fs(self) -> Any:
        # not the path's own methods: those may use ambient credentials
        return self._given_fs or self._root.fs

    @cached_property
    def _is_local(self) -> bool:
        return self._root.protocol in LOCAL

    def _path(self, name: str) -> str:
        return f"{str(self._root.path).rstrip('/')}/{name}"


@cache
def _takes(kind: Hashable, method: str, keyword: str) -> bool:
    """True if a method of this class of file systems has the keyword. Asked once for each class: it is
    asked for every read.
    """
    # asynchronous ones have the real one under a `_`
    function = getattr(kind, f"_{method}", None) or getattr(kind, method)
    return keyword in inspect.signature(function).parameters
