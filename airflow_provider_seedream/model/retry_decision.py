"""Decides whether a failed task tries again, and when, by the fields of its error.

A new try does not pay again for a paid generation, so the question is only whether it can succeed. Does no
I/O; the randomness is an argument.
"""

from dataclasses import dataclass
from typing import Literal

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSensorTimeout

from airflow_provider_seedream.exceptions import (
    SeedreamError,
    SeedreamGenerationFailedError,
    SeedreamInsufficientCreditsError,
    SeedreamRateLimitError,
)

_FINAL = (AirflowFailException, AirflowSensorTimeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """Pauses before another try, in seconds::

        Delays(first_seconds=10.0)  # 10, 20, 40, ... s, at most 15 min

    :param top_up_seconds: after a 402: the time between two checks for a top-up of the wallet; 30 min.
    :param first_seconds: after the first failure of any other kind; doubled with each further one; 30 s.
    :param longest_seconds: the limit of the doubling; 15 min. Results live 24 h [doc], so it must stay far
        below.
    """

    top_up_seconds: float = 1800.0
    first_seconds: float = 30.0
    longest_seconds: float = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The decision: ``default`` leaves it to Airflow; only ``retry`` has a delay.

    Example::

        Decision(action="retry", delay_seconds=1800)

    :param action: ``fail`` ends the task without further retries.
    :param delay_seconds: until the next try; None unless it is ``retry``.
    """

    action: Literal["retry", "fail", "default"]
    delay_seconds: float | None = None


def decide(error: BaseException, try_number: int, delays: Delays, *, jitter: float = 0.0) -> Decision:
    """The decision about an error that ended a try::

        decide(SeedreamInsufficientCreditsError("..."), 1, Delays())  # retry after 1,800 s

    :param error: errors of other classes get ``default``.
    :param try_number: from 1.
    :param jitter: 0 to 1: up to a quarter is added to a pause, as others wait for the same.
    """
    if not isinstance(error, SeedreamError):
        return Decision(action="default")
    # it may be paid
    is_unrefunded = isinstance(error, SeedreamGenerationFailedError) and error.paid != "refunded"
    if is_unrefunded or isinstance(error, _FINAL):
        return Decision(action="fail")
    return Decision(
        action="retry", delay_seconds=_pause_seconds(error, try_number, delays) * (1 + jitter / 4)
    )


def _pause_seconds(error: SeedreamError, try_number: int, delays: Delays) -> float:
    """The pause before the next try: for a top-up, as long as the API asked for, or doubled with each try."""
    if isinstance(error, SeedreamInsufficientCreditsError):
        return delays.top_up_seconds
    if isinstance(error, SeedreamRateLimitError) and error.retry_after_seconds is not None:
        return error.retry_after_seconds
    doublings = min(max(try_number - 1, 0), 32)  # 2.0**33 is beyond any delay, 2.0**1024 beyond a float
    return min(delays.first_seconds * 2.0**doublings, delays.longest_seconds)
