"""Every error of this provider: what happened, was it paid for, and what a retry does.

SeedreamError
  SeedreamInputError                 refused before anything was sent            nothing paid   not retried
  SeedreamBudgetError                the price exceeds the rest of a budget      nothing paid   not retried
    SeedreamCapError                 a cap of the connection leaves no room      nothing paid   not retried
  SeedreamAPIError                   the API answered with an error status
    SeedreamBadRequestError          400, 413, 422 and other 4xx                 nothing paid   not retried
    SeedreamAuthenticationError      401, 403                                    nothing paid   not retried
    SeedreamInsufficientCreditsError 402                                         nothing paid   see below
    SeedreamNotFoundError            404, 410; on a POST: no such endpoint                      not retried
    SeedreamRateLimitError           429                                         nothing paid   retried
    SeedreamServerError              5xx, 408                                                   retried
  SeedreamConnectionError            the request surely did not leave            nothing paid   retried
  SeedreamAmbiguousSubmissionError   the POST may have been accepted             unknown        see below
  SeedreamResponseError              an answer outside the contract                             retried
  SeedreamGenerationFailedError      the generation failed                       see ``paid``   see below
    SeedreamModerationError          ... because the safety checker refused it   see ``paid``   not retried
  SeedreamResultsExpiredError        the 24 h that results are kept are over     paid           not retried
  SeedreamGenerationTimeoutError     not ready within ``timeout``                paid           not retried
  SeedreamTopUpTimeoutError          no top-up came within ``timeout``           nothing paid   not retried
  SeedreamPollingError               the API was unavailable for too long        paid           retried, free
  SeedreamLandingError               the images could not be landed              paid           retried, free
  SeedreamPartialResultError         fewer images came than were asked for       paid           not retried
  SeedreamBatchError                 rows of a batch did not land                see ``paid``   see below
  SeedreamLedgerError                the record cannot be read or written        see ``paid``   retried

Not retried: the class derives from Airflow's ``AirflowFailException`` or ``AirflowSensorTimeout``. Three
depend on who raises them and are made so by ``final()``: 402 unless the task has a ``retry_policy`` to time
it, an ambiguous submission unless ``on_unknown_submit="resubmit"``, a failed generation in a sensor (which
cannot submit again).

It is one long page on purpose: the tree, and below it each class with what happened, what it cost and what to
do, in the order of the tree. Users import all of them from here, and the documentation prints them from here.

The text of every error begins with its verdict, in capitals: two or three words that a person finds in the
log, in the alert and as a heading of the troubleshooting page. ``model/verdicts.py`` lists them all.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, AirflowSensorTimeout

Paid = Literal["no", "yes", "refunded", "unknown"]
MAX_MESSAGE_CHARACTERS = 4000  # of one error: what it quotes may be as long as an image


class SeedreamError(AirflowException):
    """Base of all errors of this provider. Catch it to learn what a failed call has cost::

        try:
            hook.get_generation(seedream_task_id)
        except SeedreamError as error:
            print(error.headline, error.paid, error.seedream_task_id, error.record)

    Its text has one order: verdict, what happened, what was paid, what to do, ids, and last the cause, which
    are the words of a library or of a server. Tasks log the same as a block of short lines before they raise
    it (``model/error_lines.py``).

    :param message: what happened, in one or two sentences.
    :param seedream_task_id: the API's id of the generation, once there is one.
    :param record: URI of the ledger record, once there is one.
    :param paid: whether credits were spent: ``no``, ``yes``, ``refunded`` or ``unknown``; the class's own
        answer by default.
    :param verdict: other words than the class's own, where one class has several everyday causes.
    :param cause: the words of a library or a server, e.g. ``ConnectionError: [Errno 111] Connection
        refused``.

    Code that catches the error on its way sets more, where it is known:

    :cvar credits: the price of the request, in credits.
    :cvar billed_credits: the credits that the wallet lost, where that was measured.
    :cvar kept_until: when the API deletes the images, ISO 8601 UTC; None without a paid generation that may
        have images.
    :cvar commands: commands to copy, the first one first.
    :cvar wallet: a sentence about the balance before and after a POST with an unknown outcome.
    :cvar is_at_parse: True for an error of a DAG file: nothing ran, so the text says nothing about payment or
        retries.
    """

    verdict: str = "FAILED"
    paid: Paid = "no"
    on_retry: str = "A retry starts from the beginning."
    cause: str | None = None
    credits: int | None = None
    billed_credits: int | None = None
    kept_until: str | None = None
    wallet: str | None = None
    commands: Sequence[str] = ()
    is_at_parse: bool = False

    def __init__(
        self,
        message: str,
        *,
        seedream_task_id: str | None = None,
        record: str | None = None,
        paid: Paid | None = None,
        verdict: str | None = None,
        cause: str | None = None,
    ) -> None:
        message = _bounded(message)
        super().__init__(message)  # the message alone: a copy and a pickle are made from it
        self.message = message
        self.seedream_task_id = seedream_task_id
        self.record = record
        if paid is not None:
            self.paid = paid
        if verdict is not None:
            self.verdict = verdict
        if cause is not None:
            self.cause = _bounded(cause)

    @property
    def headline(self) -> str:
        """The verdict, with the credits where some are concerned: ``UNKNOWN OUTCOME, up to 10 credits at
        risk``.
        """
        many = None if self.credits is None else max(self.credits, self.billed_credits or 0)
        # "no" has no amount: the price of what was not bought would be read as its cost
        amounts = {"yes": "{} paid", "refunded": "{} refunded", "unknown": "up to {} at risk"}
        price = f"{many} credit" + ("" if many == 1 else "s")
        return (
            f"{self.verdict}, {amounts[self.paid].format(price)}"
            if many and self.paid in amounts
            else self.verdict
        )

    @property
    def detail(self) -> str:
        """What happened, until when paid images are kept, what to type, and the cause: for a cell of a
        table or a line of a log.
        """
        parts = [self.message]
        if self.kept_until:
            parts.append(f"The API keeps the images until {self.kept_until}.")
        parts += [f"`{command}`" for command in self.commands]
        return " ".join(parts) + (f" Cause: {self.cause}" if self.cause else "")

    def __str__(self) -> str:
        """One line: verdict, message, payment, retry, commands, and what is known of wallet, ids and
        cause, in this order.
        """
        parts = [f"{self.headline}: {self.message}"]
        if not self.is_at_parse:  # nothing ran: a sentence about payment would only frighten
            parts += [f"Paid: {self.paid}.", self.on_retry, *(f"`{command}`" for command in self.commands)]
        named = {
            "The API keeps the images until": self.kept_until,
            "Wallet:": self.wallet,
            "Seedream task id:": self.seedream_task_id,
            "Record:": self.record,
            "Cause:": self.cause,
        }
        parts += [f"{name} {value.rstrip('.')}." for name, value in named.items() if value]
        return " ".join(parts)


class SeedreamInputError(SeedreamError, AirflowFailException, ValueError):
    """The request is invalid, e.g. ``num_images=7``. It was not sent; a retry would be refused again.

    ::

        WRONG INPUT: Task 'hero': num_images must be an integer from 1 to 6; got 7.
    """

    verdict = "WRONG INPUT"
    on_retry = "A retry would be refused again: correct the input."


class SeedreamBudgetError(SeedreamError, AirflowFailException):
    """The price exceeds the rest of ``max_credits`` or ``max_credits_per_run``. The request was not sent.

    With ``max_credits=30`` and 20 credits spent, a request for two images (20 credits) is refused::

        max_credits=30: 20 credits are spent by this task in this DAG run, and this request costs 20.
    """

    verdict = "BUDGET REACHED"
    on_retry = "A retry would be refused again: raise the budget, then clear the task."


class SeedreamCapError(SeedreamBudgetError):
    """A cap of the connection (a day's, a month's, or a label's) leaves no room. The request was not sent.

    ::

        max_credits_per_day=500 of connection 'seedream_default': 495 credits are spent this UTC day
        (watches/submit 400, shop/hero 95), and this request costs 10.

    :cvar cap: the cap as the connection has it, e.g. ``max_credits_per_day=500``.
    :cvar spenders: credits by ``dag/task`` of those that have spent most in its period.
    :cvar room_at: when its period ends, ISO 8601 UTC; None if the price is larger than the cap itself.
    """

    verdict = "CAP REACHED"
    on_retry = (
        "A retry would be refused again until the UTC day or month ends: clear the task then, or "
        "raise the cap."
    )
    cap: str = ""
    spenders: Mapping[str, int] = MappingProxyType({})
    room_at: str | None = None


class SeedreamAPIError(SeedreamError):
    """The API answered with an error status. Its subclasses say which; the fields say the rest::

        try:
            hook.get_wallet()
        except SeedreamAPIError as error:
            print(error.status_code, error.code, error.retry_after_seconds)  # 429 rate_limited 21.0

    :param status_code: the HTTP status; None where only the trigger saw the answer.
    :param code: the API's own error code, e.g. ``insufficient_credits``; None when the body has none.
    :param retry_after_seconds: what the ``Retry-After`` header asks for, else the sentence of a 429: seconds
        from the answer, at most a day; None without either.
    """

    verdict = "API FAILED"

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        code: str | None = None,
        retry_after_seconds: float | None = None,
        seedream_task_id: str | None = None,
        record: str | None = None,
        paid: Paid | None = None,
    ) -> None:
        super().__init__(message, seedream_task_id=seedream_task_id, record=record, paid=paid)
        # Airflow's own is an HTTPStatus; an API may answer 499
        self.status_code: int | None = status_code  # type: ignore[assignment]
        self.code = code
        self.retry_after_seconds = retry_after_seconds


class SeedreamBadRequestError(SeedreamAPIError, AirflowFailException):
    """400, 413, 422 and every other 4xx without a class of its own: the API refuses this request for good.

    ::

        REQUEST REFUSED: The API answered 400 validation_failed: prompt is too long.
    """

    verdict = "REQUEST REFUSED"
    on_retry = "A retry would be refused again: correct the request."


class SeedreamAuthenticationError(SeedreamAPIError, AirflowFailException):
    """401, 403: the key is invalid, expired or revoked.

    ::

        KEY REFUSED: The API answered 401 invalid_api_key: Invalid API key.
    """

    verdict = "KEY REFUSED"
    on_retry = "A retry would be refused again: put a valid key into the connection, then clear the task."


class SeedreamInsufficientCreditsError(SeedreamAPIError):
    """402: the wallet holds too few credits. The API made no image and charged nothing.

    ::

        EMPTY WALLET: The API answered 402 insufficient_credits: 20 credits needed, 5 left.
    """

    verdict = "EMPTY WALLET"
    on_retry = "Top up the wallet at the vendor, then clear this task or wait for its next retry."


class SeedreamNotFoundError(SeedreamAPIError, AirflowFailException):
    """404, 410: the API does not know this generation, or has deleted it (24 h after the submission [doc]).

    On a POST it means that the base URL has no such endpoint: then the request was not accepted and not paid.

    ::

        NOT FOUND, 10 credits paid: The API answered 404 not_found: Not found.
    """

    verdict = "NOT FOUND"
    on_retry = (
        "The API keeps results for 24 h: check the id, its age, and that this key belongs to the "
        "account that paid."
    )


class SeedreamRateLimitError(SeedreamAPIError):
    """429: too many requests. The API did not accept this one, so it is not paid.

    ::

        RATE LIMIT: 3 requests a minute: the next turn is 54 s away, after the end of `timeout` (30 s).
    """

    verdict = "RATE LIMIT"
    on_retry = "A retry sends the request again."


class SeedreamServerError(SeedreamAPIError):
    """5xx or 408 on a call that buys nothing; on a POST it is a :class:`SeedreamAmbiguousSubmissionError`.

    ::

        API FAILED: The API answered 503: Service Unavailable.
    """

    on_retry = "A retry calls the API again."


class SeedreamConnectionError(SeedreamError):
    """The request did not reach the API: the name, the connection or TLS failed before the first byte was
    sent.

    ::

        API NOT REACHED: The request could not be sent to https://api.3daistudio.com: connection refused.
    """

    verdict = "API NOT REACHED"
    on_retry = (
        "A retry sends the request. Check the host of the connection, and the network and proxy of "
        "this worker."
    )


class SeedreamAmbiguousSubmissionError(SeedreamError):
    """The POST was sent and its answer is missing: the API may have accepted and charged it.

    The provider does not guess. Look for the generation at the vendor, then settle the record that the error
    names::

        airflow seedream resolve s3://bucket/campaign/_seedream/ledger/3f...9a.json --paid b1c2d3
        airflow seedream resolve s3://bucket/campaign/_seedream/ledger/3f...9a.json --not-paid
    """

    verdict = "UNKNOWN OUTCOME"
    paid = "unknown"
    on_retry = (
        "This request will not be sent again automatically. Look for it at the vendor, settle its "
        "record, then clear the task."
    )


class SeedreamResponseError(SeedreamError):
    """The API's answer is outside its contract, e.g. a status answer that is not JSON.

    ::

        BAD ANSWER: The API answered with something that is no JSON.
    """

    verdict = "BAD ANSWER"
    on_retry = "A retry calls the API again."


class SeedreamGenerationFailedError(SeedreamError):
    """The API reports that the generation failed. FAILED is refunded; FINISHED without images may not be:
    read ``error.paid``.

    ::

        GENERATION FAILED, 10 credits refunded: The generation failed: internal error.
    """

    verdict = "GENERATION FAILED"
    paid = "refunded"
    on_retry = "The sensor cannot submit again: clear the submitting task to do so."


class SeedreamModerationError(SeedreamGenerationFailedError, AirflowFailException):
    """The safety checker refused the prompt or the images.

    ::

        REFUSED BY MODERATION, 10 credits refunded: The generation failed: unsafe content.
    """

    verdict = "REFUSED BY MODERATION"
    on_retry = "The same request would most likely be refused again: change the prompt."


class SeedreamResultsExpiredError(SeedreamError, AirflowFailException):
    """The API has deleted the results, 24 h after the submission [doc]. Another set has its own price:
    ``take=2``.

    ::

        RESULTS EXPIRED, 10 credits paid: The results expired at 2026-11-29T16:48:00Z, after 24 h.
    """

    verdict = "RESULTS EXPIRED"
    paid = "yes"
    on_retry = "A retry cannot bring them back; raise `take` of the submitting task to buy another set."


class SeedreamGenerationTimeoutError(SeedreamError, AirflowSensorTimeout):
    """The images were not ready within ``timeout``. The generation continues at the API.

    ::

        NOT READY IN TIME, 10 credits paid: Still not ready after 60 min (`timeout=3600`).
    """

    verdict = "NOT READY IN TIME"
    paid = "yes"
    on_retry = "Clear the task to wait on for free: nothing is submitted again."


class SeedreamTopUpTimeoutError(SeedreamError, AirflowSensorTimeout):
    """The wallet did not hold enough within the ``timeout`` of a credits sensor. The sensor reads the wallet;
    it spends nothing.

    ::

        NO TOP-UP IN TIME: The wallet holds 40 credits, less than 500, after 24 h (timeout=86400).
    """

    verdict = "NO TOP-UP IN TIME"
    on_retry = "Top up the wallet at the vendor, then clear the task to wait on."


class SeedreamPollingError(SeedreamError):
    """The API did not answer for longer than the outage budget (30 min), or FINISHED came without links for
    too long (120 s).

    ::

        API UNAVAILABLE, 10 credits paid: The API was unavailable for 1800 s.
    """

    verdict = "API UNAVAILABLE"
    paid = "yes"
    on_retry = "A retry goes on waiting for free."


class SeedreamLandingError(SeedreamError):
    """An image could not be downloaded, verified or stored. Files become visible only when they are whole.

    ::

        IMAGES NOT LANDED, 20 credits paid: Image 2 could not be stored.

    :param stale_link: the link seems expired: a status call gives a fresh one.
    """

    verdict = "IMAGES NOT LANDED"
    paid = "yes"
    on_retry = "A retry lands again for free."

    def __init__(
        self, message: str, *, stale_link: bool = False, seedream_task_id: str | None = None
    ) -> None:
        super().__init__(message, seedream_task_id=seedream_task_id)
        self.stale_link = stale_link


class SeedreamPartialResultError(SeedreamError, AirflowFailException):
    """Fewer images came than were asked for. Those that came are landed; ``on_partial="accept"`` makes this a
    success.

    ::

        FEWER IMAGES, 40 credits paid: 3 of 4 images came; they are landed.
    """

    verdict = "FEWER IMAGES"
    paid = "yes"
    on_retry = 'A retry finds the same images; on_partial="accept" takes them as success.'


class SeedreamBatchError(SeedreamError):
    """Some rows of a batch did not land. The table of results says which rows, and the price of each.

    ::

        ROWS NOT LANDED, 380 credits paid: 2 of 40 rows did not land (38 landed, 2 moderated).
    """

    verdict = "ROWS NOT LANDED"
    paid = "yes"
    on_retry = (
        "A retry lands for free what is paid for, and pays only for rows that were refunded or never sent."
    )


class SeedreamLedgerError(SeedreamError):
    """A record cannot be read or written. An unreadable record is not a missing one, so the request is not
    sent.

    ::

        STORAGE FAILED: Cannot read the ledger in s3://my_conn@bucket/campaign.
    """

    verdict = "STORAGE FAILED"
    on_retry = "Nothing was sent. The next try checks the ledger again."


E = TypeVar("E", bound=SeedreamError)


# Airflow asks `isinstance(error, AirflowFailException)` and nothing else, so the class has to change, not a
# field.


def final(error: E) -> E:
    """The same error, but it ends the task without retries: its class gains ``AirflowFailException``."""
    if not isinstance(error, AirflowFailException):
        # a subclass of E, and hashable
        error.__class__ = _final_class(type(error))  # type: ignore[assignment, arg-type]
    return error


@cache
def _final_class(cls: type[SeedreamError]) -> type[SeedreamError]:
    # The name stays: people search the log for it, and a class of another name would not be in the table of
    # the documentation.
    body = {
        "__module__": cls.__module__,
        "__doc__": cls.__doc__,
        "__reduce__": lambda error: (_final_copy, (cls, vars(error))),
    }
    return type(cls.__name__, (cls, AirflowFailException), body)


def _final_copy(cls: type[SeedreamError], state: dict[str, Any]) -> SeedreamError:
    """A final error that was pickled: its class cannot be found by name."""
    error = cls(state["message"])
    # The state also holds attributes set after the constructor, such as the commands.
    vars(error).update(state)
    return final(error)


def _bounded(message: str) -> str:
    """A long message without its middle: quoted values and the errors of stores may be as long as an
    image.
    """
    if len(message) <= MAX_MESSAGE_CHARACTERS:
        return message
    # Both ends are kept: a message begins with our words, and ends with those of a store.
    head, tail = message[: MAX_MESSAGE_CHARACTERS * 3 // 4], message[-MAX_MESSAGE_CHARACTERS // 4 :]
    return f"{head} [... {len(message) - len(head) - len(tail):,} characters ...] {tail}"
