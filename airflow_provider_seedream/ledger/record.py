"""A record of one paid request: its fields, its file name, and which record may be written over which.

The table in ``outcomes`` says what each outcome permits; the caller acts on it. This module does no I/O: the
ledger reads and writes files.
"""

import dataclasses
import json
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.ledger.outcomes import ORDER, Freed, Outcome
from airflow_provider_seedream.ledger.record_check import check
from airflow_provider_seedream.ledger.spending import Spending
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.submissions import sha256_json
from airflow_provider_seedream.model.task_ref import TaskRef

SCHEMA_VERSION = 1
RECORDS = "_seedream/ledger"
# A process that was stopped in its POST may wake when its record already tells of another POST. It writes its
# own news here.
LATE = "_seedream/late"

Reuse = Literal["run", "content"]
_SINCE_0_3 = ("billed_credits", "embed_metadata", "max_image_bytes", "labels", "books", "booked_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One paid request, as one JSON file. Instants are ISO 8601 UTC.

    The record is created with the outcome ``intent`` before the POST, and gets the id right after it. So a
    process that dies in between leaves a record whose outcome is unknown, and the next try does not pay
    again::

        record = Ledger("s3://my_conn@bucket/campaign").latest(key)
        record.outcome, record.seedream_task_id  # ("submitted", "b1c2d3")

    :param key: see :func:`record_key`; it names the file.
    :param attempt: 1, and one more for each refunded or given-up attempt before it.
    :param claim: random token of the try that wrote the intent. A record with another token belongs to
        another try's POST.
    :param settles_at: when a POST in flight must have ended, by the clock of the worker that wrote it: for
        people. Another worker uses :attr:`seconds_in_flight`, as its own clock may differ by any amount.
    :param wallet_balance: credits before the POST; None if the wallet could not be read, or was read less
        than a minute ago.
    :param submission: the request as sent, without the bytes of its images; ``fingerprint`` identifies it.
    :param credits: the price that was calculated before the POST.
    :param billed_credits: the credits that the wallet then lost, if that could be measured: the wallet is
        read once a minute, and only while no other POST is under way.
    :param created_at: when the API accepted it; its results live 24 h from then [doc].
    :param refunded: True if the API says that it gave the credits of a failed generation back.
    :param made_by: the try that submitted.
    :param embed_metadata: the task's option, for a landing by another process; None: False, the default.
    :param max_image_bytes: the task's option, as above; None: 64 MiB, the default.
    :param labels: of the task, for people and for caps; not part of the key. None if it has none.
    :param books: storage URI of the books in which a cap counts it; None without caps.
    :param booked_at: when it was admitted there, ISO 8601 UTC: the page of this month holds it.
    """

    schema_version: int = SCHEMA_VERSION
    key: str
    attempt: int
    outcome: Outcome | Freed
    claim: str
    destination: str
    name: str | None
    submission: dict[str, Any]
    fingerprint: str
    credits: int
    made_by: TaskRef
    intent_at: str
    settles_at: str
    wallet_balance: str | None = None
    seedream_task_id: str | None = None
    created_at: str | None = None
    refunded: bool = False
    detail: str | None = None
    updated_at: str | None = None
    billed_credits: int | None = None
    embed_metadata: bool | None = None
    max_image_bytes: int | None = None
    labels: dict[str, str] | None = None
    books: str | None = None
    booked_at: str | None = None

    @property
    def file(self) -> str:
        """The record's file, relative to the destination."""
        return record_file(self.key, self.attempt)

    @property
    def id(self) -> str:
        """Key and attempt, by which the books know it."""
        return f"{self.key}.{self.attempt}"

    @property
    def spending(self) -> Spending:
        """The note of this attempt in its budgets."""
        return Spending(
            made_by=self.made_by,
            key=self.key,
            attempt=self.attempt,
            credits=self.cost_credits,
            claim=self.claim,
        )

    @property
    def cost_credits(self) -> int:
        """The credits that budgets count: the larger of the calculated and the billed price."""
        return max(self.credits, self.billed_credits or 0)

    @property
    def late_file(self) -> str:
        """The file for the news of this POST, if its record tells of another POST by then."""
        return f"{LATE}/{self.key}.{self.attempt}.{self.claim}.json"

    @property
    def seconds_in_flight(self) -> float:
        """The time that its POST may be under way after the claim was written. Both instants come from one
        clock, so they compare.
        """
        intent, settles = clock.to_epoch(self.intent_at), clock.to_epoch(self.settles_at)
        return 0.0 if intent is None or settles is None else settles - intent

    def may_follow(self, there: "Record", *, seen: "Record") -> bool:
        """True if this record may be written over the one that is ``there`` now.

        Outcomes only move forward. If another process has written since, its record stays, with one
        exception: a record of the same POST (same claim) that lacks the id may be completed by the id.

        :param seen: the record as this writer read it last.
        """
        if ORDER[self.outcome] < ORDER[there.outcome]:
            return False
        completes = (
            there.seedream_task_id is None and self.seedream_task_id is not None and there.claim == self.claim
        )
        return there == seen or completes

    def is_told_by(self, there: "Record") -> bool:
        """True if the record that is ``there`` already holds this news: the same id, or, without an id,
        the same POST.
        """
        if self.seedream_task_id is None:
            return self.claim == there.claim
        return self.seedream_task_id == there.seedream_task_id

    @property
    def is_open_for_next(self) -> bool:
        """True if this attempt was refunded, so that the next attempt may pay."""
        return self.outcome == "failed" and self.refunded

    @property
    def is_paid(self) -> bool:
        """True if this attempt is paid, known, and was not refunded."""
        return self.seedream_task_id is not None and not self.is_open_for_next

    @property
    def is_free(self) -> bool:
        """True if the attempt was certainly not paid: its file stays, and the next claim may take its
        place.
        """
        return self.outcome == "not_paid"

    def to_dict(self) -> dict[str, Any]:
        """The fields of the file, in its order."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for later in _SINCE_0_3:  # 0.2 reads no record with a field that it does not know
            if fields[later] is None:
                del fields[later]
        return {**fields, "made_by": self.made_by.to_dict()}

    def to_json(self) -> bytes:
        return (json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read a record strictly, as a misread one could hide a payment.

        :raises ValueError: the bytes are not a record, contradict themselves, or have a newer schema.
        """
        try:
            fields = json.loads(data)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(fields, dict) or fields.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"not a record of schema version {SCHEMA_VERSION}")
        try:
            record = cls(**{**fields, "made_by": TaskRef.from_dict(fields["made_by"])})
        except (TypeError, KeyError, AttributeError) as error:
            # a field is missing, is not known, or made_by is no object
            raise ValueError(f"{type(error).__name__}: {error}") from None
        check(record)
        return record


