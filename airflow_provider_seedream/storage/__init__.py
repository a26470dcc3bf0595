"""One folder in the user's object storage: read, create exclusively, replace.

All calls go through the file system that Airflow attaches to the URI's connection. A file gets its final name
only when it is whole: by one PUT on an object store, by a link or a rename of the finished file on
``file://``. Knows nothing of images or records.
"""

import inspect
import logging
import os
import shutil
import threading
from collections.abc import Hashable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_seedream.storage import disk
from airflow_provider_seedream.storage.conditional import (
    FORMS,
    Form,
    Versions,
    condition,
    form_that_holds,
    has_conditions,
    told,
    version_of,
)
from airflow_provider_seedream.storage.exclusive import NotExclusiveError as NotExclusiveError
from airflow_provider_seedream.storage.exclusive import is_unsupported, not_exclusive, probe
from airflow_provider_seedream.storage.listing import folders_in
from airflow_provider_seedream.storage.uris import LOCAL
from airflow_provider_seedream.storage.uris import check_destination as check_destination
from airflow_provider_seedream.storage.uris import split_uri as split_uri

if TYPE_CHECKING:
    from airflow_provider_seedream.storage.swap import SwapFile, Way

_COPY_BYTES = 1024 * 1024
_MODIFIED = ("LastModified", "mtime", "last_modified")  # the field's name in s3fs; in gcsfs and local disks; in adlfs
# Destinations that this process has probed, each with the form of a version with which it replaces by condition; None: it does not.
_exclusive: "dict[str, Way | None]" = {}
_probing = threading.Lock()
os.register_at_fork(after_in_child=_probing._at_fork_reinit)  # type: ignore[attr-defined]  # a forked task must not wait for a thread of its parent
_log = logging.getLogger(__name__)


