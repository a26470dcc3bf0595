"""The record of what was paid, as JSON files in the user's own storage: ``_seedream/ledger/<key>.json``.

A record is created exclusively before the POST, so of all racing attempts one pays. A record that cannot be read is an error, never
"no record". Knows nothing of HTTP; what an outcome permits is a table here, what to do about it is the caller's.
"""

import json
import logging
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self, TypeVar, get_args

import tenacity

from airflow_provider_seedream.exceptions import SeedreamLedgerError, final
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.ledger.spending import Spending, run_folder, spender_file, task_folder, unnamed
from airflow_provider_seedream.model import clock, contract
from airflow_provider_seedream.model.submissions import sha256_json
from airflow_provider_seedream.storage import Folder, NotExclusiveError
from airflow_provider_seedream.storage.exclusive import PROBES

SCHEMA_VERSION = 1
RECORDS = "_seedream/ledger"
_URI = re.compile(r"(?P<folder>.+)/(?P<file>_seedream/ledger/[0-9a-f]{64}(\.\d+)?\.json)")
NAMES = "_seedream/names"
LATE = "_seedream/late"  # what a process knew that woke when its record told of something else already
NOW = "_seedream/now"  # an empty file: written to learn what time it is at the store
WRITE_ATTEMPTS = 4  # after a POST the id, or that nothing was bought, is known to one process only: worth some seconds of trying

