"""The books: requests, accepted submissions, charges, refunds, and violations of the contract.

Written by the server's thread, read from any other; readers get immutable copies. It records, it decides
nothing.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from airflow_provider_seedream.emulator.facts import SubmissionKind

Origin = Literal["api", "storage"]
Area = Literal["generate", "edit", "status", "wallet", "download", "thumbnail", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request as it arrived, with the status of its answer::

        [request] = [one for one in emulator.books.requests if one.area == "wallet"]
        assert (request.method, request.status) == ("GET", 200)

    :param area: the part of the API that the path belongs to; ``other`` for paths that the API lacks.
    :param status: None while the answer is due, and for ever where a fault ended the connection.
    """

    at: float  # epoch seconds, the emulator's clock
    origin: Origin
    area: Area
    method: str
    path: str  # without the query
    authorized: bool  # carried the right key
    header_names: tuple[str, ...]  # lower case
    user_agent: str
    body_bytes: int
    key_seen: bool  # the key was somewhere in headers or query
    status: int | None = None  # None: not answered (yet, or ever)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRecord:
    """One accepted submission. It was charged, even if the client never got the answer.

    Example::

        assert [one.num_images for one in emulator.books.submissions] == [2]
        assert emulator.books.submissions[0].payload["image_size"] == "auto_2K"
    """

    at: float
    seedream_task_id: str
    kind: SubmissionKind
    prompt: str
    num_images: int
    credits: int
    payload: dict[str, Any]  # data URIs replaced by a description


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Credits that moved for one generation: a charge or a refund, both as a positive number.

    Example::

        assert sum(entry.credits for entry in emulator.books.refunds) == 20
    """

    at: float
    seedream_task_id: str
    credits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A request that the API's contract forbids, e.g. a submission without the trailing slash::

        assert emulator.books.violations == ()

    :param rule: a word such as ``no_trailing_slash`` or ``key_at_storage``; ``docs/testing-your-dags.md``
        lists them all.
    :param detail: the request, for people; it may change.
    """

    at: float
    rule: str
    detail: str


