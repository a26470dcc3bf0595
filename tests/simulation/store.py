"""The object store of a night: a file system of fsspec's, in memory, behind the URI of a destination. Each
call is an act.

It is strong at heart: every write is one step, and an exclusive create is exclusive. Its weaknesses are those
of real stores and of their clients: a 503, an answer that is lost after the write, a PUT that the client
repeats, an answer that comes late, listings that lag.

Two kinds of listings lag. An old one shows the folder as it was some seconds ago: a file in it proves that
all earlier changes are in it, too. In a scattered one each change shows in its own time: it proves nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
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
    error, cause = (
        OSError(22, "At least one of the pre-conditions you specified did not hold"),
        Exception("PreconditionFailed"),
    )
    cause.response = {"ResponseMetadata": {"HTTPStatusCode": 412}}  # type: ignore[attr-defined]
    error.__cause__ = cause
    return error


@dataclass(frozen=True, slots=True)
class Stored:
    data: bytes
    modified: int
    etag: str


@dataclass(frozen=True, slots=True)
class Change:
    """A file appeared in listings, or left them. :param late_seconds: of its own, where listings are
    scattered.
    """

    at: float
    name: str
    is_there: bool
    late_seconds: float


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
        self._changes: list[Change] = []  # in nights whose listings lag

    def put(self, name: str, data: bytes, *, create: bool, if_match: str | None) -> dict[str, str]:
        there = self.objects.get(name)
        if create and there is not None:
            self._night.tell(f"  (refused: {name} exists)")
            raise FileExistsError(name)
        if if_match is not None and (there is None or there.etag != if_match):
            self._night.tell(f"  (refused: {name} has changed)")
            raise _changed()
        self._watch(name, None if there is None else there.data, data)
        # As S3 does: the same bytes have the same ETag.
        etag = f'"{md5(data, usedforsecurity=False).hexdigest()}"'
        self.objects[name] = Stored(data, int(self._night.now + self.skew_seconds), etag)
        if there is None:
            self._has_changed(name, is_there=True)
        return {"ETag": etag}

    def delete(self, name: str) -> None:
        if name not in self.objects:
            raise FileNotFoundError(name)
        self.watch_delete(name)
        del self.objects[name]
        self._has_changed(name, is_there=False)

    def get(self, name: str) -> Stored:
        if name not in self.objects:
            raise FileNotFoundError(name)
        return self.objects[name]

    def below(self, folder: str) -> dict[str, str]:
        """The names directly in a folder, each with its type, as the store lists them now."""
        found: dict[str, str] = {}
        prefix = f"{folder}/" if folder else ""
        for name in self._listed():
            if name.startswith(prefix):
                first, slash, _ = name[len(prefix) :].partition("/")
                found[first] = "directory" if slash else "file"
        return found

    def _listed(self) -> Iterable[str]:
        if not self._changes or self._night.is_calm:
            return self.objects
        old_seconds = 0.0 if self._night.weather.lag_scatters else self._lag()
        names: dict[str, bool] = {}
        for change in self._changes:
            if change.at + change.late_seconds + old_seconds <= self._night.now:
                names[change.name] = change.is_there
        return [name for name, is_there in names.items() if is_there]

    def _has_changed(self, name: str, *, is_there: bool) -> None:
        weather = self._night.weather
        if weather.lag_seconds:
            self._changes.append(
                Change(self._night.now, name, is_there, self._lag() if weather.lag_scatters else 0.0)
            )

    def _lag(self) -> float:
        """Seconds until listings show a change."""
        return (
            0.0
            if self._night.is_calm
            else self._night.choices.of((0.0, 0.3, 1.0)) * self._night.weather.lag_seconds
        )

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
    """The file system that Airflow attaches to a connection; it leads to the store of the night that is
    played.
    """

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

    def _open(self, path: str, mode: str = "rb", **options: Any) -> io.BytesIO:
        return io.BytesIO(self.cat_file(path))

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        name, store = self._name(path), self._now
        there: Stored = store.act(f"looks at {name}", lambda: store.get(name))
        return {
            "name": path,
            "size": len(there.data),
            "type": "file",
            "mtime": there.modified,
            "ETag": there.etag,
        }

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