# outcome      paid for?            the same request submitted again ...
# intent       unknown              waits as long as its POST may take, by the store's clock, then it is an unknown outcome
# unknown      unknown              fails, naming the record; on_unknown_submit="resubmit" opens the next attempt
# submitted    yes                  attaches to the generation
# landed       yes                  attaches
# partial      yes                  attaches
# failed       refunded if refunded opens the next attempt when refunded, else attaches
# expired      yes                  attaches
Outcome = Literal["intent", "unknown", "submitted", "landed", "partial", "failed", "expired"]
Reuse = Literal["run", "content"]
_ORDER: dict[Outcome, int] = {"intent": 0, "unknown": 1, "submitted": 2, "failed": 3, "expired": 3, "partial": 4, "landed": 5}

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One paid request. Instants are ISO 8601 UTC.

    :param attempt: 1, and one more for each refunded or given-up attempt before it.
    :param claim: random token of the try that holds the claim.
    :param settles_at: when a POST in flight must have ended, by the clock of the worker that wrote it: for people. Another worker
        judges by :attr:`seconds_in_flight`, as its own clock may differ by any amount.
    :param wallet_balance: credits before the POST, or None where the wallet could not be read, or was looked at within a minute.
    :param credits: the price as it was reckoned before the POST. :param billed_credits: what the wallet then lost, where that could
        be told: it is looked at once a minute, and not while anything else is under way.
    :param made_by: dag_id, run_id, task_id, map_index, try_number of the submitting try.
    """

    schema_version: int = SCHEMA_VERSION
    key: str
    attempt: int
    outcome: Outcome
    claim: str
    destination: str
    name: str | None
    submission: dict[str, Any]
    fingerprint: str
    credits: int
    made_by: dict[str, Any]
    intent_at: str
    settles_at: str
    wallet_balance: str | None = None
    seedream_task_id: str | None = None
    created_at: str | None = None
    refunded: bool = False
    detail: str | None = None
    updated_at: str | None = None
    billed_credits: int | None = None

    @property
    def file(self) -> str:
        return record_file(self.key, self.attempt)

    @property
    def spending(self) -> Spending:
        return Spending(made_by=self.made_by, key=self.key, attempt=self.attempt, credits=self.cost_credits, claim=self.claim)

    @property
    def cost_credits(self) -> int:
        """What it counts as: the larger of the price that was reckoned and the one that was billed."""
        return max(self.credits, self.billed_credits or 0)

    @property
    def late_file(self) -> str:
        return f"{LATE}/{self.key}.{self.attempt}.{self.claim}.json"

    @property
    def seconds_in_flight(self) -> float:
        """How long its POST may be under way after the claim was written: both instants are of one clock."""
        intent, settles = clock.to_epoch(self.intent_at), clock.to_epoch(self.settles_at)
        return 0.0 if intent is None or settles is None else settles - intent

    def may_follow(self, there: "Record", *, seen: "Record") -> bool:
        """Whether it may be written over the record that is there.

        :param seen: what its writer read last. What another process has written since is only completed: an unknown outcome of
            the same POST by the id.
        """
        if _ORDER[self.outcome] < _ORDER[there.outcome]:
            return False
        completes = there.seedream_task_id is None and self.seedream_task_id is not None and there.claim == self.claim
        return there == seen or completes

    def is_told_by(self, there: "Record") -> bool:
        """Whether the record that is there tells of the same POST, with the id if there is one: then nothing is lost."""
        if self.seedream_task_id is None:
            return self.claim == there.claim
        return self.seedream_task_id == there.seedream_task_id

    @property
    def is_open_for_next(self) -> bool:
        """Whether this attempt was refunded, so that the next may pay."""
        return self.outcome == "failed" and self.refunded

    def to_json(self) -> bytes:
        fields = asdict(self)
        if self.billed_credits is None:  # 0.2 reads no record with a field that it does not know
            del fields["billed_credits"]
        return (json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """:raises ValueError: when it is none, or of a newer schema."""
        try:
            fields = json.loads(data)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(fields, dict) or fields.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"no record of schema version {SCHEMA_VERSION}")
        try:
            record = cls(**fields)
        except TypeError as error:
            raise ValueError(str(error)) from None
        _check(record)
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
    """What makes a request the same one: not the try and not the map index, so a retry, a clear or a reordered mapping finds it.

    :param reuse: ``run``: the same within a task of one DAG run; ``content``: the same in this destination, whoever asks.
    :param installation: the name of the Airflow installation, where it has one.
    """
    named: list[Any] = [{"installation": installation}] if installation else []
    who = [*named, dag_id, run_id, task_id] if reuse == "run" else ["content"]
    return sha256_json([*who, destination, name, fingerprint])


def record_file(key: str, attempt: int) -> str:
    return f"{RECORDS}/{key}.json" if attempt == 1 else f"{RECORDS}/{key}.{attempt}.json"


def record_at(uri: object) -> "tuple[Ledger, str] | None":
    """The ledger and the file name of a record, from the URI that errors and XComs name; None when it is no such URI."""
    match = _URI.fullmatch(uri) if isinstance(uri, str) else None
    return (Ledger(match["folder"]), match["file"]) if match else None


class Ledger:
    """The records of one destination. Every method raises :class:`SeedreamLedgerError` when the storage does not answer clearly."""

    def __init__(self, destination: str) -> None:
        self.folder = Folder(destination)

    def uri(self, record: Record) -> str:
        return self.folder.uri(record.file)

    def generation(self, record: Record) -> Generation:
        """What a record's paid request became, for whoever waits for it or lands it."""
        task_id = record.seedream_task_id or ""
        return Generation(
            seedream_task_id=task_id,
            kind=record.submission["kind"],
            created_at=record.created_at,
            num_images=record.submission["num_images"],
            image_size=record.submission["image_size"],
            credits=record.credits,
            billed_credits=record.billed_credits,
            destination=record.destination,
            name=file_stem(record.name, record.submission["take"]) or task_id,
            record=self.uri(record),
            claim=record.claim,
        )

    def latest(self, key: str) -> Record | None:
        """The last attempt at a request, or None when there surely is none."""
        latest, attempt = None, 1
        while record := self.read(record_file(key, attempt)):
            latest, attempt = record, attempt + 1
        return latest

    def read(self, file: str) -> Record | None:
        """One record by its file name."""
        data = self._try(lambda: self.folder.read(file), "read", file)
        return None if data is None else self._understand(data, file)

    def _understand(self, data: bytes, file: str) -> Record:
        try:
            return Record.from_json(data)
        except ValueError as error:
            raise SeedreamLedgerError(f"The record {self.folder.uri(file)} cannot be understood ({error}).") from None

    def check_store(self) -> None:
        """Ask the store, once per process, whether of racing claims one wins there.

        :raises SeedreamLedgerError: final, if several would: each of them would pay.
        """
        self._try(self.folder.check_exclusive, "test", PROBES)

    def claim(self, record: Record) -> bool:
        """Write an intent that nobody else has written. False: somebody has; read it."""
        return self._try(lambda: self.folder.create(record.file, record.to_json()), "write", record.file)

    def advance(self, seen: Record, new: Record, *, attempts: int = WRITE_ATTEMPTS) -> bool:
        """Write what has become of a request, over its record as the caller saw it last.

        A record only moves forward. What another process has written since, or a person, stays. False: it tells of something
        else, and what `new` knows lies beside it in `late_file`. A record that was taken away comes back if it is paid for.
        """
        return _retrying(attempts)(self._advance, seen, new)

    def _advance(self, seen: Record, new: Record) -> bool:
        as_seen = new.may_follow(seen, seen=seen) and self._replace(seen.to_json(), new)
        return as_seen or self._advance_past(seen, new)

    def _advance_past(self, seen: Record, new: Record) -> bool:
        """What to write over a record that is not, byte for byte, what was seen."""
        while True:
            data = self._try(lambda: self.folder.read(new.file), "read", new.file)
            there = None if data is None else self._understand(data, new.file)
            if there is None:
                if new.seedream_task_id is None:
                    return self._leave(new)
                if self.claim(new):
                    return True
            elif there == new:
                return True
            elif not new.may_follow(there, seen=seen):
                return new.is_told_by(there) or self._leave(new)
            elif self._replace(data or b"", new):
                return True

    def _replace(self, seen: bytes, new: Record) -> bool:
        return self._try(lambda: self.folder.replace_if(new.file, seen, new.to_json()), "write", new.file)

    def _leave(self, new: Record) -> Literal[False]:
        """Write the news of a POST beside a record that tells of something else."""
        self._try(lambda: self.folder.replace(new.late_file, new.to_json()), "write", new.late_file)
        return False

    def age_seconds(self, record: Record) -> float | None:
        """How long ago a record was written, by the store's own clock; None where the store does not say."""

        def age() -> float | None:
            written = self.folder.modified_at(record.file)
            self.folder.replace(NOW, b"")
            now = self.folder.modified_at(NOW)
            return None if written is None or now is None else now - written

        try:
            return self._try(age, "date", record.file)
        except SeedreamLedgerError as error:
            _log.info("%s Its age is not known.", error.message)
            return None

    def free(self, record: Record, *, attempts: int = WRITE_ATTEMPTS) -> None:
        """Remove a claim whose POST surely bought nothing, unless a person has removed it and another try holds it now.

        What it holds goes first: whoever waits for the claim reserves it again.
        """
        retrying = _retrying(attempts)
        if retrying(self.read, record.file) != record:
            retrying(self.withdraw_spending, record.spending)
            return
        try:
            self.release(record, attempts=attempts)
        finally:
            retrying(self._delete_claim, record)

    def release(self, record: Record, *, attempts: int = 1) -> None:
        """Give back what an attempt holds that bought nothing, or whose price came back: its share of the budget, its name."""
        retrying = _retrying(attempts)
        try:
            retrying(self.withdraw_spending, record.spending)
        finally:
            retrying(self.release_name, record)

    def _delete_claim(self, record: Record) -> None:
        """Reads each time: a delete whose answer was lost may have made room for another try's claim."""
        has_next = self.read(record_file(record.key, record.attempt + 1)) is not None  # a gap would hide the attempts behind it
        if not has_next and self.read(record.file) == record:
            self._try(lambda: self.folder.delete(record.file), "delete", record.file)

    def reserve_name(self, stem: str, key: str) -> bool:
        """Give a chosen name to one request. False: another one has it."""
        file = f"{NAMES}/{stem}.json"
        note = json.dumps({"schema_version": SCHEMA_VERSION, "key": key}).encode()
        return self._try(lambda: self.folder.create(file, note), "write", file)

    def release_name(self, record: Record) -> None:
        """Give a name back: nothing was landed under it."""
        stem = file_stem(record.name, record.submission["take"])
        if stem and self.reserve_name(stem, record.key):
            self._try(lambda: self.folder.delete(f"{NAMES}/{stem}.json"), "delete", stem)

    def note_spending(self, spending: Spending) -> None:
        """Before the claim, so that a kill in between counts too much and never too little."""
        self._try(lambda: self.folder.create(spending.file, spending.to_json()), "write", spending.file)

    def withdraw_spending(self, spending: Spending) -> None:
        self._try(lambda: self.folder.delete(spending.file), "delete", spending.file)

    def spent_by_task(self, made_by: dict[str, Any]) -> list[str]:
        """The names of what a task has spent in a DAG run, in this destination."""
        return [name for maker in (made_by, *unnamed(made_by)) for name in self._list(task_folder(maker))]

    def spent_in_run(self, made_by: dict[str, Any]) -> list[str]:
        """The names of what a DAG run has spent in this destination."""
        runs = [run_folder(maker) for maker in (made_by, *unnamed(made_by))]
        return [name for run in runs for task in self._list(run) for name in self._list(f"{run}/{task}")]

    def spender(self, made_by: dict[str, Any]) -> str | None:
        """Which process of a task counted last what it has spent."""
        file = spender_file(made_by)
        token = self._try(lambda: self.folder.read(file), "read", file)
        return None if token is None else token.decode(errors="replace")

    def take_over(self, made_by: dict[str, Any], token: str) -> None:
        """Say that this process counts now: another one that is at work sees it at its next request."""
        file = spender_file(made_by)
        self._try(lambda: self.folder.replace(file, token.encode()), "write", file)

    def _list(self, folder: str) -> list[str]:
        return self._try(lambda: self.folder.list(folder), "list", folder)

    def _try(self, act: Callable[[], T], verb: str, file: str) -> T:
        try:
            return act()
        except NotExclusiveError as error:
            refused = SeedreamLedgerError(f"{error}.")
            refused.on_retry = "A retry would be refused again: choose another destination."
            raise final(refused) from error
        except Exception as error:  # whatever a store raises: it is no answer
            what = f"{type(error).__name__}: {error}"[:300]
            hint = f" To see what it lacks: airflow seedream check {self.folder.base}" if isinstance(error, PermissionError) else ""
            raise SeedreamLedgerError(f"Cannot {verb} {self.folder.uri(file)} ({what}).{hint}") from error


