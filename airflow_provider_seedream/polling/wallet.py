"""Decides what one poll of the wallet means: enough, or wait, late or lost.

A wallet that holds too little counts as a generation that is not ready, so outages, 429s and deadlines have the same rules.
Pure: no I/O and no clock.
"""

from decimal import Decimal, InvalidOperation
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.generations import GenerationStatus, Wallet
from airflow_provider_seedream.polling.decision import FailedLook, Rules, Verdict, Watch, decide

_TOO_LITTLE = GenerationStatus(status="PENDING", progress=None, failure_reason=None, results=())


def decide_balance(
    look: Wallet | FailedLook, min_credits: Decimal, watch: Watch, rules: Rules, *, now_epoch: float, jitter: float
) -> tuple[Verdict, Watch]:
    """The verdict on one poll, and the memory for the next. "done" has the balance as its detail.

    :param jitter: a random number in [0, 1).
    """
    balance = _credits(look.balance) if isinstance(look, Wallet) else None
    if isinstance(look, Wallet) and balance is None:
        look = FailedLook(trouble="transient", detail="the wallet's balance is not a number")
    elif balance is not None and balance >= min_credits:
        return Verdict(outcome="done", detail=f"{balance:f}"), watch
    status = look if isinstance(look, FailedLook) else _TOO_LITTLE
    return decide(status, watch, rules, now_epoch=now_epoch, jitter=jitter)


def check_min_credits(value: Any) -> Decimal:
    """:raises SeedreamInputError: unless it is a number of credits, at least 0."""
    number = _credits(str(value)) if isinstance(value, str | int | float | Decimal) and not isinstance(value, bool) else None
    if number is None or number < 0:
        raise SeedreamInputError(f"min_credits must be a number of credits, at least 0; got {value!r}.")
    return number


def _credits(text: str) -> Decimal | None:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
