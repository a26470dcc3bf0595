"""The command that explains a wallet by its ledgers: every credit, what a person has to do, and one
unexplained number.

It sends GETs and writes nothing.
"""

import argparse

from airflow_provider_seedream.accounts.statement_text import lines_of_duties, lines_of_wallet
from airflow_provider_seedream.cli.printing import print_json, print_lines, print_rows
from airflow_provider_seedream.cli.records import with_bar
from airflow_provider_seedream.cli.running import FAILED
from airflow_provider_seedream.reconciliation import reconcile as explain


def reconcile(options: argparse.Namespace) -> int:
    """`airflow seedream reconcile`: the statement of a wallet, as tables or as JSON.

    :param options: ``destinations``, ``by``, ``since``, ``topped_up``, ``recursive``, ``conn_id`` and
        ``output``.
    :returns: 0 if all adds up and no person has to do anything, else 1.
    :raises SeedreamInputError: a folder has no ledger, or an option is wrong.
    :raises SeedreamError: the wallet does not answer, or a ledger cannot be listed.
    """
    statement = explain(
        options.destinations,
        seedream_conn_id=options.conn_id,
        since=options.since,
        recursive=options.recursive,
        files=options.by == "image",
        topped_up=options.topped_up or (),
        tracked=with_bar,
    )
    if options.output == "json":
        print_json(statement.to_dict(options.by))
    else:
        print_rows("By how the requests ended", statement.totals())
        print_rows(f"By {options.by}", statement.rows(options.by))
        print_lines("Not readable, each may hide a payment:", list(statement.unreadable))
        print_lines("\n".join([*lines_of_duties(statement.duties), *lines_of_wallet(statement)]))
    return FAILED if statement.needs_a_person else 0
