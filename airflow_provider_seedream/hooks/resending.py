"""Decides whether a call may be sent again. The retry table of the contract, from the server's point of view:

| what came back                             | what the server may have done | sent again here             |
|--------------------------------------------|-------------------------------|-----------------------------|
| POST: no byte of the body had left         | nothing                       | yes                         |
| POST: 4xx but 408, or a 3xx but 303        | nothing                       | no                          |
| POST: 429                                  | nothing                       | no: the caller waits        |
| POST: 408, 303, 5xx, 2xx without an id     | perhaps accepted and charged  | never                       |
| POST: anything else after the body began   | perhaps accepted and charged  | never                       |
| GET: no answer, timeout, 408, 5xx, no JSON | nothing that costs            | yes                         |
| GET: 429                                   | nothing that costs            | yes, as late as it asks for |
| GET: any other 4xx                         | nothing that costs            | no                          |

A 429 of a POST is waited out for minutes perhaps, one of a GET for an hour at most.
A retry repeats one failed call within seconds. Calling again later is polling: see the package ``polling``.
"""

import logging
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import tenacity

from airflow_provider_seedream.exceptions import (
    SeedreamConnectionError,
    SeedreamError,
    SeedreamRateLimitError,
    SeedreamResponseError,
    SeedreamServerError,
)
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.submissions import Submission

DEFAULT_MAX_ATTEMPTS = 4
# status calls may count against the rate limit, and a 429 on one must not fail a task
MAX_THROTTLED_SECONDS = 3600.0
_POST_SAFE = (SeedreamConnectionError,)
_GET_SAFE = (SeedreamConnectionError, SeedreamServerError, SeedreamResponseError)
_log = logging.getLogger(__name__)


class PostWithheld(Exception):
    """Raised by ``before_first_byte`` to stop a POST before its first byte, so the POST is not sent and not
    paid.

    Example::

        if ledger.latest(claim.key) != claim:
            raise PostWithheld("its claim was taken away")
    """


class SubmissionBody:
    """The body of a POST, which notes whether a part of it was taken for sending. Before that the server
    cannot have acted::

        body = SubmissionBody(submission)
        session.post(url, data=body)  # if it fails: body.has_begun says whether it may be sent again

    The body ends with an error ``max_seconds`` after its first piece, as other tries treat the POST as ended
    soon after that.

    :param submission: encoded piece by piece, so that no second copy of its images is in memory.
    :param before_first_byte: called when the connection stands; raises :class:`PostWithheld` to stop the
        POST.
    """

    def __init__(self, submission: Submission, before_first_byte: Callable[[], None] | None = None) -> None:
        self._submission = submission
        self._before_first_byte = before_first_byte
        self.has_begun = False
        self.began_seconds = clock.steady_seconds()  # by the steady clock; anew with the first piece
        self.max_seconds = math.inf

    def __len__(self) -> int:
        """The length in bytes, for the ``Content-Length``: without it requests would send chunks."""
        return self._submission.body_bytes

    def __iter__(self) -> Iterator[bytes]:
        """The body in pieces. Asks ``before_first_byte`` first, and notes that the body has begun.

        :raises PostWithheld: the POST must not be sent.
        :raises TimeoutError: the upload takes longer than ``max_seconds``.
        """
        if self._before_first_byte:
            # runs with the first piece taken: urllib3 asks for the iterator before it connects
            self._before_first_byte()
        self.has_begun = True
        self.began_seconds = clock.steady_seconds()
        for piece in self._submission.body():
            if clock.steady_seconds() - self.began_seconds > self.max_seconds:
                raise TimeoutError(f"its upload took longer than {self.max_seconds:.1f} s")
            yield piece


def post_bought_nothing(status_code: int) -> bool:
    """True if an answer to a POST (other than 2xx) proves that the POST was not accepted, so it is not
    paid.
    """
    return 300 <= status_code < 500 and status_code not in (303, 408)


def post_retrying(max_attempts: int) -> tenacity.Retrying:
    """Repeats a POST that was certainly not sent.

    :param max_attempts: how often it may be sent in all, with pauses of up to 10 s.
    """
    return _retrying(_POST_SAFE, max_attempts)


def get_retrying(max_attempts: int) -> Callable[..., Any]:
    """Repeats a GET without a usable answer, and waits after 429s, which do not count as attempts.

    :param max_attempts: 1 sends it once and waits for no 429.
    :returns: a callable that takes the function of the call and its arguments.
    """
    repeating = _retrying(_GET_SAFE, max_attempts)
    if max_attempts == 1:
        return repeating
    throttled = tenacity.Retrying(
        sleep=clock.sleep,
        retry=tenacity.retry_if_exception_type(SeedreamRateLimitError),
        stop=tenacity.stop_before_delay(MAX_THROTTLED_SECONDS),  # the sleep that a 429 asks for may be a day
        wait=_turn_seconds,
        before_sleep=say_again,
        reraise=True,
    )
    return partial(throttled, repeating)


def _retrying(errors: tuple[type[SeedreamError], ...], max_attempts: int) -> tenacity.Retrying:
    """Repeat on these errors, with random pauses of up to 10 s that grow: workers that failed together do
    not return together.
    """
    return tenacity.Retrying(
        sleep=clock.sleep,
        retry=tenacity.retry_if_exception_type(errors),
        stop=tenacity.stop_after_attempt(max_attempts),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=10),
        before_sleep=say_again,
        reraise=True,
    )


def say_again(state: tenacity.RetryCallState) -> None:
    """One log line for each repetition: why, and when."""
    if state.outcome and state.next_action:
        error = state.outcome.exception()
        _log.warning("%s Trying again in %.1f s.", getattr(error, "message", error), state.next_action.sleep)


def _turn_seconds(state: tenacity.RetryCallState) -> float:
    """The pause after a 429: what the API asks for, and a random share on top."""
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after_seconds", None) or 0.0
    return float(asked + tenacity.wait_random_exponential(multiplier=0.5, max=10)(state))
