"""The room that the caps of a connection leave now, by its books. For plans and dry runs: it writes
nothing into the books.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_seedream.ledger.books import books_at
from airflow_provider_seedream.ledger.pages import Page, month_of
from airflow_provider_seedream.model.caps import Cap, check_caps
from airflow_provider_seedream.model.clock import to_iso


@dataclass(slots=True, kw_only=True)
class CapRoom:
    """The credits that caps leave for the requests of a plan. Each admitted request lowers them::

        room = CapRoom.read(
            settings.caps, settings.books, conn_id=conn_id, now_epoch=clock.now_epoch(), labels=("team=shop",)
        )
        room.admits("3f...9a.1", 20)  # True: 20 credits less are left
        # {"requests": 1, "credits": 20, "caps": [{"cap": "max_credits_per_day=500", "spent": 480, ...}]}
        room.to_dict()

    :param caps: that count for these requests. :param page: of the month; None before the first request under
        caps.
    :param now_epoch: the caps are those of its UTC day and month.
    :param requests: that were admitted, and their ``credits``.
    """

    caps: Sequence[Cap]
    page: Page | None
    now_epoch: float
    requests: int = 0
    credits: int = 0
    _left: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._left = [cap.credits - self._spent(cap) for cap in self.caps]

    @classmethod
    def read(
        cls,
        caps: Sequence[Cap],
        books: str | None,
        *,
        conn_id: str,
        now_epoch: float,
        labels: tuple[str, ...] | None = None,
    ) -> "CapRoom":
        """The room by the books as they are now. Costs one GET, or none without caps.

        :param labels: of the task, each as ``team=shop``: caps of other labels do not count for it; None: all
            caps count.
        :raises SeedreamInputError: the caps cannot hold, see :func:`check_caps`.
        :raises SeedreamLedgerError: the books cannot be read.
        """
        check_caps(caps, books=books, labels=labels or (), conn_id=conn_id)
        mine = [cap for cap in caps if cap.label is None or labels is None or cap.label in labels]
        page = books_at(books).look(month_of(now_epoch)) if books and mine else None
        return cls(caps=mine, page=page, now_epoch=now_epoch)

    def admits(self, id: str, price: int) -> bool:  # noqa: A002 - the field's word
        """True if each cap has room for a request, as an admission would find; then it counts.

        A request that a killed try has left open is counted already, so only a higher price counts.

        :param id: key and attempt, as in the books. :param price: in credits.
        """
        before = self.page.open.get(id) if self.page else None
        price = max(price, before.credits if before else 0)
        counted = [before.credits if before and before.is_under(cap, self._day) else 0 for cap in self.caps]
        costs = [price - already for already in counted]
        if any(cost > left for cost, left in zip(costs, self._left, strict=True)):
            return False
        self._left = [left - cost for cost, left in zip(costs, self._left, strict=True)]
        self.requests, self.credits = self.requests + 1, self.credits + price
        return True

    def to_dict(self) -> dict[str, Any]:
        """The admitted requests, and each cap before them, as plain JSON."""
        return {"requests": self.requests, "credits": self.credits, "caps": self.by_cap()}

    def by_cap(self) -> list[dict[str, Any]]:
        """Each cap as the books have it: its name, the credits ``spent`` and ``left``, and until when."""
        until = [to_iso(cap.ends_epoch(self.now_epoch)) for cap in self.caps]
        spent = [self._spent(cap) for cap in self.caps]
        return [
            {"cap": cap.name, "spent": many, "left": cap.credits - many, "until": end}
            for cap, many, end in zip(self.caps, spent, until, strict=True)
        ]

    @property
    def _day(self) -> str:
        return to_iso(self.now_epoch)[:10]

    def _spent(self, cap: Cap) -> int:
        return self.page.spent(cap, self._day) if self.page else 0
