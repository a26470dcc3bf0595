"""Decides whether the caps of a connection have room for an attempt. Takes a page of the books and returns
the next one.

``books`` reads and writes the page; ``admission`` acts for a task. Does no I/O and reads no clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_seedream.ledger.pages import MAX_LABELS, Entry, Page
from airflow_provider_seedream.model.caps import Cap
from airflow_provider_seedream.model.clock import to_iso


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A cap of which a share is spent.

    :param spent_credits: with the attempt that was just admitted. :param at: of its admission, in epoch
        seconds.
    """

    cap: Cap
    spent_credits: int
    at: int

    def to_dict(self) -> dict[str, Any]:
        """For callbacks and their templates."""
        cap = self.cap
        about = {"cap": cap.name, "period": cap.period, "label": cap.label, "credits": cap.credits}
        return {**about, "spent_credits": self.spent_credits, "ends_at": to_iso(cap.ends_epoch(self.at))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A cap that leaves no room for an attempt.

    :param spent_credits: without the attempt. :param price: of the attempt. :param spenders: who has spent
        most.
    """

    cap: Cap
    spent_credits: int
    price: int
    spenders: tuple[tuple[str, int], ...]

    @property
    def is_for_ever(self) -> bool:
        """True if the price is larger than the cap: then no day has room for it."""
        return self.price > self.cap.credits


def admit(
    page: Page, asked: Entry, caps: Iterable[Cap], *, warn_at: float
) -> tuple[Page, Refusal | list[Passed]]:
    """Admit an attempt if every cap has room for it.

    Tries of one attempt count once: its record can be created by one of them only.

    :param asked: the attempt, with all its labels.
    :param warn_at: the share of a cap from which one warning a day is given.
    :returns: the page with the attempt, and the caps to warn of; or the page as it was, and the refusal.
    """
    day, before = asked.day, page.open.get(asked.id)
    others = page.without(asked.id)
    price = max(asked.credits, before.credits if before else 0)
    mine = [cap for cap in caps if cap.label is None or cap.label in asked.labels]
    before_it = [(cap, others.spent(cap, day)) for cap in mine]
    full = [(cap, spent) for cap, spent in before_it if spent + price > cap.credits]
    if full:
        cap, spent = max(full, key=lambda one: one[0].ends_epoch(asked.at))  # the one that has room last
        return page, Refusal(
            cap=cap, spent_credits=spent, price=price, spenders=tuple(others.spenders(cap, day))
        )
    counted = others.ended.labels
    capped = {cap.label for cap in mine}
    labels = tuple(
        one for one in asked.labels if one in capped or one in counted or len(counted) < MAX_LABELS
    )
    claims = tuple(dict.fromkeys((*(before.claims if before else ()), *asked.claims)))
    doubted = before.doubted if before else ()
    admitted = others.pruned(day).with_entry(
        replace(asked, credits=price, labels=labels, claims=claims, doubted=doubted)
    )
    unwarned = [(cap, admitted.spent(cap, day)) for cap in mine if page.warned.get(cap.key) != day]
    passed = [
        Passed(cap=cap, spent_credits=spent, at=asked.at)
        for cap, spent in unwarned
        if spent >= warn_at * cap.credits
    ]
    recent = (*(one for one in page.recent if one[1] != asked.id), (asked.at, asked.id))[-2:]
    return replace(
        admitted, recent=recent, warned={**admitted.warned, **{one.cap.key: day for one in passed}}
    ), passed
