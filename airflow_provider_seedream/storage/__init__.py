"""One folder in the user's object storage: read, create once, replace, all or nothing.

Everything goes through the file system that Airflow attaches to the URI's connection. Nothing half-written is ever visible under a
final name: one PUT on an object store, a finished file that is linked or renamed on file://.
"""

import inspect
import logging
import os
import shutil
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from typing import Any

from airflow_provider_seedream.storage import disk
from airflow_provider_seedream.storage.conditional import unchanged
from airflow_provider_seedream.storage.exclusive import NotExclusiveError as NotExclusiveError
from airflow_provider_seedream.storage.exclusive import is_unsupported, not_exclusive, probe
from airflow_provider_seedream.storage.uris import LOCAL
from airflow_provider_seedream.storage.uris import check_destination as check_destination
from airflow_provider_seedream.storage.uris import split_uri as split_uri

_COPY_BYTES = 1024 * 1024
_MODIFIED = ("LastModified", "mtime", "last_modified")  # as s3fs; gcsfs and local disks; adlfs say it
_exclusive: set[str] = set()  # destinations that this process has probed, and that hold
_probing = threading.Lock()
_log = logging.getLogger(__name__)


class Folder:
    """Names are relative to the folder and may contain ``/``. A store's errors come through as they are, of whatever class."""

    def __init__(self, uri: str, *, fs: Any = None) -> None:
        """:param fs: an fsspec file system to use instead of the one that Airflow attaches to the URI's connection."""
        self.base = check_destination(uri)
        self._given_fs = fs

    def uri(self, name: str) -> str:
        return f"{self.base}/{name}"

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that must not exist yet: of all racing writers one wins.

        False: it exists with other content, untouched. True: it is there with this content, perhaps since an earlier call: a
        store's client repeats a PUT whose answer was lost and then meets its own object, so only the content tells who won.

        :raises NotExclusiveError: the store has no conditional writes, or the mount no hard links.
        """
        try:
            if self._is_local:
                with disk.publishing(self._path(name), disk.publish_new) as file:
                    file.write(data)
            else:
                self._fs.pipe_file(self._path(name), data, mode="create")
        except Exception as error:  # "exists" has a different class on every store
            there = self.read(name)
            if there is None and is_unsupported(error):
                raise not_exclusive(self.base, "it has no conditional writes (501 Not Implemented)") from error
            if there is None:
                raise
            return there == data
        return True

    def check_exclusive(self) -> None:
        """Ask the store once per process and destination whether :meth:`create` is exclusive there: 2 PUTs, 1 GET, 1 DELETE.

        A disk needs no probe: a link either is exclusive, or :meth:`create` says that there are none.

        :raises NotExclusiveError: two tries could both create the same record, and both would pay.
        """
        if self._is_local or self.base in _exclusive:
            return
        with _probing:
            if self.base not in _exclusive:
                name = self.probe()
                _exclusive.add(self.base)
                self._delete_probe(name)

    def probe(self) -> str:
        """As :meth:`check_exclusive`, always and without the DELETE: returns the name of the file."""
        return probe(self, None if self._is_local else self._fs)

    def _delete_probe(self, name: str) -> None:
        try:
            self.delete(name)
        except Exception as error:  # a claim that bought nothing could not be given back either, but that is seen then
            _log.warning(
                "Cannot delete %s (%s: %s). May this connection delete files?", self.uri(name), type(error).__name__, error
            )

    def replace(self, name: str, data: bytes) -> None:
        """Write a file, replacing the one there, in one step."""
        if self._is_local:
            with disk.publishing(self._path(name), os.replace) as file:
                file.write(data)
        else:
            self._fs.pipe_file(self._path(name), data)

    def replace_if(self, name: str, seen: bytes, data: bytes) -> bool:
        """Like :meth:`replace`, but only while the file still holds `seen`. False: it does not, and it is untouched.

        In one step on disks with locks, and on stores that hold If-Match (S3, Azure). Elsewhere, as at Ceph's S3 and at GCS,
        another write between our look and ours is lost: a window of one request.
        """
        if self._is_local:
            with disk.locked(self._path(name)):
                return self._replace_after_look(name, seen, data)
        condition = unchanged(self._fs, self._path(name))
        if not condition:
            return self._replace_after_look(name, seen, data)
        if self.read(name) != seen:
            return False
        try:
            self._fs.pipe_file(self._path(name), data, **condition)
        except Exception:  # "changed" and "knows no conditions" have a different class on every store: what is there tells
            there = self.read(name)
            return there == data or (there == seen and self._replace_after_look(name, seen, data))
        return True

    def _replace_after_look(self, name: str, seen: bytes, data: bytes) -> bool:
        if self.read(name) != seen:
            return False
        self.replace(name, data)
        return True

    def publish(self, name: str, local_path: str) -> None:
        """Like :meth:`replace`, with a local file's content: for what is too large for memory."""
        if self._is_local:
            with open(local_path, "rb") as source, disk.publishing(self._path(name), os.replace) as file:
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
        info = self._info(name)
        return None if info is None else int(info["size"])

    def modified_at(self, name: str) -> float | None:
        """When a file was last written, by the store's own clock, in seconds since 1970; None when it surely is not there.

        Object stores say whole seconds.

        :raises NotImplementedError: the file system does not say it.
        """
        info = self._info(name)
        if info is None:
            return None
        at = next((info[field] for field in _MODIFIED if field in info), None) or self._fs.modified(self._path(name))
        return at.timestamp() if isinstance(at, datetime) else float(at)

    def _info(self, name: str) -> dict[str, Any] | None:
        self._fs.invalidate_cache()
        try:
            return dict(self._fs.info(self._path(name), refresh=True))  # refresh: as in `list`
        except FileNotFoundError:
            return None

    def list(self, name: str) -> list[str]:
        """The names of what lies directly in a folder, files and folders; none when there surely is no such folder."""
        self._fs.invalidate_cache()
        path = self._path(name)
        # Another thread's listing may have come in between. adlfs ignores `refresh` and has its own word for it.
        knows = inspect.signature(self._fs.ls).parameters
        now = "invalidate_cache" if "invalidate_cache" in knows else "refresh"
        try:
            found = self._fs.ls(path, detail=False, **{now: True})
        except FileNotFoundError:
            return []
        paths = [str(entry).rstrip("/") for entry in found]
        return [entry.rsplit("/", 1)[-1] for entry in paths if entry.strip("/") != path.strip("/")]

    def folders_holding(self, name: str, *, depth: int) -> Sequence[str]:
        """Which folders below have this subfolder, relative to this one; "" for this one itself. Looks ``depth`` folders down."""
        self._fs.invalidate_cache()
        found, base = [], str(self._root.path).strip("/")
        for path, folders, _ in self._fs.walk(str(self._root.path), maxdepth=depth + name.count("/") + 1):
            here = str(path).strip("/")
            if here.endswith(f"/{name}"):
                found.append(here.removesuffix(f"/{name}").removeprefix(base).strip("/"))
                folders[:] = {} if isinstance(folders, dict) else []
        return sorted(found)

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    @cached_property
    def _root(self) -> Any:
        from airflow.sdk import ObjectStoragePath

        return ObjectStoragePath(self.base)

    @cached_property
    def _fs(self) -> Any:
        return self._given_fs or self._root.fs  # not the path's own methods: those may use ambient credentials

    @cached_property
    def _is_local(self) -> bool:
        return self._root.protocol in LOCAL

    def _path(self, name: str) -> str:
        return f"{str(self._root.path).rstrip('/')}/{name}"
