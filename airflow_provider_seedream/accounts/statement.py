"""The statement of a wallet over a period: start, top-ups, every request's credits, end, and one number that
is unexplained.

The lines add up: start + top-ups - charged + refunded - unexplained = end. A top-up is stated by a person, or
it shows. No I/O; the time is an argument.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal, get_args

from airflow_provider_seedream.accounts.candidates import Candidate, candidates_for, with_refunds
from airflow_provider_seedream.accounts.duties import Duty, duties_of
from airflow_provider_seedream.accounts.entries import Ending, Entry
from airflow_provider_seedream.accounts.statement_text import lines_of_duties, lines_of_wallet
from airflow_provider_seedream.accounts.wallet_flow import (
    Change,
    Flow,
    Look,
    Move,
    flow_of,
    is_sum_of,
    number,
)
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.provider_info import DEFAULT_CONN_ID

Level = Literal["dag", "run", "task", "row", "image"]
SAME_SECONDS = 1.0  # instants in records are whole seconds
_ZERO = Decimal(0)
_NAMES: dict[Level, tuple[str, ...]] = {
    "dag": ("dag_id",),
    "run": ("dag_id", "run_id"),
    "task": ("dag_id", "run_id", "task_id"),
    "row": ("dag_id", "run_id", "task_id", "map_index", "name", "prompt", "record"),
    "image": ("dag_id", "run_id", "task_id", "map_index", "name", "prompt", "record", "image"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """The wallet's credits over a period, explained by ledgers::

        statement = reconcile(["s3://my_conn@bucket/watches"], since="2026-11-28T18:00:00Z")
        statement.adds_up, statement.unexplained  # (True, Decimal(0))

    :param start_at: when the first balance of the period was read, before a POST (epoch seconds); None if
        none was.
    :param start: that balance in credits; None likewise.
    :param end_at: when the wallet was read last. :param end: that balance.
    :param entries: the POSTs of the period, in their order.
    :param earlier: the number of POSTs before the start, which are not part of the sums.
    :param flow: the credits from outside; None without a start.
    :param candidates: possible reasons for the unexplained number, or for a period that cannot be explained.
    :param duties: the things that a person has to do, or may do.
    :param unreadable: URIs of files that hide a request.
    :param is_moving: the wallet changed while the ledgers were read, so the lines may miss a request.
    :param stated: the credits of each top-up that a person has stated; none without a start.
    """

    start_at: float | None
    start: Decimal | None
    end_at: float
    end: Decimal
    entries: tuple[Entry, ...]
    earlier: int
    flow: Flow | None
    candidates: tuple[Candidate, ...]
    duties: tuple[Duty, ...]
    unreadable: tuple[str, ...]
    is_moving: bool
    stated: tuple[int, ...] = ()

    @property
    def charged(self) -> int:
        """Credits that the requests of the period have cost, refunds not subtracted."""
        return sum(entry.charged for entry in self.entries)

    @property
    def refunded(self) -> int:
        """Credits of the period's requests that came back."""
        return sum(entry.refunded for entry in self.entries)

    @property
    def at_risk(self) -> int:
        """Credits of POSTs with an unknown outcome: charged, or not."""
        return sum(entry.at_risk for entry in self.entries)

    @property
    def top_ups(self) -> tuple[Change, ...]:
        """Top-ups that show: rises of the balance between two looks that neither refunds nor stated
        top-ups explain.
        """
        return self.flow.top_ups if self.flow else ()

    @property
    def unexplained(self) -> Decimal | None:
        """Credits that the wallet has lost beyond all lines; negative if it holds more. None without a
        balance at the start.
        """
        return self.flow.unexplained if self.flow else None

    @property
    def adds_up(self) -> bool:
        """True if nothing is unexplained, every file could be read, and the wallet stood still meanwhile."""
        is_explained = self.unexplained == 0 or not self.entries
        return is_explained and not self.unreadable and not self.is_moving

    @property
    def needs_a_person(self) -> bool:
        """True if it does not add up, or something has to be done."""
        return not self.adds_up or any(duty.is_due for duty in self.duties)

    @property
    def text(self) -> str:
        """The statement in plain lines, for a mail or a chat: what to do, the wallet, and the unexplained
        number at the bottom.
        """
        return "\n".join([*lines_of_duties(self.duties), *lines_of_wallet(self)])

    def totals(self) -> list[dict[str, Any]]:
        """One row for each ending that there is: ``ending``, ``requests``, ``images``, ``landed``, and the
        credits.
        """
        rows = _summed([((entry.ending,), entry) for entry in self.entries], ("ending",))
        order = get_args(Ending)
        return sorted(rows, key=lambda row: order.index(row["ending"]))

    def rows(self, level: Level) -> list[dict[str, Any]]:
        """Every credit, one row for each ending of a DAG, run or task; for each request (``row``); or for
        each image.
        """
        if level == "image":
            return [row for entry in self.entries for row in _images(entry)]
        names = _NAMES[level]
        keyed = [((*(getattr(entry, name) for name in names), entry.ending), entry) for entry in self.entries]
        return _summed(keyed, (*names, "ending"))

    def to_dict(self, level: Level = "task") -> dict[str, Any]:
        """The statement as plain JSON: for XCom, and for ``airflow seedream reconcile --output json``."""
        return {
            "adds_up": self.adds_up,
            "needs_a_person": self.needs_a_person,
            "wallet": {
                "start": number(self.start),
                "start_at": clock.to_iso(self.start_at) if self.start_at is not None else None,
                "end": number(self.end),
                "end_at": clock.to_iso(self.end_at),
            },
            "stated_top_ups": list(self.stated),
            "top_ups": [change.to_dict() for change in self.top_ups],
            "charged": self.charged,
            "refunded": self.refunded,
            "at_risk": self.at_risk,
            "unexplained": number(self.unexplained),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "duties": [duty.to_dict() for duty in self.duties],
            "totals": self.totals(),
            "by": level,
            "rows": self.rows(level),
            "earlier_requests": self.earlier,
            "unreadable": list(self.unreadable),
            "is_moving": self.is_moving,
        }


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


