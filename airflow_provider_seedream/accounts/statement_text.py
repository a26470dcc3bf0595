"""A statement in plain lines: the wallet as a column that adds up, the unexplained number at its bottom,
and what to do. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from airflow_provider_seedream.accounts.duties import Duty
from airflow_provider_seedream.accounts.wallet_flow import plain
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.counting import counted

if TYPE_CHECKING:
    from airflow_provider_seedream.accounts.statement import Statement

MAX_DUTIES = 30  # lines of one kind that people are shown; JSON has all


def lines_of_wallet(statement: Statement) -> list[str]:
    """The wallet from its start to its end, and below it the one number that no line explains, with its
    candidates.
    """
    rows: list[tuple[str, Decimal | int]]
    if statement.start is None or statement.start_at is None:
        rows = [
            ("charged", -statement.charged),
            ("refunded", statement.refunded),
            (f"wallet now, {_at(statement.end_at)}", statement.end),
        ]
    else:
        rows = [(f"wallet before the first request, {_at(statement.start_at)}", statement.start)]
        rows += [("topped up, as stated", one) for one in statement.stated]
        for change in statement.top_ups:
            came = "topped up or refunded" if change.may_be else "topped up"
            rows.append(
                (f"{came} between {_at(change.after_epoch)} and {_at(change.before_epoch)}", change.credits)
            )
        rows += [("charged", -statement.charged), ("refunded", statement.refunded)]
        rows += [("unexplained", -(statement.unexplained or Decimal(0)))]
        rows += [(f"wallet now, {_at(statement.end_at)}", statement.end)]
    width = max(len(name) for name, _ in rows)
    column = [f"{name:<{width}}  {plain(Decimal(value)):>12f}" for name, value in rows]
    return [*column, *_about_rises(statement), *_at_the_bottom(statement)]


def _about_rises(statement: Statement) -> Iterable[str]:
    """A sentence for each rise of the balance that may be a refund instead of a top-up."""
    for change in statement.top_ups:
        if change.may_be:
            came = f"{plain(change.credits):f} credits that came by {_at(change.before_epoch)}"
            yield f"The {came} may be no top-up: {change.may_be}."


def _at_the_bottom(statement: Statement) -> list[str]:
    """The sentence with the unexplained number, and the candidates."""
    if not statement.entries:
        said = "No request in this period: nothing to explain."
    elif statement.unexplained is None:
        said = "Unexplained: not known, as no balance was noted at the start."
    else:
        said = f"Unexplained: {plain(statement.unexplained):f} credits."
    lines = [said, "It may be:"] if statement.candidates else [said]
    for one in statement.candidates:
        up_to = "" if one.credits is None else f": up to {counted(one.credits, 'credit')}"
        lines.append(f"  {'= ' if one.fits else ''}{one.what}{up_to}.")
    return lines


def lines_of_duties(duties: Sequence[Duty]) -> list[str]:
    """The duties that are due, then those that a person may do. Of each kind at most 30 are named, and the
    rest is counted.
    """
    due, others = [duty for duty in duties if duty.is_due], [duty for duty in duties if not duty.is_due]
    return [*_under("To do:", due), *_under("If you want:", others)]


def _under(heading: str, duties: Sequence[Duty]) -> Iterable[str]:
    """A heading with its duties, each with the command to copy; nothing without duties."""
    if not duties:
        return
    yield heading
    for duty in duties[:MAX_DUTIES]:
        yield f"  {duty.what}{f', before {duty.before}' if duty.before else ''}."
        if duty.command:
            yield f"    {duty.command}"
    if duties[MAX_DUTIES:]:
        yield f"  And {len(duties) - MAX_DUTIES} more: --output json has all."


def _at(epoch: float) -> str:
    return clock.to_iso(epoch)
