"""Metrics and spans, through Airflow's own Stats and OpenTelemetry, if the deployment has switched them on.

They hold names and numbers; prompts, links and keys stay out. A metric that cannot be sent is dropped, and
the task goes on.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.task_ref import NOBODY, TaskRef

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric::

        Metric(name="seedream.polls", kind="counter", counts="status calls, of workers and triggerers")

    :param name: gets Airflow's prefix, ``airflow`` by default.
    :param kind: a ``counter`` only grows; a ``timer`` takes durations.
    :param counts: the thing that is counted or timed, in the words of the documentation.
    """

    name: str
    kind: Literal["counter", "timer"]
    counts: str


METRICS: Final = (
    Metric(name="seedream.submissions", kind="counter", counts="requests that the API accepted"),
    Metric(name="seedream.credits_spent", kind="counter", counts="their price in credits"),
    Metric(
        name="seedream.credits_quoted",
        kind="counter",
        counts="the calculated price of requests whose charge was measured",
    ),
    Metric(
        name="seedream.credits_billed", kind="counter", counts="what the wallet lost for those same requests"
    ),
    Metric(
        name="seedream.credits_refunded",
        kind="counter",
        counts="credits of generations that failed and were refunded",
    ),
    Metric(
        name="seedream.unknown_outcomes",
        kind="counter",
        counts="requests that may have been accepted, whose answer got lost",
    ),
    Metric(name="seedream.credits_at_risk", kind="counter", counts="their price in credits"),
    Metric(
        name="seedream.budget_warnings",
        kind="counter",
        counts="caps of a connection of which the share `warn_at` was spent",
    ),
    Metric(
        name="seedream.generations.landed", kind="counter", counts="generations whose images were all landed"
    ),
    Metric(
        name="seedream.generations.partial",
        kind="counter",
        counts="generations that were landed with fewer images than asked",
    ),
    Metric(name="seedream.generations.failed", kind="counter", counts="generations that failed at the API"),
    Metric(
        name="seedream.generations.expired",
        kind="counter",
        counts="generations that were not landed within their 24 h",
    ),
    Metric(name="seedream.waiting", kind="timer", counts="from the submission until the landing begins"),
    Metric(name="seedream.landing", kind="timer", counts="downloading, verifying and storing one generation"),
    Metric(name="seedream.polls", kind="counter", counts="status calls, of workers and triggerers"),
    Metric(name="seedream.rate_limited", kind="counter", counts="answers 429 to any call"),
)
SPANS: Final = {
    "seedream.submit": "one POST to the API",
    "seedream.land": "one landing: status call, downloads, uploads, manifest",
}


def submitted(credits_spent: int, by: TaskRef, labels: Mapping[str, str] | None = None) -> None:
    """A request was accepted.

    :param credits_spent: its price.
    :param by: the acting task; its dag_id and task_id become tags.
    :param labels: of the task; ``team`` becomes the tag ``label_team``.
    """
    _count("seedream.submissions", 1, by, labels)
    _count("seedream.credits_spent", credits_spent, by, labels)


def measured(*, quoted: int, billed: int, by: TaskRef) -> None:
    """The calculated price of a request and the billed one, in credits. Only requests whose charge was
    measured are counted.
    """
    _count("seedream.credits_quoted", quoted, by)
    _count("seedream.credits_billed", billed, by)


def lost_sight(credits_at_risk: int, by: TaskRef) -> None:
    """The outcome of a POST is unknown.

    :param credits_at_risk: its price, which may have been taken.
    """
    _count("seedream.unknown_outcomes", 1, by)
    _count("seedream.credits_at_risk", credits_at_risk, by)


def cap_nearly_reached(by: TaskRef) -> None:
    """A cap of a connection was seen to be spent to the share ``warn_at``: once a day for each cap."""
    _count("seedream.budget_warnings", 1, by)


def ended(outcome: str, *, credits_refunded: int, by: TaskRef) -> None:
    """A generation has ended.

    :param outcome: ``landed``, ``partial``, ``failed`` or ``expired``.
    :param credits_refunded: 0 unless the API gave credits back.
    :param by: the task that submitted it.
    """
    _count(f"seedream.generations.{outcome}", 1, by)
    _count("seedream.credits_refunded", credits_refunded, by)


def polled() -> None:
    """One status call was sent. It has no tags: a trigger's client serves many tasks."""
    _count("seedream.polls", 1, NOBODY)


def answered(status_code: int) -> None:
    """An answer of the API outside 2xx; only a 429 is counted."""
    if status_code == 429:
        _count("seedream.rate_limited", 1, NOBODY)


@contextmanager
def landing(seedream_task_id: str, *, created_at: str | None, by: TaskRef) -> Iterator[None]:
    """Context manager around one landing that downloads something. The duration of a landing that fails is
    not sent.

    :param created_at: when the generation was submitted, in ISO 8601; None for a bare id, whose wait is not
        known.
    """
    began, created = clock.now_epoch(), clock.to_epoch(created_at)
    if created is not None:
        _time("seedream.waiting", began - created, by)
    with span("seedream.land", seedream_task_id=seedream_task_id):
        yield
    _time("seedream.landing", clock.now_epoch() - began, by)


@contextmanager
def span(name: str, **attributes: str | int) -> Iterator[None]:
    """Context manager: a child of the task's own span, where Airflow traces tasks.

    An error is recorded by its class alone: its message may hold a prompt or a URI.

    :param name: one of ``SPANS``.
    :param attributes: ids and numbers; ``seedream_task_id`` becomes ``seedream.task_id``.
    """
    # Imported here: a task that neither submits nor lands needs no tracing.
    from opentelemetry import trace

    named = {f"seedream.{key.removeprefix('seedream_')}": value for key, value in attributes.items()}
    tracer = trace.get_tracer("airflow_provider_seedream")
    with tracer.start_as_current_span(
        name, attributes=named, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield
        except BaseException as error:
            current.set_status(trace.Status(trace.StatusCode.ERROR, type(error).__name__))
            raise


def _count(name: str, by: int, who: TaskRef, labels: Mapping[str, str] | None = None) -> None:
    """Add to a counter; 0 sends nothing."""
    if by > 0:
        tags = {**_tags(who), **{f"label_{key}": value for key, value in (labels or {}).items()}}
        _send(lambda stats: stats.incr(name, by, tags=tags))


def _time(name: str, seconds: float, who: TaskRef) -> None:
    """Send a duration; a clock that was set back gives 0."""
    _send(lambda stats: stats.timing(name, timedelta(seconds=max(0.0, seconds)), tags=_tags(who)))


def _send(send: Callable[[Any], Any]) -> None:
    """Call Airflow's Stats. Metrics are never worth a task, so every error is dropped."""
    try:
        from airflow.providers.common.compat.sdk import Stats

        send(Stats)
    except Exception:  # each metrics backend has error classes of its own
        _log.debug("A metric could not be sent.", exc_info=True)


def _tags(who: TaskRef) -> dict[str, str]:
    # Neither the run nor the map index: each of them would begin a new time series.
    return {name: value for name, value in (("dag_id", who.dag_id), ("task_id", who.task_id)) if value}
