"""A record of one paid request: its fields, its file, and what may be written over what.

What an outcome permits is a table here; what to do about it is the caller's. Reads and writes nothing.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self, get_args

from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.ledger.spending import Spending
from airflow_provider_seedream.model import clock, contract
from airflow_provider_seedream.model.submissions import sha256_json

SCHEMA_VERSION = 1
RECORDS = "_seedream/ledger"
LATE = "_seedream/late"  # what a process knew that woke when its record told of something else already

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