class Folder:
    """A folder in storage. Names are relative to it and may contain ``/``::

        folder = Folder("s3://my_conn@bucket/campaign")
        if folder.create("_seedream/ledger/3f...9a.json", data):  # of several racing writers exactly one gets True
            ...

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
        self._versions = Versions()

    def uri(self, name: str) -> str:
        """The storage URI of a file in this folder, with its connection id."""
        return f"{self.base}/{name}"

    def create(self, name: str, data: bytes, *, remember: bool = False) -> bool:
        """Write a file that must not exist yet. Of several racing writers exactly one wins.

        True: the file holds this content. False: it exists with other content, and stays as it is. The content decides, because a
        store's client repeats a PUT whose answer was lost and then meets its own object.

        :param remember: keep the version in memory, so that :meth:`replace_if` need not read what this process wrote.
        :raises NotExclusiveError: the store has no conditional writes, or the mount has no hard links.
        """
        error = self.try_create(name, data, remember=remember)
        if error is None:
            return True
        there = self.read(name)
        if there is None and is_unsupported(error):
            raise not_exclusive(self.base, "it has no conditional writes (501 Not Implemented)") from error
        if there is None:
            raise error
        return there == data

    def try_create(self, name: str, data: bytes, *, remember: bool = False) -> Exception | None:
        """The store's own answer to an exclusive create: None if it accepted, else its error.

        "It exists" has a different class on every store, so :meth:`create` reads the file that is there.
        """
        try:
            if self._is_local:
                with disk.publishing(self._path(name), disk.publish_new) as file:
                    file.write(data)
            else:
                answer = self._fs.pipe_file(self._path(name), data, mode="create")
                if remember:
                    self._versions.keep(name, data, told(self._fs, answer))
        except Exception as error:
            return error
        return None

    def check_exclusive(self) -> None:
        """Test once per process and destination whether :meth:`create` is exclusive there: 2 PUTs, 1 GET, 1 DELETE.

        On S3 and Azure 2 or 3 more PUTs and a HEAD test in which form the store takes a version, see ``conditional``; on Google
        Cloud Storage a GET and 2 more PUTs test whether it compares generations. A disk is
        not tested: a hard link is exclusive, and without links :meth:`create` raises.

        :raises NotExclusiveError: two tries could both create the same record, and both would pay.
        """
        if self._is_local or self.base in _exclusive:
            return
        with _probing:
            if self.base not in _exclusive:
                name = self.probe()
                _exclusive[self.base] = self._way_that_holds(name)
                # A connection that may not delete gets a warning: claims that must be deleted later will fail as well.
                try:
                    self.delete(name)
                except Exception as error:
                    _log.warning(
                        "Cannot delete %s (%s: %s). May this connection delete files?", self.uri(name), type(error).__name__, error
                    )

    @property
    def replaces_unread(self) -> bool:
        """True if :meth:`replace_if` is one PUT for a file that this process wrote itself.

        False before :meth:`check_exclusive`, on disks, and on stores that do not refuse a wrong version.
        """
        return self._form is not None

    @property
    def swaps(self) -> bool:
        """True if :meth:`replace_if` compares and writes in one step: on disks, and on stores that were seen to refuse a wrong
        version. False before :meth:`check_exclusive`.
        """
        return self._is_local or _exclusive.get(self.base) is not None

    @property
    def _form(self) -> Form | None:
        way = _exclusive.get(self.base)
        return way if way in FORMS else None

    def _way_that_holds(self, name: str) -> "Way | None":
        """How this store replaces the file by condition, as it has just shown; None if it does not."""
        if has_conditions(self._fs):
            return form_that_holds(self._fs, self._path(name))
        with suppress(NotExclusiveError):
            return self.swap_file(name).way_that_holds()
        return None

    def probe(self) -> str:
        """As :meth:`check_exclusive`, but always, and without the DELETE. Returns the name of the file."""
        return probe(self, None if self._is_local else self._fs)

    def replace(self, name: str, data: bytes) -> None:
        """Write a file in one step, replacing an existing one. A reader sees the old or the new content, not a mixture."""
        if self._is_local:
            with disk.publishing(self._path(name), os.replace) as file:
                file.write(data)
        else:
            self._fs.pipe_file(self._path(name), data)

    def replace_if(self, name: str, seen: bytes, data: bytes) -> bool:
        """Like :meth:`replace`, but only if the file still holds ``seen``.

        On disks with locks, and on stores that honour a condition (S3, Ceph, Azure, and Google Cloud Storage after
        :meth:`check_exclusive`), this is one step. On other stores the file is read and then written, so a write of another process
        in between (the time of one request) is lost.

        :param seen: the whole content as it was read or written before.
        :returns: False if the file holds other content; then it stays as it is.
        """
        if self._is_local:
            with disk.locked(self._path(name)):
                return self._replace_after_read(name, seen, data)
        if _exclusive.get(self.base) == "generation":
            return self._swap(name, seen, data)
        # A file that this process wrote itself is not read back: the store compares its version with the one that it gave to our
        # PUT, in the same step as it writes. That guards against every other writer, as the read does. Only a store that was seen
        # to refuse a wrong version is trusted so.
        known = self._form
        written = self._versions.of(name, seen) if known else None
        if known and written and self._put_if(name, data, written, known):
            return True
        version = version_of(self._fs, self._path(name))
        if version is None:
            return self._replace_after_read(name, seen, data)
        if (there := self.read(name)) != seen:
            return written is not None and there == data  # our PUT was done, and its answer was lost
        if any(self._put_if(name, data, version, form) for form in ((known,) if known else FORMS)):
            return True
        there = self.read(name)  # the class for "changed" and "no conditions" differs by store, so the content decides
        return there == data or (there == seen and self._replace_after_read(name, seen, data))

    def _put_if(self, name: str, data: bytes, version: str, form: Form) -> bool:
        """One PUT with a condition. False: the store has refused it, or its answer was lost."""
        try:
            answer = self._fs.pipe_file(self._path(name), data, **condition(self._fs, version, form))
        except Exception:
            return False
        self._versions.keep(name, data, told(self._fs, answer))
        return True

    def _swap(self, name: str, seen: bytes, data: bytes) -> bool:
        """By the generation of what was read: for Google Cloud Storage."""
        file = self.swap_file(name)
        there = file.look()
        if there is None or there.data != seen:
            return there is not None and there.data == data
        return file.swap(there, data, "generation")[0]

    def _replace_after_read(self, name: str, seen: bytes, data: bytes) -> bool:
        """Read, compare, write: for stores that know no condition."""
        if self.read(name) != seen:
            return False
        self.replace(name, data)
        return True

    def swap_file(self, name: str) -> "SwapFile":
        """A file of this folder that several processes replace, each only if it still is as that process has read it."""
        from airflow_provider_seedream.storage.swap import SwapFile  # storage is loaded with every DAG

        return SwapFile(None if self._is_local else self._fs, self._path(name))

    def publish(self, name: str, local_path: str) -> None:
        """Like :meth:`replace`, with the content of a local file, which may be too large for memory.

        :param local_path: is copied; it stays where it is.
        """
        if self._is_local:
            with open(local_path, "rb") as source, disk.publishing(self._path(name), os.replace) as file:
                shutil.copyfileobj(source, file, _COPY_BYTES)
        else:
            self._fs.put_file(local_path, self._path(name))

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
            at_once = {"max_concurrency": 1} if _takes(self._fs.__class__, "cat_file", "max_concurrency") else {}
            data: bytes = self._fs.cat_file(self._path(name), start=start, end=end, **at_once)
        except FileNotFoundError:
            return None
        return data

    def size_bytes(self, name: str) -> int | None:
        """The size of a file; None if the store says clearly that it does not exist."""
        info = self._info(name)
        return None if info is None else int(info["size"])

    def modified_at(self, name: str) -> float | None:
        """When a file was last written, by the store's own clock, in epoch seconds (object stores: whole seconds).

        None: the store says clearly that the file does not exist.

        :raises NotImplementedError: the file system does not date files.
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
        """The names of the files and folders directly in a folder; empty if the store says clearly that it does not exist."""
        self._fs.invalidate_cache()
        path = self._path(name)
        # Another thread may have filled the cache again, so ask for a fresh listing too. adlfs has its own word for `refresh`.
        now = "invalidate_cache" if _takes(self._fs.__class__, "ls", "invalidate_cache") else "refresh"
        try:
            found = self._fs.ls(path, detail=False, **{now: True})
        except FileNotFoundError:
            return []
        paths = [str(entry).rstrip("/") for entry in found]
        return [entry.rsplit("/", 1)[-1] for entry in paths if entry.strip("/") != path.strip("/")]

    def folders_holding(self, name: str, *, depth: int) -> Sequence[str]:
        """The folders, up to ``depth`` levels down, that contain this subfolder; relative to this one, "" for itself.

        :raises Exception: of the store's own class, if one of the folders cannot be listed: it might hold one.
        """
        self._fs.invalidate_cache()
        found: list[str] = []
        paths = [str(self._root.path)]
        for _ in range(depth + name.count("/")):
            below = [folder.rstrip("/") for path in paths for folder in folders_in(self._fs, path)]
            found += [path for path in below if path.endswith(f"/{name}")]
            paths = [path for path in below if not path.endswith(f"/{name}")]
        base = str(self._root.path).strip("/")
        return sorted(path.strip("/").removesuffix(f"/{name}").removeprefix(base).strip("/") for path in found)

    def delete(self, name: str) -> None:
        """Delete a file; one that does not exist is no error, as an answer may have been lost."""
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def delete_if(self, name: str, seen: bytes) -> None:
        """Delete a file if it still holds ``seen``, where that is one step: on a disk. Elsewhere the file stays."""
        if self._is_local:
            with disk.locked(self._path(name)):
                if self.read(name) == seen:
                    self.delete(name)

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


@cache
def _takes(kind: Hashable, method: str, keyword: str) -> bool:
    """True if a method of this class of file systems has the keyword. Asked once for each class: it is asked for every read."""
    function = getattr(kind, f"_{method}", None) or getattr(kind, method)  # asynchronous ones have the real one under a `_`
    return keyword in inspect.signature(function).parameters
