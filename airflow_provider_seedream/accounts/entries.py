"""One POST as an entry of a statement: its ending and credits, by its record and the API's answer. No I/O and
no clock.

An entry is small: a statement holds one for each request of its period, and 100,000 of them need some 60 MB.
"""

from dataclasses import dataclass
from decimal import Decimal
from sys import intern
from typing import Literal

from airflow_provider_seedream.accounts.amounts import amounts_of
from airflow_provider_seedream.accounts.wallet_flow import plain
from airflow_provider_seedream.ledger.record import Record
from airflow_provider_seedream.model import clock, contract
from airflow_provider_seedream.polling.policy import PollOutcome, expires_epoch, has_expired
from airflow_provider_seedream.polling.wallet import credits_in

IN_FLIGHT_SECONDS = 600.0  # 6 images at 40 s each [doc] are ready after 240 s; a queue may take as long again
# a POST has ended when so much time has passed after its last moment, by any worker's clock
LATE_SECONDS = 15.0
PROMPT_CHARACTERS = 60

# landed     charged, and its images are in the folder
# partial    charged, and fewer images came than were asked for
# in_flight  charged; at most 10 minutes old, or not finished yet
# to_land    charged and finished; its images can be landed for free until the API deletes them
# expired    charged; the API has deleted the images
# refunded   charged and given back: the generation failed
# moderated  the same, and the reason speaks of the safety checker
# failed     charged; the generation failed, and the API does not say that it refunds it
# missing    charged; the API does not know its id: perhaps it belongs to another account
# sending    the POST may still be under way
# unknown    the POST has ended without an answer: charged, or not
Ending = Literal[
    "landed",
    "partial",
    "in_flight",
    "to_land",
    "expired",
    "refunded",
    "moderated",
    "failed",
    "missing",
    "sending",
    "unknown",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One POST. Instants are epoch seconds, amounts are credits::

        entry.ending, entry.charged, entry.refunded  # ("partial", 40, 0)

    :param record: URI of its record, or of the news beside a record (``is_late``).
    :param claim: of its record: a record with another claim tells of another POST.
    :param charged: taken from the wallet: the billed price if it was measured, else the calculated one.
    :param at_risk: of a POST with an unknown outcome: charged, or not.
    :param is_measured: the price was measured in the wallet.
    :param images: asked for. ``landed``: in the folder; None if the manifest of a partial one cannot be read.
    :param files: URIs of the landed images, if they were asked for.
    :param balance: of the wallet before this POST; None if it was not read then.
    :param first_epoch: the POST was sent then or later; :param last_epoch: it had ended by then.
    :param ended_epoch: a refund had come by then; None if it has not.
    """

    record: str
    claim: str
    destination: str
    ending: Ending
    charged: int
    refunded: int
    at_risk: int
    is_measured: bool
    is_late: bool
    images: int
    landed: int | None
    files: tuple[str, ...]
    balance: Decimal | None
    first_epoch: float
    last_epoch: float
    ended_epoch: float | None
    expires_epoch: float | None
    seedream_task_id: str | None
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    name: str | None
    prompt: str

    @property
    def is_open(self) -> bool:
        """True if its ending or its credits may still change: another reading has to look again."""
        return self.ending in ("in_flight", "to_land", "sending", "unknown")

    @property
    def is_charged(self) -> bool:
        """True if the API has accepted it."""
        return self.ending not in ("sending", "unknown")


def entry_of(
    record: Record,
    uri: str,
    destination: str,
    *,
    now_epoch: float,
    heard: PollOutcome | None = None,
    files: tuple[str, ...] = (),
    landed: int | None = 0,
    is_late: bool = False,
) -> Entry:
    """The entry of a record.

    :param heard: the API's answer about a generation that the record calls ``submitted``; None without an
        answer.
    :param landed: how many of its images are in the folder; None if that is not known.
    """
    ending = ending_of(record, heard, now_epoch=now_epoch, landed=landed)
    amounts = amounts_of(record)
    gave_back = (
        amounts.charged if heard and heard.verdict == "failed" and heard.refunded else amounts.refunded
    )
    first = clock.to_epoch(record.intent_at) or 0.0
    created, updated = clock.to_epoch(record.created_at), clock.to_epoch(record.updated_at)
    last = clock.to_epoch(record.settles_at) or first
    came_back = now_epoch if heard else (updated or now_epoch)
    made = record.made_by
    return Entry(
        record=uri,
        claim=record.claim,
        destination=intern(destination),
        ending=ending,
        charged=amounts.charged,
        refunded=gave_back,
        at_risk=amounts.at_risk,
        is_measured=record.billed_credits is not None,
        is_late=is_late,
        images=int(record.submission.get("num_images") or 0),
        landed=landed,
        files=files,
        balance=_balance(record),
        first_epoch=first,
        last_epoch=last if amounts.at_risk or created is None else max(first, created),
        ended_epoch=came_back if gave_back else None,
        expires_epoch=expires_epoch(created),
        seedream_task_id=record.seedream_task_id,
        dag_id=intern(made.dag_id),
        run_id=intern(made.run_id),
        task_id=intern(made.task_id),
        map_index=made.map_index,
        name=record.name,
        prompt=str(record.submission.get("prompt") or "")[:PROMPT_CHARACTERS],
    )


def _balance(record: Record) -> Decimal | None:
    """The wallet before the POST; None if it was not read, or its text is not a number."""
    found = credits_in(record.wallet_balance) if record.wallet_balance is not None else None
    return None if found is None else plain(found)


def ending_of(record: Record, heard: PollOutcome | None, *, now_epoch: float, landed: int | None) -> Ending:
    """The ending of a record's POST, by its outcome, by the API's answer, and by the images in the folder."""
    if record.outcome == "intent" or record.outcome == "unknown":
        settles = clock.to_epoch(record.settles_at) or 0.0
        return "sending" if record.outcome == "intent" and now_epoch <= settles + LATE_SECONDS else "unknown"
    if record.outcome == "not_paid":  # the ledger reads none of these: its file counts as missing
        return "refunded"
    if record.outcome == "failed":
        return _failed(record.detail, refunded=record.refunded)
    if record.outcome == "submitted":
        return _of_submitted(record, heard, now_epoch=now_epoch, landed=landed)
    # The others are named as the record names them: landed, partial, expired.
    return record.outcome


def _of_submitted(
    record: Record, heard: PollOutcome | None, *, now_epoch: float, landed: int | None
) -> Ending:
    """The ending of a generation whose record does not tell it."""
    created = clock.to_epoch(record.created_at)
    if landed:  # its manifest is there: the try that landed it died before it could write the record
        return "landed" if landed >= int(record.submission.get("num_images") or 0) else "partial"
    if heard and heard.verdict == "failed":
        return _failed(heard.detail, refunded=heard.refunded)
    if (heard and heard.verdict == "expired") or has_expired(created, now_epoch=now_epoch):
        return "expired"
    if heard and heard.verdict == "missing":
        return "missing"
    is_young = created is not None and now_epoch - created < IN_FLIGHT_SECONDS
    is_done = heard is not None and heard.verdict in ("done", "unsettled")
    return "to_land" if is_done and not is_young else "in_flight"


def _failed(detail: str | None, *, refunded: bool) -> Ending:
    """The ending of a failed generation. Words about the safety checker count first: they say why it
    failed.
    """
    if contract.is_moderation(detail):
        return "moderated"
    return "refunded" if refunded else "failed"
