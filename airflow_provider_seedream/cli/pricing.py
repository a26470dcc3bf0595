"""The command that judges and prices a table of requests. Sends nothing and needs no key; memory does not grow with the table."""

import argparse
import os
from typing import Any

from airflow_provider_seedream.batch.prompts import PromptTemplate
from airflow_provider_seedream.batch.requests import RawRow, read_table
from airflow_provider_seedream.batch.rows import build_row
from airflow_provider_seedream.cli.printing import print_facts, print_json, print_rows, working
from airflow_provider_seedream.cli.running import WRONG
from airflow_provider_seedream.exceptions import SeedreamInputError

MAX_SHOWN = 100  # invalid rows; a table with a wrong column has them all


def price(options: argparse.Namespace) -> int:
    template = PromptTemplate(options.template) if options.template else None
    facts: dict[str, Any] = dict.fromkeys(("rows", "generate", "edit", "images", "credits", "invalid"), 0)
    refused: list[dict[str, str]] = []
    with working("Reading the table"):
        for raw in read_table(_absolute(options.table)):
            _count(raw, template, facts, refused)
    if options.output == "json":
        print_json({**facts, "refused": refused})
    else:
        print_facts(facts)
        print_rows("Invalid rows", refused)
    return WRONG if refused else 0


def _count(raw: RawRow, template: PromptTemplate | None, facts: dict[str, Any], refused: list[dict[str, str]]) -> None:
    facts["rows"] += 1
    try:
        row = build_row(*raw, defaults={}, template=template)
    except SeedreamInputError as error:
        facts["invalid"] += 1
        if len(refused) < MAX_SHOWN:
            refused.append({"where": raw.where, "why": error.message.removeprefix(f"{raw.where}: ")})
        return
    facts[row.kind] += 1
    facts["images"] += row.num_images
    facts["credits"] += row.credits


def _absolute(table: str) -> str:
    """A relative path means the person's current folder, here as in any command."""
    return table if "://" in table else os.path.abspath(table)
