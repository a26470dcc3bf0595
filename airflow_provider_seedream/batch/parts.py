"""The parts of one try of a batch: table, ledger, limits, and the loop over the rows, each made once from the
operator's arguments.

Made when a batch runs, in each process of a try anew. Decides nothing.
"""

import math
from functools import cached_property
from typing import Any, cast

from airflow.providers.common.compat.sdk import Context

from airflow_provider_seedream.batch.asked import AskedBatch
from airflow_provider_seedream.batch.attending import Attendant
from airflow_provider_seedream.batch.brakes import Brakes
from airflow_provider_seedream.batch.deferring import ends_epoch
from airflow_provider_seedream.batch.limits import Limits
from airflow_provider_seedream.batch.pace import Pace
from airflow_provider_seedream.batch.plan import Plan
from airflow_provider_seedream.batch.planning import Rows, plan_table
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.batch.prompts import PromptTemplate
from airflow_provider_seedream.batch.results import Results
from airflow_provider_seedream.batch.row_request import request_of_row
from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.batch.sampling import rows_of_phase
from airflow_provider_seedream.batch.tries import Tries
from airflow_provider_seedream.batch.upcoming import RequestTable
from airflow_provider_seedream.batch.width import PostWidth
from airflow_provider_seedream.batch.worker import Waves
from airflow_provider_seedream.hooks.downloads import Downloads
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.admission import Admission
from airflow_provider_seedream.ledger.budgets import Budget
from airflow_provider_seedream.ledger.records import Ledger, Reuse
from airflow_provider_seedream.ledger.submit import OnUnknownSubmit, Request, Submitter
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.labels import check_labels, spelled
from airflow_provider_seedream.polling.policy import OUTAGE_SECONDS, PollPolicy
from airflow_provider_seedream.rate_limit.limiter import limiter_for
from airflow_provider_seedream.storage.uris import check_destination
from airflow_provider_seedream.tasks.budget_warnings import teller
from airflow_provider_seedream.tasks.landing_operator import describe_task
from airflow_provider_seedream.tasks.memory import TaskMemory
from airflow_provider_seedream.tasks.wait_options import beyond_defaults, interval_of

_DEFAULTS = ("image_size", "num_images", "enable_safety_checker", "take")


class Parts:
    """The parts of one try::

        parts = Parts(AskedBatch.of(operator), context)
        parts.table, parts.ledger, parts.tries
        waves = parts.waves(progress, downloads)

    :param asked: the operator's arguments. :param context: of the task instance.
    :param hook: of the connection; a new one by default.
    """

    def __init__(self, asked: AskedBatch, context: Context, hook: SeedreamHook | None = None) -> None:
        self.asked = asked
        self.context = context
        self.by = describe_task(context)
        self.repeats: frozenset[int] = frozenset()
        self.memory = TaskMemory(context, pushes_id=False)
        self.hook = hook or SeedreamHook(asked.seedream_conn_id)
        self.limits = Limits(asked, self.hook)

    def plan_of(self, table: Rows) -> Plan:
        """The plan of a run of these rows now, by the records in the ledger."""
        limits, now = self.limits.of_plan(), clock.now_epoch()
        room = self.limits.room(now)
        return plan_table(
            table,
            request_of=self.request,
            ledger=self.ledger,
            made_by=self.by,
            limits=limits,
            now_epoch=now,
            room=room,
        )

    def waves(self, progress: Progress, downloads: Downloads) -> Waves:
        """The loop over the rows that have not begun, with all its parts."""
        self.repeats = progress.repeats  # their records exist once the first of them is sent
        asked, hook, ledger = self.asked, self.hook, self.ledger
        budget = Budget(ledger, self.by, **self.limits.budgets())
        return Waves(
            progress,
            rows_of_phase(
                self.table.rows_after(
                    progress.cursor, progress.digest, of=progress.rows, waiting=tuple(progress.waiting)
                ),
                progress,
            ),
            request=self.request,
            submitter=Submitter(
                hook,
                ledger,
                cast(OnUnknownSubmit, asked.on_unknown_submit),
                budget,
                admission=self.admission,
                memory=self.memory,
            ),
            budget=budget,
            admission=self.admission,
            waits_until=ends_epoch(progress, asked.execution_timeout) if asked.on_budget == "wait" else None,
            looks_ahead=asked.on_budget == "wait" and (asked.reuse == "content" or self.by.try_number != 1),
            width=PostWidth(asked.max_posts_at_once, progress.post_seconds),
            attendant=Attendant(
                hook,
                downloads,
                self.policy,
                landed_by=self.by,
                embed_metadata=asked.embed_metadata,
                ledger=ledger,
            ),
            results=Results.from_state(ledger.folder, progress.results),
            pace=self.pace,
            brakes=Brakes(
                progress,
                self.tries,
                folder=ledger.folder,
                by=self.by,
                results=asked.results_name(self.by),
                rule=asked.stop_when,
            ),
        )

    def request(self, row: Row) -> Request:
        """The request of a row. Runs in the thread that submits it, as it reads the sources of an edit.

        :raises SeedreamInputError: a source is no image that the API takes; the row ends as ``invalid``.
        :raises SeedreamError: a storage does not answer; the row ends as ``failed``, and a retry reads it
            again.
        """
        reuse = cast(Reuse, self.asked.reuse)
        return request_of_row(
            row,
            destination=self.ledger.folder.base,
            made_by=self.by,
            reuse=reuse,
            is_new=reuse == "run" and self.by.try_number == 1 and row.number not in self.repeats,
            row=row.number,
            labels=check_labels(self.asked.labels),
            **beyond_defaults(
                embed_metadata=self.asked.embed_metadata, max_image_bytes=self.asked.max_image_bytes
            ),
        )

    @cached_property
    def admission(self) -> Admission:
        """Admits the rows under the caps of the connection."""
        told = teller(self.asked.on_budget_warning, self.context, self.hook.seedream_conn_id)
        return Admission(
            self.hook, self.ledger.folder.base, labels=spelled(check_labels(self.asked.labels)), told=told
        )

    @cached_property
    def tries(self) -> Tries:
        """The file that this try shares with its retries."""
        return Tries(self.ledger.folder, self.by, max_tries=getattr(self.context["ti"], "max_tries", 0))

    @cached_property
    def pace(self) -> Pace:
        """The share of the rate limit, and ``max_in_flight``."""
        return Pace(
            limiter=limiter_for(self.asked.seedream_conn_id, self.hook.requests_per_minute),
            counts_polls=self.hook.settings.status_counts_toward_limit,
            max_in_flight=self.asked.max_in_flight,
            timeout_seconds=self.asked.timeout,
        )

    @cached_property
    def table(self) -> RequestTable:
        """The table of requests, with the template and the defaults of its rows."""
        asked = self.asked
        template = (
            PromptTemplate(asked.template, cast(dict[str, Any], self.context)) if asked.template else None
        )
        defaults = {field: getattr(asked, field) for field in _DEFAULTS}
        return RequestTable(source=asked.requests, defaults=defaults, template=template)

    @cached_property
    def policy(self) -> PollPolicy:
        """How long to wait for a generation."""
        return PollPolicy(
            deadline_epoch=math.inf,  # each generation has its own
            poke_interval_seconds=interval_of(self.asked.poke_interval),
            num_images=None,
            settling_seconds=self.asked.settling_seconds,
            outage_seconds=OUTAGE_SECONDS,
        )

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of the destination."""
        destination = self.asked.destination
        return Ledger(
            check_destination(self.hook.settings.destination if destination is None else destination)
        )
