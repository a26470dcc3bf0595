"""The statement of a wallet over a period: start, top-ups, every request's credits, end, and one number that
is unexplained.

The lines add up: start + top-ups - charged + refunded - unexplained = end. A top-up is stated by a person, or
it shows. No I/O; the time is an argument.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, get_args

from airflow_provider_seedream.accounts.candidates import Candidate
from airflow_provider_seedream.accounts.duties import Duty
from airflow_provider_seedream.accounts.entries import Ending, Entry
from airflow_provider_seedream.accounts.statement_text import lines_of_duties, lines_of_wallet
from airflow_provider_seedream.accounts.wallet_flow import Change, Flow, number
from airflow_provider_seedream.model import clock

Level = Literal["dag", "run", "task", "row", "image"]
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
