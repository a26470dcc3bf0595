"""A small file that is replaced only if it still is as its writer read it: compare and swap, one GET and one
PUT.

Of several racing writers exactly one wins, and the others read again. S3, Ceph and Azure compare the object's
ETag, Google Cloud Storage its generation; on a disk the file's lock is held while its content is compared.
Never imports Airflow.
"""

import errno
import os
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import quote
from uuid import uuid4

from airflow_provider_seedream.storage import disk
from airflow_provider_seedream.storage.conditional import (
    Form,
    condition,
    form_that_holds,
    has_conditions,
    told,
    version_of,
)
from airflow_provider_seedream.storage.exclusive import NotExclusiveError, answered

# How a store compares: the form of an ETag (see ``conditional``), a generation, or the lock of a file on a
# disk.
Way = Literal["quoted", "bare", "generation", "lock"]
WAYS: tuple[Way, ...] = get_args(Way)
_WRONG_GENERATION = "1"  # of microseconds since 1970: no object has it


class NotConditionalError(NotExclusiveError):
    """The storage cannot replace a file on the condition that it has not changed, so two writers would
    overwrite each other.

    Its text goes on after the name of the place: ``... cannot keep the books of caps: <text>``.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A file as it was read or written: ``Seen(data=b"{}", version='"99914b93"')``.

    :param version: its version in the store; empty on a disk, where the content itself decides.
    """

    data: bytes
    version: str


class SwapFile:
    """One file of a folder that several processes replace::

        file = folder.swap_file("_seedream/books/2026-11.json")
        seen = file.look()
        is_done, seen = file.swap(seen, b"...", "quoted")  # False: another writer was faster

    Errors of the store's library are raised unchanged.

    :param fs: the file system; None for a disk.
    :param path: of the file in it.
    """

    def __init__(self, fs: Any, path: str) -> None:
        self._fs = fs
        self._path = path

    def look(self) -> Seen | None:
        """The content and its version, from one GET; None if the store says clearly that the file does not
        exist.

        A library without such a call takes a HEAD more, and before the GET: content that is newer than its
        version is refused.
        """
        try:
            if self._fs is None:
                with open(self._path, "rb") as file:
                    return Seen(data=file.read(), version="")
            self._fs.invalidate_cache()
            if one_call := _one_call(self._fs):
                seen: Seen = one_call(self._fs, self._path)
                return seen
            version = version_of(self._fs, self._path) or ""
            return Seen(data=self._fs.cat_file(self._path), version=version)
        except FileNotFoundError:
            return None

    def swap(self, seen: Seen, data: bytes, way: Way) -> tuple[bool, Seen | None]:
        """Replace the file if it still is as it was seen.

        The content decides where an answer was lost, as a client repeats its PUT and meets its own object. So
        no two writers may ever write the same bytes.

        :param way: as :meth:`way_that_holds` of this store has found.
        :returns: True and the file as it was written; or False and the file as it is now, where another
            writer was faster. None if it is gone.
        """
        if way == "lock":
            return self._swap_locked(seen, data)
        try:
            version = self._put(data, seen.version, way) if seen.version else None
        except Exception as error:
            now = self.look()
            is_done = now is not None and now.data == data
            if (
                not is_done
                and now == seen
                and not (answered(error, 412) or isinstance(error, FileExistsError))
            ):
                raise
            return is_done, now
        now = Seen(data=data, version=version) if version else self.look()
        return now is not None and now.data == data, now

    def _swap_locked(self, seen: Seen, data: bytes) -> tuple[bool, Seen | None]:
        with disk.locked(self._path, is_needed=True):
            now = self.look()
            if now != seen:
                return False, now
            with disk.publishing(self._path, os.replace) as file:
                file.write(data)
        return True, Seen(data=data, version="")

    def way_that_holds(self) -> Way:
        """Ask the store how it replaces by condition: it must refuse a wrong version and take the right one.
        Writes this file.

        :raises NotConditionalError: it cannot, or its library cannot say it.
        """
        if self._fs is None:
            try:
                with disk.locked(self._path, is_needed=True):
                    return "lock"
            except OSError as error:
                if error.errno != errno.ENOLCK:
                    raise
                raise NotConditionalError("its mount has no file locks") from error
        if _is_gcs(self._fs):
            return self._generation_that_holds()
        if form := form_that_holds(self._fs, self._path):
            return form
        raise NotConditionalError("it does not replace a file on the condition that it has not changed")

    def _generation_that_holds(self) -> Way:
        seen = self.look()
        try:
            self._put(b"wrong\n", _WRONG_GENERATION, "generation")
        except Exception as error:
            is_refused = answered(error, 412) or isinstance(error, FileExistsError)  # gcsfs's word for a 412
            if seen and is_refused and self.swap(seen, uuid4().hex.encode(), "generation")[0]:
                return "generation"
        raise NotConditionalError(
            "it does not replace a file on the condition that its generation has not changed"
        )

    def _put(self, data: bytes, version: str, way: Way) -> str | None:
        """One PUT with a condition; the version that its answer names.

        :raises Exception: of the store's library: the condition does not hold, or the answer was lost.
        """
        if way == "generation":
            return _gcs_put(self._fs, self._path, data, version)
        form: Form = "bare" if way == "bare" else "quoted"
        return told(self._fs, self._fs.pipe_file(self._path, data, **condition(self._fs, version, form)))


