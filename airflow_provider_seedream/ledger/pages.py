"""A page of the books: the credits spent in one UTC month through the connections that share these books.
Values only.

Every change takes a page and returns another one; ``books`` writes it. An attempt is in ``open`` from its
admission until its generation has ended. Then it is added to the sums, or dropped if it was refunded or not
paid. So each change may be repeated, and an attempt counts once. Does no I/O and reads no clock.
"""

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from itertools import groupby
from typing import Any, Self

from airflow_provider_seedream.model.caps import Cap
from airflow_provider_seedream.model.clock import to_iso

SCHEMA_VERSION = 1
MAX_SPENDERS = 30  # named for each period; the smallest ones are counted together under ""
MAX_LABELS = 100  # counted in a month; labels with a cap are always counted
OTHERS = ""
DAY_SECONDS = 86_400  # of UTC, as epoch seconds have no leap seconds


def month_of(epoch: float) -> str:
    """The month of UTC: ``2026-11``."""
    return to_iso(epoch)[:7]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An attempt that was admitted and has not ended.

    ::

        Entry(
            key="3f...9a",
            attempt=1,
            claims=("7c...01",),
            credits=20,
            at=1795816800,
            destination="s3://...",
            by="watches/submit",
        )

    :param claims: of the tries that were admitted for it; only one of them can have created the record.
    :param doubted: claims that a settling process has not found in the ledger: their tries may not POST any
        more.
    :param at: when it was admitted, in epoch seconds.
    :param destination: of its record. :param by: the task that spends, ``dag/task``.
    :param labels: those that are counted, each as ``team=shop``.
    """

    key: str
    attempt: int
    claims: tuple[str, ...]
    credits: int
    at: int
    destination: str
    by: str
    labels: tuple[str, ...] = ()
    doubted: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Key and attempt: ``3f...9a.1``."""
        return f"{self.key}.{self.attempt}"

    @property
    def day(self) -> str:
        """The UTC day of its admission: ``2026-11-29``."""
        return to_iso(self.at)[:10]

    def is_under(self, cap: Cap, day: str) -> bool:
        """True if it counts under a cap on this day, or in its month."""
        has_label = cap.label is None or cap.label in self.labels
        is_in_period = cap.period == "month" or self.at // DAY_SECONDS == _number_of(day)
        return has_label and is_in_period


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """The credits of a day or a month: in all, by label, and by task.

    With one attempt::

        Sums().plus(entry)  # Sums(credits=20, labels={"team=shop": 20}, spenders={"watches/submit": 20})
    """

    credits: int = 0
    labels: Mapping[str, int] = field(default_factory=dict)
    spenders: Mapping[str, int] = field(default_factory=dict)

    def plus(self, entry: Entry) -> Self:
        """The sums with one more attempt. If more than 30 tasks are named, the smallest joins the others
        under ``""``.
        """
        labels, spenders = dict(self.labels), dict(self.spenders)
        for label in entry.labels:
            labels[label] = labels.get(label, 0) + entry.credits
        spenders[entry.by] = spenders.get(entry.by, 0) + entry.credits
        if len(spenders) > MAX_SPENDERS:
            least = min((name for name in spenders if name != OTHERS), key=lambda name: spenders[name])
            spenders[OTHERS] = spenders.get(OTHERS, 0) + spenders.pop(least)
        return replace(self, credits=self.credits + entry.credits, labels=labels, spenders=spenders)

    def to_dict(self) -> dict[str, Any]:
        return {"credits": self.credits, "labels": dict(self.labels), "spenders": dict(self.spenders)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The page of a month::

        Page(month="2026-11", way="quoted").spent(cap, day="2026-11-29")  # 0

    :param way: how the store replaces it by condition, see ``storage.swap``.
    :param ended: sums of the attempts that have ended. :param days: the same by day.
    :param open: by ``<key>.<attempt>``.
    :param warned: the day of the last warning, by cap.
    :param recent: the last two admissions, each with its time and id: they tell whether an attempt was alone.
    """

    month: str
    way: str
    ended: Sums = Sums()
    days: Mapping[str, Sums] = field(default_factory=dict)
    open: Mapping[str, Entry] = field(default_factory=dict)
    warned: Mapping[str, str] = field(default_factory=dict)
    recent: tuple[tuple[int, str], ...] = ()

    def is_alone(self, id: str, since_epoch: float) -> bool:  # noqa: A002 - the field's word
        """True if no other attempt was admitted since: then the wallet's loss is the price of this one."""
        return all(name == id or at < since_epoch for at, name in self.recent)

    def spent(self, cap: Cap, day: str) -> int:
        """The credits that count under a cap: of attempts that have ended, and of open ones."""
        sums = self.ended if cap.period == "month" else self.days.get(day, Sums())
        ended = sums.credits if cap.label is None else sums.labels.get(cap.label, 0)
        return ended + sum(one.credits for one in self._open_under(cap, day))

    def spenders(self, cap: Cap, day: str, most: int = 5) -> list[tuple[str, int]]:
        """The tasks that have spent most in the period of a cap, the largest first."""
        sums = self.ended if cap.period == "month" else self.days.get(day, Sums())
        for entry in self._open_under(replace(cap, label=None), day):
            sums = sums.plus(entry)
        named = {name or "others": many for name, many in sums.spenders.items() if many}
        return sorted(named.items(), key=lambda one: -one[1])[:most]

    def _open_under(self, cap: Cap, day: str) -> Iterable[Entry]:
        return (one for one in self.open.values() if one.is_under(cap, day))

    def to_json(self) -> bytes:
        """The bytes of the file. A random token makes each version unique: a writer recognises its own by
        the content.
        """
        groups = []
        by_group = sorted(self.open.values(), key=_group)
        for (destination, by, labels), entries in groupby(by_group, key=_group):
            rows = [[one.id, one.credits, one.at, list(one.claims), list(one.doubted)] for one in entries]
            groups.append({"destination": destination, "by": by, "labels": list(labels), "entries": rows})
        fields = {
            "schema_version": SCHEMA_VERSION,
            "month": self.month,
            "way": self.way,
            "token": uuid.uuid4().hex,
            "ended": self.ended.to_dict(),
            "days": {day: sums.to_dict() for day, sums in self.days.items()},
            "warned": dict(self.warned),
            "recent": [list(one) for one in self.recent],
            "open": groups,
        }
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """:raises ValueError: the bytes are not a page, so the spending is not known."""
        try:
            fields = json.loads(data)
            if fields["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"not a page of schema version {SCHEMA_VERSION}")
            entries = [_entry(group, row) for group in fields["open"] for row in group["entries"]]
            return cls(
                month=fields["month"],
                way=fields["way"],
                ended=Sums(**fields["ended"]),
                days={day: Sums(**sums) for day, sums in fields["days"].items()},
                warned=fields["warned"],
                recent=tuple((at, name) for at, name in fields["recent"]),
                open={one.id: one for one in entries},
            )
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"no page of books: {type(error).__name__}: {error}") from None

    def without(self, id: str) -> Self:  # noqa: A002
        """The page without an open attempt: it was refunded."""
        return (
            replace(self, open={name: one for name, one in self.open.items() if name != id})
            if id in self.open
            else self
        )

    def withdrawn(self, id: str, claim: str) -> Self:  # noqa: A002
        """The page without one try of an attempt: its POST was not paid, or not sent. Other tries of the
        attempt still count.
        """
        entry = self.open.get(id)
        if entry is None or claim not in entry.claims:
            return self
        claims = tuple(one for one in entry.claims if one != claim)
        return self.with_entry(replace(entry, claims=claims)) if claims else self.without(id)

    def ended_with(self, id: str, credits: int) -> Self:  # noqa: A002
        """The page after a paid attempt has ended, at the larger of the two prices. The same page if the
        attempt is not open.
        """
        entry = self.open.get(id)
        if entry is None:
            return self
        entry = replace(entry, credits=max(entry.credits, credits))
        days = {**self.days, entry.day: self.days.get(entry.day, Sums()).plus(entry)}
        return replace(self.without(id), ended=self.ended.plus(entry), days=days)

    def billed(self, id: str, credits: int) -> Self:  # noqa: A002
        """The page with the credits that the wallet has lost for an open attempt, if they are more than
        its price.
        """
        entry = self.open.get(id)
        return self.with_entry(replace(entry, credits=credits)) if entry and credits > entry.credits else self

    def doubting(self, claims: Mapping[str, Iterable[str]], *, is_in_doubt: bool = True) -> Self:
        """The page with claims in doubt, or not any more. :param claims: by the id of their attempt."""
        page = self
        for name, doubted in claims.items():
            if entry := page.open.get(name):
                known = (
                    set(entry.doubted) | set(doubted) if is_in_doubt else set(entry.doubted) - set(doubted)
                )
                page = page.with_entry(replace(entry, doubted=tuple(sorted(known & set(entry.claims)))))
        return page

    def holds(self, id: str, claim: str) -> bool:  # noqa: A002
        """True if a try may POST: its attempt is open, and the claim is not in doubt."""
        entry = self.open.get(id)
        return entry is not None and claim in entry.claims and claim not in entry.doubted

    def with_entry(self, entry: Entry) -> Self:
        """The page with this open attempt, in place of an older entry of it."""
        return replace(self, open={**self.open, entry.id: entry})

    def pruned(self, day: str) -> Self:
        """The page without the labels and spenders of older days: only those of this day and the two
        newest are ever read.
        """
        keep = {day, *sorted(self.days)[-2:]}
        if all(name in keep or not sums.spenders for name, sums in self.days.items()):
            return self
        return replace(
            self,
            days={
                name: sums if name in keep else Sums(credits=sums.credits) for name, sums in self.days.items()
            },
        )


@lru_cache(maxsize=8)
def _number_of(day: str) -> int:
    """The days since 1970: a page may have a thousand open entries, and a comparison of numbers is a
    hundred times faster.
    """
    return (date.fromisoformat(day) - date(1970, 1, 1)).days


def _group(entry: Entry) -> tuple[str, str, tuple[str, ...]]:
    """The facts that many entries have in common: the file names them once."""
    return entry.destination, entry.by, entry.labels


def _entry(group: Mapping[str, Any], row: list[Any]) -> Entry:
    """An entry from its group and its row in the file."""
    name, price, at, claims, doubted = row
    key, _, attempt = name.partition(".")
    return Entry(
        key=key,
        attempt=int(attempt),
        credits=price,
        at=at,
        claims=tuple(claims),
        doubted=tuple(doubted),
        destination=group["destination"],
        by=group["by"],
        labels=tuple(group["labels"]),
    )
