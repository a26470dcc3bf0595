"""The sensor that waits for a top-up of the wallet. It only reads the wallet, so it costs no credits.

The poll schedule and the hook are imported when a task runs: this module is loaded with every DAG.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, Context, conf

from airflow_provider_seedream.exceptions import (
    SeedreamAuthenticationError,
    SeedreamError,
    SeedreamNotFoundError,
    SeedreamPollingError,
    SeedreamTopUpTimeoutError,
)
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.provider_info import DEFAULT_CONN_ID
from airflow_provider_seedream.sensors.base import SeedreamSensor
from airflow_provider_seedream.tasks.backstop import backstop
from airflow_provider_seedream.tasks.wait_options import (
    as_seconds,
    execution_seconds,
)

if TYPE_CHECKING:
    from airflow_provider_seedream.hooks.seedream import SeedreamHook
    from airflow_provider_seedream.polling.policy import PollOutcome
    from airflow_provider_seedream.polling.poller import Poller

# each poll may count against the rate limit, and a top-up is a person's work
DEFAULT_POKE_INTERVAL_SECONDS = 60.0
DEFAULT_TIMEOUT_SECONDS = 24 * 3600.0


def _check_min_credits(value: Any) -> Decimal:
    """The credits as a decimal number.

    :raises SeedreamInputError: the value is not a number of credits.
    """
    from airflow_provider_seedream.polling.wallet import check_min_credits

    return check_min_credits(value)


class SeedreamCreditsSensor(SeedreamSensor):
    """Waits until the wallet holds enough, so that an empty wallet delays a night's work instead of failing
    it::

        SeedreamCreditsSensor(task_id="top_up", min_credits=500, deferrable=True) >> catalogue

    Returns ``{"balance": ...}``.

    :param min_credits: the credits that the wallet must hold; an image costs 10 [doc].
    :param seedream_conn_id: the connection.
    :param poke_interval: seconds between polls of the wallet, or a timedelta; 60.
    :param timeout: seconds, or a timedelta, from the start of a try to "no top-up in time", deferred or not;
        one day.
    :param deferrable: wait in the triggerer; Airflow's ``[operators] default_deferrable`` by default.

    ``soft_fail`` skips the task if the top-up does not come in time; ``never_fail`` skips it for every error.
    Both mean the same deferred or not.
    """

    template_fields: Sequence[str] = ("min_credits", "seedream_conn_id")
    checks: ClassVar = {"min_credits": _check_min_credits}
    ui_color = "#e8eaf6"

    def __init__(
        self,
        *,
        min_credits: float | str,
        seedream_conn_id: str = DEFAULT_CONN_ID,
        poke_interval: timedelta | float = DEFAULT_POKE_INTERVAL_SECONDS,
        timeout: timedelta | float = DEFAULT_TIMEOUT_SECONDS,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(
            poke_interval=self.checked(as_seconds, "poke_interval", poke_interval),
            timeout=self.checked(as_seconds, "timeout", timeout),
            **kwargs,
        )
        self.min_credits = min_credits
        self.seedream_conn_id = seedream_conn_id
        self.deferrable = deferrable
        self.check_static_fields()

    def execute(self, context: Context) -> dict[str, Any]:
        """Poll the wallet until it holds enough; return ``{"balance": "149.50"}``, with the API's own decimal
        text.

        :raises SeedreamTopUpTimeoutError: no top-up came within ``timeout``; AirflowTaskTimeout: within
            ``execution_timeout``.
        :raises SeedreamAuthenticationError: the API refused the key.
        :raises SeedreamPollingError: the API was unreachable for half an hour; a retry waits on.
        """
        with self.skipping():
            from airflow_provider_seedream.polling.loops import wait

            self.check_rendered_fields()
            poller = self._poller(self.started_epoch(context))
            return self._finish(wait(poller, self._hook.poll_wallet, partial(self._pause, poller)))

    def resume_waiting(self, context: Context, event: Any) -> dict[str, Any]:
        """Continue after a deferral: the trigger has polled the wallet, and its event says how the wait
        ended.

        :param event: from Airflow's database; one of another form is an error that a retry may mend.
        :raises SeedreamTopUpTimeoutError: no top-up came within ``timeout``.
        """
        from airflow_provider_seedream.triggers.credits import outcome_from

        return self._finish(outcome_from(event))

    def resume_unheard(self, context: Context) -> dict[str, Any]:
        """Continue a wait whose trigger sent no event: poll the wallet once.

        :returns: ``{"balance": ...}`` if the wallet holds enough by now.
        :raises SeedreamTopUpTimeoutError: it does not.
        """
        poller = self._poller(clock.now_epoch() - min(self.timeout, execution_seconds(self)))
        return self._finish(poller.heard(self._hook.poll_wallet(), now_epoch=clock.now_epoch()))

    def _pause(self, poller: Poller, seconds: float) -> None:
        """Between two polls: in the triggerer, in no process (``mode="reschedule"``), or on the worker,
        whose slot it holds.
        """
        if self.deferrable:  # it polls once before: a wallet that holds enough needs no triggerer
            self._defer(poller)
        if self.reschedule and poller.state.is_quiet:
            # an outage under way would be forgotten between processes
            self.come_back(seconds)
        clock.sleep(seconds)

    def _defer(self, poller: Poller) -> None:
        """Hand the wait over to the triggerer, with the state of this process's polls.

        :raises TaskDeferred: always; Airflow's own way to defer.
        """
        from airflow_provider_seedream.triggers.credits import SeedreamCreditsTrigger

        now, policy = clock.now_epoch(), poller.policy
        # Whichever is later: the least that Airflow can take, or the pause that the last answer asked for.
        first_poll_epoch = max(now + poller.first_poll_seconds(now_epoch=now), poller.due_epoch)
        trigger = SeedreamCreditsTrigger(
            seedream_conn_id=self.seedream_conn_id,
            # As digits: a trigger's arguments are JSON, which has no decimals, and a float could round the
            # limit.
            min_credits=f"{policy.min_credits:f}",
            first_poll_epoch=min(first_poll_epoch, policy.deadline_epoch),
            deadline_epoch=policy.deadline_epoch,
            poke_interval=self.poke_interval,
            outage_seconds=policy.outage_seconds,
            watch=poller.state.instants(),
        )
        self.log.info("Waiting until the wallet holds %s credits.", trigger.min_credits)
        limit = backstop(policy.deadline_epoch, now_epoch=now)
        self.defer(trigger=trigger, method_name="resume_waiting", timeout=limit)

    def _poller(self, started_epoch: float) -> Poller:
        """The poller of this wait; its first poll is due at once.

        :param started_epoch: when the try began, in epoch seconds: from there its limits count.
        """
        from airflow_provider_seedream.polling.policy import PollPolicy
        from airflow_provider_seedream.polling.poller import Poller

        policy = PollPolicy(
            min_credits=_check_min_credits(self.min_credits),
            deadline_epoch=started_epoch + min(self.timeout, execution_seconds(self)),
            poke_interval_seconds=self.poke_interval,
        )
        return Poller(policy, on_note=partial(self.log.info, "%s"))

    def _finish(self, outcome: PollOutcome) -> dict[str, Any]:
        """The result of a wait that is done; the error of every other one.

        A wait that ends by ``execution_timeout``, if that is shorter than ``timeout``, fails with Airflow's
        own error of it.
        """
        if outcome.verdict == "done":
            self.log.info("The wallet holds %s credits.", outcome.detail)
            return {"balance": outcome.detail}
        if outcome.verdict == "late":
            late = f"The wallet did not hold {self.min_credits} credits"
            if execution_seconds(self) < self.timeout:
                limit = clock.spell(execution_seconds(self))
                raise AirflowTaskTimeout(
                    f"NO TOP-UP IN TIME: {late} within `execution_timeout` ({limit}); a retry waits on."
                )
            raise SeedreamTopUpTimeoutError(
                f"{late} within {clock.spell(self.timeout)} (`timeout={self.timeout:g}`)."
            )
        raise self._error(outcome)

    def _error(self, outcome: PollOutcome) -> SeedreamError:
        """The error of a wait that is neither done nor late. No outcome of a wallet costs credits."""
        if outcome.verdict == "refused":
            return SeedreamAuthenticationError(outcome.detail)
        if outcome.verdict == "missing":
            return SeedreamNotFoundError(f"There is no wallet at this API: {outcome.detail}")
        error = SeedreamPollingError(outcome.detail, paid="no")
        error.on_retry = "A retry goes on waiting."
        return error

    @cached_property
    def _hook(self) -> SeedreamHook:
        """One hook for each try. Imported here, as this module is loaded with every DAG."""
        from airflow_provider_seedream.hooks.seedream import SeedreamHook

        return SeedreamHook(self.seedream_conn_id)
