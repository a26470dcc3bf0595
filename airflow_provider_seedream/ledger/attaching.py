"""Attaches a request that was sent before to its paid generation, or reports that the outcome of its POST is
unknown.

Sends no POST and makes no claim. Its only call to the API reads the wallet.
"""

import logging
from functools import partial
from typing import Literal

from airflow_provider_seedream.exceptions import SeedreamAmbiguousSubmissionError, SeedreamError, final
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.budgets import Budget
from airflow_provider_seedream.ledger.keeping import Fact
from airflow_provider_seedream.ledger.records import Ledger, Record, record_file
from airflow_provider_seedream.ledger.request import Request, Submitted
from airflow_provider_seedream.model.balances import what_follows
from airflow_provider_seedream.model.commands import command
from airflow_provider_seedream.model.error_lines import record_words

OnUnknownSubmit = Literal["fail", "resubmit"]
SETTLE = (
    "This request will not be sent again automatically. Look for it at the vendor, settle it with one of "
    "these, then clear the task:"
)
_log = logging.getLogger(__name__)


class Attacher:
    """Answers requests from the records of the ledger::

        attacher.attach(request, record)  # Submitted(generation=..., is_new=False)
        raise attacher.unknown_error("No answer came.", record, cause=None)

    :param hook: reads the wallet once for an unknown outcome.
    :param budget: counts what other tries of the same task have spent.
    :param on_unknown: ``fail``: an unknown outcome ends the task without retries; ``resubmit``: a retry may
        pay again.
    """

    def __init__(
        self, hook: SeedreamHook, ledger: Ledger, budget: Budget, on_unknown: OnUnknownSubmit
    ) -> None:
        self._hook = hook
        self._ledger = ledger
        self._budget = budget
        self._on_unknown = on_unknown

    def attach(self, request: Request, record: Record) -> Submitted:
        """The generation of an already paid record, with a warning if another task or another Airflow has
        paid for it.

        Nothing is sent and nothing is charged. The price counts in the budget if another try of this task has
        paid, as both tries may be alive. ``is_mine`` of the result says whether this task instance, in any of
        its tries, has paid.
        """
        made, mine = record.made_by, request.made_by
        # first: two tries of one task can be alive, and must not spend the budget twice
        self._budget.learn(record.spending)
        _log.info(
            "%sAlready paid: reusing generation %s, no new charge. Record: %s.",
            request.label,
            record.seedream_task_id,
            self._ledger.uri(record),
        )
        # A retry or a clear of the same instance is the usual case, and needs no warning.
        if made.run_id == mine.run_id and made.map_index != mine.map_index:
            _log.warning(
                "This request equals that of map index %s, so both share one generation. "
                "For variations use num_images, seed, name or take.",
                made.map_index,
            )
        if made.is_same_task(mine) and not made.is_same_round(mine):
            _log.warning(
                "This request equals that of another round of the loop (loop.index %s), so this round gets "
                "the same images. "
                'For others in each round write take="{{ loop.index + 1 }}", or put the round into the '
                "prompt.",
                made.loop_index,
            )
        if not made.is_same_airflow(mine):
            _log.warning(
                "Another Airflow (%s) has paid for this request: it has the same DAG, run and task ids and "
                "writes into the same "
                "folder, so both share one generation. [seedream] installation keeps the two apart.",
                made.installation or made.airflow,
            )
        is_instance = (
            made.is_same_task(mine) and made.is_same_round(mine) and made.map_index == mine.map_index
        )
        is_mine = made.is_same_airflow(mine) and is_instance
        return Submitted(generation=self._ledger.generation(record), is_new=False, is_mine=is_mine)

    def attach_to_fact(self, request: Request, fact: Fact, *, quoted_credits: int) -> Submitted:
        """The generation of a paid request whose record cannot be read now, from the id that Airflow
        remembers.

        :param fact: the result that the paying try left in XCom or in the task's state.
        :param quoted_credits: the price by the connection. The real one is in the record, which cannot be
            read.
        """
        submission, task_id = request.submission, fact.seedream_task_id or ""
        generation = Generation(
            seedream_task_id=task_id,
            kind=submission.kind,
            created_at=fact.created_at,
            num_images=submission.num_images,
            image_size=submission.image_size,
            credits=quoted_credits,
            destination=request.destination,
            name=request.stem or task_id,
            record=self._ledger.folder.uri(record_file(request.key, fact.attempt)),
            claim=fact.claim,
        )
        return Submitted(generation=generation, is_new=False)

    def unknown_error(self, message: str, record: Record, cause: str | None) -> SeedreamError:
        """The error of an unknown outcome. It reads the wallet once more: a balance that fell by the price is
        a strong hint.

        It names the record, the credits at risk and both commands that settle it. With ``on_unknown="fail"``
        it is final, as a retry could only find the same record.

        :param cause: the error text of the HTTP library, if it raised one.
        """
        error = SeedreamAmbiguousSubmissionError(f"{message} It was sent at {record.intent_at}.", cause=cause)
        error.record, error.credits = self._ledger.uri(record), record.cost_credits
        if record.wallet_balance is not None:
            error.wallet = what_follows(record.wallet_balance, self._hook.peek_balance(), record.cost_credits)
        resolve = partial(
            command, "resolve", *record_words(error.record), conn_id=self._hook.seedream_conn_id
        )
        error.commands = [resolve("--paid", "ID"), resolve("--not-paid")]
        if self._on_unknown == "fail":
            error.on_retry = SETTLE
            return final(error)
        error.on_retry = 'on_unknown_submit="resubmit": a retry sends it again, and may pay twice.'
        return error