def record_key(
    *,
    dag_id: str,
    run_id: str,
    task_id: str,
    destination: str,
    name: str | None,
    fingerprint: str,
    reuse: Reuse = "run",
    installation: str | None = None,
) -> str:
    """The identity of a request, as a SHA-256: two requests with the same key are paid once.

    The try number and the map index are left out, so a retry, a clear or a reordered mapping finds the record
    again.

    :param reuse: ``run``: requests are equal within a task of one DAG run; ``content``: within this
        destination, for every task.
    :param installation: the name of the Airflow installation, where it has one.
    """
    named: list[Any] = [{"installation": installation}] if installation else []
    who = [*named, dag_id, run_id, task_id] if reuse == "run" else ["content"]
    return sha256_json([*who, destination, name, fingerprint])


def record_file(key: str, attempt: int) -> str:
    """The file of an attempt: ``_seedream/ledger/<key>.json``, or ``<key>.2.json`` from the second on."""
    return f"{RECORDS}/{key}.json" if attempt == 1 else f"{RECORDS}/{key}.{attempt}.json"


def file_stem(name: str | None, take: int) -> str | None:
    """The stem of the image files. Take 2 and later get names of their own, e.g. ``hero_take2``."""
    return name if name is None or take == 1 else f"{name}_take{take}"


def finished(
    record: Record,
    generation: Generation,
    outcome: Outcome,
    *,
    at: str,
    refunded: bool = False,
    detail: str | None = None,
) -> Record:
    """The record with the end of its generation, and with the id: the storage may have failed right after the
    POST.

    :param at: the time of the write, in ISO 8601.
    """
    return replace(
        record,
        outcome=outcome,
        seedream_task_id=generation.seedream_task_id,
        created_at=generation.created_at,
        refunded=refunded,
        detail=detail,
        updated_at=at,
    )
