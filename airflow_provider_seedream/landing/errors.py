"""The end of a wait or a landing, as an error: one table for the deferred and the synchronous wait.

Does no I/O; the time is an argument. Each error says what was paid and until when the images can be landed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_seedream.exceptions import (
    Paid,
    SeedreamAuthenticationError,
    SeedreamError,
    SeedreamGenerationFailedError,
    SeedreamGenerationTimeoutError,
    SeedreamLandingError,
    SeedreamModerationError,
    SeedreamNotFoundError,
    SeedreamPartialResultError,
    SeedreamPollingError,
    SeedreamResultsExpiredError,
    final,
)
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.hooks.first_mistakes import named
from airflow_provider_seedream.model import clock, contract
from airflow_provider_seedream.model.commands import command
from airflow_provider_seedream.polling.policy import PollOutcome, expires_epoch, has_expired
from airflow_provider_seedream.storage.exclusive import NotExclusiveError

E = TypeVar("E", bound=SeedreamError)


def error_from(
    outcome: PollOutcome,
    generation: Generation,
    *,
    now_epoch: float,
    can_resubmit: bool,
    timeout_seconds: float | None = None,
) -> SeedreamError:
    """The error of every outcome but "wait" and "done". It says until when the images are kept, if any may
    still come.

    :param outcome: how the wait ended, by the decision core.
    :param now_epoch: the wall clock in epoch seconds; it is compared with the submission's time.
    :param can_resubmit: True if a retry of this task can submit again (an operator); False if it only polls
        (a sensor).
    :param timeout_seconds: the ``timeout`` of the task, for an error that says how long was waited; None if
        it has none.
    :returns: the error, to be raised by the caller.
    """
    return complete(_error(outcome, generation, now_epoch, can_resubmit, timeout_seconds), generation)


def complete(error: E, generation: Generation) -> E:
    """The same error with the facts of its paid generation: price, ids, and until when its images can be
    landed.

    An error from below, e.g. of a status call, may say "not paid" although the generation is paid. Fields
    that the error has already are kept.
    """
    if error.paid == "no":
        error.paid = "yes"
    error.seedream_task_id = error.seedream_task_id or generation.seedream_task_id
    error.record = error.record or generation.record
    if error.credits is None:
        error.credits, error.billed_credits = generation.credits, generation.billed_credits
    expires = expires_epoch(clock.to_epoch(generation.created_at))
    has_no_more = isinstance(
        error, SeedreamResultsExpiredError | SeedreamPartialResultError | SeedreamGenerationFailedError
    )
    may_land = error.paid in ("yes", "unknown") and not has_no_more
    if may_land and expires is not None and error.kept_until is None:
        error.kept_until = clock.to_iso(expires)
    return error


def _error(
    outcome: PollOutcome,
    generation: Generation,
    now_epoch: float,
    can_resubmit: bool,
    timeout_seconds: float | None,
) -> SeedreamError:
    """The class and the sentence of an outcome: late, failed, expired, missing, refused (the key), else
    the polling gave up.
    """
    task_id = generation.seedream_task_id
    if outcome.verdict == "late":
        late = outcome.detail if timeout_seconds is None else _late(generation, now_epoch, timeout_seconds)
        return SeedreamGenerationTimeoutError(late, seedream_task_id=task_id, record=generation.record)
    if outcome.verdict == "failed":
        return _failed(outcome, generation, can_resubmit)
    if outcome.verdict == "expired":
        return expired_error(generation)
    if outcome.verdict == "missing":
        return missing_error(outcome.detail, generation, now_epoch=now_epoch)
    cls = SeedreamAuthenticationError if outcome.verdict == "refused" else SeedreamPollingError
    return cls(outcome.detail, seedream_task_id=task_id, record=generation.record, paid="yes")


def _late(generation: Generation, now_epoch: float, timeout_seconds: float) -> str:
    """The time that was waited, the argument that set it, and the age of the generation: a retry's wait
    begins anew, its age does not.
    """
    created = clock.to_epoch(generation.created_at)
    age = "" if created is None else f", submitted {clock.spell(now_epoch - created)} ago"
    return f"Still not ready after {clock.spell(timeout_seconds)} (`timeout={timeout_seconds:g}`){age}."


def missing_error(detail: str, generation: Generation, *, now_epoch: float) -> SeedreamError:
    """A generation that the API does not know: expired if it is older than 24 h, else an error that asks for
    id and key.

    :param detail: the API's sentence.
    :param now_epoch: the wall clock; it is compared with the submission's time.
    """
    if has_expired(clock.to_epoch(generation.created_at), now_epoch=now_epoch):
        return expired_error(generation)
    paid: Paid = "yes" if generation.record else "unknown"
    return SeedreamNotFoundError(
        detail, seedream_task_id=generation.seedream_task_id, record=generation.record, paid=paid
    )


def expired_error(generation: Generation) -> SeedreamResultsExpiredError:
    """The error of a paid generation whose results are gone by its age. Final: a retry neither brings them
    back nor pays again.
    """
    expires = expires_epoch(clock.to_epoch(generation.created_at))
    when = f" at {clock.to_iso(expires)}" if expires is not None else ""
    return complete(SeedreamResultsExpiredError(f"The results expired{when}, after 24 h."), generation)


def _failed(outcome: PollOutcome, generation: Generation, can_resubmit: bool) -> SeedreamError:
    """A generation that ended without images. A refunded one may be submitted again, unless its text would be
    refused again.

    Without a refund in the answer it is not submitted again automatically: the first one may be paid.
    """
    refunded: Paid = "refunded" if outcome.refunded else "unknown"
    cls = SeedreamModerationError if contract.is_moderation(outcome.detail) else SeedreamGenerationFailedError
    # The text of the API decides between the classes, as no field of its answer does.
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
        error.on_retry = (
            "It is not submitted again automatically, as the API does not say that it refunds it."
        )
    return final(error)


def say_what_to_do(error: SeedreamLandingError, generation: Generation, *, conn_id: str) -> None:
    """Complete the error of a landing that failed for good in this try: until when, and how, the images can
    still be landed.

    The images are paid, so each such error has a command that lands them without paying again.

    :param error: is changed in place.
    :param conn_id: of the connection that asks for the generation, for the command.
    """
    # The command finds name, price and options in the record, so the id and the folder are enough.
    rescue = partial(command, "land", generation.seedream_task_id, conn_id=conn_id)
    if isinstance(error.__cause__, NotExclusiveError):
        error.verdict, error.commands = "STORAGE UNSUITABLE", [rescue("DESTINATION")]
        final(error).on_retry = "A retry would be refused again: land the images in another destination."
    elif not isinstance(error, AirflowFailException):  # a first mistake has a remedy of its own
        error.on_retry = "A retry lands again for free. So does a clear of this task, or a command:"
        error.commands = [rescue(generation.destination)]
    complete(error, generation)


@contextmanager
def storing(problem: str, generation: Generation) -> Iterator[None]:
    """Context manager: turn every error of a store into a SeedreamLandingError that names the paid
    generation.

    Stores raise classes of their own, so any class is taken. Errors of ours pass, with the id of the
    generation.

    :param problem: the sentence that says which act failed, without its full stop.
    :raises SeedreamLandingError: a retry lands again for free.
    """
    try:
        yield
    except SeedreamError as error:
        error.seedream_task_id = generation.seedream_task_id
        raise
    except Exception as error:  # botocore, gcsfs and adlfs share no class, and some raise no OSError
        failed = SeedreamLandingError(f"{problem}.", seedream_task_id=generation.seedream_task_id)
        failed.cause = f"{type(error).__name__}: {error}"
        raise named(failed, error, generation.destination) from error