class Books:
    """The score of an account, kept by the server; every property is a snapshot and may be read from any
    thread.

    Example::

        watches.test()  # a DAG with one request for two images
        assert emulator.books.posts == 1
        assert emulator.books.credits_charged == 20
        assert emulator.books.violations == ()
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: list[RequestRecord] = []
        self._submissions: list[SubmissionRecord] = []
        self._charges: list[Entry] = []
        self._refunds: list[Entry] = []
        self._violations: list[Violation] = []

    def received(self, record: RequestRecord) -> int:
        """Note a request on its arrival.

        :returns: the number under which :meth:`answered` completes the record.
        """
        with self._changed:
            self._requests.append(record)
            self._changed.notify_all()
            return len(self._requests) - 1

    def answered(self, number: int, status: int | None) -> None:
        """Complete the record of a request. :param status: None where the connection ended without an
        answer.
        """
        with self._changed:
            if number < len(self._requests):  # a reset may have emptied the books meanwhile
                self._requests[number] = replace(self._requests[number], status=status)
            self._changed.notify_all()

    def accepted(self, record: SubmissionRecord) -> None:
        """Note a submission together with its charge."""
        with self._changed:
            self._submissions.append(record)
            entry = Entry(at=record.at, seedream_task_id=record.seedream_task_id, credits=record.credits)
            self._charges.append(entry)
            self._changed.notify_all()

    def refunded(self, entry: Entry) -> None:
        """Note that a generation turned FAILED and its credits went back into the wallet."""
        with self._changed:
            self._refunds.append(entry)
            self._changed.notify_all()

    def violated(self, violation: Violation) -> None:
        """Note a request that the contract forbids. It is answered all the same."""
        with self._changed:
            self._violations.append(violation)
            self._changed.notify_all()

    def clear(self) -> None:
        """Empty the books, as for a new account."""
        with self._changed:
            for column in (self._requests, self._submissions, self._charges, self._refunds, self._violations):
                column.clear()
            self._changed.notify_all()

    def wait_until(self, holds: Callable[[Books], bool], timeout_seconds: float = 10.0) -> bool:
        """Wait until a condition holds, and check it after each change of the books::

            assert emulator.books.wait_until(lambda books: books.posts == 3)

        :param timeout_seconds: real seconds, not those of the emulator's clock.
        :returns: False if the condition did not hold in time.
        """
        with self._changed:
            return self._changed.wait_for(lambda: holds(self), timeout_seconds)

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """All requests, in the order of their arrival; calls of ``/__admin/`` are not among them."""
        with self._changed:
            return tuple(self._requests)

    @property
    def submissions(self) -> tuple[SubmissionRecord, ...]:
        """The accepted submissions, in the order of their acceptance."""
        with self._changed:
            return tuple(self._submissions)

    @property
    def charges(self) -> tuple[Entry, ...]:
        """One entry for each accepted submission."""
        with self._changed:
            return tuple(self._charges)

    @property
    def refunds(self) -> tuple[Entry, ...]:
        """One entry for each generation that turned FAILED. It is noted when the wallet or the books are
        read next.
        """
        with self._changed:
            return tuple(self._refunds)

    @property
    def violations(self) -> tuple[Violation, ...]:
        """The requests that the contract forbids. A correct client leaves this empty."""
        with self._changed:
            return tuple(self._violations)

    @property
    def posts(self) -> int:
        """The number of accepted submissions, which are the paid ones."""
        return len(self.submissions)

    @property
    def posts_received(self) -> int:
        """POSTs to generate or edit, whatever they were answered."""
        return self._count(lambda request: request.method == "POST" and request.area in ("generate", "edit"))

    @property
    def status_calls(self) -> int:
        """Requests for the status of a generation, with any answer."""
        return self._count(lambda request: request.area == "status")

    @property
    def wallet_calls(self) -> int:
        """Requests for the wallet, with any answer."""
        return self._count(lambda request: request.area == "wallet")

    @property
    def downloads(self) -> int:
        """Requests for images, thumbnails not counted, whatever they were answered."""
        return self._count(lambda request: request.area == "download")

    @property
    def thumbnail_downloads(self) -> int:
        """Requests for thumbnails, with any answer."""
        return self._count(lambda request: request.area == "thumbnail")

    @property
    def credits_charged(self) -> int:
        """Credits taken at submit, refunds not subtracted: 10 per image by default."""
        return sum(entry.credits for entry in self.charges)

    @property
    def credits_refunded(self) -> int:
        """Credits given back for generations that turned FAILED."""
        return sum(entry.credits for entry in self.refunds)

    @property
    def key_leaks(self) -> tuple[RequestRecord, ...]:
        """Requests to the storage origin that carried the key."""
        return tuple(request for request in self.requests if request.origin == "storage" and request.key_seen)

    @property
    def methods_by_user_agent(self) -> dict[str, dict[str, int]]:
        """For example ``{"seedream-trigger/1": {"GET": 12}}``: who only polls, and who spends."""
        counts: dict[str, Counter[str]] = {}
        for request in self.requests:
            counts.setdefault(request.user_agent, Counter())[request.method] += 1
        return {agent: dict(methods) for agent, methods in counts.items()}

    def counters(self) -> dict[str, int]:
        """The numbers alone."""
        return {
            "posts": self.posts,
            "posts_received": self.posts_received,
            "status_calls": self.status_calls,
            "wallet_calls": self.wallet_calls,
            "downloads": self.downloads,
            "thumbnail_downloads": self.thumbnail_downloads,
            "credits_charged": self.credits_charged,
            "credits_refunded": self.credits_refunded,
            "violations": len(self.violations),
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        with self._changed:
            return {
                "counters": self.counters(),
                "methods_by_user_agent": self.methods_by_user_agent,
                "requests": [asdict(record) for record in self._requests],
                "submissions": [asdict(record) for record in self._submissions],
                "charges": [asdict(record) for record in self._charges],
                "refunds": [asdict(record) for record in self._refunds],
                "violations": [asdict(record) for record in self._violations],
            }

    def _count(self, matches: Callable[[RequestRecord], bool]) -> int:
        return sum(1 for request in self.requests if matches(request))
