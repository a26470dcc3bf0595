"""One folder in the user's object storage: create exclusively, and replace a file only if nobody else has
changed it.

How a store compares is found out once per process and destination, see ``conditional`` and ``swap``. Knows
nothing of images or records.
"""

import logging
import os
import threading
from contextlib import suppress
from typing import Any

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
from airflow_provider_seedream.storage.exclusive import (
    NotExclusiveError,
    is_unsupported,
    not_exclusive,
    probe,
)
from airflow_provider_seedream.storage.files import Files
from airflow_provider_seedream.storage.swap import SwapFile, Way

# Destinations that this process has probed, each with the form of a version with which it replaces by
# condition; None: it does not.
_exclusive: dict[str, Way | None] = {}
_probing = threading.Lock()
# a forked task must not wait for a thread of its parent
os.register_at_fork(after_in_child=_probing._at_fork_reinit)  # type: ignore[attr-defined]
_log = logging.getLogger(__name__)


class Folder(Files):
    """A folder in storage. Names are relative to it and may contain ``/``::

        folder = Folder("s3://my_conn@bucket/campaign")
        # Of several racing writers exactly one gets True.
        if folder.create("_seedream/ledger/3f...9a.json", data):
            ...

    Errors of the store's library are raised unchanged, so callers must expect any class.
    """

    def __init__(self, uri: str, *, fs: Any = None) -> None:
        super().__init__(uri, fs=fs)
        self._versions = Versions()

    def create(self, name: str, data: bytes, *, remember: bool = False) -> bool:
        """Write a file that must not exist yet. Of several racing writers exactly one wins.

        True: the file holds this content. False: it exists with other content, and stays as it is. The
        content decides, because a store's client repeats a PUT whose answer was lost and then meets its own
        object.

        :param remember: keep the version in memory, so that :meth:`replace_if` need not read what this
            process wrote.
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
        """Test once per process and destination whether :meth:`create` is exclusive there: 2 PUTs, 1 GET, 1
        DELETE.

        On S3 and Azure 2 or 3 more PUTs and a HEAD test in which form the store takes a version, see
        ``conditional``; on Google Cloud Storage a GET and 2 more PUTs test whether it compares generations. A
        disk is not tested: a hard link is exclusive, and without links :meth:`create` raises.

        :raises NotExclusiveError: two tries could both create the same record, and both would pay.
        """
        if self._is_local or self.base in _exclusive:
            return
        with _probing:
            if self.base not in _exclusive:
                name = self.probe()
                _exclusive[self.base] = self._way_that_holds(name)
                # A connection that may not delete gets a warning: claims that must be deleted later will fail
                # as well.
                try:
                    self.delete(name)
                except Exception as error:
                    _log.warning(
                        "Cannot delete %s (%s: %s). May this connection delete files?",
                        self.uri(name),
                        type(error).__name__,
                        error,
                    )

    @property
    def replaces_unread(self) -> bool:
        """True if :meth:`replace_if` is one PUT for a file that this process wrote itself.

        False before :meth:`check_exclusive`, on disks, and on stores that do not refuse a wrong version.
        """
        return self._form is not None

    @property
    def swaps(self) -> bool:
        """True if :meth:`replace_if` compares and writes in one step: on disks, and on stores that were seen
        to refuse a wrong version. False before :meth:`check_exclusive`.
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

    def replace_if(self, name: str, seen: bytes, data: bytes) -> bool:
        """Like :meth:`replace`, but only if the file still holds ``seen``.

        On disks with locks, and on stores that honour a condition (S3, Ceph, Azure, and Google Cloud Storage
        after :meth:`check_exclusive`), this is one step. On other stores the file is read and then written,
        so a write of another process in between (the time of one request) is lost.

        :param seen: the whole content as it was read or written before.
        :returns: False if the file holds other content; then it stays as it is.
        """
        if self._is_local:
            with disk.locked(self._path(name)):
                return self._replace_after_read(name, seen, data)
        if _exclusive.get(self.base) == "generation":
            return self._swap(name, seen, data)
        # A file that this process wrote itself is not read back: the store compares its version with the one
        # that it gave to our PUT, in the same step as it writes. That guards against every other writer, as
        # the read does. Only a store that was seen to refuse a wrong version is trusted so.
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
        # the class for "changed" and "no conditions" differs by store, so the content decides
        there = self.read(name)
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
        """A file of this folder that several processes replace, each only if it still is as that process
        has read it.
        """
        from airflow_provider_seedream.storage.swap import SwapFile  # storage is loaded with every DAG

        return SwapFile(None if self._is_local else self._fs, self._path(name))

    def delete_if(self, name: str, seen: bytes) -> None:
        """Delete a file if it still holds ``seen``, where that is one step: on a disk. Elsewhere the file
        stays.
        """
        if self._is_local:
            with disk.locked(self._path(name)):
                if self.read(name) == seen:
                    self.delete(name)