def _one_call(fs: Any) -> Any:
    """The function that reads content and version by one call of this library; None if there is none."""
    if _is_gcs(fs):
        return _gcs_get
    if has_conditions(fs) and hasattr(fs, "_call_s3"):
        return _s3_get
    return _azure_get if has_conditions(fs) and hasattr(fs, "service_client") else None


def _s3_get(fs: Any, path: str) -> Seen:
    from fsspec.asyn import sync

    async def get() -> Seen:
        bucket, key, _ = fs.split_path(path)
        answer = await fs._call_s3("get_object", Bucket=bucket, Key=key)
        async with answer["Body"] as body:
            return Seen(data=await body.read(), version=answer["ETag"])

    seen: Seen = sync(fs.loop, get)
    return seen


def _azure_get(fs: Any, path: str) -> Seen:
    from azure.core.exceptions import ResourceNotFoundError
    from fsspec.asyn import sync

    async def get() -> Seen:
        container, blob, _ = fs.split_path(path)
        async with fs.service_client.get_blob_client(container=container, blob=blob) as client:
            try:
                stream = await client.download_blob()
            except ResourceNotFoundError as error:
                raise FileNotFoundError(path) from error
            return Seen(data=await stream.readall(), version=stream.properties.etag)

    seen: Seen = sync(fs.loop, get)
    return seen


def _is_gcs(fs: Any) -> bool:
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    return bool(protocols & {"gs", "gcs"})


def _gcs_get(fs: Any, path: str) -> Seen:
    """Google names the generation in a header of the download. Where a server does not, it is asked for,
    and then read again.
    """
    headers, data = fs.call("GET", fs.url(path))
    if generation := headers.get("x-goog-generation"):
        return Seen(data=data, version=str(generation))
    generation = fs.info(path)["generation"]
    return Seen(data=fs.cat_file(path), version=str(generation))


def _gcs_put(fs: Any, path: str, data: bytes, generation: str) -> str:
    """An upload with ``ifGenerationMatch``, as gcsfs itself sends it for an exclusive create: its own call
    knows no other value.
    """
    bucket, key, _ = fs.split_path(path)
    to = f"{fs._location}/upload/storage/v1/b/{quote(bucket)}/o"
    kind = {"Content-Type": "application/octet-stream"}
    answer = fs.call(
        "POST",
        to,
        uploadType="media",
        name=key,
        ifGenerationMatch=generation,
        headers=kind,
        data=data,
        json_out=True,
    )
    return str(answer["generation"])
