"""Decides from the answer to a POST whether it is paid: accepted, surely not paid, or unknown.

Sends no request and never guesses: a POST that may have been accepted is an unknown outcome.
"""

import requests

from airflow_provider_seedream.exceptions import (
    SeedreamAmbiguousSubmissionError,
    SeedreamBadRequestError,
    SeedreamError,
    SeedreamModerationError,
    SeedreamResponseError,
)
from airflow_provider_seedream.generations import Accepted
from airflow_provider_seedream.hooks.answers import read_json
from airflow_provider_seedream.hooks.failures import is_no_endpoint, no_endpoint, refused_by_proxy, unsent
from airflow_provider_seedream.hooks.resending import post_bought_nothing
from airflow_provider_seedream.hooks.settings import SeedreamSettings
from airflow_provider_seedream.hooks.transport import cut_after
from airflow_provider_seedream.model import contract


def accepted(content: bytes, *, key: str) -> Accepted:
    """The id of an accepted submission.

    :param key: the API key, which no error may quote.
    :raises SeedreamAmbiguousSubmissionError: a 2xx without an id: it is paid, and nothing names it.
    """
    try:
        return Accepted.from_wire(read_json(content, key=key))
    except SeedreamResponseError as error:
        raise SeedreamAmbiguousSubmissionError(
            "The request left, the answer names no id.", cause=error.detail
        ) from None


def refusal(error: SeedreamError, status_code: int, *, url: str) -> SeedreamError:
    """The error of an answer outside 2xx. A 5xx, 408 or 303 may have been accepted all the same.

    Moderation at submission comes as a 400 or 403 with words that say so [seen].

    :param error: of the answer, whatever it was asked.
    """
    if not post_bought_nothing(status_code):
        return SeedreamAmbiguousSubmissionError(
            f"The request left, the API answered {status_code}.", cause=error.message
        )
    words, is_403 = f"{getattr(error, 'code', '')} {error.message}", status_code == 403
    if (is_403 or isinstance(error, SeedreamBadRequestError)) and contract.is_moderation(
        words, of_a_key=is_403
    ):
        return SeedreamModerationError(error.message, paid="no")
    return no_endpoint(url, error) if is_no_endpoint(error) else error


def post_error(error: Exception, settings: SeedreamSettings, *, has_begun: bool) -> SeedreamError:
    """The error of a POST without an answer: not sent if no byte of the body has left, else unknown.

    The library's words are cut and cleaned of the key: urllib3 may quote a whole header.

    :param has_begun: True if the first byte of the body may have left.
    """
    if not has_begun and (refused := refused_by_proxy(error)):
        return refused
    what = f"{type(error).__name__}: {error}".replace(settings.key, "***")[:300]
    if not has_begun:
        return unsent(settings.base_url, error, cause=what)
    return SeedreamAmbiguousSubmissionError("The request left, no answer came.", cause=what)


def content_of(answer: requests.Response, max_seconds: float) -> bytes:
    """The body of an answer. A refusal is one by its status, even if its words do not arrive, or not in
    time.
    """
    try:
        with cut_after(max_seconds, answer.raw.shutdown):
            return answer.content
    except (requests.RequestException, OSError):
        if post_bought_nothing(answer.status_code):
            return b""
        raise
