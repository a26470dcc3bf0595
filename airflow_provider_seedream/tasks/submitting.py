"""How a task submits its request: the ledger first, one POST, and a wait for the rate limit where the API
asks for one.

Loaded with every DAG: ledger, hook and triggers are imported when the task runs.
"""

import random
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import Context

from airflow_provider_seedream.exceptions import (
    SeedreamCapError,
    SeedreamInputError,
    SeedreamInsufficientCreditsError,
    SeedreamLedgerError,
    SeedreamRateLimitError,
    final,
)
from airflow_provider_seedream.model import clock, contract
from airflow_provider_seedream.model.counting import counted
from airflow_provider_seedream.model.field_checks import check_take
from airflow_provider_seedream.model.labels import check_labels, spelled
from airflow_provider_seedream.model.names import check_name, uncomposed
from airflow_provider_seedream.model.submissions import Submission
from airflow_provider_seedream.storage.uris import check_destination
from airflow_provider_seedream.tasks.backstop import backstop
from airflow_provider_seedream.tasks.fields import CheckedFields, check_budget
from airflow_provider_seedream.tasks.landing_operator import describe_task
from airflow_provider_seedream.tasks.queue_position import QUEUE_AGAIN, Place
from airflow_provider_seedream.tasks.wait_options import beyond_defaults, execution_seconds
from airflow_provider_seedream.tasks.waiting import WaitingOperator

if TYPE_CHECKING:
    from airflow_provider_seedream.generations import Generation
    from airflow_provider_seedream.ledger.records import Ledger
    from airflow_provider_seedream.ledger.submit import Request, Submitter


MAX_SPREAD_SECONDS = 60.0  # after the end of a cap's period


