"""Possible reasons for credits that a statement cannot explain: unknown outcomes, another price, other users
of the key, top-ups.

Each candidate has its credits, if they are known, and says whether they are exactly the unexplained number.
No I/O and no clock.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from airflow_provider_seedream.accounts.entries import Entry
from airflow_provider_seedream.accounts.wallet_flow import MARGIN_SECONDS, Change, Flow, is_sum_of
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.counting import counted

MAX_SPANS = 5  # of the times between which credits went, in one sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One possible reason::

        Candidate(what="1 request with an unknown outcome was charged", credits=10, fits=True)

    :param what: a sentence for people, without a full stop.
    :param credits: the most that it can explain; None if that is not known.
    :param fits: True if it explains the number exactly.
    """

    what: str
    credits: int | None = None
    fits: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The candidate as plain JSON, for ``reconcile --output json``."""
        return {"what": self.what, "credits": self.credits, "fits": self.fits}


def candidates_for(
    flow: Flow | None,
    mine: Sequence[Entry],
    before: Sequence[Entry],
    *,
    start_at: float,
    is_moving: bool,
    stated: Sequence[int] = (),
) -> Iterator[Candidate]:
    """The candidates of a period; none if all is explained.

    :param mine: the period's entries; ``before``: those that were sent earlier.
    :param stated: the credits of each top-up that a person has stated.
    """
    if flow is None:
        if mine or before:
            yield Candidate(
                what="No request of the period has noted a balance: the wallet did not answer, or they begin "
                "before it"
            )
        return
    number = flow.unexplained
    if number == 0 and not is_moving:
        return
    if is_moving:
        yield Candidate(
            what="The wallet changed while the ledgers were read: requests are being sent, so run this again "
            "when they have ended"
        )
    if number > 0 and stated:
        what = "A top-up that was stated came before the first balance of the period, or has not come"
        yield Candidate(what=what, credits=max(stated), fits=is_sum_of(number, stated))
    for finder in (_lost, _gained):
        yield from finder(number, flow, mine)
    yield from _at_the_start(number, before, start_at)


def _lost(number: Decimal, flow: Flow, mine: Sequence[Entry]) -> Iterator[Candidate]:
    """Reasons for a wallet that holds less than explained, those first that are known best."""
    if number <= 0:
        return
    unknown = [entry for entry in mine if entry.at_risk]
    if unknown:
        at_risk = sum(entry.at_risk for entry in unknown)
        what = (
            f"{_requests(unknown)} with an unknown outcome {'was' if len(unknown) == 1 else 'were'} charged"
        )
        yield Candidate(what=what, credits=at_risk, fits=is_sum_of(number, [one.at_risk for one in unknown]))
    yield from _price(number, mine)
    if is_sum_of(number, [int(rise.credits) for rise in flow.top_ups]):
        what = (
            f"The clocks of the workers differ by more than {MARGIN_SECONDS:.0f} s: then charges look "
            "like a top-up and a loss"
        )
        yield Candidate(
            what=f"{what} of the same credits, and nothing is lost", credits=int(number), fits=True
        )
    spans = [drift for drift in flow.drifts if drift.credits < 0]
    when = "; ".join(
        f"{-one.credits:f} between {clock.to_iso(one.after_epoch)} and {clock.to_iso(one.before_epoch)}"
        for one in spans[:MAX_SPANS]
    )
    yield Candidate(what=f"Other users of this key, or folders that were not named, have spent it ({when})")


def _gained(number: Decimal, flow: Flow, mine: Sequence[Entry]) -> Iterator[Candidate]:
    """Reasons for a wallet that holds more than explained."""
    if number >= 0:
        return
    yield from _price(number, mine)
    reasons: tuple[tuple[str, Callable[[Entry], bool]], ...] = (
        (
            "of a generation that failed, without a word about a refund, came back",
            lambda entry: entry.ending == "failed",
        ),
        (
            "of a generation that expired unseen came back: it had failed",
            lambda entry: entry.ending == "expired",
        ),
        (
            "of an id that this account does not know were paid by another account",
            lambda entry: entry.ending == "missing",
        ),
    )
    for words, is_one in reasons:
        if found := [entry for entry in mine if is_one(entry)]:
            credits_ = sum(entry.charged for entry in found)
            yield Candidate(
                what=f"The credits {words} ({_requests(found)})",
                credits=credits_,
                fits=is_sum_of(-number, [one.charged for one in found]),
            )
    yield Candidate(
        what="A top-up that does not show, as requests were charged meanwhile: state it with --topped-up "
        "CREDITS"
    )


def _price(number: Decimal, mine: Sequence[Entry]) -> Iterator[Candidate]:
    """Another price, for the images whose price was not measured: 30 credits too few for 3 images are 10
    more for each.
    """
    unmeasured = [
        entry for entry in mine if entry.is_charged and not entry.is_measured and not entry.refunded
    ]
    images = sum(entry.images for entry in unmeasured)
    if not images:
        return
    reckoned = Decimal(sum(entry.charged for entry in unmeasured)) / images
    price, fits = (
        reckoned + number / images,
        number % images == 0 and reckoned == reckoned.to_integral_value(),
    )
    if fits and price > 0:
        many = counted(images, "image", "were")
        what = (
            f"The price: {many} counted at {counted(int(reckoned), 'credit')} each, and {price:f} each "
            "would explain it"
        )
        yield Candidate(what=what, credits=int(abs(number)), fits=True)
    prices = {Decimal(entry.charged) / entry.images for entry in mine if entry.is_measured and entry.images}
    if other := sorted(one for one in prices if one != reckoned):
        yield Candidate(
            what=f"The price: {', '.join(f'{one:f}' for one in other)} credits for an image were measured, "
            f"{reckoned:f} counted"
        )


def _at_the_start(number: Decimal, before: Sequence[Entry], start_at: float) -> Iterator[Candidate]:
    """Requests from before the period that were charged or refunded in it."""
    charged = [entry for entry in before if entry.last_epoch + MARGIN_SECONDS >= start_at]
    refunded = [
        entry
        for entry in before
        if entry.refunded and (entry.ended_epoch or start_at) + MARGIN_SECONDS >= start_at
    ]
    if number > 0 and charged:
        credits_ = sum(entry.charged + entry.at_risk for entry in charged)
        what = (
            f"{_requests(charged)} under way at the start {'was' if len(charged) == 1 else 'were'} "
            "charged after it"
        )
        yield Candidate(
            what=what,
            credits=credits_,
            fits=is_sum_of(number, [one.charged + one.at_risk for one in charged]),
        )
    if number < 0 and refunded:
        credits_ = sum(entry.refunded for entry in refunded)
        yield Candidate(
            what=f"{_requests(refunded)} from before the start came back after it",
            credits=credits_,
            fits=credits_ == -number,
        )


def with_refunds(flow: Flow, mine: Sequence[Entry], before: Sequence[Entry]) -> Flow:
    """The same flow, in which a rise that may be a refund says so: the wallet alone cannot tell it from a
    top-up.

    :param mine: the period's entries; ``before``: those that were sent earlier. Their refunds are no part of
        the period's sums.
    """
    return replace(
        flow,
        top_ups=tuple(replace(rise, may_be=_refunds_behind(rise, mine, before)) for rise in flow.top_ups),
    )


def _refunds_behind(rise: Change, mine: Sequence[Entry], before: Sequence[Entry]) -> str | None:
    """The refunds that make exactly this rise, in words; None if there are none.

    A record says that a refund had come by a time, not when it came. The API forgets a failure after 24 h,
    with the results.
    """
    known = [one for one in before if one.refunded and _may_come_in(rise, one, until=one.ended_epoch)]
    unseen = [
        one
        for one in (*before, *mine)
        if one.ending == "expired" and _may_come_in(rise, one, until=one.expires_epoch)
    ]
    if not is_sum_of(rise.credits, [*(one.refunded for one in known), *(one.charged for one in unseen)]):
        return None
    reasons = (
        [f"{_requests(known)} from before the start {'was' if len(known) == 1 else 'were'} refunded"]
        if known
        else []
    )
    reasons += [f"{_requests(unseen)} expired unseen and may have failed"] if unseen else []
    return ", and ".join(reasons)


def _may_come_in(rise: Change, entry: Entry, *, until: float | None) -> bool:
    """True if its refund may lie between the looks of this rise, by clocks that differ a little."""
    is_sent = entry.first_epoch - MARGIN_SECONDS <= rise.before_epoch
    return is_sent and (until is None or until + MARGIN_SECONDS >= rise.after_epoch)


def _requests(entries: Sequence[Entry]) -> str:
    """``1 request``, ``3 requests``."""
    return counted(len(entries), "request")
