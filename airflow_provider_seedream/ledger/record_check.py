"""Whether a record that was read contradicts itself, as a misread one could hide a payment. Never imports
HTTP, storage or Airflow.
"""

from typing import TYPE_CHECKING, Any, get_args

from airflow_provider_seedream.ledger.outcomes import Freed, Outcome
from airflow_provider_seedream.model import clock, contract

if TYPE_CHECKING:
    from airflow_provider_seedream.ledger.record import Record


def check(record: "Record") -> None:
    """Reject a record that contradicts itself: an unknown outcome, or a paid outcome without a task id."""
    if not isinstance(record.submission, dict) or record.outcome not in (
        *get_args(Outcome),
        *get_args(Freed),
    ):
        raise ValueError("its outcome or submission is invalid")
    texts = (
        record.key,
        record.claim,
        record.destination,
        record.fingerprint,
        record.intent_at,
        record.settles_at,
    )
    optional = (
        record.name,
        record.wallet_balance,
        record.created_at,
        record.detail,
        record.updated_at,
        record.books,
        record.booked_at,
    )
    if not all(isinstance(text, str) for text in texts) or not all(
        text is None or isinstance(text, str) for text in optional
    ):
        raise ValueError("a field that must be text is not")
    if (
        not _is_count(record.attempt)
        or not _is_count(record.credits)
        or not isinstance(record.refunded, bool)
    ):
        raise ValueError("its attempt, credits or refunded is invalid")
    if not isinstance(record.embed_metadata, bool | None) or not _is_count(record.max_image_bytes or 0):
        raise ValueError("its embed_metadata or max_image_bytes is invalid")
    if not _are_labels(record.labels):
        raise ValueError("its labels are not texts")
    if None in (clock.to_epoch(record.intent_at), clock.to_epoch(record.settles_at)):
        raise ValueError("its intent_at or settles_at is not an instant")
    if record.outcome not in ("intent", "unknown", "not_paid") and not contract.is_seedream_task_id(
        record.seedream_task_id
    ):
        raise ValueError(f"its outcome is {record.outcome!r}, and it names no task id")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_labels(value: Any) -> bool:
    if not isinstance(value, dict):
        return value is None
    return all(isinstance(text, str) for pair in value.items() for text in pair)
