"""The wallet between several looks at it: what its own requests explain, top-ups that show, and the rest. No
I/O and no clock.

Workers have clocks of their own, so a request near a look may have been charged before or after it. Therefore
the credits that had come from outside by the time of a look are known as a range only. The last look came
after all requests, so its number is exact.

Example: the balance was 500 at the first look and is 480 at the second, and a request of 30 credits lies near
the second. If it was charged by then, 10 credits have come from outside; if not, 20 have gone. The range is
-20 to 10.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

from airflow_provider_seedream.model import clock

MARGIN_SECONDS = 15.0  # between a look and a charge, and between the clocks of workers
_LOWEST = Decimal("-Infinity")


class Move(NamedTuple):
    """Credits that a request has moved, at some moment of a span: positive for a charge, negative for a
    refund::

        Move(first_epoch=1795816800.0, last_epoch=1795816860.0, credits=Decimal(20))

    :param is_sure: False for the charge of a request with an unknown outcome: it may never have come.
    """

    first_epoch: float
    last_epoch: float
    credits: Decimal
    is_sure: bool = True


class Look(NamedTuple):
    """A balance that was read before a POST::

        Look(at_epoch=1795816800.0, balance=Decimal(500), mine=(move,))

    :param mine: the moves of that POST: they came after the look, however close the two are.
    """

    at_epoch: float
    balance: Decimal
    mine: tuple[Move, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Credits that came or went between two looks, and that no request explains::

        Change(after_epoch=1795816800.0, before_epoch=1795816920.0, credits=Decimal(500))  # a top-up

    :param credits: positive if they came into the wallet.
    :param may_be: the refunds that it may be instead, as a sentence without a full stop; None if no record
        speaks of one.
    """

    after_epoch: float
    before_epoch: float
    credits: Decimal
    may_be: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The change as plain JSON, for ``reconcile --output json``."""
        after, before = clock.to_iso(self.after_epoch), clock.to_iso(self.before_epoch)
        return {"credits": number(self.credits), "after": after, "before": before, "may_be": self.may_be}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """The credits from outside, each in its order of time::

        flow.top_ups  # (Change(after_epoch=..., before_epoch=..., credits=Decimal(500)),)
        flow.unexplained  # Decimal(0): the requests explain all other differences

    :param top_ups: rises of the balance that refunds do not explain.
    :param drifts: all other differences.
    """

    top_ups: tuple[Change, ...]
    drifts: tuple[Change, ...]

    @property
    def unexplained(self) -> Decimal:
        """Credits that the wallet has lost beyond all that is explained; negative if it holds more."""
        return -sum((drift.credits for drift in self.drifts), Decimal(0))


class _Range(NamedTuple):
    """The credits from outside by the time of a look: at least, at most."""

    low: Decimal
    high: Decimal

    def nearest(self, value: Decimal) -> Decimal:
        """The number of the range that is nearest to a value."""
        return min(max(value, self.low), self.high)

    def within(self, other: "_Range") -> "_Range":
        """The part of this range that lies in the other, else its end that is nearest to it."""
        if self.high < other.low:
            return _Range(self.high, self.high)
        if self.low > other.high:
            return _Range(self.low, self.low)
        return _Range(max(self.low, other.low), min(self.high, other.high))


def plain(credits_: Decimal) -> Decimal:
    """The same number without zeros behind its point: the API writes ``150.00``."""
    return credits_.quantize(Decimal(1)) if credits_ == credits_.to_integral_value() else credits_.normalize()


def number(credits_: Decimal | None) -> int | float | None:
    """Credits for JSON: an integer where they are whole; None stays None."""
    if credits_ is None:
        return None
    return int(credits_) if credits_ == credits_.to_integral_value() else float(credits_)


def is_sum_of(credits_: Decimal, amounts: Iterable[int]) -> bool:
    """True if some of the amounts make just this number. None of them makes 0."""
    if credits_ < 0 or credits_ != credits_.to_integral_value():
        return False
    sums = 1  # one bit for each sum that can be made
    for amount in amounts:
        sums |= sums << amount
    return bool(sums >> int(credits_) & 1)


def flow_of(looks: Sequence[Look], moves: Sequence[Move]) -> Flow:
    """Explain the balances by the moves, with as few credits from outside as possible.

    :param looks: in the order of their times. All moves lie after the first and before the last: those two
        are exact.
    """
    rises = _rises(looks, moves)
    ranges = _ranges(looks, moves)
    # Go from the last look, whose number is exact, back to the first, and narrow each range: the fewest
    # credits shall come later. Where the balance rose, credits may have come in between: there the earlier
    # number may be any lower one.
    wanted = [ranges[-1]]
    for number in range(len(looks) - 2, -1, -1):
        after = wanted[-1]
        wanted.append(ranges[number].within(_Range(_LOWEST, after.high) if rises[number] else after))
    wanted.reverse()
    top_ups: list[Change] = []
    drifts: list[Change] = []
    outside = Decimal(0)
    for number, (look, then) in enumerate(pairwise(looks)):
        now = wanted[number + 1].nearest(outside)
        if now != outside:
            change = Change(after_epoch=look.at_epoch, before_epoch=then.at_epoch, credits=now - outside)
            changes = top_ups if rises[number] and change.credits > 0 else drifts
            changes.append(change)
        outside = now
    return Flow(top_ups=tuple(top_ups), drifts=tuple(drifts))


def _rises(looks: Sequence[Look], moves: Sequence[Move]) -> list[bool]:
    """For each pair of looks: True if the balance rose by more than the refunds between them can explain."""
    refunds = [move for move in moves if move.credits < 0]
    possible, certain = _by_look(looks, refunds, possible=True), _by_look(looks, refunds, possible=False)
    return [
        then.balance - look.balance > certain[number] - possible[number + 1]  # refunds are negative moves
        for number, (look, then) in enumerate(pairwise(looks))
    ]


def _ranges(looks: Sequence[Look], moves: Sequence[Move]) -> list[_Range]:
    """For each look, the credits that had come from outside since the first one: at least, and at most."""
    charges, refunds = (
        [move for move in moves if move.credits >= 0],
        [move for move in moves if move.credits < 0],
    )
    least, most = _by_look(looks, charges, possible=False), _by_look(looks, charges, possible=True)
    returned, returning = _by_look(looks, refunds, possible=False), _by_look(looks, refunds, possible=True)
    start = looks[0].balance
    ranges = []
    for number, look in enumerate(looks):
        base = look.balance - start
        # A look before a POST cannot have seen that POST's own charge and refund, however close they are.
        own = [move.credits for move in look.mine if move.first_epoch - MARGIN_SECONDS <= look.at_epoch]
        charge = sum((one for one in own if one > 0), Decimal(0))
        refund = sum((one for one in own if one < 0), Decimal(0))
        ranges.append(
            _Range(
                base + least[number] + returning[number] - refund,
                base + most[number] - charge + returned[number],
            )
        )
    total = sum((move.credits for move in moves if move.is_sure), Decimal(0))
    end = looks[-1].balance - start + total
    return [_Range(Decimal(0), Decimal(0)), *ranges[1:-1], _Range(end, end)]


def _by_look(looks: Sequence[Look], moves: Sequence[Move], *, possible: bool) -> list[Decimal]:
    """The sum of the moves before each look.

    :param possible: True: moves that may have happened by then, each at its earliest. False: moves that must
        have happened, each at its latest; an unknown outcome is not among them, as its charge may never come.
    """
    if possible:
        dated = sorted((move.first_epoch - MARGIN_SECONDS, move.credits) for move in moves)
    else:
        dated = sorted((move.last_epoch + MARGIN_SECONDS, move.credits) for move in moves if move.is_sure)
    sums, total, taken = [], Decimal(0), 0
    for look in looks:
        while taken < len(dated) and dated[taken][0] <= look.at_epoch:
            total += dated[taken][1]
            taken += 1
        sums.append(total)
    return sums
