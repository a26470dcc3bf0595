"""How many POSTs of a batch are under way at once: as many as the rate limit takes in the time of one
submission, and no more.

Pure: no I/O, no clock, no threads. Time, rate and outcomes are arguments, so that each decision can be
tested.
"""

import math

from airflow_provider_seedream.tasks.wait_options import MAX_POSTS_AT_ONCE

# an API that takes POSTs without answering may charge each, so the batch stops sending
MAX_UNKNOWN_IN_A_ROW = 3
HEADROOM = 1.1  # more than the mean, so that a slow answer does not leave turns of the rate limit unused
ANSWERS_WHEN_PRICED = 3  # the wallet, the POST, and the wallet again
# of the last submission in the mean, so that it follows an API that gets slower within some 10 rows
WEIGHT = 0.1


class PostWidth:
    """Decides how many submissions may be under way.

    ::

        width = PostWidth(None)
        width.at_once(requests_per_minute=600)  # 1: no submission has been measured yet
        width.accepted(1.0, sent_epoch=now)
        width.at_once(requests_per_minute=600)  # 11: ten a second, each takes 1 s, and a tenth more

    A POST that was refused with a 429, or that could not be sent, makes the next one go alone: it tells
    whether the API takes requests again, and n refusals at once stay one signal. After a POST with an unknown
    outcome only so many are under way as may still become unknown before the batch stops sending.

    :param most: the operator's ``max_posts_at_once``; None for 16.
    :param seconds: the mean that an earlier process has measured.
    """

    def __init__(self, most: int | None, seconds: float | None = None) -> None:
        self._most = MAX_POSTS_AT_ONCE if most is None else most
        self._refused_epoch: float | None = None
        self._guessed_seconds: float | None = None
        self.seconds = seconds

    def at_once(self, *, requests_per_minute: float, unknown_in_a_row: int = 0) -> int:
        """The number of submissions that may be under way, at least 1.

        :param requests_per_minute: the share of the rate limit that the batch uses now.
        :param unknown_in_a_row: consecutive POSTs whose outcome is unknown.
        """
        seconds = self._guessed_seconds if self.seconds is None else self.seconds
        if seconds is None or self._refused_epoch is not None:
            return 1
        needed = math.ceil(requests_per_minute / 60 * seconds * HEADROOM)
        bound = self._most if unknown_in_a_row == 0 else MAX_UNKNOWN_IN_A_ROW - unknown_in_a_row
        return max(1, min(needed, self._most, bound))

    def accepted(self, seconds: float | None, *, sent_epoch: float) -> None:
        """Take in a submission that was paid. One that was sent before a refusal does not end it.

        :param seconds: from its first storage call to the recorded id, as long as it kept a thread busy; None
            if that was no usual time, as the wallet was read beside it.
        """
        if self._refused_epoch is not None and sent_epoch > self._refused_epoch:
            self._refused_epoch = None
        if seconds is not None:
            self.seconds = (
                seconds if self.seconds is None else self.seconds + WEIGHT * (seconds - self.seconds)
            )

    def guess(self, seconds: float) -> None:
        """Until a submission is measured, take a third of one whose price was measured: its POST and two
        readings of the wallet.

        The first row of most batches is such a one. Without the guess the second would go alone, too.

        :param seconds: that it took.
        """
        self._guessed_seconds = seconds / ANSWERS_WHEN_PRICED

    def refused(self, at_epoch: float) -> None:
        """Take in a POST that the rate limit refused, or that did not reach the API, at this time."""
        self._refused_epoch = at_epoch