def _summed(keyed: Sequence[tuple[tuple[Any, ...], Entry]], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """One row for each key, in the order in which they come."""
    groups: dict[tuple[Any, ...], list[Entry]] = defaultdict(list)
    for key, entry in keyed:
        groups[key].append(entry)
    return [dict(zip(names, key, strict=True)) | _sums(members) for key, members in groups.items()]


def _sums(members: Sequence[Entry]) -> dict[str, int]:
    """The numbers of one row: requests, images asked for and landed, and credits."""
    return {
        "requests": len(members),
        "images": sum(entry.images for entry in members),
        "landed": sum(entry.landed or 0 for entry in members),
        "charged": sum(entry.charged for entry in members),
        "refunded": sum(entry.refunded for entry in members),
        "at_risk": sum(entry.at_risk for entry in members),
    }


def _images(entry: Entry) -> list[dict[str, Any]]:
    """One row for each image that was asked for, with its share of the credits: the shares add up to the
    entry's.
    """
    names = {name: getattr(entry, name) for name in _NAMES["row"]}
    files = [*entry.files, *([None] * entry.images)][: max(entry.images, len(entry.files))]
    rows = []
    for place, file in enumerate(files):
        shares = {
            name: _share(getattr(entry, name), place, len(files))
            for name in ("charged", "refunded", "at_risk")
        }
        rows.append(
            {**names, "image": file, "ending": entry.ending, "landed": int(file is not None), **shares}
        )
    return rows


def _share(whole: int, place: int, parts: int) -> int:
    """The share of one of several parts. The first ones get the credits that cannot be divided: 10 among 3
    are 4, 3 and 3.
    """
    return whole // parts + (place < whole % parts)
