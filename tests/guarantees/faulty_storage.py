"""A storage that fails on request: a real fsspec file system in memory, attached to Airflow as
`memory://faulty@...`.

It raises what real stores raise: `PermissionError` for 403, and for 500 something that is no `OSError`. Knows
nothing of us.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from airflow.sdk.io import attach
from fsspec import AbstractFileSystem

FOLDER = "memory://faulty@bucket/watches"
Operation = Literal["read", "write", "delete", "list"]


class StoreError(Exception):
    """A 500, as object stores raise it: outside the `OSError` tree."""


ERRORS: dict[str, Exception] = {
    "403": PermissionError("Forbidden"),
    "500": StoreError("Internal Server Error"),
}


@dataclass(slots=True, kw_only=True)
class Trouble:
    """Operations on paths with `containing` in them fail `times` times (None: always), once `after` of them
    have passed.

    `late` is an answer that was lost: the store does what it was asked, then raises.
    """

    operation: Operation
    containing: str
    error: Exception
    times: int | None = None
    after: int = 0
    late: bool = False

    def strikes(self, operation: Operation, path: str) -> bool:
        if operation != self.operation or self.containing not in path or self.times == 0:
            return False
        if self.after:
            self.after -= 1
            return False
        self.times = None if self.times is None else self.times - 1
        return True


class FaultyFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """Whole objects by path, created exclusively when asked to; every operation consults the troubles
    first.
    """

    protocol = "memory"
    cachable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._lock = threading.RLock()
        self._objects: dict[str, bytes] = {}
        self._troubles: list[Trouble] = []

    def fail(self, operation: Operation, containing: str, error: Exception, **details: Any) -> None:
        self._troubles.append(Trouble(operation=operation, containing=containing, error=error, **details))

    def heal(self) -> None:
        self._troubles.clear()

    def empty(self) -> None:
        self.heal()
        self._objects.clear()

    def files(self, containing: str = "") -> dict[str, bytes]:
        """Everything stored, by path."""
        return {path: data for path, data in sorted(self._objects.items()) if containing in path}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        with self._lock:
            self._act("read", path)
            return self._object(path)[start:end]

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        with self._lock:
            self._act("read", path)
            return {"name": path, "size": len(self._object(path)), "type": "file"}

    def ls(self, path: str, detail: bool = False, **kwargs: Any) -> list[str]:
        with self._lock:
            self._act("list", path)
            below = [name.removeprefix(f"{path}/") for name in self._objects if name.startswith(f"{path}/")]
            if not below:
                raise FileNotFoundError(path)
            return sorted({f"{path}/{name.split('/')[0]}" for name in below})

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        def write() -> None:
            if mode == "create" and path in self._objects:
                raise FileExistsError(path)
            self._objects[path] = bytes(value)

        with self._lock:
            self._act("write", path, write)

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def rm_file(self, path: str) -> None:
        with self._lock:
            self._act("delete", path, lambda: self._objects.pop(path, None))

    def _object(self, path: str) -> bytes:
        if path not in self._objects:
            raise FileNotFoundError(path)
        return self._objects[path]

    def _act(self, operation: Operation, path: str, act: Any = lambda: None) -> None:
        trouble = next((trouble for trouble in self._troubles if trouble.strikes(operation, path)), None)
        if trouble is None or trouble.late:
            act()
        if trouble is not None:
            raise trouble.error


def faulty_storage() -> FaultyFileSystem:
    """The one file system behind `FOLDER`, empty and healthy. Airflow keeps the first one that it is
    given.
    """
    fs: FaultyFileSystem = attach(protocol="memory", conn_id="faulty", fs=FaultyFileSystem()).fs
    fs.empty()
    return fs
