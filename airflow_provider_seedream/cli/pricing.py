"""The command that judges and prices a table of requests. Sends nothing and needs no key; memory does not grow with the table."""

import argparse
import json
import os
from datetime import UTC, datetime
from typing import Any

from airflow_provider_seedream.batch.prompts import PromptTemplate
from airflow_provider_seedream.batch.requests import RawRow, read_table
from airflow_provider_seedream.batch.rows import build_row
from airflow_provider_seedream.cli.printing import print_facts, print_json, print_lines, print_rows, working
from airflow_provider_seedream.cli.running import WRONG
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model.submissions import check_num_images

MAX_SHOWN = 100  # invalid rows; a table with a wrong column has them all


def price(options: argparse.Namespace) -> int:
    check_num_images(options.num_images)
    template = PromptTemplate(options.template, template_context(options)) if options.template else None
    facts: dict[str, Any] = dict.fromkeys(("rows", "generate", "edit", "images", "credits", "invalid"), 0)
    refused: list[dict[str, str]] = []
    with working("Reading the table"):
        for raw in read_table(absolute(options.table)):
            _count(raw, template, facts, refused, {"num_images": options.num_images})
    facts["credits"] = facts["images"] * options.credits_per_image
    if options.output == "json":
        print_json({**facts, "assumed": _assumed(options), "refused": refused})
    else:
        print_facts(facts)
        print_rows("Invalid rows", refused)
        print_lines("Assumed: " + ", ".join(f"{name} {value}" for name, value in _assumed(options).items()) + ".")
    return WRONG if refused else 0


def _count(
    raw: RawRow, template: PromptTemplate | None, facts: dict[str, Any], refused: list[dict[str, str]], defaults: dict[str, Any]
) -> None:
    facts["rows"] += 1
    try:
        row = build_row(*raw, defaults=defaults, template=template)
    except SeedreamInputError as error:
        facts["invalid"] += 1
        if len(refused) < MAX_SHOWN:
            refused.append({"where": raw.where, "why": error.message.removeprefix(f"{raw.where}: ")})
        return
    facts[row.kind] += 1
    facts["images"] += row.num_images


def _assumed(options: argparse.Namespace) -> dict[str, Any]:
    """What the operator may say otherwise."""
    assumed: dict[str, Any] = {"num_images": options.num_images}
    return {**assumed, "date": _date(options).date().isoformat()} if options.template else assumed


def template_context(options: argparse.Namespace) -> dict[str, Any]:
    """What a DAG run gives to a template, as far as a date and params tell."""
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
    if options.date is None:
        return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        date = datetime.fromisoformat(options.date)
    except ValueError:
        raise SeedreamInputError(f"--date must be a date, e.g. 2026-11-22; got {options.date[:80]!r}.") from None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def absolute(table: str) -> str:
    """A relative path means the person's current folder, here as in any command."""
    return table if "://" in table else os.path.abspath(table)
