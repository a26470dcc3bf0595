"""The options of a wait and a landing: arguments of users, checked when a DAG is parsed.

Loaded with every DAG, so it imports neither the hook nor the polling.
"""

import math
from datetime import timedelta
from importlib.util import find_spec
from typing import Any, Literal, cast, get_args

from airflow.providers.common.compat.sdk import BaseOperator, conf

from airflow_provider_seedream.exceptions import SeedreamInputError

OnPartial = Literal["fail", "accept"]
DEFAULT_TIMEOUT_SECONDS = 3600.0  # six images take about four minutes [doc]; the results live 24 h
DEFAULT_MAX_IN_FLIGHT = 100
MAX_MAX_IN_FLIGHT = 1000  # their ids travel in the trigger's row
MAX_POSTS_AT_ONCE = 16  # of a batch: each may be unknown after a kill; 16 answers of 1 s are 960 a minute
DEFAULT_MAX_IMAGE_BYTES = 64 * 1024 * 1024


def execution_seconds(task: BaseOperator) -> float:
    """Seconds of ``execution_timeout``, or infinity. Airflow does not see it while a task is deferred; it
    restarts on resume.
    """
    return task.execution_timeout.total_seconds() if task.execution_timeout else math.inf


def as_seconds(field: str, value: timedelta | float) -> float:
    """A duration in seconds.

    :param field: the argument's name, for the error.
    :raises SeedreamInputError: unless it is finite and not negative: a trigger's arguments are JSON, which
        has no infinity.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, int | float)
        or not (math.isfinite(seconds) and seconds >= 0)
    ):
        raise SeedreamInputError(f"{field} must be a timedelta or a number of seconds, 0 or more.")
    return float(seconds)


def as_interval(value: timedelta | float | None) -> float | None:
    """The ``poke_interval`` of a task in seconds; None stays None: the poll schedule decides.

    :raises SeedreamInputError: as for :func:`as_seconds`.
    """
    return None if value is None else as_seconds("poke_interval", value)


def interval_of(own: float | None) -> float | None:
    """The task's own interval, else Airflow's ``[seedream] poke_interval``, else None. Not for when a DAG
    is parsed.
    """
    configured = conf.get("seedream", "poke_interval", fallback="") if own is None else ""
    try:
        return as_interval(float(configured)) if configured else own
    except ValueError:
        raise SeedreamInputError(
            f"[seedream] poke_interval must be a number of seconds; got {configured!r}."
        ) from None


def check_max_image_bytes(value: Any) -> int:
    """The limit of one image in bytes. Memory holds an image while it is checked, so a limit is always set.

    :raises SeedreamInputError: unless the value is an integer of at least 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SeedreamInputError(f"max_image_bytes must be an integer of at least 1; got {value!r}.")
    return value


def beyond_defaults(*, embed_metadata: bool, max_image_bytes: int) -> dict[str, Any]:
    """The options of a landing as a ledger record keeps them: only those that differ from the defaults.

    ``airflow seedream land`` reads them there. Most records have none of these fields, so that 0.2 can read
    them::

        # {"embed_metadata": True}
        beyond_defaults(embed_metadata=True, max_image_bytes=DEFAULT_MAX_IMAGE_BYTES)
    """
    marked = {"embed_metadata": True} if embed_metadata else {}
    return (
        marked
        if max_image_bytes == DEFAULT_MAX_IMAGE_BYTES
        else {**marked, "max_image_bytes": max_image_bytes}
    )


def check_flag(field: str, value: Any) -> bool:
    """:raises SeedreamInputError: unless the value is a boolean: the text "False" would count as True."""
    if not isinstance(value, bool):
        raise SeedreamInputError(f"{field} must be True or False; got {value!r:.80}.")
    return value


def check_on_partial(value: Any) -> OnPartial:
    """:raises SeedreamInputError: unless the value is ``fail`` or ``accept``."""
    if value not in get_args(OnPartial):
        raise SeedreamInputError(f"on_partial must be 'fail' or 'accept'; got {value!r}.")
    return cast(OnPartial, value)


def check_embed_metadata(value: Any) -> bool:
    """:raises SeedreamInputError: not a boolean, or True on a worker without exiv2. Checked before the
    request is sent.
    """
    if check_flag("embed_metadata", value) and find_spec("exiv2") is None:
        from airflow_provider_seedream.model.extras import missing_extra

        raise missing_extra("embed_metadata=True needs exiv2", "metadata")
    return bool(value)


def check_max_in_flight(value: Any) -> int:
    """:raises SeedreamInputError: unless it is an integer from 1 to 1,000."""
    # Python's True is an integer, and would mean one generation in flight.
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_MAX_IN_FLIGHT:
        raise SeedreamInputError(
            f"max_in_flight must be an integer from 1 to {MAX_MAX_IN_FLIGHT}; got {value!r}."
        )
    return value


def check_max_posts_at_once(value: Any) -> int | None:
    """The argument of the operator; None for the automatic width.

    :raises SeedreamInputError: unless it is None or an integer from 1 to 16.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_POSTS_AT_ONCE:
        raise SeedreamInputError(
            f"max_posts_at_once must be an integer from 1 to {MAX_POSTS_AT_ONCE}, or None (automatic); got "
            f"{value!r}."
        )
    return value
