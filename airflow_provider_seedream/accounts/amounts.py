"""The credits of records: charged, refunded, at risk; and their sums by day, DAG, run, task or label. No I/O
and no clock.

A record's charge is the billed price if the wallet told it, else the calculated one. Budgets are more
careful: they count the larger of the two.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from airflow_provider_seedream.ledger.record import Record
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.labels import spelled

By = Literal["day", "dag", "run", "task", "label"]


class Amounts(NamedTuple):
    """The credits of one record, or of several::

        amounts_of(record)  # Amounts(charged=20, refunded=0, at_risk=0, in_flight=20)

    :param charged: taken from the wallet, refunds not subtracted. An unknown outcome is not among them.
    :param refunded: given back by the API, for a generation that failed.
    :param at_risk: of requests with an unknown outcome: charged, or not.
    :param in_flight: of those charged: the generation has not landed yet, and has not ended otherwise.
    """

    charged: int = 0
    refunded: int = 0
    at_risk: int = 0
    in_flight: int = 0

    @property
    def paid(self) -> int:
        """Charged and not refunded."""
        return self.charged - self.refunded


def amounts_of(record: Record) -> Amounts:
    """The credits of a record, by its outcome::

        amounts_of(landed)  # Amounts(charged=20, refunded=0, at_risk=0, in_flight=0)
        amounts_of(unknown)  # Amounts(charged=0, refunded=0, at_risk=20, in_flight=0)
        amounts_of(failed_and_refunded)  # Amounts(charged=20, refunded=20, at_risk=0, in_flight=0)

    :param record: of one attempt.
    """
    if record.outcome in ("intent", "unknown"):
        return Amounts(at_risk=record.cost_credits)
    price = record.credits if record.billed_credits is None else record.billed_credits
    return Amounts(
        charged=price,
        refunded=price if record.outcome == "failed" and record.refunded else 0,
        in_flight=price if record.outcome == "submitted" else 0,
    )


@dataclass(slots=True)
class Sum:
    """The requests, images and credits of one group of records, added one by one::

        total = Sum()
        total.add(amounts_of(record), images=2)
        # {"requests": 1, "images": 2, "paid": 20, "refunded": 0, "unknown": 0, "in_flight": 0}
        total.to_dict()

    :param charged: taken from the wallet, refunds not subtracted.
    """

    requests: int = 0
    images: int = 0
    charged: int = 0
    refunded: int = 0
    at_risk: int = 0
    in_flight: int = 0

    def add(self, amounts: Amounts, images: int) -> None:
        """Count one request. :param images: that have landed."""
        self.requests += 1
        self.images += images
        for name, number in amounts._asdict().items():
            setattr(self, name, getattr(self, name) + number)

    def to_dict(self) -> dict[str, int]:
        """The numbers under the names of ``airflow seedream spending``."""
        return {
            "requests": self.requests,
            "images": self.images,
            "paid": self.charged - self.refunded,
            "refunded": self.refunded,
            "unknown": self.at_risk,
            "in_flight": self.in_flight,
        }


@dataclass(slots=True, kw_only=True)
class Spent:
    """The sums of many records by one of their facts. Memory grows with the groups, not with the records::

        spent = Spent(by="day")
        spent.add(record, images=2)
        spent.rows()  # [{"day": "2026-11-28", "requests": 1, "images": 2, "paid": 20, ...}]

    :param by: ``day`` (UTC, of the request), ``dag``, ``run``, ``task`` or ``label``.
    """

    by: By
    total: Sum = field(default_factory=Sum)
    _groups: dict[tuple[str, ...], Sum] = field(default_factory=lambda: defaultdict(Sum))

    def add(self, record: Record, *, images: int) -> None:
        """Count one record. :param images: that have landed of it."""
        amounts = amounts_of(record)
        self.total.add(amounts, images)
        self._groups[self._group(record)].add(amounts, images)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each group, in the order of its names: the group's facts, and its sums."""
        names = {"run": ("dag", "run"), "task": ("dag", "task")}.get(self.by, (self.by,))
        return [
            dict(zip(names, group, strict=True)) | self._groups[group].to_dict()
            for group in sorted(self._groups)
        ]

    def _group(self, record: Record) -> tuple[str, ...]:
        """The names of a record's group; blank for a record without the fact, e.g. one that no DAG made."""
        made = record.made_by
        if self.by == "day":
            return (clock.to_iso(clock.to_epoch(record.intent_at) or 0.0)[:10],)
        if self.by == "label":
            return (", ".join(spelled(labels_of(record))),)
        return {
            "dag": (made.dag_id,),
            "run": (made.dag_id, made.run_id),
            "task": (made.dag_id, made.task_id),
        }[self.by]


def labels_of(record: Record) -> dict[str, str]:
    """The labels of a record; empty for one without."""
    return dict(record.labels or {})
