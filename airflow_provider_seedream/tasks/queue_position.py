"""A task's place in the queue for the rate limit: the trigger that it defers to, and the event that comes
back.

Loaded with every DAG, so the trigger is imported when one is asked for.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_seedream.exceptions import SeedreamRateLimitError
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.tasks.backstop import UNHEARD

if TYPE_CHECKING:
    from airflow_provider_seedream.hooks.seedream import SeedreamHook
    from airflow_provider_seedream.triggers.turns import SeedreamTurnTrigger

QUEUE_AGAIN = (
    "A retry asks for a turn again. A longer `timeout` and `deferrable=True` let it wait for its "
    "turn, for free."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A task's place in the queue. All instants are in epoch seconds::

        Place(started_epoch=clock.now_epoch())  # has not asked for a turn yet

    :param started_epoch: when the try began.
    :param asked_epoch: when it first asked for a turn. The task keeps this place if it asks again; None
        before the first time.
    :param granted_epoch: when it got the turn that it is using; None without one.
    """

    started_epoch: float
    asked_epoch: float | None = None
    granted_epoch: float | None = None

    @classmethod
    def from_event(
        cls,
        event: Any,
        *,
        started_epoch: float | None,
        asked_epoch: float | None,
        timeout: float,
        execution_timeout: float,
    ) -> Self:
        """The place of a task that was woken; both limits in seconds from the start of the try.

        :param started_epoch: and :param asked_epoch: as Airflow kept them; None: they are read from the
            event.

        :raises SeedreamRateLimitError: the deadline came before its turn.
        :raises AirflowTaskTimeout: ``execution_timeout`` is over, whether a turn came or not.
        """
        from airflow_provider_seedream.triggers.turns import asked_from, turn_from

        granted_epoch, is_late = turn_from(event)
        if started_epoch is None:
            started, asked_epoch = asked_from(event)
            started_epoch = clock.now_epoch() if started is None else started
        waited = clock.now_epoch() - started_epoch
        if waited >= execution_timeout or (is_late and execution_timeout < timeout):
            limit = f"`execution_timeout` ({clock.spell(execution_timeout)})"
            raise AirflowTaskTimeout(
                f"RATE LIMIT: No turn came within {limit}, so nothing was bought; a retry asks anew."
            )
        if is_late:
            limit = f"{clock.spell(waited)} (`timeout={timeout:g}`)"
            late = SeedreamRateLimitError(f"No turn came within {limit}: other requests were ahead.")
            late.on_retry = QUEUE_AGAIN
            raise late
        return cls(started_epoch=started_epoch, asked_epoch=asked_epoch, granted_epoch=granted_epoch)

    @staticmethod
    def unheard(*, waited_seconds: float, is_airflows: bool) -> AirflowTaskTimeout | SeedreamRateLimitError:
        """The error of a wait for a turn whose trigger sent no event until the time was over.

        :param is_airflows: True if ``execution_timeout`` ended it.
        :param waited_seconds: how long the task has waited for its turn, for people.
        :returns: Airflow's own error for its own limit, else the one that a late turn has.
        """
        waited = f"No turn came within {clock.spell(waited_seconds)}, so nothing was bought."
        return (
            AirflowTaskTimeout(f"{waited} {UNHEARD}")
            if is_airflows
            else SeedreamRateLimitError(f"{waited} {UNHEARD}")
        )

    def ask(
        self,
        hook: "SeedreamHook",
        error: SeedreamRateLimitError | None,
        *,
        timeout: float,
        not_before_epoch: float = 0.0,
    ) -> "tuple[SeedreamTurnTrigger, dict[str, Any]]":
        """The trigger that waits for a turn, and the arguments that the task gets back beside its event.

        :param error: the 429 that makes it ask, if one does.
        :param timeout: seconds from the start of the try.
        :param not_before_epoch: the earliest turn, of a task that waits for room under a cap.
        :param hook: names the connection, whose tasks share one queue, and its limit.
        :returns: both are JSON, as Airflow stores them while the task waits.
        """
        from airflow_provider_seedream.polling.poller import MIN_FIRST_POLL_SECONDS
        from airflow_provider_seedream.triggers.turns import SeedreamTurnTrigger

        now = clock.now_epoch()
        asked_epoch = now if self.asked_epoch is None else self.asked_epoch
        trigger = SeedreamTurnTrigger(
            seedream_conn_id=hook.seedream_conn_id,
            requests_per_minute=hook.requests_per_minute,
            asked_epoch=asked_epoch,
            not_before_epoch=max(now + MIN_FIRST_POLL_SECONDS, not_before_epoch),
            deadline_epoch=self.started_epoch + timeout,
            throttled_epoch=now if error else None,
            retry_after_seconds=error.retry_after_seconds if error else None,
            granted_epoch=self.granted_epoch,
            started_epoch=self.started_epoch,
        )
        return trigger, {"started_epoch": self.started_epoch, "asked_epoch": asked_epoch}
