"""The common part of the sensors: which errors they skip, when a try began, and how they free the worker
between polls.

Loaded with every DAG; it polls nothing itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseOperator,
    BaseSensorOperator,
    Context,
)

from airflow_provider_seedream.model import clock
from airflow_provider_seedream.tasks.backstop import resumed
from airflow_provider_seedream.tasks.fields import CheckedFields

try:
    from airflow.sdk.exceptions import AirflowRescheduleException
except ImportError:  # Airflow 3.1
    from airflow.exceptions import AirflowRescheduleException


class SeedreamSensor(CheckedFields, BaseSensorOperator):
    """A sensor whose ``soft_fail`` skips the task if it is late, and whose ``never_fail`` skips it for every
    error, deferred or not.

    ::

        SeedreamGenerationSensor(task_id="land", generation=submit.output, timeout=600, soft_fail=True)

    Airflow's own ``soft_fail`` of a deferred sensor would skip every error, also a refused key or a failed
    landing.
    """

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        with self.skipping():  # the base sensor's own would skip every error, not only lateness
            go_on = partial(BaseOperator.resume_execution, self, next_method, next_kwargs, context)
            return resumed(self, go_on, self.resume_unheard, context)

    def resume_unheard(self, context: Context) -> Any:
        """Continue a wait whose trigger sent no event until the time was over. Each sensor polls once more
        in its own way.
        """
        raise NotImplementedError

    def started_epoch(self, context: Context) -> float:
        """The start of the try; in reschedule mode of its first poke.

        :returns: epoch seconds; from there ``timeout`` counts.
        """
        # Each poke is a process of its own then, so the deadline counts from the first of them.
        first = context["ti"].get_first_reschedule_date(context) if self.reschedule else None
        return first.timestamp() if first else clock.now_epoch()

    def come_back(self, wait_seconds: float) -> None:
        """End this process; Airflow starts another one after the pause, which polls again.

        :param wait_seconds: the pause. Without a running process it holds no worker slot.
        :raises AirflowRescheduleException: always; Airflow's own way to say it.
        """
        raise AirflowRescheduleException(datetime.now(UTC) + timedelta(seconds=wait_seconds))

    @contextmanager
    def skipping(self) -> Iterator[None]:
        """Around the work of a sensor: turns errors into skips where the task asks for it.

        ``soft_fail`` skips a wait that was too late, ``never_fail`` skips every error. A reschedule and a
        skip pass unchanged.

        :raises AirflowSkipException: instead of such an error; it carries its message.
        """
        try:
            yield
        except (AirflowSensorTimeout, AirflowTaskTimeout) as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"Skipped, as it was not ready in time: {error}") from error
            raise
        except (AirflowRescheduleException, AirflowSkipException):
            raise
        except Exception as error:
            if self.never_fail:
                raise AirflowSkipException(f"Skipped because of never_fail: {error}") from error
            raise
