"""The command that tests a destination with files of its own for everything that the ledger and the landing
need. Pays nothing.

All of its files lie below ``_seedream/probes`` and are deleted at the end. It never calls the API and never
touches a record.
"""

import argparse
import os
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Barrier
from typing import Literal

from airflow.providers.common.compat.sdk import conf

from airflow_provider_seedream.cli.printing import print_facts, print_json, print_lines, working
from airflow_provider_seedream.cli.running import FAILED
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.storage.exclusive import PROBES, NotExclusiveError
from airflow_provider_seedream.storage.folder import Folder
from airflow_provider_seedream.storage.uris import LOCAL, split_uri

RACERS = 8
XCOM_BACKEND = "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend"
MAX_CLOCK_SECONDS = 30.0  # servers kept by NTP differ by less than 1 s; object stores say whole seconds

Result = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check of a destination::

        Finding(check="exclusive", result="ok", detail="1 of 8 racing creates of one file won")

    :param check: ``write``, ``exclusive``, ``read``, ``missing``, ``list``, ``replace``, ``mount`` (disks
        only), ``clock``, ``xcoms`` (where Airflow keeps XComs in object storage), ``delete``.
    :param result: ``warning`` works, but a person should know something about it; ``failed`` must be mended
        first.
    :param detail: a sentence for people; it may change.
    """

    check: str
    result: Result
    detail: str


class _WarningError(Exception):
    """A check that found something a person should know about, although tasks would work."""


class _Destination:
    """A folder below the destination that is this command's alone. Each check returns a sentence, or raises.

    :param base: storage URI of the destination.
    """

    def __init__(self, base: str) -> None:
        self.folder = Folder(base)
        self._mine = f"{PROBES}/{uuid.uuid4().hex}"
        self._written: list[str] = []

    def write(self) -> str:
        """Create the first file, as the ledger creates a claim."""
        if not self.folder.create(self._new("file"), b"first\n"):
            raise ValueError("the file that was just written has other bytes")
        return "a file was created"

    def exclusive(self) -> str:
        """Create one file twice in turn, as tasks probe it; then 8 times at once, which also finds a store
        that checks and then writes.

        :raises NotExclusiveError: the second create in turn was accepted, or the library checks first and
            then writes.
        :raises ValueError: not exactly one of the racing creates won.
        """
        self._written.append(self.folder.probe())
        start, name = Barrier(RACERS), self._new("race")

        def create(racer: int) -> bool:
            # All racers begin at the same moment, else the first would be done before the second begins.
            start.wait()
            return self.folder.create(name, b"racer %d\n" % racer)

        with ThreadPoolExecutor(RACERS) as racers:
            won = sum(racers.map(create, range(RACERS)))
        if won != 1:
            raise ValueError(
                f"{won} of {RACERS} racing creates of one file won: so many workers would pay for one request"
            )
        return f"1 of {RACERS} racing creates of one file won"

    def read(self) -> str:
        """Read the file back, byte for byte."""
        if self.folder.read(f"{self._mine}/file") != b"first\n":
            raise ValueError("the file has other bytes than were written")
        return "the file has the bytes that were written"

    def missing(self) -> str:
        """Read a file that was never written. "May not be read" instead of "is not there" would stop each
        first request.
        """
        if self.folder.read(f"{self._mine}/missing") is not None:
            raise ValueError("a file that was never written was found")
        return "a file that is not there is told from one that may not be read"

    def list(self) -> str:
        """List the folder right after a write, as a budget lists what others spent."""
        if "file" not in self.folder.list(self._mine):
            raise ValueError(
                "the file that was just written is not listed: budgets would miss what others spent"
            )
        return "the file that was just written is listed"

    def replace(self) -> str:
        """Write other bytes over the file, as a record gets its outcome, and read them."""
        self.folder.replace(f"{self._mine}/file", b"second\n")
        if self.folder.read(f"{self._mine}/file") != b"second\n":
            raise ValueError("the old bytes are still read after a replace")
        return "the new bytes are read at once"

    def delete(self) -> str:
        """Delete all files of this check, as a refused request deletes its claim."""
        for name in self._written:
            self.folder.delete(name)
        if self.folder.read(self._written[0]) is not None:
            raise ValueError("the file is still there")
        return "all files of this check were deleted"

    def clock(self) -> str:
        """Compare the store's clock with this machine's. Instants in records come from the machine, dates of
        files from the store.

        :raises _WarningError: they differ by more than 30 s.
        :raises NotImplementedError: the file system dates nothing.
        """
        name = self._new("clock")
        before = clock.now_epoch()
        self.folder.replace(name, b"now\n")
        after = clock.now_epoch()
        at = self.folder.modified_at(name)
        if at is None:
            raise ValueError("the file that was just written is not there")
        # The distance of the store's instant from the interval of the write.
        ahead_seconds = at - min(max(at, before), after)  # 0 if the store's instant lies within the write
        told = (
            f"the store's clock is {abs(ahead_seconds):.1f} s "
            f"{'ahead of' if ahead_seconds > 0 else 'behind'} this machine's"
        )
        if abs(ahead_seconds) > MAX_CLOCK_SECONDS:
            raise _WarningError(f"{told}: set both by NTP")
        return told

    def mount(self) -> str:
        """A disk or a mount only: how a file gets its final name there."""
        file = Path(split_uri(self.folder.base)[1], self._mine, "file")
        try:
            os.link(file, file.with_name("link"))
        except OSError as error:
            return f"no hard links here ({error.strerror}): files are published by an exclusive rename"
        self._written.append(f"{self._mine}/link")
        return "files are published by a hard link"

    def xcoms(self) -> str:
        """Compare the destination with the folder of Airflow's XCom backend, which deletes each file below it
        whose URI a cleared task has returned.

        :raises _WarningError: the destination lies below that folder.
        """
        root = _xcom_folder()
        if f"{self.folder.base}/".startswith(f"{root.rstrip('/')}/"):
            raise _WarningError(
                f"Airflow keeps large XComs in {root}, and treats each file below it as one of them: when a "
                "task that returned its URI is retried or cleared, the file is deleted. Give [common.io] "
                "xcom_objectstorage_path a folder of its own"
            )
        return f"Airflow keeps large XComs elsewhere, in {root}"

    def _new(self, name: str) -> str:
        """A file name of this check, noted before the write: the clean-up deletes it in any case."""
        self._written.append(f"{self._mine}/{name}")
        return self._written[-1]

    def clean_up(self) -> None:
        """Delete the files that are left, best effort: an interrupted check must leave no files either."""
        for name in self._written:
            with suppress(Exception):  # the check that deletes has said it
                self.folder.delete(name)
        if self.is_local:
            with suppress(OSError, ValueError):  # a path that no file system takes
                Path(split_uri(self.folder.base)[1], self._mine).rmdir()

    @property
    def is_local(self) -> bool:
        """True for a disk or a mount, where publishing works by links."""
        return split_uri(self.folder.base)[0] in LOCAL


def _xcom_folder() -> str:
    """The folder in which Airflow keeps large XComs; empty where it keeps them in its database."""
    if conf.get("core", "xcom_backend", fallback="") != XCOM_BACKEND:
        return ""
    return str(conf.get("common.io", "xcom_objectstorage_path", fallback="") or "")


# What a person may have to grant, by check. Without `missing` no first request is ever submitted.
_GRANTS = {
    "write": "grant this connection s3:PutObject, or what your store calls it",
    "read": "grant this connection s3:GetObject, or what your store calls it",
    "missing": "S3 answers 403 for a file that is not there unless the connection may list the bucket: grant "
    "s3:ListBucket",
    "list": "grant this connection s3:ListBucket, or what your store calls it: budgets list what was spent",
    "replace": "grant this connection s3:PutObject for files that exist, or what your store calls it",
    "delete": "grant this connection s3:DeleteObject, or what your store calls it: else a refused request "
    "keeps its claim",
}


def check(options: argparse.Namespace) -> int:
    """`airflow seedream check`: a sentence for each property that paying once needs. Sends nothing to the
    API.

    JSON: ``{"destination": ..., "holds": true, "checks": [{"check": "write", "result": "ok", "detail": ...},
    ...]}``.

    :param options: ``destination`` and ``output``.
    :returns: 1 if a property is missing, else 0; a warning does not fail the command.
    """
    place = _Destination(options.destination)
    with working("Asking the destination"):
        findings = _findings(place)
    failed = any(finding.result == "failed" for finding in findings)
    if options.output == "json":
        print_json(
            {"destination": place.folder.base, "holds": not failed, "checks": list(map(asdict, findings))}
        )
    else:
        print_facts({finding.check: f"{finding.result}: {finding.detail}" for finding in findings})
        print_lines(
            "This destination cannot be used as it is."
            if failed
            else "This destination holds what paying once needs."
        )
    return FAILED if failed else 0


def _findings(place: _Destination) -> list[Finding]:
    """All checks in their order. If nothing can be written, only that is reported: the other checks would
    fail for the same reason.
    """
    # The order matters: `replace` changes the file that `read` compares, and `delete` takes the files away.
    now_and_then = [name for name, asked in (("mount", place.is_local), ("xcoms", _xcom_folder())) if asked]
    rest = ("exclusive", "read", "missing", "list", "replace", *now_and_then, "clock", "delete")
    try:
        first = _finding("write", place.write)
        return [
            first,
            *(_finding(name, getattr(place, name)) for name in (rest if first.result == "ok" else ())),
        ]
    finally:
        place.clean_up()


def _finding(name: str, act: Callable[[], str]) -> Finding:
    """One check as a finding. Each store has error classes of its own, so every error becomes a sentence."""
    try:
        return Finding(check=name, result="ok", detail=act())
    except _WarningError as error:
        return Finding(check=name, result="warning", detail=str(error))
    except NotImplementedError:
        return Finding(check=name, result="warning", detail="the file system does not say it")
    except (ValueError, NotExclusiveError) as error:
        return Finding(check=name, result="failed", detail=str(error))
    except Exception as error:  # each store has error classes of its own
        return Finding(
            check=name, result="failed", detail=f"{type(error).__name__}: {error}"[:500] + _to_do(name, error)
        )


def _to_do(name: str, error: Exception) -> str:
    """The sentence about what to grant or create; empty where the error tells nothing of that kind.

    :param name: the check that failed, as each needs another permission.
    """
    if name == "write" and isinstance(error, FileNotFoundError):
        return ": create the bucket, or correct its name in DESTINATION"
    # For lack of a permission stores raise PermissionError, or an error of their own that carries the HTTP
    # status.
    is_forbidden = isinstance(error, PermissionError) or 403 in (
        getattr(error, "status_code", None),
        getattr(error, "code", None),
    )
    return f": {_GRANTS[name]}" if name in _GRANTS and is_forbidden else ""
