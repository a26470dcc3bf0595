"""Before a task fails, its log gets the error as a block of short lines: what happened, what it cost, what to
do.

One place for every operator, sensor and decorated task: their ``execute`` and ``resume_execution`` are
wrapped when the class is made. So it works for deferred and mapped tasks, and for subclasses of users. Loaded
with every DAG, so the hook is imported when a task fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException, AirflowTaskTimeout, BaseOperator

from airflow_provider_seedream.exceptions import (
    Paid,
    SeedreamError,
)

try:
    from airflow.sdk.exceptions import AirflowRescheduleException
except ImportError:  # Airflow 3.1
    from airflow.exceptions import AirflowRescheduleException

if TYPE_CHECKING:
    from airflow_provider_seedream.generations import Generation
    from airflow_provider_seedream.model.error_lines import Where

# Airflow's own signals for a skip and for a later poke
_NO_FAILURES = (AirflowSkipException, AirflowRescheduleException)
# Airflow's task runner calls one of them, and nothing else of ours
_ENTRIES = ("execute", "resume_execution")
_LEDGER_KNOWS = (
    "Read the traceback below. A retry or a clear does not pay twice: the ledger knows what is paid."
)


class ReportingTask(BaseOperator):
    """A task whose log explains its failure in short lines, before Airflow's traceback::

        ERROR - UNKNOWN OUTCOME, up to 10 credits at risk: the request left, no answer came.
        ERROR - Cost: up to 10 credits, not known yet.
        ERROR - Do: ...

    Subclasses inherit it, also those of users that have an ``execute`` of their own.

    :param seedream_conn_id: the connection; the block names its host, where it can be read.
    """

    seedream_conn_id: str
    _waits_for: Generation | None = None  # the paid generation whose images this task is to land
    # while an outer one of our methods runs: only the outermost knows whether the task fails
    _is_reporting = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Wrap the entries of each class as it is made, so that users' subclasses are wrapped too."""
        super().__init_subclass__(**kwargs)
        for name in _ENTRIES:
            if name in vars(cls):
                setattr(cls, name, _reporting(vars(cls)[name]))

    def report_failure(self, error: BaseException) -> None:
        """Log the block of an error. Best effort: it must never hide the error itself.

        :param error: of this provider or any other; the one of another library gets the same form, and is
            raised as it is.
        """
        from airflow_provider_seedream.landing.errors import complete
        from airflow_provider_seedream.model import clock
        from airflow_provider_seedream.model.error_lines import error_lines

        try:
            ours = error if isinstance(error, SeedreamError) else _foreign(error, self._waits_for)
            if self._waits_for is not None:
                complete(ours, self._waits_for)
            log_lines(self.log.error, error_lines(ours, self._where(), now_epoch=clock.now_epoch()))
        except Exception:
            self.log.exception("The failure could not be explained in short lines.")

    def _where(self) -> Where:
        """The connection, with its host if it can be read: the task may have failed because the connection
        is incomplete.
        """
        from airflow_provider_seedream.hooks.seedream import SeedreamHook
        from airflow_provider_seedream.model.error_lines import Where

        conn_id = str(self.seedream_conn_id)
        try:
            return Where(conn_id=conn_id, host=SeedreamHook(conn_id).settings.base_url)
        except Exception:
            return Where(conn_id=conn_id)


def _reporting(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, but a failure is explained in the log before it is raised. Calls of ``super()`` inside
    it are left alone.
    """

    @wraps(method)
    def reporting(self: ReportingTask, *args: Any, **kwargs: Any) -> Any:
        if self._is_reporting:
            return method(self, *args, **kwargs)
        self._is_reporting = True
        try:
            return method(self, *args, **kwargs)
        except _NO_FAILURES:
            raise
        except (Exception, AirflowTaskTimeout) as error:
            # Airflow's timeout is no Exception; a deferral is neither
            self.report_failure(error)
            raise
        finally:
            self._is_reporting = False

    return reporting


def log_lines(log: Callable[..., None], lines: Iterable[str]) -> None:
    """One log record for each line: a log page that does not wrap shows them all.

    :param log: a method of a logger, e.g. ``log.error``.
    """
    for line in lines:
        log("%s", line)


def _foreign(error: BaseException, generation: Generation | None) -> SeedreamError:
    """An error that is not of this provider, in the same form, for the log alone: it is raised as it is.

    :param generation: the paid generation of the task, if there is one: then the block says that credits were
        paid.
    """
    paid: Paid = "yes" if generation else "unknown"
    if isinstance(error, AirflowTaskTimeout):
        begins, _, rest = str(error).partition(": ")
        verdict, said = (
            (begins, rest)
            if begins.isupper()
            else ("NOT READY IN TIME", str(error) or "`execution_timeout` is over.")
        )
        ours = SeedreamError(said, verdict=verdict, paid=paid)
        ours.on_retry = "A retry or a clear goes on, and does not pay twice."
        return ours
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    ours = SeedreamError(what, verdict="UNEXPECTED ERROR", paid=paid)
    ours.on_retry = _LEDGER_KNOWS
    return ours
