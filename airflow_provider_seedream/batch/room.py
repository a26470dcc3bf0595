"""Decides whether a row may begin beside those that are under way: by width, flight, budget, memory and equal
rows.

Starts nothing and sends nothing. The width itself is decided in ``width``, whose arguments are gathered here.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import Future

from airflow_provider_seedream.batch.pace import Pace
from airflow_provider_seedream.batch.posting import Tried, Upcoming
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.batch.width import PostWidth
from airflow_provider_seedream.ledger.admission import Admission
from airflow_provider_seedream.ledger.budgets import Budget
from airflow_provider_seedream.ledger.prices import Prices

MAX_SOURCE_BYTES = 256 * 1024 * 1024  # of the sources of all edits under way together


class Room:
    """The room for one more submission.

    ::

        if room.has_room(upcoming, waiting):
            upcoming.is_alone = room.must_be_alone(upcoming)
            posting.start(upcoming)

    :param under_way: the submissions in the threads, as they change.
    :param prices: tells when a price is to be measured.
    :param progress: its generations in flight take room, and its equal rows must not run side by side.
    :param budget: near its limit rows go one after the other. :param admission: likewise, under the caps of
        the connection.
    :param pace: gives ``max_in_flight`` and the rate.
    :param width: says how many submissions the rate limit can use.
    """

    def __init__(
        self,
        progress: Progress,
        under_way: Mapping[Future[Tried], Upcoming],
        *,
        prices: Prices,
        budget: Budget,
        admission: Admission,
        pace: Pace,
        width: PostWidth,
    ) -> None:
        self._progress = progress
        self._under_way = under_way
        self._prices = prices
        self._budget = budget
        self._admission = admission
        self._pace = pace
        self._width = width

    def has_room(self, candidate: Upcoming, waiting: Iterable[Upcoming]) -> bool:
        """True if this row may begin beside the generations in flight and the submissions under way.

        A row may always begin if no submission is under way. So a bound that is too small for one row (e.g.
        for its sources) never stops the batch.

        :param waiting: rows that wait for another try, and keep the sources that they have read.
        """
        under_way = self._under_way.values()
        if len(self._progress.in_flight) + len(under_way) >= self._pace.max_in_flight:
            return False
        if not under_way:
            return True
        width = self._width.at_once(
            requests_per_minute=self._pace.limiter.requests_per_minute * self._pace.limiter.share,
            unknown_in_a_row=self._progress.unknown_in_a_row,
        )
        return (
            len(under_way) < width
            and not any(one.is_alone for one in under_way)
            and not self.must_be_alone(candidate)
            and not self._must_follow_one_of(candidate)
            and self._source_bytes(candidate, waiting) <= MAX_SOURCE_BYTES
        )

    def _source_bytes(self, candidate: Upcoming, waiting: Iterable[Upcoming]) -> int:
        """The memory that sources take once this row is under way, too. Rows that wait for a turn keep
        theirs.
        """
        held = [one for one in waiting if one.request and one is not candidate]
        return sum(one.source_bytes for one in (*self._under_way.values(), *held, candidate))

    def must_be_alone(self, candidate: Upcoming) -> bool:
        """True for a row that may exceed the budget, and for one whose price is to be measured in the wallet.

        The price of a submission under way counts twice where its note is written already. So rows go one
        after the other a little earlier than they must, and never later.
        """
        price = sum(one.price for one in self._under_way.values()) + candidate.price
        # Another POST between two readings of the wallet would be counted as the price of this one.
        is_alone = candidate.is_alone or self._prices.measures_next
        return is_alone or not (self._budget.has_room(price) and self._admission.has_room(price))

    def _must_follow_one_of(self, candidate: Upcoming) -> bool:
        """True if an equal row is under way: this one attaches to its generation when the id is known. Also
        true if a row with the same name is under way: the order of the rows decides which of them gets the
        name, as in a plan.
        """
        others = self._under_way.values()
        if candidate.stem and candidate.stem in [one.stem for one in others]:
            return True
        return candidate.number in self._progress.repeats and candidate.identity in [
            one.identity for one in others
        ]
