"""The morning after a test: the ledgers of its folder, the wallet and the server's books agree, to the
credit.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.reconciliation import Statement, reconcile


def explained(emulator: Emulator, *destinations: str, conn_id: str = "seedream_default") -> Statement:
    """The statement, held to the books: only what an unknown outcome has cost may be unexplained, and
    exactly that.
    """
    statement, books = reconcile(destinations, recursive=True, seedream_conn_id=conn_id), emulator.books
    lost = books.credits_charged - statement.charged
    assert 0 <= lost <= statement.at_risk, statement.text
    assert statement.refunded == books.credits_refunded - sum(
        one.credits for one in books.refunds if _is_lost(one, statement)
    )
    if statement.start is None:  # the wallet never answered: there is no number to hold to it
        assert statement.unexplained is None
    else:
        came = sum(one.credits for one in statement.top_ups)
        assert statement.unexplained == lost, statement.text
        assert (
            statement.start + came - statement.charged + statement.refunded - lost
            == statement.end
            == emulator.balance_credits
        )
    for level in ("dag", "run", "task", "row", "image"):
        assert sum(row["charged"] for row in statement.rows(level)) == statement.charged
    return statement


def _is_lost(entry: Any, statement: Statement) -> bool:
    """True for a generation whose answer got lost: no record has its id."""
    return all(entry.seedream_task_id != known.seedream_task_id for known in statement.entries)
