"""One folder in the user's object storage: read, create once, replace, all or nothing.

Everything goes through the file system that Airflow attaches to the URI's connection. Nothing half-written is ever visible under a
final name: one PUT on an object store, a finished file that is linked or renamed on file://.
"""

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from airflow_provider_seedream.exceptions import SeedreamInputError

_LOCAL = ("", "file", "local")
_REFUSED = ("http", "https", "data")
_COPY_BYTES = 1024 * 1024


def check_destination(uri: Any) -> str:
    """A storage URI or an absolute path, without a trailing slash.

    :raises SeedreamInputError: when images cannot be kept there.
    """
    if uri is None:
        raise SeedreamInputError(
            "destination is missing: name one in the task or in the connection. There must be a place to write down what is paid."
        )
    if not isinstance(uri, str) or not uri.strip():
        raise SeedreamInputError(f"destination must be a storage URI, e.g. s3://my_conn@bucket/folder; got {str(uri)[:80]!r}.")
    parts = urlsplit(uri.strip())
    if parts.scheme in _REFUSED or parts.query or re.search(r"(^|/)\.\.(/|$)", parts.path):
        raise SeedreamInputError(f"destination must be a plain storage URI without '..' or a query; got {uri[:200]!r}.")
    if parts.scheme in _LOCAL and not parts.path.startswith("/"):
        raise SeedreamInputError(f"destination must be absolute: a worker's current folder is arbitrary; got {uri[:200]!r}.")
    return uri.strip().rstrip("/")


class Folder:
    """Names are relative to the folder and may contain ``/``. A store's errors come through as they are, of whatever class."""

    def __init__(self, uri: str) -> None:
        self.base = check_destination(uri)

    def uri(self, name: str) -> str:
        return f"{self.base}/{name}"

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that must not exist yet: of all racing writers one wins.

        False: it exists with other content, untouched. True: it is there with this content, perhaps since an earlier call: a
        store's client repeats a PUT whose answer was lost and then meets its own object, so only the content tells who won.
        """
        try:
            if self._is_local:
                with self._aside(name, os.link) as file:
                    file.write(data)
            else:
                self._fs.pipe_file(self._path(name), data, mode="create")
        except Exception:  # "exists" has a different class on every store
            there = self.read(name)
            if there is None:
                raise
            return there == data
        return True

    def replace(self, name: str, data: bytes) -> None:
        """Write a file, replacing the one there, in one step."""
        if self._is_local:
            with self._aside(name, os.replace) as file:
                file.write(data)
        else:
            self._fs.pipe_file(self._path(name), data)

    def publish(self, name: str, local_path: str) -> None:
        """Like :meth:`replace`, with a local file's content: for what is too large for memory."""
        if self._is_local:
            with open(local_path, "rb") as source, self._aside(name, os.replace) as file:
                shutil.copyfileobj(source, file, _COPY_BYTES)
        else:
            self._fs.put_file(local_path, self._path(name))

    def read(self, name: str, *, start: int | None = None, max_bytes: int | None = None) -> bytes | None:
        """A file's bytes, all or a piece of them; None when it surely is not there (or its bucket is not). Any doubt raises."""
        self._fs.invalidate_cache()  # an earlier listing would answer for the store
        try:
            end = None if max_bytes is None else (start or 0) + max_bytes
            data: bytes = self._fs.cat_file(self._path(name), start=start, end=end)
        except FileNotFoundError:
            return None
        return data

    def size_bytes(self, name: str) -> int | None:
        """A file's size; None when it surely is not there."""
        self._fs.invalidate_cache()
        try:
            return int(self._fs.info(self._path(name))["size"])
        except FileNotFoundError:
            return None

    def list(self, name: str) -> list[str]:
        """The names of what lies directly in a folder, files and folders; none when there surely is no such folder."""
        self._fs.invalidate_cache()
        path = self._path(name)
        try:
            found = self._fs.ls(path, detail=False, refresh=True)  # refresh: another thread's listing may have come in between
        except FileNotFoundError:
            return []
        paths = [str(entry).rstrip("/") for entry in found]
        return [entry.rsplit("/", 1)[-1] for entry in paths if entry.strip("/") != path.strip("/")]

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    @cached_property
    def _root(self) -> Any:
        from airflow.sdk import ObjectStoragePath

        return ObjectStoragePath(self.base)

    @cached_property
    def _fs(self) -> Any:
        return self._root.fs  # not the path's own methods: those may use ambient credentials

    @cached_property
    def _is_local(self) -> bool:
        return self._root.protocol in _LOCAL

    def _path(self, name: str) -> str:
        return f"{str(self._root.path).rstrip('/')}/{name}"

    @contextmanager
    def _aside(self, name: str, publish: Callable[[str, str], None]) -> Iterator[BinaryIO]:
        """A file beside the final name, published there in one step once it is finished and synced."""
        path = self._path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        aside = f"{os.path.dirname(path)}/.{uuid.uuid4().hex}.tmp"
        try:
            with open(aside, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            publish(aside, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(aside)
