"""Commands about the account."""

import argparse

from airflow_provider_seedream.cli.printing import print_facts, print_json
from airflow_provider_seedream.hooks.seedream import SeedreamHook


def balance(options: argparse.Namespace) -> int:
    """`airflow seedream balance`: the wallet in credits and in images, and its rate limit.

    :raises SeedreamError: the API refused the key, or did not answer; the exit code is 1.
    """
    hook = SeedreamHook(options.conn_id)
    wallet = hook.get_wallet()
    facts = {
        "balance_credits": wallet.balance,
        "images": _images(wallet.balance, hook.settings.credits_per_image),
        "requests_per_minute": wallet.rate_limit,
    }
    if options.output == "json":
        print_json(facts)
    else:
        print_facts(facts)
    return 0


def _images(balance: str, credits_per_image: int) -> int | None:
    """How many it buys; the API's text need not be a number."""
    try:
        return int(float(balance) // credits_per_image)
    except ValueError:
        return None
