"""``SeedreamRetryPolicy`` for Airflow 3.3 and later: the error that ended a try decides whether and when the
task tries again.

Airflow below 3.3 has no retry policies, so this import fails there: the base classes of the errors decide,
with Airflow's delays. From 3.4 on a 402 and a 429 use up no retry: the task runs again in the same try.
"""

from datetime import timedelta
from random import random
from typing import Any, Self

from airflow.providers.common.compat.sdk import Context

from airflow_provider_seedream.exceptions import (
    SeedreamInputError,
    SeedreamInsufficientCreditsError,
    SeedreamRateLimitError,
)
from airflow_provider_seedream.model.retry_decision import Delays, decide

try:
    from airflow.sdk import RetryDecision, RetryPolicy
except ImportError as error:
    raise ImportError(
        "SeedreamRetryPolicy needs Airflow 3.3. Below it leave out `retry_policy`: each error ends its task "
        "or lets it retry."
    ) from error

_DEFAULT = Delays()
# the API will take the same request later
_NOT_YET = (SeedreamInsufficientCreditsError, SeedreamRateLimitError)


class SeedreamRetryPolicy(RetryPolicy):
    """Times the retries of a task by the error that ended the last try. Give the task enough ``retries`` for
    it::

        SeedreamGenerateOperator(
            task_id="submit",
            prompt="a watch",
            retries=10,
            retry_policy=SeedreamRetryPolicy(top_up_delay=timedelta(hours=1)),
        )

    Only an error that a retry can mend is retried, and a retry does not pay again for a paid generation.
    Errors of other providers are left to Airflow.

    :param top_up_delay: after a 402 (empty wallet), which ends the task without a policy: 30 minutes.
    :param first_delay: after connection errors, 5xx, failed landings and the like: 30 s, doubled with each
        try.
    :param longest_delay: the limit of that doubling: 15 minutes. After a 429 the delay is the API's
        ``Retry-After``.
    :param most_waiting: from Airflow 3.4 on, how long a try goes on after its first 402 or 429 without using
        up a retry, even with ``retries=0``: a day. Then the task's retries count. Airflow 3.3 uses up a retry
        for each.
    """

    def __init__(
        self,
        *,
        top_up_delay: timedelta = timedelta(seconds=_DEFAULT.top_up_seconds),
        first_delay: timedelta = timedelta(seconds=_DEFAULT.first_seconds),
        longest_delay: timedelta = timedelta(seconds=_DEFAULT.longest_seconds),
        most_waiting: timedelta = timedelta(days=1),
    ) -> None:
        given = {
            "top_up_delay": top_up_delay,
            "first_delay": first_delay,
            "longest_delay": longest_delay,
            "most_waiting": most_waiting,
        }
        # Zero would try again at once, and use up all retries within the first seconds of an outage.
        if wrong := [
            name for name, value in given.items() if not isinstance(value, timedelta) or value <= timedelta()
        ]:
            raise SeedreamInputError(f"{wrong[0]} must be a timedelta above zero; got {given[wrong[0]]!r}.")
        self.most_waiting = most_waiting
        self.delays = Delays(
            top_up_seconds=top_up_delay.total_seconds(),
            first_seconds=first_delay.total_seconds(),
            longest_seconds=longest_delay.total_seconds(),
        )

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """The decision about a task whose try has failed; Airflow asks on the worker.

        :param exception: the error that ended the try.
        :param try_number: from 1.
        :returns: Airflow's default for an error of another provider.
        """
        # The randomness comes in here, as `decide` must give the same answer for the same arguments.
        decision = decide(exception, try_number, self.delays, jitter=random())
        if decision.action == "default":
            return RetryDecision.default()
        reason = f"{type(exception).__name__}: {getattr(exception, 'on_retry', '')}"
        if decision.action == "fail":
            return RetryDecision.fail(reason)
        delay = timedelta(seconds=decision.delay_seconds or 0.0)
        if isinstance(exception, _NOT_YET) and (reschedule := getattr(RetryDecision, "reschedule", None)):
            # Airflow 3.4
            later: RetryDecision = reschedule(delay, reschedule_timeout=self.most_waiting, reason=reason)
            return later
        return RetryDecision.retry(delay, reason)

    def serialize(self) -> dict[str, Any]:
        """The delays in seconds, as plain JSON: Airflow wants every policy to have it."""
        given = {
            "top_up": self.delays.top_up_seconds,
            "first": self.delays.first_seconds,
            "longest": self.delays.longest_seconds,
        }
        return {**given, "most_waiting": self.most_waiting.total_seconds()}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        """The policy again, from the delays of :meth:`serialize`."""
        names = {"top_up": "top_up_delay", "first": "first_delay", "longest": "longest_delay"}
        return cls(**{names.get(name, name): timedelta(seconds=value) for name, value in data.items()})
