"""The object store of a night: a file system of fsspec's, in memory, behind the URI of a destination. Each call is an act.

It is strong at heart: every write is one step, and an exclusive create is exclusive. Its weaknesses are those of real stores and
of their clients: a 503, an answer that is lost after the write, a PUT that the client repeats, an answer that comes late, listings
that lag.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import md5
from typing import Any

from airflow.sdk.io.store import attach
from fsspec import AbstractFileSystem

from tests.simulation.night import Night

FOLDER = "bucket/night"
Watch = Callable[[str, bytes | None, bytes], None]


class StoreError(Exception):
    """As the error of a store's library: of no class that anything else shares."""


def _changed() -> OSError:
    """A 412, as s3fs raises it: an error of its own, caused by botocore's."""
    error, cause = OSError(22, "At least one of the pre-conditions you specified did not hold"), Exception("PreconditionFailed")
    cause.response = {"ResponseMetadata": {"HTTPStatusCode": 412}}  # type: ignore[attr-defined]
    error.__cause__ = cause
    return error


@dataclass(frozen=True, slots=True)
class Stored:
    data: bytes
    modified: int
    etag: str
    listed_from: float


class Store:
    """The objects of one night, by name relative to the folder.

    :param watch: called before each write with name, old and new content: the invariants look there.
    """

    def __init__(self, night: Night, watch: Watch, *, is_conditional: bool) -> None:
        self._night = night
        self._watch = watch
        self.is_conditional = is_conditional
        self.watch_delete: Callable[[str], None] = lambda name: None
        self.objects: dict[str, Stored] = {}
        self.skew_seconds = 0.0
        self._versions = 0

    def put(self, name: str, data: bytes, *, create: bool, if_match: str | None) -> dict[str, str]:
        there = self.objects.get(name)
        if create and there is not None:
            self._night.tell(f"  (refused: {name} exists)")
            raise FileExistsError(name)
        if if_match is not None and (there is None or there.etag != if_match):
            self._night.tell(f"  (refused: {name} has changed)")
            raise _changed()
        self._watch(name, None if there is None else there.data, data)
        self._versions += 1
        # As S3 does: the same bytes have the same ETag.
        etag = f'"{md5(data, usedforsecurity=False).hexdigest()}"'
        now = self._night.now
        listed_from = there.listed_from if there else now + self._lag()
        self.objects[name] = Stored(data, int(now + self.skew_seconds), etag, listed_from)
        return {"ETag": etag}

    def delete(self, name: str) -> None:
        if name not in self.objects:
            raise FileNotFoundError(name)
        self.watch_delete(name)
        del self.objects[name]

    def get(self, name: str) -> Stored:
        if name not in self.objects:
            raise FileNotFoundError(name)
        return self.objects[name]

    def below(self, folder: str) -> dict[str, str]:
        """The names directly in a folder, each with its type."""
        found: dict[str, str] = {}
        prefix, now = f"{folder}/" if folder else "", self._night.now
        for name, stored in self.objects.items():
            if name.startswith(prefix) and stored.listed_from <= now:
                first, slash, _ = name[len(prefix) :].partition("/")
                found[first] = "directory" if slash else "file"
        return found

    def _lag(self) -> float:
        seconds = self._night.weather.lag_seconds
        return self._night.choices.of((0.0, 0.3, 1.0)) * seconds if seconds and not self._night.is_calm else 0.0

    def act(self, what: str, do: Callable[[], Any], *, repeats: bool = False) -> Any:
        """One request, with the troubles of the store."""
        night, weather, choices = self._night, self._night.weather, self._night.choices
        is_calm = night.is_calm or night.current is None

        def done() -> Any:
            if not is_calm and choices.happens(weather.refuse):
                night.hurt.add("refuse")
                night.tell(f"{what}: 503, nothing done")
                raise StoreError("503 Slow Down")
            night.tell(what)
            result = do()
            if repeats and not is_calm and choices.happens(weather.repeat):
                night.tell(f"{what}, again: the client did not hear the first answer")
                result = do()
            if not is_calm and choices.happens(weather.lose):
                night.hurt.add("lose")
                night.tell("  (done, and its answer is lost)")
                raise StoreError("connection reset")
            return result

        return night.act(what, done)


class _FileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """The file system that Airflow attaches to a connection; it leads to the store of the night that is played."""

    protocol: Any = ("memory",)
    cachable = False
    store: Store  # of the class: both connections lead to the same one

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> Any:
        name, store = self._name(path), self._now
        verb = "creates" if mode == "create" else "replaces" if "IfMatch" in options else "writes"
        act = lambda: store.put(name, value, create=mode == "create", if_match=options.get("IfMatch"))  # noqa: E731
        return store.act(f"{verb} {name}{_about(name, value)}", act, repeats=True)

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        with open(lpath, "rb") as file:
            self.pipe_file(rpath, file.read())

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        name, store = self._name(path), self._now
        data: bytes = store.act(f"reads {name}", lambda: store.get(name).data)
        return data[start:end]

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        name, store = self._name(path), self._now
        there: Stored = store.act(f"looks at {name}", lambda: store.get(name))
        return {"name": path, "size": len(there.data), "type": "file", "mtime": there.modified, "ETag": there.etag}

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        name, store = self._name(path), self._now
        found: dict[str, str] = store.act(f"lists {name}", lambda: store.below(name))
        entries = [{"name": f"{path}/{one}", "type": kind, "size": 0} for one, kind in sorted(found.items())]
        return entries if detail else [entry["name"] for entry in entries]

    def rm_file(self, path: str) -> None:
        name, store = self._name(path), self._now
        store.act(f"deletes {name}", lambda: store.delete(name))

    @property
    def _now(self) -> Store:
        return _FileSystem.store

    @staticmethod
    def _name(path: str) -> str:
        return str(path).strip("/").removeprefix(FOLDER).strip("/")


class _Conditional(_FileSystem):
    """As s3fs: If-Match is passed on."""

    protocol: Any = ("s3",)


def _about(name: str, value: bytes) -> str:
    """What a record says, for the story."""
    if "/ledger/" not in name:
        return ""
    said = value.decode(errors="replace")
    outcome = said.partition('"outcome": "')[2].partition('"')[0]
    return f" ({outcome})"


_CONDITIONAL = f"memory://conditional@{FOLDER}"
_PLAIN = f"memory://plain@{FOLDER}"


def open_store(night: Night, watch: Watch, *, conditional: bool) -> tuple[str, Store]:
    """The store of this night, and the destination's URI."""
    if not hasattr(_FileSystem, "store"):
        attach(protocol="memory", conn_id="conditional", fs=_Conditional())
        attach(protocol="memory", conn_id="plain", fs=_FileSystem())
    store = _FileSystem.store = Store(night, watch, is_conditional=conditional)
    return (_CONDITIONAL if conditional else _PLAIN), store