def _retrying(attempts: int) -> tenacity.Retrying:
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(SeedreamLedgerError),
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_exponential(multiplier=1, max=10),
        reraise=True,
    )


def _check(record: Record) -> None:
    """Refuse what would be taken for a paid generation, or for none, by a guess."""
    objects = isinstance(record.submission, dict) and isinstance(record.made_by, dict)
    if not objects or record.outcome not in get_args(Outcome):
        raise ValueError("an outcome, a submission or a made_by that is none")
    texts = (record.key, record.claim, record.destination, record.fingerprint, record.intent_at, record.settles_at)
    optional = (record.name, record.wallet_balance, record.created_at, record.detail, record.updated_at)
    if not all(isinstance(text, str) for text in texts) or not all(text is None or isinstance(text, str) for text in optional):
        raise ValueError("a text that is none")
    if not _is_count(record.attempt) or not _is_count(record.credits) or not isinstance(record.refunded, bool):
        raise ValueError("an attempt, credits or refunded that are none")
    if None in (clock.to_epoch(record.intent_at), clock.to_epoch(record.settles_at)):
        raise ValueError("an instant that is none")
    if record.outcome not in ("intent", "unknown") and not contract.is_seedream_task_id(record.seedream_task_id):
        raise ValueError(f"its outcome is {record.outcome!r}, and it names no task id")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def file_stem(name: str | None, take: int) -> str | None:
    """The stem of the image files: a further take gets names of its own."""
    return name if name is None or take == 1 else f"{name}_take{take}"


def finished(
    record: Record, generation: Generation, outcome: Outcome, *, at: str, refunded: bool = False, detail: str | None = None
) -> Record:
    """A record with its generation's end written in, and the id, should the storage have failed right after the POST."""
    return replace(
        record,
        outcome=outcome,
        seedream_task_id=generation.seedream_task_id,
        created_at=generation.created_at,
        refunded=refunded,
        detail=detail,
        updated_at=at,
    )
