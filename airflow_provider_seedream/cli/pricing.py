"""The command that checks and prices a table of requests.

It sends nothing and needs no key. It reads row by row, so its memory does not grow with the table.
"""

import argparse
import json
import math
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_provider_seedream.batch.prompts import PromptTemplate
from airflow_provider_seedream.batch.requests import RawRow, read_table
from airflow_provider_seedream.batch.rows import build_row
from airflow_provider_seedream.cli.printing import print_facts, print_json, print_lines, print_rows, working
from airflow_provider_seedream.cli.running import WRONG
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model.counting import counted
from airflow_provider_seedream.model.field_checks import check_num_images

MAX_SHOWN = 100  # invalid rows in JSON, and different faults in the table


@dataclass(slots=True)
class _Sums:
    """The sums over a table, and its faults. A fault that many rows share is kept once::

        faults == {"prompt is missing.": [300, "line 2 of table.csv"]}  # how many rows, and the first of them

    :param columns: the names of all columns seen, in their order.
    :param refused: the first invalid rows, for JSON.
    """

    rows: int = 0
    generate: int = 0
    edit: int = 0
    images: int = 0
    invalid: int = 0
    columns: dict[str, None] = field(default_factory=dict)
    refused: list[dict[str, str]] = field(default_factory=list)
    faults: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, raw: RawRow, template: PromptTemplate | None, defaults: dict[str, Any]) -> None:
        """Count one row: its images, or its fault."""
        self.rows += 1
        self.columns |= dict.fromkeys([*raw.header, *raw.columns])
        try:
            row = build_row(*raw, defaults=defaults, template=template)
        except SeedreamInputError as error:
            self._refuse(raw.where, error.message.removeprefix(f"{raw.where}: "))
            return
        self.images += row.num_images
        if row.kind == "edit":
            self.edit += 1
        else:
            self.generate += 1

    def _refuse(self, where: str, why: str) -> None:
        """Count an invalid row, and keep its fault once with the first row that has it."""
        self.invalid += 1
        # Bounded, as a table of a million rows may have a fault in each.
        if len(self.refused) < MAX_SHOWN:
            self.refused.append({"where": where, "why": why})
        # A known fault is always counted; only new ones are dropped beyond the bound.
        if why in self.faults or len(self.faults) < MAX_SHOWN:
            self.faults.setdefault(why, [0, where])[0] += 1


def price(options: argparse.Namespace) -> int:
    """``airflow seedream price``: the sums of a table, its duration at the key's rate, and its invalid rows.

    The price is the most a run would pay: the ledger is not asked. ``plan`` compares with it.

    :param options: the table with the operator's arguments for it, ``requests_per_minute`` and
        ``credits_per_image``.
    :returns: 2 when a row is invalid, else 0.
    :raises SeedreamInputError: an argument is wrong, the table is not there, or a line of it cannot be read.
    """
    check_num_images(options.num_images)
    check_terms(options)
    template = PromptTemplate(options.template, template_context(options)) if options.template else None
    sums = _Sums()
    with working("Reading the table"):
        for raw in read_table(absolute(options.table)):
            sums.add(raw, template, {"num_images": options.num_images})
    facts: dict[str, Any] = {name: getattr(sums, name) for name in ("rows", "generate", "edit", "images")}
    facts |= {"credits": sums.images * options.credits_per_image, "invalid": sums.invalid}
    # Each row is one request, however many images it asks for.
    minutes = (sums.generate + sums.edit) / options.requests_per_minute
    if options.output == "json":
        print_json(
            {**facts, "minutes": round(minutes, 1), "assumed": _assumed(options), "refused": sums.refused}
        )
    else:
        print_facts(facts)
        print_rows(
            "Invalid rows",
            [{"rows": many, "first": first, "why": why} for why, (many, first) in sums.faults.items()],
        )
        # The likeliest mistake has one cause and a fault in each row, so it gets a sentence of its own.
        if sums.rows and "prompt" not in sums.columns and not options.template:
            has = ", ".join(sums.columns) or "none"
            print_lines(
                f"The table has no column 'prompt'. Its columns: {has}. Add it, or make the prompts with "
                "--template."
            )
        if minutes:
            print_lines(
                f"The requests take {duration(minutes)} at {counted(options.requests_per_minute, 'request')} "
                "a minute."
            )
        assumed = ", ".join(
            f"{name} {value}" for name, value in _assumed(options).items() if name != "requests_per_minute"
        )
        print_lines(f"Assumed: {assumed}.")
    return WRONG if sums.invalid else 0


def duration(minutes: float) -> str:
    """A duration for people: ``about 40 min``, ``about 2.5 hours``.

    :param minutes: from 120 on the text counts hours.
    """
    return f"about {minutes:.0f} min" if minutes < 120 else f"about {minutes / 60:.1f} hours"


def check_terms(options: argparse.Namespace) -> None:
    """Check the rate and the price before the table is read.

    :raises SeedreamInputError: the rate or the price is not above 0.
    """
    if not (math.isfinite(options.requests_per_minute) and options.requests_per_minute > 0):
        raise SeedreamInputError(
            f"--requests-per-minute must be above 0; got {options.requests_per_minute:g}."
        )
    if options.credits_per_image <= 0:
        raise SeedreamInputError(f"--credits-per-image must be above 0; got {options.credits_per_image}.")


def _assumed(options: argparse.Namespace) -> dict[str, Any]:
    """The values that the operator, the run or the key may have otherwise."""
    assumed: dict[str, Any] = {
        "num_images": options.num_images,
        "requests_per_minute": options.requests_per_minute,
    }
    return {**assumed, "date": _date(options).date().isoformat()} if options.template else assumed


def template_context(options: argparse.Namespace) -> dict[str, Any]:
    """The variables that a DAG run gives to a template, as far as a date and params tell.

    :returns: ``ds``, ``ts``, ``logical_date``, ``data_interval_start``, ``params``, ``dag_run`` and others of
        that kind.
    :raises SeedreamInputError: ``--params`` is not a JSON object, or ``--date`` is not a date.
    """
    try:
        params = json.loads(options.params)
    except ValueError:
        params = None
    if not isinstance(params, dict):
        raise SeedreamInputError(f"--params must be a JSON object; got {options.params[:80]!r}.")
    date = _date(options)
    day, moment = date.date().isoformat(), date.isoformat()
    times = {"ds": day, "ds_nodash": day.replace("-", ""), "ts": moment, "logical_date": date}
    run = {"dag_run": {"run_after": date, "logical_date": date, "conf": params}}
    return {**times, **run, "data_interval_start": date, "data_interval_end": date, "params": params}


def _date(options: argparse.Namespace) -> datetime:
    """The date of the option, in UTC unless it names another zone; today at midnight UTC without the
    option.
    """
    if options.date is None:
        return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        date = datetime.fromisoformat(options.date)
    except ValueError:
        raise SeedreamInputError(
            f"--date must be a date, e.g. 2026-11-22; got {options.date[:80]!r}."
        ) from None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def absolute(table: str) -> str:
    """The table's path. A relative one means the person's current folder, here as in any command.

    :param table: a path or a storage URI, which is returned as it is.
    :raises SeedreamInputError: the path is blank, as an unset variable of a shell is: it would mean the whole
        current folder.
    """
    if not table.strip():
        raise SeedreamInputError("TABLE must name a file or a folder; got a blank text.")
    return table if "://" in table else os.path.abspath(table)
