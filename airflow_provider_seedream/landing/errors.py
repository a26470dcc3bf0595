"""How a wait ended, as an error: one table for the deferred and the synchronous wait. Pure."""

from airflow_provider_seedream.exceptions import (
    Paid,
    SeedreamAuthenticationError,
    SeedreamError,
    SeedreamGenerationFailedError,
    SeedreamGenerationTimeoutError,
    SeedreamModerationError,
    SeedreamNotFoundError,
    SeedreamPollingError,
    SeedreamResultsExpiredError,
    final,
)
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.model import clock, contract
from airflow_provider_seedream.polling.policy import PollOutcome, expires_epoch, has_expired


def error_from(outcome: PollOutcome, generation: Generation, *, now_epoch: float, can_resubmit: bool) -> SeedreamError:
    """The error of every outcome but "wait" and "done".

    :param can_resubmit: whether a retry of this task can submit again (an operator) or only look again (a sensor).
    """
    task_id = generation.seedream_task_id
    if outcome.verdict == "late":
        return SeedreamGenerationTimeoutError(outcome.detail, seedream_task_id=task_id, record=generation.record)
    if outcome.verdict == "failed":
        return _failed(outcome, generation, can_resubmit)
    if outcome.verdict == "expired":
        return expired_error(generation)
    if outcome.verdict == "missing":
        return missing_error(outcome.detail, generation, now_epoch=now_epoch)
    cls = SeedreamAuthenticationError if outcome.verdict == "refused" else SeedreamPollingError
    return cls(outcome.detail, seedream_task_id=task_id, record=generation.record, paid="yes")


def missing_error(detail: str, generation: Generation, *, now_epoch: float) -> SeedreamError:
    """A generation the API does not know: expired, where its age says so."""
    if has_expired(clock.to_epoch(generation.created_at), now_epoch=now_epoch):
        return expired_error(generation)
    paid: Paid = "yes" if generation.record else "unknown"
    return SeedreamNotFoundError(detail, seedream_task_id=generation.seedream_task_id, record=generation.record, paid=paid)


def expired_error(generation: Generation) -> SeedreamResultsExpiredError:
    """For a generation whose results are gone by its age."""
    expires = expires_epoch(clock.to_epoch(generation.created_at))
    when = f" at {clock.to_iso(expires)}" if expires is not None else ""
    return SeedreamResultsExpiredError(
        f"The results expired{when}, 24 h after the submission.",
        seedream_task_id=generation.seedream_task_id,
        record=generation.record,
    )


def _failed(outcome: PollOutcome, generation: Generation, can_resubmit: bool) -> SeedreamError:
    refunded: Paid = "refunded" if outcome.refunded else "unknown"
    cls = SeedreamModerationError if contract.is_moderation(outcome.detail) else SeedreamGenerationFailedError
    error = cls(
        f"The generation failed: {outcome.detail.rstrip('.')}.",
        seedream_task_id=generation.seedream_task_id,
        record=generation.record,
        paid=refunded,
    )
    if can_resubmit and outcome.refunded and cls is SeedreamGenerationFailedError:
        error.on_retry = "A retry submits it again."
        return error
    if not outcome.refunded:
        error.on_retry = "Nothing is submitted again by itself, as the API does not say that it refunds this."
    return final(error)
