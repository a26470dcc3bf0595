"""The price, the rate and the budgets of a batch, from its connection and its arguments. A dry run needs
no connection.
"""

from typing import Any

from airflow_provider_seedream.batch.asked import AskedBatch
from airflow_provider_seedream.batch.plan import PlanLimits
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.room import CapRoom
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.labels import check_labels, spelled
from airflow_provider_seedream.tasks.fields import check_budget

BUDGETS = ("max_credits", "max_credits_per_run")


class Limits:
    """The limits of one batch::

        Limits(asked, SeedreamHook("seedream_default")).credits_per_image  # 10

    :param asked: the operator's arguments. :param hook: reads the connection when a value of it is asked for.
    """

    def __init__(self, asked: AskedBatch, hook: SeedreamHook) -> None:
        self._asked = asked
        self._hook = hook

    @property
    def credits_per_image(self) -> int:
        """The price of an image as the connection says; 10 [doc] in a dry run without one."""
        return int(self._setting("credits_per_image", contract.CREDITS_PER_IMAGE))

    @property
    def has_destination(self) -> bool:
        """True if the task or its connection names a destination."""
        return self._asked.destination is not None or self._setting("destination", None) is not None

    def budgets(self) -> dict[str, int | None]:
        """The budgets of the task in credits, under their names; None for no limit."""
        return {field: check_budget(field, getattr(self._asked, field)) for field in BUDGETS}

    def of_plan(self) -> PlanLimits:
        """The limits in the form of a plan."""
        return PlanLimits(
            credits_per_image=self.credits_per_image,
            requests_per_minute=self._setting("requests_per_minute", None)
            or contract.DEFAULT_REQUESTS_PER_MINUTE,
            **self.budgets(),
            pays_unknown=self._asked.on_unknown_submit == "resubmit",
        )

    def room(self, now_epoch: float) -> CapRoom:
        """The room that the caps of the connection leave now; a dry run without a connection has no caps.

        :raises SeedreamInputError: the caps cannot hold for the task, so that a run would be refused.
        :raises SeedreamLedgerError: the books of the caps cannot be read.
        """
        caps, books, conn_id = (
            self._setting("caps", ()),
            self._setting("books", None),
            self._asked.seedream_conn_id,
        )
        labels = spelled(check_labels(self._asked.labels))
        return CapRoom.read(caps, books, conn_id=conn_id, now_epoch=now_epoch, labels=labels)

    def _setting(self, name: str, without: Any) -> Any:
        """A value of the connection. A dry run sends no request, so it works without a connection, but not
        with a wrong one.

        :raises SeedreamInputError: a field of the connection is wrong: a run would be refused.
        """
        try:
            return getattr(self._hook.settings, name)
        except Exception as error:
            is_wrong = isinstance(error, SeedreamInputError) and error.verdict == SeedreamInputError.verdict
            if self._asked.is_dry_run and not is_wrong:
                return without
            raise
