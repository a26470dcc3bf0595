"""How a statement is made: where its period begins, and how the wallet is explained by the entries. No I/O;
the time is an argument. Never imports HTTP, storage or Airflow.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from airflow_provider_seedream.accounts.candidates import candidates_for, with_refunds
from airflow_provider_seedream.accounts.duties import duties_of
from airflow_provider_seedream.accounts.entries import Entry
from airflow_provider_seedream.accounts.statement import Statement
from airflow_provider_seedream.accounts.wallet_flow import Flow, Look, Move, flow_of, is_sum_of
from airflow_provider_seedream.provider_info import DEFAULT_CONN_ID

SAME_SECONDS = 1.0  # instants in records are whole seconds
_ZERO = Decimal(0)


def make_statement(
    entries: Iterable[Entry],
    *,
    end: Decimal,
    end_at: float,
    since_epoch: float | None = None,
    unreadable: Sequence[str] = (),
    is_moving: bool = False,
    conn_id: str = DEFAULT_CONN_ID,
    stated: Sequence[int] = (),
) -> Statement:
    """Add up the entries of a period, and explain the wallet by them.

    The period begins with the first balance that was read before a POST, at ``since_epoch`` or later.

    :param end: the wallet's balance now, in credits; ``end_at``: when it was read.
    :param conn_id: the connection of the wallet, for the commands of the duties.
    :param stated: the credits of each top-up of the period that a person has stated.
    """
    ordered = sorted(entries, key=lambda entry: (entry.first_epoch, entry.record))
    start = _start(ordered, since_epoch)
    start_at = start.first_epoch if start else (since_epoch or 0.0)
    # Records of the same second as the first look: the highest of their balances was read first, as each
    # reads before it pays.
    mine = [entry for entry in ordered if entry.first_epoch >= start_at]
    before = ordered[: len(ordered) - len(mine)]
    priced, flow = _explained(mine, start, end, end_at, stated)
    flow = with_refunds(flow, priced, before) if flow else None
    return Statement(
        start_at=start_at if start else None,
        start=start.balance if start else None,
        end_at=end_at,
        end=end,
        entries=tuple(priced),
        earlier=len(before),
        flow=flow,
        candidates=tuple(
            candidates_for(flow, priced, before, start_at=start_at, is_moving=is_moving, stated=stated)
        ),
        duties=tuple(duties_of(priced, unreadable, end_at, conn_id)),
        unreadable=tuple(unreadable),
        is_moving=is_moving,
        stated=tuple(stated) if start else (),
    )


def _start(ordered: Sequence[Entry], since_epoch: float | None) -> Entry | None:
    """The entry whose balance begins the period: the first one with a balance.

    Of those in the same second the one with the highest balance: each was read before its own POST, so the
    highest was read first.
    """
    looks = [
        entry for entry in ordered if entry.balance is not None and entry.first_epoch >= (since_epoch or 0.0)
    ]
    if not looks:
        return None
    first = looks[0]
    same = [entry for entry in looks if entry.first_epoch <= first.first_epoch + SAME_SECONDS]
    highest = max(same, key=lambda entry: (entry.balance or _ZERO, -entry.first_epoch))
    return replace(highest, first_epoch=first.first_epoch)


def _explained(
    mine: Sequence[Entry], start: Entry | None, end: Decimal, end_at: float, stated: Sequence[int]
) -> tuple[Sequence[Entry], Flow | None]:
    """The entries and the flow.

    Prices that were not measured count as the measured one, if the wallet confirms it: if then only the
    possible cost of requests with an unknown outcome is unexplained.
    """
    if start is None or start.balance is None:
        return mine, None
    first, last = Look(start.first_epoch, start.balance), Look(end_at, end)
    if measured := _at_measured_price(mine):
        flow = _flow(measured, first, last, stated)
        if is_sum_of(flow.unexplained, [entry.at_risk for entry in measured if entry.at_risk]):
            return measured, flow
    return mine, _flow(mine, first, last, stated)


def _at_measured_price(mine: Sequence[Entry]) -> list[Entry] | None:
    """The entries at the one price per image that was measured; None if several prices or none were
    measured.
    """
    prices = {Decimal(entry.charged) / entry.images for entry in mine if entry.is_measured and entry.images}
    if len(prices) != 1:
        return None
    [price] = prices

    def repriced(entry: Entry) -> Entry:
        if entry.is_measured:
            return entry
        charged = int(price * entry.images)
        if not entry.is_charged:
            return replace(entry, at_risk=charged)
        return replace(entry, charged=charged, refunded=charged if entry.refunded else 0)

    return [repriced(entry) for entry in mine]


def _flow(mine: Sequence[Entry], first: Look, last: Look, stated: Sequence[int]) -> Flow:
    """The flow of the wallet between the first look and the last one.

    A stated top-up has come at some moment of the period, as a refund would: so it explains a rise that
    shows, and counts once.
    """
    moves = [Move(first.at_epoch, last.at_epoch, -Decimal(one)) for one in stated]
    looks: list[Look] = []
    for entry in mine:
        amount = Decimal(entry.charged if entry.is_charged else entry.at_risk)
        own = [Move(entry.first_epoch, entry.last_epoch, amount, entry.is_charged)]
        if entry.refunded:
            ended = entry.ended_epoch or last.at_epoch
            own.append(Move(entry.last_epoch, max(ended, entry.last_epoch), -Decimal(entry.refunded)))
        moves += own
        if entry.balance is not None and entry.first_epoch > first.at_epoch + SAME_SECONDS:
            looks.append(Look(entry.first_epoch, entry.balance, tuple(own)))
    return flow_of([first, *looks, last], moves)
