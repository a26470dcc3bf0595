"""Finds out from two looks at the wallet whether a POST with an unknown outcome was charged. No I/O and no
clock.

It proves or says "unclear"; it never guesses. Every other request between the two looks is counted. If one of
them may lie on either side of a look, or its price was never measured, these two looks prove nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal, NamedTuple

from airflow_provider_seedream.accounts.entries import Entry
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.counting import counted

# between the clocks of two workers: `airflow seedream check` warns at 30 s from the store's
CLOCKS_SECONDS = 60.0
# the API keeps a generation for 24 h [doc]: it has failed by then, or not at all
REFUND_SECONDS = 24 * 3600.0
MAX_LOOKS = 5  # on either side of the POST, the nearest ones

# not_charged  proved: the wallet lost nothing for it
# charged      proved: the wallet lost its price, and nothing else was under way
# unclear      neither
# A place is that of a charge or a refund: between two looks, outside, or so near to one of them that clocks
# cannot tell.
Verdict = Literal["not_charged", "charged", "unclear"]
Place = Literal["in", "out", "unsure"]


class Sight(NamedTuple):
    """A balance of the wallet::

        Sight(at_epoch=1795816800.0, balance=Decimal("149.50"), by=None)

    :param by: the record whose POST it was read before; None: it was read now, after all records.
    """

    at_epoch: float
    balance: Decimal
    by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The answer about one POST::

        Proof(
            verdict="not_charged", why="No credit moved between 2026-11-29T01:10:07Z and 2026-11-29T01:14:31Z"
        )

    :param why: the facts, as a sentence for people without a full stop.
    """

    verdict: Verdict
    why: str


class _Window(NamedTuple):
    """Two looks, and the other requests between them as far as their records tell.

    :param charged: credits, of requests that were charged between the looks.
    :param unknown: credits, of other requests with an unknown outcome.
    :param refunded: credits that came back between the looks.
    :param may_rise: the balance may have risen between the looks: by the refund of a request that was charged
        before them.
    :param may_hide: a refund may have come between the looks that no record tells.
    :param unsure: requests that may lie on either side of a look.
    :param unmeasured: requests whose price is not known for certain.
    """

    before: Sight
    after: Sight
    charged: int
    unknown: int
    refunded: int
    may_rise: bool
    may_hide: bool
    unsure: int
    unmeasured: int


def judge(entry: Entry, others: Iterable[Entry], now: Sight | None) -> Proof:
    """Decide about one POST with an unknown outcome that has certainly ended.

    :param others: all other requests that the key pays for. A look of theirs counts if its clock leaves no
        doubt.
    :param now: the wallet, read after all records; None if the balance changed meanwhile.
    """
    rest = [other for other in others if other.record != entry.record]
    prices = {Decimal(other.charged) / other.images for other in rest if other.is_measured and other.images}
    price = prices.pop() if len(prices) == 1 else None
    proofs = [_proof(entry, window, price) for window in _windows(entry, rest, now, price)]
    if not proofs:
        return Proof(
            verdict="unclear",
            why="There are no two looks at the wallet, one before this request and one after it",
        )
    # The nearest looks that prove anything count: farther ones have more of other people's spending between
    # them.
    return next((proof for proof in proofs if proof.verdict != "unclear"), proofs[0])


def without_charge(entry: Entry) -> Entry:
    """A POST that was proved not to be charged, for the proofs of others: no credit of it has moved, and
    its look counts.
    """
    return replace(entry, at_risk=0, ending="landed")


def _windows(
    entry: Entry, rest: Sequence[Entry], now: Sight | None, price: Decimal | None
) -> Iterator[_Window]:
    """Pairs of looks around a POST, the nearest first."""
    looks = sorted(Sight(one.first_epoch, one.balance, one.record) for one in rest if one.balance is not None)
    # A look of another process counts only if it lies farther from the POST than clocks may differ.
    earlier = [look for look in reversed(looks) if look.at_epoch < entry.first_epoch - CLOCKS_SECONDS]
    later = [look for look in looks if look.at_epoch > entry.last_epoch + CLOCKS_SECONDS]
    own = [] if entry.balance is None else [Sight(entry.first_epoch, entry.balance, entry.record)]
    for before in [*own, *earlier[:MAX_LOOKS]]:
        for after in [*later[:MAX_LOOKS], *([now] if now else [])]:
            yield _window(rest, before, after, price)


