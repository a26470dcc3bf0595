"""The command about the account: ``balance``. One status call, which is free and changes nothing."""

import argparse

from airflow_provider_seedream.cli.printing import print_facts, print_json
from airflow_provider_seedream.hooks.seedream import SeedreamHook


def balance(options: argparse.Namespace) -> int:
    """`airflow seedream balance`: the wallet in credits and in images, and its rate limit.

    JSON: ``{"balance_credits": "1240", "images": 124, "requests_per_minute": 3}``. The balance is the API's
    own decimal text.

    :param options: ``conn_id`` and ``output``.
    :returns: 0.
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
    """The number of images that a balance buys; None if the API's text is not a number."""
    try:
        # Whole images only: half of a price buys none.
        return int(float(balance) // credits_per_image)
    except ValueError:
        return None
