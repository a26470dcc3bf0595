"""Commands about the account."""

import argparse

from airflow_provider_seedream.cli.printing import print_facts, print_json
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.model import contract


def balance(options: argparse.Namespace) -> int:
    wallet = SeedreamHook(options.conn_id).get_wallet()
    facts = {
        "balance_credits": wallet.balance,
        "images": _images(wallet.balance),
        "requests_per_minute": wallet.rate_limit,
    }
    if options.output == "json":
        print_json(facts)
    else:
        print_facts(facts)
    return 0


def _images(balance: str) -> int | None:
    """How many it buys; the API's text need not be a number."""
    try:
        return int(float(balance) // contract.CREDITS_PER_IMAGE)
    except ValueError:
        return None