def _window(rest: Sequence[Entry], before: Sight, after: Sight, price: Decimal | None) -> _Window:
    """Count the other requests between two looks, and note refunds that may hide there."""
    charged = unknown = refunded = unsure = unmeasured = 0
    may_rise = may_hide = False
    for other in rest:
        place, back = _place_of_charge(other, before, after), _place_of_refund(other, before, after)
        unsure += place == "unsure" or (bool(other.refunded) and back == "unsure")
        may_rise |= place != "in" and back != "out"
        may_hide |= back != "out" and other.is_charged and not other.refunded
        if place == "in":
            charged += other.charged
            unknown += _expected(other, price) if other.at_risk else 0
            unmeasured += (
                other.is_charged and not other.is_measured and other.charged != _expected(other, price)
            )
        if other.refunded and back == "in":
            refunded += other.refunded
    return _Window(before, after, charged, unknown, refunded, may_rise, may_hide, unsure, unmeasured)


def _expected(other: Entry, price: Decimal | None) -> int:
    """The price of a request by the measured price of an image. Without one: the credits at risk, or -1,
    which equals no charge.
    """
    if price is None:
        return other.at_risk or -1
    return int(price * other.images)


def _place_of_refund(other: Entry, before: Sight, after: Sight) -> Place:
    """The place of a request's refund, seen from two looks.

    A refund comes when a generation fails, at most 24 h after the request. A generation that has landed, or
    may still land, has none. One that ended in another way, or unseen, may have one although no record tells
    it.
    """
    if not other.refunded and other.ending in ("landed", "partial", "in_flight", "to_land", "sending"):
        return "out"
    return _place(other.first_epoch, other.ended_epoch or other.first_epoch + REFUND_SECONDS, before, after)


def _place_of_charge(other: Entry, before: Sight, after: Sight) -> Place:
    """The place of a request's charge, seen from two looks. A look of this very request came before its
    charge, by any clock.
    """
    if other.record == after.by:
        return "out"
    if other.ending == "sending":
        return "unsure"
    if other.record == before.by and (after.by is None or other.last_epoch + CLOCKS_SECONDS < after.at_epoch):
        return "in"
    return _place(other.first_epoch, other.last_epoch, before, after)


def _place(first_epoch: float, last_epoch: float, before: Sight, after: Sight) -> Place:
    """The place of an event that happened at some moment of a span.

    Workers' clocks may differ by 60 s, so an event that near to a look is ``unsure``. The look of now (``by``
    is None) came after all records.
    """
    if last_epoch + CLOCKS_SECONDS < before.at_epoch:
        return "out"
    if after.by is not None and first_epoch - CLOCKS_SECONDS > after.at_epoch:
        return "out"
    begins_in = first_epoch - CLOCKS_SECONDS > before.at_epoch
    ends_in = after.by is None or last_epoch + CLOCKS_SECONDS < after.at_epoch
    return "in" if begins_in and ends_in else "unsure"


def _proof(entry: Entry, window: _Window, price: Decimal | None) -> Proof:
    """The verdict of one pair of looks. Balance and other requests must explain each other to the credit,
    else it is unclear.
    """
    moved = window.after.balance - window.before.balance
    between = f"between {clock.to_iso(window.before.at_epoch)} and {clock.to_iso(window.after.at_epoch)}"
    if moved == 0 and not window.may_rise and not window.charged:
        # A charge lowers the balance, and no refund can have raised it: so no request was charged, also none
        # near a look.
        return Proof(
            verdict="not_charged", why=f"The wallet stood still {between}, and no refund can have come"
        )
    if doubt := _doubt(window):
        return Proof(verdict="unclear", why=f"{doubt} {between}")
    rest = moved + window.charged - window.refunded
    said = (
        f"The wallet changed by {moved:+f} {between}, other requests by {window.refunded - window.charged:+d}"
    )
    if rest == 0:
        return Proof(verdict="not_charged", why=f"{said}: they explain all of it")
    mine = int(price * entry.images) if price is not None else entry.at_risk
    if -rest == mine + window.unknown:
        return Proof(
            verdict="charged", why=f"{said}, and the rest is the price of this request{_with(window.unknown)}"
        )
    return Proof(
        verdict="unclear",
        why=f"{said}: the rest, {rest:+f}, is not the price of this request, {mine}{_with(window.unknown)}",
    )


def _with(unknown: int) -> str:
    """The end of a sentence: the credits of other requests with an unknown outcome; empty without any."""
    return f", with {unknown} of others whose outcome is unknown" if unknown else ""


def _doubt(window: _Window) -> str | None:
    """The reason why two looks prove nothing; None if every other request between them is known exactly."""
    if window.unsure:
        return f"{_requests(window.unsure)} may lie on either side of a look at the wallet,"
    if window.may_hide or window.may_rise:
        return "A refund may have come that no record tells,"
    if window.unmeasured:
        return f"The price of {_requests(window.unmeasured)} was not measured,"
    return None


def _requests(number: int) -> str:
    return counted(number, "other request")