class SubmittingOperator(CheckedFields, WaitingOperator):
    """An operator that submits one request; its subclasses set these attributes and make the submission::

        class SeedreamGenerateOperator(SubmittingOperator):
            def execute(self, context):
                return self.submit(context)

    :param destination: storage URI of the folder; None for the connection's.
    :param name: file stem of the images; None for the seedream task id.
    :param take: 1 or more; part of the name of the images.
    :param reuse: ``run`` or ``content``: the requests that count as the same one.
    :param on_unknown_submit: ``fail`` or ``resubmit``, for a POST whose outcome is unknown.
    :param max_credits: credits that the task may spend in its DAG run; None for no limit.
    :param max_credits_per_run: credits that all Seedream tasks of the DAG run may spend in the destination;
        likewise.
    :param labels: written into the record; no part of the request.
    :param on_budget: ``fail``, or ``wait`` until a cap of the connection has room again.
    :param on_budget_warning: called when a share of a cap is spent.
    :param wait: True to wait for the images and land them in the same task.
    :param deferrable: True: wait in the triggerer, for the rate limit and for the images.
    """

    destination: str | None
    name: str | None
    take: int | str
    reuse: str
    on_unknown_submit: str
    max_credits: int | str | None
    max_credits_per_run: int | str | None
    labels: dict[str, str] | None
    on_budget: str
    on_budget_warning: Any
    wait: bool
    deferrable: bool
    can_resubmit = True

    def submit(self, context: Context) -> dict[str, Any]:
        """Submit the request, or find it paid. Returns a Generation, or with ``wait`` a LandedGeneration
        (dict).

        :raises TaskDeferred: a deferrable task waits for the rate limit, or for its images.
        :raises SeedreamBudgetError: the price exceeds the rest of a budget; no request was sent.
        :raises SeedreamAmbiguousSubmissionError: the POST was not answered, or an earlier one was not; it may
            be paid.
        :raises SeedreamLedgerError: the storage does not answer, so it is unknown whether the request is
            paid.
        """
        return self._submit(context, Place(started_epoch=clock.now_epoch()))

    def resume_submission(
        self,
        context: Context,
        event: Any,
        started_epoch: float | None = None,
        asked_epoch: float | None = None,
    ) -> dict[str, Any]:
        """Continue after a wait for the rate limit.

        :param event: of the turn's trigger: a turn, or the news that the deadline came first.
        :param started_epoch: when the try began; None if Airflow did not keep it: then the event says it.
        :param asked_epoch: when the task first asked for a turn; likewise.
        :raises SeedreamRateLimitError: the deadline came before its turn; nothing was bought.
        """
        place = Place.from_event(
            event,
            started_epoch=started_epoch,
            asked_epoch=asked_epoch,
            timeout=self.timeout,
            execution_timeout=execution_seconds(self),
        )
        return self._submit(context, place)

    def resume_unheard(self, context: Context) -> dict[str, Any]:
        """Continue a wait whose trigger sent no event: check the images once, or fail if the request is not
        paid yet.

        :raises SeedreamRateLimitError: the request is not paid, and no turn came in time.
        """
        # The request is made again, as its key is the only way to its record: Airflow has dropped the
        # arguments of the deferral.
        found, refused = None, None
        try:
            request, submitter = self._prepared(context)
            found = submitter.find(request)
        except SeedreamInputError as error:
            # the request cannot be made again, e.g. as the source of an edit is gone
            refused = error
        generation = found.generation if found else self._pushed(context)
        if generation is None:
            is_airflows = execution_seconds(self) < self.timeout
            raise refused or Place.unheard(waited_seconds=self._patience_seconds, is_airflows=is_airflows)
        return self.poll_once(context, generation) if self.wait else generation.to_dict()

    def _pushed(self, context: Context) -> "Generation | None":
        """The generation of the id that this try has pushed, if its request cannot be made again or has
        changed since.
        """
        from airflow_provider_seedream.generations import Generation
        from airflow_provider_seedream.ledger.record import file_stem

        ti: Any = context["ti"]
        task_id = ti.xcom_pull(task_ids=ti.task_id, key="seedream_task_id", map_indexes=ti.map_index)
        if not contract.is_seedream_task_id(task_id):
            return None
        stem = file_stem(check_name(self.name), check_take(self.take))
        return Generation.bare(str(task_id), destination=self._folder_uri, name=stem or str(task_id))

    @property
    def _folder_uri(self) -> str:
        """The destination: of the task, else of the connection.

        :raises SeedreamInputError: neither names one.
        """
        return check_destination(
            self._hook.settings.destination if self.destination is None else self.destination
        )

    def _submit(self, context: Context, place: Place) -> dict[str, Any]:
        """Submit, push the id at once, and wait if that was asked for.

        :param place: in the queue for the rate limit; the first call has not asked for a turn yet.
        """
        request, submitter = self._prepared(context)
        if self._must_queue(request, submitter.ledger, place):
            self._ask_for_turn(place, None)
        generation = self._in_turn(partial(submitter.submit, request), place)
        # Before the wait: links, people and the next resumption find the id even if this try ends in the
        # middle of it.
        context["ti"].xcom_push("seedream_task_id", generation.seedream_task_id)
        if self.wait:
            return self.wait_and_land(context, generation, started_epoch=place.started_epoch)
        return generation.to_dict()

    def _prepared(self, context: Context) -> "tuple[Request, Submitter]":
        """The request and its submitter. Makes them only: sends no request and writes no file.

        :raises SeedreamInputError: a field, a source image or the connection is wrong.
        """
        from airflow_provider_seedream.ledger.admission import Admission
        from airflow_provider_seedream.ledger.budgets import Budget
        from airflow_provider_seedream.ledger.records import Ledger, Reuse
        from airflow_provider_seedream.ledger.submit import OnUnknownSubmit, Request, Submitter
        from airflow_provider_seedream.tasks.budget_warnings import teller
        from airflow_provider_seedream.tasks.memory import TaskMemory

        hook = self._hook
        request = Request(
            submission=self._submission(),
            destination=self._folder_uri,
            name=check_name(self.name),
            name_as_written=uncomposed(self.name),
            made_by=describe_task(context),
            reuse=cast(Reuse, self.reuse),
            labels=check_labels(self.labels),
            **(
                beyond_defaults(embed_metadata=self.embed_metadata, max_image_bytes=self.max_image_bytes)
                if self.wait
                else {}
            ),
        )
        ledger = Ledger(request.destination)
        budget = Budget(
            ledger,
            request.made_by,
            max_credits=check_budget("max_credits", self.max_credits),
            max_credits_per_run=check_budget("max_credits_per_run", self.max_credits_per_run),
        )
        told = teller(self.on_budget_warning, context, hook.seedream_conn_id)
        admission = Admission(hook, ledger.folder.base, labels=spelled(request.labels), told=told)
        on_unknown, memory = (
            cast(OnUnknownSubmit, self.on_unknown_submit),
            TaskMemory(context, pushes_id=True),
        )
        return request, Submitter(hook, ledger, on_unknown, budget, admission=admission, memory=memory)

    def _must_queue(self, request: "Request", ledger: "Ledger", place: Place) -> bool:
        """True if a 429 is almost certain: the earlier instances of the same mapped task already fill the
        minute's limit.

        Without this, hundreds of instances would each send a POST only to be refused.
        """
        map_index = request.made_by.map_index
        # A task that may not defer would hold its worker slot in the queue; one that has asked before comes
        # back with its turn.
        if not self.deferrable or place.asked_epoch is not None or map_index < 1:
            return False
        try:
            latest = ledger.latest(request.key)
        except SeedreamLedgerError:  # the submission will meet this error, and report it
            return False
        if latest is not None and not latest.is_open_for_next:
            return False
        limit = self._hook.known_requests_per_minute
        return limit is not None and map_index >= limit

    def _in_turn(self, submit: "Callable[[], Generation]", place: Place) -> "Generation":
        """Submit. After a 429, which costs nothing, wait (in the triggerer if ``deferrable``) and submit
        again.

        :raises SeedreamRateLimitError: the next turn comes after the time limit of the try.
        """
        while True:
            try:
                return submit()
            except SeedreamRateLimitError as error:
                refusal, wait_seconds = error, self._turn_seconds(error)
                if clock.now_epoch() + wait_seconds > place.started_epoch + self._patience_seconds:
                    rate, limit = self._hook.requests_per_minute, clock.spell(self._patience_seconds)
                    error.cause = error.message
                    wait = clock.spell(wait_seconds)
                    per_minute = counted(float(rate), "request")
                    error.message = (
                        f"{per_minute} a minute: the next turn is {wait} away, after the end of "
                        f"`timeout` ({limit})."
                    )
                    error.on_retry = QUEUE_AGAIN
                    raise error from None
            except SeedreamInsufficientCreditsError as error:
                # Airflow asks a policy about every error but those that end a task, so a final 402 would
                # never be timed by it.
                if getattr(self, "retry_policy", None):
                    raise
                raise final(error) from None
            except SeedreamCapError as error:
                self._wait_for_room(error, place)
                continue
            # A sleeping worker would hold its slot, perhaps for minutes; the triggerer waits for thousands at
            # once.
            if self.deferrable:
                self._ask_for_turn(place, refusal)
            self.log.info(
                "The API answered 429 (rate limit), which costs nothing; sending this request again in %.0f "
                "s.",
                wait_seconds,
            )
            clock.sleep(wait_seconds)

    def _wait_for_room(self, error: SeedreamCapError, place: Place) -> None:
        """Wait until the period of a full cap ends, in the triggerer if ``deferrable``; then the request is
        admitted anew.

        A minute at random is added, so that tasks that wait for the same midnight do not come together.

        :raises SeedreamCapError: the task does not wait, or there is no room before the time limit of the
            try.
        """
        room_epoch = clock.to_epoch(error.room_at)
        if self.on_budget != "wait" or room_epoch is None:
            raise error
        if room_epoch > place.started_epoch + self._patience_seconds:
            limit = clock.spell(self._patience_seconds)
            when = clock.minute_of(room_epoch)
            error.on_retry = (
                f"There is room again at {when}, after the end of `timeout` ({limit}): a longer one lets it "
                "wait."
            )
            raise error
        wait_seconds = max(0.0, room_epoch - clock.now_epoch()) + random.random() * MAX_SPREAD_SECONDS
        self.log.info(
            "%s Nothing is paid; waiting for %s until there may be room.",
            error.message,
            clock.spell(wait_seconds),
        )
        if self.deferrable:
            self._ask_for_turn(place, None, not_before_epoch=clock.now_epoch() + wait_seconds)
        clock.sleep(wait_seconds)

    def _turn_seconds(self, error: SeedreamRateLimitError) -> float:
        """Seconds to wait after a 429: the API's ``Retry-After``, else one request's share of the minute; at
        least 1 s.

        Up to half more is added at random, so that tasks that were refused together do not return together.
        """
        from airflow_provider_seedream.rate_limit.limiter import MIN_REFUSED_SECONDS

        share: float = 60.0 / self._hook.requests_per_minute
        asked = max(
            MIN_REFUSED_SECONDS, share if error.retry_after_seconds is None else error.retry_after_seconds
        )
        return asked + random.random() * min(asked, share) / 2

    def _ask_for_turn(
        self, place: Place, error: SeedreamRateLimitError | None, *, not_before_epoch: float = 0.0
    ) -> None:
        """Defer until the triggerer grants a turn."""
        trigger, kwargs = place.ask(
            self._hook, error, timeout=self._patience_seconds, not_before_epoch=not_before_epoch
        )
        self.log.info(
            "Rate limit %g/min: waiting in the triggerer until this request may be sent.",
            trigger.requests_per_minute,
        )
        limit = backstop(trigger.deadline_epoch, now_epoch=clock.now_epoch())
        self.defer(trigger=trigger, method_name="resume_submission", kwargs=kwargs, timeout=limit)

    @abstractmethod
    def _submission(self) -> Submission:
        """The rendered fields as a submission.

        :raises SeedreamInputError: a field is invalid; the request was not sent.
        """
