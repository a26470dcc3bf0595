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
from airflow_provider_seedream.polling.decision import Verdict


def error_from(verdict: Verdict, generation: Generation, *, now_epoch: float, can_resubmit: bool) -> SeedreamError:
    """The error of every verdict but "wait" and "done".

    :param can_resubmit: whether a retry of this task can submit again (an operator) or only look again (a sensor).
    """
    task_id = generation.seedream_task_id
    if verdict.outcome == "late":
        return SeedreamGenerationTimeoutError(verdict.detail, seedream_task_id=task_id, record=generation.record)
    if verdict.outcome == "failed":
        return _failed(verdict, generation, can_resubmit)
    if verdict.outcome == "missing":
        return missing_error(verdict.detail, generation, now_epoch=now_epoch)
    cls = SeedreamAuthenticationError if verdict.outcome == "refused" else SeedreamPollingError
    return cls(verdict.detail, seedream_task_id=task_id, record=generation.record, paid="yes")


def missing_error(detail: str, generation: Generation, *, now_epoch: float) -> SeedreamError:
    """A generation the API does not know: expired, where its age says so."""
    created = clock.to_epoch(generation.created_at)
    expires = created + contract.RESULTS_LIFETIME_SECONDS if created is not None else None
    if expires is not None and now_epoch >= expires:
        return SeedreamResultsExpiredError(
            f"The results expired at {clock.to_iso(expires)}, 24 h after the submission.",
            seedream_task_id=generation.seedream_task_id,
            record=generation.record,
        )
    paid: Paid = "yes" if generation.record else "unknown"
    return SeedreamNotFoundError(detail, seedream_task_id=generation.seedream_task_id, record=generation.record, paid=paid)


def _failed(verdict: Verdict, generation: Generation, can_resubmit: bool) -> SeedreamError:
    refunded: Paid = "refunded" if verdict.refunded else "unknown"
    cls = SeedreamModerationError if contract.is_moderation(verdict.detail) else SeedreamGenerationFailedError
    error = cls(
        f"The generation failed: {verdict.detail.rstrip('.')}.",
        seedream_task_id=generation.seedream_task_id,
        record=generation.record,
        paid=refunded,
    )
    if can_resubmit and verdict.refunded and cls is SeedreamGenerationFailedError:
        error.on_retry = "A retry submits it again."
        return error
    if not verdict.refunded:
        error.on_retry = "Nothing is submitted again by itself, as the API does not say that it refunds this."
    return final(error)
