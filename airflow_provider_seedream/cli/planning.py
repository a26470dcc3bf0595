"""The command that says what a table would cost now: which rows a run would pay, and which are paid already.

It only reads: the table, the sources of edits, and the ledger. It calls no API, so it needs no key, unless
the caps of a connection are asked for.
"""

import argparse
import uuid
from functools import partial
from typing import Any

from airflow_provider_seedream.batch.plan import Plan, PlanLimits
from airflow_provider_seedream.batch.planning import plan_table
from airflow_provider_seedream.batch.prompts import PromptTemplate
from airflow_provider_seedream.batch.row_request import request_of_row
from airflow_provider_seedream.batch.upcoming import RequestTable
from airflow_provider_seedream.cli.pricing import absolute, check_terms, duration, template_context
from airflow_provider_seedream.cli.printing import print_facts, print_json, print_lines, print_rows, working
from airflow_provider_seedream.cli.running import WRONG
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.ledger.room import CapRoom
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.commands import command
from airflow_provider_seedream.model.counting import counted
from airflow_provider_seedream.model.field_checks import check_image_size, check_num_images, check_take
from airflow_provider_seedream.model.labels import check_labels, spelled
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.tasks.fields import check_budget
from airflow_provider_seedream.tasks.installation import describe_installation

_LABELS = {
    "pay": "to pay",
    "pay_again": "to pay again (refunded, or given up)",
    "over_budget": "over the budget, not sent",
    "repeat": "equal to an earlier row, no extra cost",
    "landed": "paid and landed",
    "in_flight": "paid, in flight",
    "not_landed": "paid, to be landed for free",
    "lost": "paid, images deleted or failed",
    "unknown": "perhaps paid: unknown outcome",
    "name_taken": "refused: name of another request",
    "invalid": "refused: invalid",
}


def plan(options: argparse.Namespace) -> int:
    """`airflow seedream plan`: compare a table with a folder's ledger, as a run of the batch would before it
    pays.

    JSON: ``table``, ``destination`` and the fields of `batch.plan.Plan`.

    :param options: the table with the operator's arguments for it, ``destination``, the ids of the run,
        ``requests_per_minute``, ``credits_per_image`` and ``max_credits``; ``conn_id`` and ``label`` for
        caps.
    :returns: 2 if a row is invalid or its name belongs to another request, else 0.
    :raises SeedreamInputError: an argument is wrong, the table is not there, or a line of it cannot be read.
    :raises SeedreamLedgerError: the ledger cannot be read, so it may hide payments; or the books of caps
        cannot.
    """
    ledger = Ledger(options.destination)
    made_by, reuse = _task(options), options.reuse
    check_num_images(options.num_images)
    check_image_size(options.image_size)
    check_take(options.take)
    check_terms(options)
    check_budget("--max-credits", options.max_credits)

    request_of = partial(request_of_row, destination=ledger.folder.base, made_by=made_by, reuse=reuse)
    # As the operator reads the same arguments, so that the plan and the run agree.
    limits = PlanLimits(
        credits_per_image=options.credits_per_image,
        requests_per_minute=options.requests_per_minute,
        max_credits=options.max_credits,
        pays_unknown=options.on_unknown_submit == "resubmit",
    )
    now = clock.now_epoch()
    room = _room(options, now)
    with working("Comparing the table with the ledger"):
        made = plan_table(
            _table(options),
            request_of=request_of,
            ledger=ledger,
            made_by=made_by,
            limits=limits,
            now_epoch=now,
            room=room,
        )
    if options.output == "json":
        print_json({"table": options.table, "destination": ledger.folder.base, **made.to_dict()})
    else:
        _print(made, options)
    return WRONG if made.count["invalid"] or made.count["name_taken"] else 0


def _table(options: argparse.Namespace) -> RequestTable:
    """The table with the operator's defaults, and its template if one is given."""
    template = PromptTemplate(options.template, template_context(options)) if options.template else None
    defaults = {"num_images": options.num_images, "image_size": options.image_size, "take": options.take}
    return RequestTable(source=absolute(options.table), defaults=defaults, template=template)


def _task(options: argparse.Namespace) -> TaskRef:
    """The task that would pay. Without its ids: a task of a DAG run that has not begun, so no request in the
    ledger is its own.

    :raises SeedreamInputError: some of the three ids are given, and not all.
    """
    ids = (options.dag_id, options.run_id, options.task_id)
    if any(ids) and not all(ids):
        raise SeedreamInputError(
            "--dag-id, --run-id and --task-id belong together: the ledger knows a request by all three."
        )
    # A random id: the ledger surely holds no request of a run that does not exist yet.
    dag_id, run_id, task_id = ids if all(ids) else (f"plan-{uuid.uuid4()}",) * 3
    return TaskRef.from_dict(
        {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, **describe_installation()}
    )


def _room(options: argparse.Namespace, now_epoch: float) -> CapRoom | None:
    """The credits that the caps of the connection leave now; None if no connection is named.

    :raises SeedreamInputError: a label has another form, or is given without a connection; or the connection
        is missing.
    """
    pairs = [label.partition("=")[::2] for label in options.label or ()]
    labels = spelled(check_labels(dict(pairs)))
    if options.conn_id is None:
        if labels:
            raise SeedreamInputError("--label needs --conn-id: it chooses among the caps of that connection.")
        return None
    settings = SeedreamHook(options.conn_id).settings
    return CapRoom.read(
        settings.caps, settings.books, conn_id=options.conn_id, now_epoch=now_epoch, labels=labels
    )


def _print(made: Plan, options: argparse.Namespace) -> None:
    """The plan for people: rows by their status, the cost, what is at risk, and the rows to look at."""
    facts: dict[str, Any] = {"rows": made.rows}
    print_facts(facts | {_LABELS[status]: number for status, number in made.count.items() if number})
    rate = f"at {counted(options.requests_per_minute, 'request')} a minute"
    # The plan counts the valid rows, but a batch with the default on_error="fail" refuses the whole table.
    if made.count["invalid"]:
        print_lines(
            'A run refuses a table with invalid rows and sends nothing, unless it has on_error="continue".'
        )
    print_lines(
        f"{'Such a run' if made.count['invalid'] else 'A run now'} sends {counted(made.requests, 'request')} "
        f"for {counted(made.images, 'image')}: up to {counted(made.credits, 'credit')}, "
        f"{duration(made.minutes)} {rate}."
    )
    if within := made.within_caps:
        print_lines(
            f"The caps of {options.conn_id} now leave room for {within['requests']} of "
            f"{counted(made.requests, 'request')}: {within['credits']} of {counted(made.credits, 'credit')}."
        )
        print_rows(f"Caps of {options.conn_id}", within["caps"])
    if made.land_before:
        print_lines(f"The API deletes the first images that are paid and not landed at {made.land_before}.")
    if made.credits_at_risk:
        listing = command("ledger", options.destination, "--outcome", "unknown", "--outcome", "intent")
        print_lines(
            f"Perhaps paid: up to {counted(made.credits_at_risk, 'credit')}. To see the records: {listing}"
        )
    if made.other_requests:
        print_lines(
            f"Other requests in this ledger: {made.other_requests}, of an earlier table or of other tasks."
        )
    print_lines("To look at:", made.notes)
    # Other values make other requests: rows that are paid then look unpaid, and their names look taken.
    assumed = f"num_images {options.num_images}, image_size {options.image_size}, take {options.take}"
    print_lines(f"Assumed where a row has none, as the operator's own: {assumed}.")
